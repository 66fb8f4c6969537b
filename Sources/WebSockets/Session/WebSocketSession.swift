//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketConcurrency
public import WebSocketCore
import WebSocketLoop

/// A WebSocket that outlives its connections, and chooses when they end.
///
/// A session reconnects, subscribes again, tells the truth about gaps, and lets the application decide when to
/// disconnect. Made with ``init(to:configuration:clock:)-(String,_,_)`` it does nothing until ``run()`` runs in some task.
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
    /// The URL, without credentials and query values; of several the first.
    public let url: String
    /// What the session goes by.
    public let configuration: WebSocketSessionConfiguration
    let core: SessionCore

    // MARK: Life

    /// Makes a session. Starts nothing.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - configuration: How to connect, reconnect and deliver.
    ///   - clock: Measures every delay, interval and deadline of the session, but not its connections' own. Default:
    ///     the continuous clock.
    /// - Throws: `invalidURL`; `invalidConfiguration` for a value out of its range.
    public convenience init(
        to url: String, configuration: WebSocketSessionConfiguration = .init(),
        clock: any Clock<Duration> = ContinuousClock()
    ) throws(WebSocketError) {
        try self.init(to: [url], configuration: configuration, clock: clock)
    }

    /// Makes a session with several servers that are as good as each other. Starts nothing.
    ///
    /// An attempt goes to the server of the last connection, unless that vanished without a word or preparing failed there.
    /// One that fails is followed by the next server at once, but for those that asked for time (`Retry-After`); when each
    /// had its turn, `reconnect` says what follows. Renewals choose in the same way.
    ///
    /// - Parameters:
    ///   - urls: `ws://` or `wss://` URLs, the first one first.
    ///   - configuration: How to connect, reconnect and deliver.
    ///   - clock: Measures every delay, interval and deadline of the session, but not its connections' own. Default:
    ///     the continuous clock.
    /// - Throws: `invalidURL`, also for none; `invalidConfiguration` for a value out of its range.
    public convenience init(
        to urls: [String], configuration: WebSocketSessionConfiguration = .init(),
        clock: any Clock<Duration> = ContinuousClock()
    ) throws(WebSocketError) {
        try configuration.validate()
        var name: String?
        for url in urls {
            let address = try WebSocketURL(international: url)
            name = name ?? address.description
        }
        guard let name else { throw WebSocketError(.invalidURL, "a session needs at least one URL; name a server") }
        var configuration = configuration
        // All connections of a session live on one loop, where the body of `withSession(on: .loop)` runs too.
        if configuration.client.eventLoop == nil {
            configuration.client.eventLoop = WebSocketEventLoopGroup.shared.next()
        }
        let dialer = SessionDialer(urls: urls, client: configuration.client)
        self.init(
            configuration: configuration, clock: clock, seed: .random(in: 0 ... .max), name: name,
            endpointCount: urls.count, open: dialer.open)
    }

    /// For tests: connections come from `open`. The configuration is taken as it is.
    package init(
        configuration: WebSocketSessionConfiguration, clock: any Clock<Duration>, seed: UInt64, name: String,
        endpointCount: Int = 1,
        open: @escaping @Sendable (SessionAttempt) async throws(WebSocketError) -> any SessionConnection
    ) {
        self.configuration = configuration
        url = name
        core = SessionCore(
            configuration: configuration, clock: SessionClock(clock), seed: seed, name: name,
            endpointCount: endpointCount, open: open)
    }

    /// Runs the session: connects, and stays until ``shutDown()`` or ``abort()``. May be called once.
    ///
    /// A session that gives up does not end: ``failure`` says why, those who wait for events, messages or a connection get
    /// that error, and ``connect()`` begins again. Returns when every connection has ended. Cancelling the task is
    /// ``abort()``; in a `ServiceGroup` a graceful shutdown is ``shutDown()``.
    ///
    /// - Throws: `invalidConfiguration` when it was called before.
    public func run() async throws(WebSocketError) {
        try core.beginRunning()
        await core.driveAsService()
    }

    /// Runs a session for as long as `body` runs, and then shuts it down.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - configuration: How to connect, reconnect and deliver.
    ///   - whenConnected: Whether the body begins when messages flow, and not before; if they never do, this throws why.
    ///     Default false: the body begins at once, and `send` without an `outboundQueue` needs ``connect()`` first.
    ///   - clock: As in ``init(to:configuration:clock:)-(String,_,_)``.
    ///   - body: Uses the session, where the caller runs: it may touch whatever the caller may.
    /// - Throws: What the body throws, or why the session gave up if that is what made the body throw; `invalidURL`;
    ///   `invalidConfiguration`.
    public static func withSession<Result>(
        to url: String, configuration: WebSocketSessionConfiguration = .init(), whenConnected: Bool = false,
        clock: any Clock<Duration> = ContinuousClock(), _ body: (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        try await withSession(
            to: [url], configuration: configuration, whenConnected: whenConnected, clock: clock, body)
    }

    /// Runs a session with several servers for as long as `body` runs. See ``init(to:configuration:clock:)-([String],_,_)``.
    ///
    /// - Throws: What the body throws, or why the session gave up if that is what made the body throw; `invalidURL`;
    ///   `invalidConfiguration`.
    public static func withSession<Result>(
        to urls: [String], configuration: WebSocketSessionConfiguration = .init(), whenConnected: Bool = false,
        clock: any Clock<Duration> = ContinuousClock(), _ body: (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        let session = try WebSocketSession(to: urls, configuration: configuration, clock: clock)
        return try await session.withRunning(whenConnected: whenConnected, body)
    }

    /// Runs a session for as long as `body` runs where `executor` says: on the session's loop it must not block.
    public static func withSession<Result: Sendable>(
        to url: String, configuration: WebSocketSessionConfiguration = .init(), whenConnected: Bool = false,
        clock: any Clock<Duration> = ContinuousClock(), on executor: WebSocketBodyExecutor,
        _ body: @escaping @Sendable @concurrent (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        try await withSession(
            to: [url], configuration: configuration, whenConnected: whenConnected, clock: clock, on: executor, body)
    }

    /// Runs a session with several servers for as long as `body` runs where `executor` says: on the session's loop it
    /// must not block.
    public static func withSession<Result: Sendable>(
        to urls: [String], configuration: WebSocketSessionConfiguration = .init(), whenConnected: Bool = false,
        clock: any Clock<Duration> = ContinuousClock(), on executor: WebSocketBodyExecutor,
        _ body: @escaping @Sendable @concurrent (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        let session = try WebSocketSession(to: urls, configuration: configuration, clock: clock)
        let taskExecutor = executor.taskExecutor(on: session.configuration.client.eventLoop)
        return try await session.withRunning(whenConnected: whenConnected) { session in
            try await withTaskExecutorPreference(taskExecutor) { try await body(session) }
        }
    }

    func withRunning<Result>(
        whenConnected: Bool = false, _ body: (WebSocketSession) async throws -> Result
    ) async throws -> Result {
        // Before the body: it may ask for a connection in its first line.
        try core.beginRunning()
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.core.drive() }
            let result: Swift.Result<Result, any Error>
            do {
                if whenConnected { try await connect() }
                result = .success(try await body(self))
            } catch {
                // Why the session gave up explains an error of the body better than the body does.
                result = .failure(failure ?? error)
            }
            await shutDown()
            try await group.waitForAll()
            return try result.get()
        }
    }

    // MARK: State

    /// Where the session stands.
    public var state: WebSocketSessionState { core.coordinator.withLock { $0.machine.publicState } }
    /// Whether ``run()`` has begun and not ended.
    public var isRunning: Bool { core.coordinator.withLock { $0.isRunning } }
    /// Whether messages flow.
    public var isConnected: Bool { state == .connected }
    /// Whether there is no connection and none will come by itself.
    public var isDead: Bool { state == .disconnected || state == .closed }
    /// Whether ``connect()`` would bring a dead session back.
    public var isRecoverable: Bool { state == .disconnected && !isShutdown }
    /// Whether ``shutDown()`` or ``abort()`` was called.
    public var isShutdown: Bool {
        core.coordinator.withLock { $0.machine.isShutdown || $0.machine.publicState == .closed }
    }
    /// Why the session gave up, until it is told to connect again: `reconnectFailed`, or the error of the first attempt when
    /// it would only come again. See ``WebSocketError/attempts`` and ``WebSocketError/sessionCause``.
    public var failure: WebSocketError? { core.coordinator.withLock { $0.failure } }
    /// How long the present connection has been ready; nil without one.
    public var connectionDuration: Duration? {
        core.coordinator.withLock { $0.machine.connectedSince.map { core.clock.now() - $0 } }
    }
    /// Why the last connection ended; nil before the first end.
    public var lastDisconnect: WebSocketSessionDisconnect? { core.coordinator.withLock { $0.lastDisconnect } }
    /// A consistent snapshot of the counters.
    public var statistics: WebSocketSessionStatistics { core.statistics }

    /// Waits until messages flow.
    ///
    /// - Parameter timeout: How long at most; nil for as long as it takes.
    /// - Returns: False when the time is over, the task is cancelled, or the session has ended, gave up or does not run.
    public func waitConnected(timeout: Duration? = nil) async -> Bool {
        guard await core.awaitRun() else {
            core.configuration.logger.error(
                "\(SessionCore.Coordinator.notRunning.message)", metadata: ["url": "\(url)"])
            return false
        }
        return await core.wait(timeout: timeout) { view in
            if view.state == .connected { return true }
            if case .gaveUp = view.rest { return false }
            return view.state.isTerminal ? false : nil
        } ?? false
    }

    /// Waits until messages do not flow any more; true at once when they do not.
    ///
    /// - Parameter timeout: How long at most; nil for as long as it takes.
    /// - Returns: False when the time is over or the task is cancelled.
    public func waitDisconnected(timeout: Duration? = nil) async -> Bool {
        await core.wait(timeout: timeout) { view in
            view.state == .connected || view.state == .closing ? nil : true
        } ?? false
    }

    // MARK: Sending

    /// Sends a message, or keeps it for the next connection if there is an `outboundQueue`.
    ///
    /// With a connection, returns when the message is in its buffer, and suspends while that is full. The queue is there before
    /// ``run()`` begins, too. What becomes of it is in ``statistics``; ``sendConfirmed(_:deadline:isIdempotent:)`` waits for it.
    ///
    /// - Parameters:
    ///   - message: The message.
    ///   - deadline: How long it is worth sending. Default: `outboundDeadline`.
    ///   - isIdempotent: Whether it may be sent again when it is not known if it was. Default false.
    /// - Throws: `notConnected` without a connection and a queue, also when the session does not run; `sendQueueFull`;
    ///   `notSent` when the deadline passed; `cancelled` (then nothing was sent); `connectionClosed` when the session has
    ///   ended.
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
    /// - Throws: `notConnected`, also when the session does not run within a second; `sendQueueFull`; `cancelled` before the
    ///   message was taken; `connectionClosed`.
    public func sendConfirmed(
        _ message: WebSocketMessage, deadline: Duration? = nil, isIdempotent: Bool = false
    ) async throws(WebSocketError) -> WebSocketSendOutcome {
        try await core.requireRun(for: "send")
        return try await core.send(
            message, .init(deadline: deadline, isIdempotent: isIdempotent, wantsOutcome: true))
    }

    /// Sends a message and waits for its reply: the first message from then on for which `matches` says yes, from this
    /// connection or a later one. It is not delivered.
    ///
    /// When the connection that took the message ends before the reply, an idempotent request is sent again on the next
    /// connection, and any other one throws `connectionClosed`: whether the server has seen it is not known.
    ///
    /// - Parameters:
    ///   - message: What to send; without a connection it needs an `outboundQueue`.
    ///   - timeout: How long in all; nil for as long as it takes. Default 30 s.
    ///   - isIdempotent: Whether it may be sent more than once. Default false.
    ///   - matches: Recognises the reply, for example by its id. It must be quick, and is called without a lock.
    /// - Throws: `timedOut` with phase `receive`; `connectionClosed` with the end's `closeInfo`; `notSent` when the
    ///   connection ended before the request was sent; `notConnected`, also when the session does not run within a second;
    ///   `sendQueueFull`; `cancelled`.
    public func request(
        _ message: WebSocketMessage, timeout: Duration? = .seconds(30), isIdempotent: Bool = false,
        matching matches: @escaping @Sendable (WebSocketMessage) -> Bool
    ) async throws(WebSocketError) -> WebSocketMessage {
        let core = core
        let reply: WebSocketMessage?
        do {
            reply = try await core.clock.limit(timeout) {
                try await core.requireRun(for: "request")
                return try await core.request(message, isIdempotent: isIdempotent, matches: matches)
            }
        } catch {
            throw error as? WebSocketError ?? .cancelled("request")
        }
        if let reply { return reply }
        if Task.isCancelled { throw .cancelled("request") }
        throw WebSocketError(
            .timedOut, "no reply came within \(timeout ?? .zero); allow more time if that is normal", phase: .receive)
    }

    // MARK: Receiving

    /// Everything that happens, in order, across all connections. Ends when the session has been shut down; throws when
    /// it gave up, and can be iterated again after ``connect()``. Iterators and ``receive(timeout:)`` share the messages. Before
    /// ``run()`` begins they wait for that; after a second the log says so.
    public var events: Events { Events(core: core) }

    /// The messages alone: gaps are not seen. Ends also when the session was closed and nothing will come by itself; goes on
    /// after ``disconnect(reconnectAfter:reason:)``.
    public var messages: Messages { Messages(core: core) }

    /// The next message, from this connection or a later one.
    ///
    /// - Parameter timeout: How long to wait; nil for as long as it takes.
    /// - Throws: `timedOut` with phase `receive`; `connectionClosed` when the session is closed and none will come by itself;
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
                .timedOut, "no message came within \(timeout ?? .zero); allow more time if that is normal",
                phase: .receive)
        }
    }
}
