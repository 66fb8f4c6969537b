//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
public import WebSocketCore

/// How a ``WebSocketSession`` connects, reconnects, and delivers. Every default is finite and safe.
///
/// A value outside of its documented range is clamped to it when the session is made, wherever the value came from;
/// ``clamped`` shows the result. See <doc:Session> for what each option does to the others.
public struct WebSocketSessionConfiguration: Sendable {
    /// How each connection is opened. `options.keepAlive` defaults to 20 s / 10 s here; intervals are clamped to 5...60 s,
    /// timeouts to 5...30 s, `openTimeout` to 5...120 s.
    public var client = WebSocketClientConfiguration()
    /// When to try again after a failure.
    public var reconnect = WebSocketReconnectPolicy()
    /// Whether the session reconnects after an end that it did not want. Default true.
    public var reconnectsAutomatically = true

    // MARK: Proactive control

    /// Asked every ``disconnectCheckInterval`` while connected; true leaves the connection with reason
    /// `callbackTriggered`. What it throws is an alert, and counts as false. Default none.
    public var shouldDisconnect: (@Sendable (WebSocketSessionSnapshot) async throws -> Bool)?
    /// Asked at once and then every ``reconnectCheckInterval`` after a proactive disconnect without a time, and after
    /// every end with the strategy `callbackControlled`. What it throws is an alert, and counts as `notYet`. Default
    /// none: then the session stays disconnected until `connect` is called.
    public var shouldReconnect: (@Sendable (WebSocketSessionSnapshot) async throws -> WebSocketReconnectWindow)?
    /// Asked every ``disconnectCheckInterval`` once a connection is within ``disconnectMargin`` of its greatest age; true
    /// lets it end now. Default none: it ends when the margin begins.
    public var shouldRenew: (@Sendable (WebSocketSessionSnapshot) async throws -> Bool)?
    /// Default 10 s; clamped to 1...60 s.
    public var disconnectCheckInterval: Duration = .seconds(10)
    /// Default 5 s; clamped to 0.5...60 s.
    public var reconnectCheckInterval: Duration = .seconds(5)
    /// How old a connection may become; `nil` for any age. It is left before, at a moment that ``shouldRenew`` allows,
    /// and at this age in any case. Default nil; clamped to 60 s or more.
    public var maximumConnectionAge: Duration?
    /// How long before ``maximumConnectionAge`` leaving begins. Default 300 s; clamped to 60...3600 s, and to half of the
    /// age.
    public var disconnectMargin: Duration = .seconds(300)
    /// Whether an old connection is replaced before it is closed, so that nothing is missed. Default false.
    public var makesBeforeBreaking = false
    /// What makes two messages the same while an old and a new connection are both open; `nil` for a message that is
    /// never a repetition. It must be quick, and is called without a lock. Default: the whole content.
    public var messageIdentity: @Sendable (WebSocketMessage) -> WebSocketMessage? = { $0 }

    // MARK: After connecting

    /// Runs on each new connection before the subscriptions are sent, for example to log in. When it throws, the
    /// connection is closed with reason `preparationFailed` and tried again. Default none.
    public var prepare: (@Sendable (WebSocketSessionPreparation) async throws -> Void)?
    /// Runs on each connection after the first when its subscriptions have been sent, for example to ask for what came
    /// after the last sequence number. True means that nothing is missing, and there is no gap event. Default none.
    public var resume: (@Sendable (WebSocketSessionPreparation) async throws -> Bool)?
    /// Bounds ``prepare``, the subscriptions' acknowledgements and ``resume`` together. Default 30 s; clamped to
    /// 1...300 s.
    public var preparationTimeout: Duration = .seconds(30)
    /// How channels are subscribed.
    public var subscriptions = Subscriptions()

    // MARK: Delivery

    /// Messages that wait to be taken. Default 1,000; clamped to 1...1,000,000.
    public var inboundMessages = 1_000
    /// Bytes of messages that wait to be taken. Default 16 MiB; clamped to 64 KiB or more.
    public var inboundBytes = 16 << 20
    /// What happens at these limits. Default `suspendReading`.
    public var overflow = WebSocketOverflowPolicy.suspendReading
    /// Messages that are kept while there is no connection; 0 refuses them with `notConnected`. Default 0; clamped to
    /// 0...100,000. With a queue, messages that a dead connection had taken but certainly not sent are kept too.
    public var outboundQueue = 0
    /// How long a message is worth sending, unless `send` says otherwise; `nil` for ever. Default 30 s.
    public var outboundDeadline: Duration? = .seconds(30)

    // MARK: Observing

    /// Alerts of a kind are at least this far apart. Default 300 s; clamped to 30...3600 s.
    public var alertInterval: Duration = .seconds(300)
    /// Who is told what happens to the session; ``WebSocketSessionMetrics`` is one. Default none.
    public var observers: [any WebSocketSessionObserver] = []
    /// State changes are logged at `debug`, alerts at `warning`. URLs and peer text are redacted and escaped.
    public var logger = Logger(label: "swift-libwebsockets")

    /// How channels are subscribed.
    public struct Subscriptions: Sendable {
        /// The message that subscribes a channel. Default `{"type":"subscribe","channel":"…"}`.
        public var subscribe: @Sendable (String) throws -> WebSocketMessage = {
            .text("{\"type\":\"subscribe\",\"channel\":\(SessionJSON.quoted($0))}")
        }
        /// The message that ends it; `nil` for none. Default `{"type":"unsubscribe","channel":"…"}`.
        public var unsubscribe: @Sendable (String) throws -> WebSocketMessage? = {
            .text("{\"type\":\"unsubscribe\",\"channel\":\(SessionJSON.quoted($0))}")
        }
        /// Recognises the server's answer, given the channels whose answer is awaited; `nil` for any other message.
        /// Answers are not delivered. Default none: a channel counts as subscribed when its message is sent.
        public var reply: (@Sendable (WebSocketMessage, [String]) -> WebSocketSubscriptionReply?)?
        /// How long an answer is awaited. Default 10 s; clamped to 1...120 s.
        public var replyTimeout: Duration = .seconds(10)
        /// How often a channel is sent on one connection before it is given up there. Default 3; clamped to 1...100.
        public var attempts = 3
        /// From a refusal to the next attempt. Default 1 s; clamped to 0...60 s.
        public var retryDelay: Duration = .seconds(1)

        /// The defaults.
        public init() {}
    }

    /// The defaults.
    public init() {
        client.options.keepAlive = .init(interval: .seconds(20), timeout: .seconds(10))
    }

    /// For feeds where every second counts: pings every 15 s with 10 s, reconnects from 0.5 s up to 30 s with 20
    /// attempts, checks every 5 s and 2 s.
    public static var trading: Self {
        var configuration = Self()
        configuration.client.options.keepAlive = .init(interval: .seconds(15), timeout: .seconds(10))
        configuration.reconnect.strategy = .fullJitter(base: .milliseconds(500), maximum: .seconds(30))
        configuration.reconnect.maximumAttempts = 20
        configuration.disconnectCheckInterval = .seconds(5)
        configuration.reconnectCheckInterval = .seconds(2)
        return configuration
    }

    /// For dashboards that may be late: pings every 30 s with 15 s, reconnects from 5 s up to 120 s with 50 attempts,
    /// checks every 30 s and 10 s.
    public static var monitoring: Self {
        var configuration = Self()
        configuration.client.options.keepAlive = .init(interval: .seconds(30), timeout: .seconds(15))
        configuration.reconnect.strategy = .fullJitter(base: .seconds(5), maximum: .seconds(120))
        configuration.reconnect.maximumAttempts = 50
        configuration.disconnectCheckInterval = .seconds(30)
        configuration.reconnectCheckInterval = .seconds(10)
        return configuration
    }

    /// With every value in its documented range: what a session goes by.
    public var clamped: Self {
        func clamp(_ value: Duration, _ range: ClosedRange<Double>) -> Duration {
            min(max(value, .seconds(range.lowerBound)), .seconds(range.upperBound))
        }
        func clamp(_ value: Int, _ range: ClosedRange<Int>) -> Int {
            min(max(value, range.lowerBound), range.upperBound)
        }
        var result = self
        if var keepAlive = client.options.keepAlive {
            keepAlive.interval = clamp(keepAlive.interval, 5...60)
            keepAlive.timeout = keepAlive.timeout.map { clamp($0, 5...30) }
            result.client.options.keepAlive = keepAlive
        }
        result.client.openTimeout = clamp(client.openTimeout, 5...120)
        result.reconnect = reconnect.clamped
        result.disconnectCheckInterval = clamp(disconnectCheckInterval, 1...60)
        result.reconnectCheckInterval = clamp(reconnectCheckInterval, 0.5...60)
        result.disconnectMargin = clamp(disconnectMargin, 60...3_600)
        result.maximumConnectionAge = maximumConnectionAge.map { max($0, .seconds(60)) }
        result.preparationTimeout = clamp(preparationTimeout, 1...300)
        result.subscriptions.replyTimeout = clamp(subscriptions.replyTimeout, 1...120)
        result.subscriptions.retryDelay = clamp(subscriptions.retryDelay, 0...60)
        result.subscriptions.attempts = clamp(subscriptions.attempts, 1...100)
        result.inboundMessages = clamp(inboundMessages, 1...1_000_000)
        result.inboundBytes = max(inboundBytes, 64 << 10)
        result.outboundQueue = clamp(outboundQueue, 0...100_000)
        result.outboundDeadline = outboundDeadline.map { max($0, .zero) }
        result.alertInterval = clamp(alertInterval, 30...3_600)
        return result
    }
}

enum SessionJSON {
    /// A string as JSON (RFC 8259 §7).
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{0}"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
