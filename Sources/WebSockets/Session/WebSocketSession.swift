//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
public import WebSocketCore
import WebSocketLoop

/// A WebSocket that outlives its connections, and chooses when they end.
///
/// A session reconnects, subscribes again, tells the truth about gaps, and lets the application decide when to
/// disconnect. Made with ``init(to:configuration:clock:)`` it does nothing until ``run()`` runs in some task.
///
/// ```swift
/// try await WebSocketSession.withSession(to: "wss://example.com/feed", configuration: .trading) { session in
///     try await session.subscribe("btcusdt@trade")
///     for try await event in session.events {
///         switch event {
///         case .message(let message): handle(message)
///         case .gap: await loadSnapshot()
///         default: break
///         }
///     }
/// }
/// ```
///
/// Every method may be called from any thread or task. See <doc:Session> for every option and for complete examples.
public final class WebSocketSession: Sendable {
    /// The URL, without credentials and query values.
    public let url: String
    /// What the session goes by: the configuration with every value in its range.
    public let configuration: WebSocketSessionConfiguration
    let core: SessionCore

    // MARK: Life

    /// Makes a session. Starts nothing.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - configuration: How to connect, reconnect and deliver. Values out of range are clamped.
    ///   - clock: Measures every delay, interval and deadline of the session, but not its connections' own. Default:
    ///     the continuous clock.
    /// - Throws: `invalidURL`.
    public convenience init(
        to url: String, configuration: WebSocketSessionConfiguration = .init(),
        clock: any Clock<Duration> = ContinuousClock()
    ) throws(WebSocketError) {
        var configuration = configuration.clamped
        let address = try WebSocketURL(international: url)
        // All connections of a session live on one loop, where the body of `withSession(on: .loop)` runs too.
        if configuration.client.eventLoop == nil {
            configuration.client.eventLoop = WebSocketEventLoopGroup.shared.next()
        }
        let client = configuration.client
        self.init(
            configuration: configuration, clock: clock, seed: .random(in: 0 ... .max), name: address.description
        ) { () async throws(WebSocketError) -> any SessionConnection in
            WireSessionConnection(try await WebSocketClient.connect(to: url, configuration: client))
        }
    }

    /// For tests: connections come from `open`. The configuration is taken as it is.
    package init(
        configuration: WebSocketSessionConfiguration, clock: any Clock<Duration>, seed: UInt64, name: String,
        open: @escaping @Sendable () async throws(WebSocketError) -> any SessionConnection
    ) {
        self.configuration = configuration
        url = name
        core = SessionCore(
            configuration: configuration, clock: SessionClock(clock), seed: seed, name: name, open: open)
    }

    /// Runs the session: connects, and stays until ``shutDown()``, ``abort()`` or giving up. May be called once.
    ///
    /// Returns when every connection has ended. Cancelling the task is ``abort()``; in a `ServiceGroup` a graceful
    /// shutdown is ``shutDown()``.
    ///
    /// - Throws: `reconnectFailed` when the session gave up after as many attempts as its policy allows; the error of
    ///   the first attempt when it would only come again.
    public func run() async throws(WebSocketError) { try await core.runAsService() }

    /// Runs a session for as long as `body` runs, and then shuts it down.
    ///
    /// - Parameter body: Uses the session, where the caller runs: it may touch whatever the caller may.
    /// - Throws: What the body throws, or why the session gave up if that is what made the body throw; `invalidURL`.
    public static func withSession<Result>(
        to url: String, configuration: WebSocketSessionConfiguration = .init(),
        clock: any Clock<Duration> = ContinuousClock(), _ body: (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        let session = try WebSocketSession(to: url, configuration: configuration, clock: clock)
        return try await session.withRunning(body)
    }

    /// Like ``withSession(to:configuration:clock:_:)``, with a body that runs on the session's loop, where it must not
    /// block.
    ///
    /// - Parameter executor: Where the body runs.
    public static func withSession<Result: Sendable>(
        to url: String, configuration: WebSocketSessionConfiguration = .init(),
        clock: any Clock<Duration> = ContinuousClock(), on executor: WebSocketBodyExecutor,
        _ body: @escaping @Sendable @concurrent (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        let session = try WebSocketSession(to: url, configuration: configuration, clock: clock)
        let taskExecutor = executor.taskExecutor(on: session.configuration.client.eventLoop)
        return try await session.withRunning { session in
            try await withTaskExecutorPreference(taskExecutor) { try await body(session) }
        }
    }

    func withRunning<Result>(
        _ body: (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.run() }
            let result: Swift.Result<Result, any Error>
            do { result = .success(try await body(self)) } catch { result = .failure(error) }
            await shutDown()
            do {
                try await group.waitForAll()
            } catch {
                // Why the session gave up explains an error of the body better than the body does.
                if case .failure = result { throw error }
            }
            return try result.get()
        }
    }

    // MARK: State

    /// Where the session stands.
    public var state: WebSocketSessionState { core.parts.withLock { $0.machine.publicState } }
    /// Whether messages flow.
    public var isConnected: Bool { state == .connected }
    /// Whether there is no connection and none will come by itself.
    public var isDead: Bool { state == .disconnected || state == .closed }
    /// Whether ``connect()`` would bring a dead session back.
    public var isRecoverable: Bool { state == .disconnected && !isShutdown }
    /// Whether ``shutDown()`` or ``abort()`` was called, or the session gave up.
    public var isShutdown: Bool {
        core.parts.withLock { $0.machine.isShutdown || $0.machine.publicState == .closed }
    }
    /// How long the present connection has been ready; nil without one.
    public var connectionDuration: Duration? {
        core.parts.withLock { $0.machine.connectedSince.map { core.clock.now() - $0 } }
    }
    /// Why the last connection ended; nil before the first end.
    public var lastDisconnect: WebSocketSessionDisconnect? { core.parts.withLock { $0.lastDisconnect } }
    /// A consistent snapshot of the counters.
    public var statistics: WebSocketSessionStatistics {
        core.parts.withLock { core.statistics(&$0, core.clock.now()) }
    }

    /// Waits until messages flow.
    ///
    /// - Parameter timeout: How long at most; nil for as long as it takes.
    /// - Returns: False when the time is over, the task is cancelled or the session has ended.
    public func waitConnected(timeout: Duration? = nil) async -> Bool {
        await core.wait(timeout: timeout) { state, _ in
            state == .connected ? true : state.isTerminal ? false : nil
        } ?? false
    }

    /// Waits until messages do not flow any more; true at once when they do not.
    ///
    /// - Parameter timeout: How long at most; nil for as long as it takes.
    /// - Returns: False when the time is over or the task is cancelled.
    public func waitDisconnected(timeout: Duration? = nil) async -> Bool {
        await core.wait(timeout: timeout) { state, _ in
            state == .connected || state == .closing ? nil : true
        } ?? false
    }

    // MARK: Sending

    /// Sends a message, or keeps it for the next connection if there is an `outboundQueue`.
    ///
    /// With a connection, returns when the message is in its buffer, and suspends while that is full. What becomes of
    /// it is in ``statistics``; ``sendConfirmed(_:deadline:isIdempotent:)`` waits for it.
    ///
    /// - Parameters:
    ///   - message: The message.
    ///   - deadline: How long it is worth sending. Default: `outboundDeadline`.
    ///   - isIdempotent: Whether it may be sent again when it is not known if it was. Default false.
    /// - Throws: `notConnected` without a connection and a queue; `sendQueueFull`; `notSent` when the deadline passed;
    ///   `cancelled` (then nothing was sent); `connectionClosed` when the session has ended.
    public func send(
        _ message: WebSocketMessage, deadline: Duration? = nil, isIdempotent: Bool = false
    ) async throws(WebSocketError) {
        _ = try await core.send(message, .init(deadline: deadline, isIdempotent: isIdempotent))
    }

    /// Sends a text message. See ``send(_:deadline:isIdempotent:)-(WebSocketMessage,_,_)``.
    public func send(
        _ text: String, deadline: Duration? = nil, isIdempotent: Bool = false
    ) async throws(WebSocketError) {
        try await send(.text(text), deadline: deadline, isIdempotent: isIdempotent)
    }

    /// Sends a binary message. See ``send(_:deadline:isIdempotent:)-(WebSocketMessage,_,_)``.
    public func send(
        _ bytes: [UInt8], deadline: Duration? = nil, isIdempotent: Bool = false
    ) async throws(WebSocketError) {
        try await send(.binary(bytes), deadline: deadline, isIdempotent: isIdempotent)
    }

    /// Encodes a value and sends it: `try await session.send(order) { .binary(try Array(encoder.encode($0))) }`.
    ///
    /// - Throws: What `encode` throws, and what ``send(_:deadline:isIdempotent:)-(WebSocketMessage,_,_)`` throws.
    public func send<Value: Encodable>(
        _ value: Value, deadline: Duration? = nil, isIdempotent: Bool = false,
        encode: (Value) throws -> WebSocketMessage
    ) async throws {
        try await send(try encode(value), deadline: deadline, isIdempotent: isIdempotent)
    }

    /// Sends a message and waits until it is known what became of it.
    ///
    /// - Returns: The outcome. A message that was certainly not sent when its connection broke is sent on the next one
    ///   if there is an `outboundQueue`, and so is one of unknown fate that is idempotent; both are awaited.
    /// - Throws: `notConnected`, `sendQueueFull`, `cancelled` before the message was taken, `connectionClosed`.
    public func sendConfirmed(
        _ message: WebSocketMessage, deadline: Duration? = nil, isIdempotent: Bool = false
    ) async throws(WebSocketError) -> WebSocketSendOutcome {
        try await core.send(
            message, .init(deadline: deadline, isIdempotent: isIdempotent, wantsOutcome: true))
    }

    // MARK: Receiving

    /// Everything that happens, in order, across all connections. Ends when the session has been shut down; throws when
    /// it gave up. Iterators and ``receive(timeout:)`` share the messages.
    public var events: Events { Events(core: core) }

    /// The messages alone: gaps are not seen. Ends also when the session was closed and nothing will come by itself.
    public var messages: Messages { Messages(core: core) }

    /// The next message, from this connection or a later one.
    ///
    /// - Parameter timeout: How long to wait; nil for as long as it takes.
    /// - Throws: `timedOut`; `connectionClosed` when the session is closed and none will come by itself;
    ///   `reconnectFailed` when it gave up; `cancelled`, then no message was taken.
    public func receive(timeout: Duration? = nil) async throws(WebSocketError) -> WebSocketMessage {
        let core = core
        let event: WebSocketSessionEvent??
        do {
            event = try await core.clock.limit(timeout) { try await core.take(messagesOnly: true) }
        } catch {
            throw error as? WebSocketError ?? .cancelled("receive")
        }
        switch event {
        case .some(.some(.message(let message))): return message
        case .some:
            throw WebSocketError(
                .connectionClosed,
                "the session is closed and no message will come by itself; call connect, or start a new one",
                closeInfo: lastDisconnect?.closeInfo)
        case nil:
            if Task.isCancelled { throw .cancelled("receive") }
            throw WebSocketError(
                .timedOut, "no message came within \(timeout ?? .zero); allow more time if that is normal")
        }
    }

    /// See ``WebSocketSession/events``.
    public struct Events: AsyncSequence, Sendable {
        /// One thing that happened.
        public typealias Element = WebSocketSessionEvent
        /// Why the session gave up.
        public typealias Failure = WebSocketError
        let core: SessionCore

        /// An iterator; several share the events, each event goes to one of them.
        public func makeAsyncIterator() -> Iterator { Iterator(core: core) }

        /// Takes one event after the other.
        public struct Iterator: AsyncIteratorProtocol {
            let core: SessionCore

            /// The next event; nil once the session has been shut down.
            public mutating func next() async throws(WebSocketError) -> WebSocketSessionEvent? {
                try await core.take(messagesOnly: false)
            }

            /// The next event; nil once the session has been shut down.
            public mutating func next(
                isolation actor: isolated (any Actor)?
            ) async throws(WebSocketError) -> WebSocketSessionEvent? {
                try await core.take(messagesOnly: false)
            }
        }
    }

    /// See ``WebSocketSession/messages``.
    public struct Messages: AsyncSequence, Sendable {
        /// One whole message.
        public typealias Element = WebSocketMessage
        /// Why the session gave up.
        public typealias Failure = WebSocketError
        let core: SessionCore

        /// An iterator; several share the messages, each message goes to one of them.
        public func makeAsyncIterator() -> Iterator { Iterator(core: core) }

        /// Takes one message after the other.
        public struct Iterator: AsyncIteratorProtocol {
            let core: SessionCore

            /// The next message; nil once none will come by itself.
            public mutating func next() async throws(WebSocketError) -> WebSocketMessage? {
                guard case .message(let message)? = try await core.take(messagesOnly: true) else { return nil }
                return message
            }

            /// The next message; nil once none will come by itself.
            public mutating func next(
                isolation actor: isolated (any Actor)?
            ) async throws(WebSocketError) -> WebSocketMessage? {
                guard case .message(let message)? = try await core.take(messagesOnly: true) else { return nil }
                return message
            }
        }
    }
}
