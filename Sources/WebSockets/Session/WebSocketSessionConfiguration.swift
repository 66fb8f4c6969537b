//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
public import WebSocketCore

/// How a ``WebSocketSession`` connects, reconnects, and delivers. Every default is finite and safe.
///
/// A value outside of its documented range is refused with `invalidConfiguration` when the session is made, wherever the
/// value came from: the message has the option, the value and the range. See <doc:Session> for what each option does to the
/// others.
public struct WebSocketSessionConfiguration: Sendable {
    /// How each connection is opened. `options.keepAlive` defaults to 20 s / 10 s here; a dead peer is noticed within a second
    /// with 0.5 s / 0.4 s. Intervals and timeouts must be in 0.05...3600 s, `openTimeout` in 0.05...3600 s.
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
    /// How often ``shouldDisconnect`` and ``shouldRenew`` are asked. Default 10 s; 0.01...3600 s.
    public var disconnectCheckInterval: Duration = .seconds(10)
    /// How often ``shouldReconnect`` is asked. Default 5 s; 0.01...3600 s.
    public var reconnectCheckInterval: Duration = .seconds(5)
    /// How old a connection may become; `nil` for any age. It is left before, at a moment that ``shouldRenew`` allows,
    /// and at this age in any case. Default nil; 1 s or more.
    public var maximumConnectionAge: Duration?
    /// How long before ``maximumConnectionAge`` leaving begins, at most half of the age. With ``makesBeforeBreaking`` the last
    /// tenth is kept for a renewal that does not ask ``shouldRenew``. Default 300 s; 0...86,400 s.
    public var disconnectMargin: Duration = .seconds(300)
    /// Whether an old connection is replaced before it is closed, so that nothing is missed. Default false.
    ///
    /// A renewal that fails is tried again as ``reconnect`` says, `Retry-After` included, until the margin is over.
    public var makesBeforeBreaking = false
    /// How long an old connection may hold up what follows it: its last messages, when it was replaced, and the closing
    /// handshake, when it is left for another one. Then the new one goes on, and a connection that was left is cut. Default
    /// 1 s; 0...60 s.
    public var handoverTimeout: Duration = .seconds(1)
    /// A watchdog: a connection that brings no message for this time is cut, with reason `silence`, and followed by another
    /// one as after any failure. Answers to subscriptions, and what ``answer`` answers, are no messages here. Default nil:
    /// none; 0.01...86,400 s.
    public var silenceTimeout: Duration?
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
    /// Bounds ``prepare``, the subscriptions' acknowledgements where they are awaited, and ``resume`` together. Default 30 s;
    /// 0.05...3600 s.
    public var preparationTimeout: Duration = .seconds(30)
    /// How channels are subscribed.
    public var subscriptions = Subscriptions()
    /// Answers a message at once, on the connection that brought it and at any time: also while it is prepared, subscribed or
    /// replaced. For the heartbeats that some servers send as messages. What it answers is not delivered; nil for any other
    /// message. It must be quick, and is called without a lock. Default none.
    public var answer: (@Sendable (WebSocketMessage) -> WebSocketMessage?)?

    // MARK: Delivery

    /// Messages that wait to be taken. Default 1,000; 1...1,000,000.
    public var inboundMessages = 1_000
    /// Bytes of messages that wait to be taken; as many may wait while a connection is prepared. Default 16 MiB; 64 KiB or
    /// more.
    public var inboundBytes = 16 << 20
    /// What happens at these limits. Default `suspendReading`.
    public var overflow = WebSocketOverflowPolicy.suspendReading
    /// Messages that are kept while there is no connection; 0 refuses them with `notConnected`. Default 0;
    /// 0...100,000. With a queue, messages that a dead connection had taken but certainly not sent are kept too.
    public var outboundQueue = 0
    /// How long a message is worth sending, unless `send` says otherwise; `nil` for ever. Default 30 s; 0 or more.
    public var outboundDeadline: Duration? = .seconds(30)

    // MARK: Observing

    /// Alerts of a kind are at least this far apart. Default 300 s; 0...86,400 s.
    public var alertInterval: Duration = .seconds(300)
    /// For these kinds instead of ``alertInterval``; 0 for every alert of the kind. Default none; 0...86,400 s.
    public var alertIntervals: [WebSocketSessionAlert.Kind: Duration] = [:]
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
        /// The message that subscribes several channels at once, at most ``batchSize``. Default none: one message for each
        /// channel, by ``subscribe``.
        public var subscribeBatch: (@Sendable ([String]) throws -> WebSocketMessage)?
        /// How many channels ``subscribeBatch`` gets. Default 100; 1...100,000.
        public var batchSize = 100
        /// The least time from one message to the next, for servers that allow only a few in a second. Default 0; 0...60 s.
        public var interval: Duration = .zero
        /// Recognises the server's answer, given the channels of which one may come; `nil` for any other message. Answers are
        /// events ``WebSocketSessionEvent/subscription(_:)`` and are not delivered as messages. Default none: a channel
        /// counts as subscribed when its message is sent.
        public var reply: (@Sendable (WebSocketMessage, [String]) -> WebSocketSubscriptionReply?)?
        /// What happens to messages while answers are awaited. Default ``WebSocketSubscriptionDelivery/atOnce``.
        public var delivery = WebSocketSubscriptionDelivery.atOnce
        /// How long an answer is awaited. Default 10 s; 0.05...3600 s.
        public var replyTimeout: Duration = .seconds(10)
        /// How often a channel is sent on one connection before it is given up there. Default 3; 1...1000.
        public var attempts = 3
        /// From a refusal to the next attempt. Default 1 s; 0...3600 s.
        public var retryDelay: Duration = .seconds(1)

        /// The defaults.
        public init() {}

        func message(_ channels: [String]) throws -> WebSocketMessage {
            if let subscribeBatch { return try subscribeBatch(channels) }
            return try subscribe(channels.first ?? "")
        }
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
}

/// What happens to the application's messages while answers to subscriptions are awaited.
public enum WebSocketSubscriptionDelivery: String, Sendable, Hashable, CaseIterable {
    /// The session is connected as soon as the channels are sent: messages are delivered, and can be answered. A renewal
    /// still waits for the answers before the old connection goes.
    case atOnce
    /// The session is connected when each channel was answered once, or its `replyTimeout` is over.
    case afterAnswers
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
