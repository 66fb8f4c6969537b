//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore
public import WebSocketLoop

/// One connection that its users take in turns: each acquires it, uses it alone, and releases it.
///
/// It connects when it is needed, reconnects in place after an unexpected end, and closes for good when nobody has used
/// it for `idleTimeout`. For several connections see ``WebSocketConnectionPool``.
///
/// ```swift
/// let connection = try ManagedConnection(url: "wss://example.com/rpc")
/// let reply = try await connection.withSession { connection in
///     try await connection.send("request")
///     return try await connection.receive(timeout: .seconds(5))
/// }
/// await connection.close()
/// ```
public final class ManagedConnection: Sendable, Identifiable {
    /// How a managed connection behaves.
    public struct Options: Sendable {
        /// How long nobody may use the connection before it is closed for good; nil for ever. Default 30 s.
        public var idleTimeout: Duration?
        /// What `release` does with messages that nobody has received. Default: nothing, the next user gets them.
        public var drain: DrainPolicy?

        /// The defaults, or others.
        public init(idleTimeout: Duration? = .seconds(30), drain: DrainPolicy? = nil) {
            self.idleTimeout = idleTimeout
            self.drain = drain
        }
    }

    /// How messages are thrown away that a user left behind.
    public struct DrainPolicy: Sendable {
        /// How long draining may take in all; then the connection is closed and `drainTimedOut` thrown. Default 5 s.
        public var timeout: Duration
        /// How long nothing must have come for draining to be done. Default 2 s.
        public var quietPeriod: Duration
        /// Whether a message may be thrown away; if one may not, the connection is closed. Default: if it is not empty.
        public var shouldDiscard: @Sendable (WebSocketMessage) -> Bool

        /// The defaults, or others.
        public init(
            timeout: Duration = .seconds(5), quietPeriod: Duration = .seconds(2),
            shouldDiscard: @escaping @Sendable (WebSocketMessage) -> Bool = { $0.byteCount > 0 }
        ) {
            self.timeout = timeout
            self.quietPeriod = quietPeriod
            self.shouldDiscard = shouldDiscard
        }
    }

    /// Why a managed connection does not connect any more.
    public enum EndReason: Sendable, Hashable {
        /// `close` was called.
        case closed
        /// Nobody used it for `idleTimeout`.
        case idleTimeout
    }

    private let url: String
    private let configuration: WebSocketClientConfiguration
    private let options: Options
    private let loop: EventLoop
    private let clock: SessionClock
    /// Of the system's clock; another one is slept on.
    private let idleTimer: LoopTimer?
    private let state: Mutex<State>

    // Changed on the loop only, where one thing happens after the other; behind a lock for those who look.
    private struct State: ~Copyable {
        var machine = ManagedConnectionMachine()
        var socket: WebSocketConnection?
        /// Counts connections, so that news of an old one is not taken for news of this one.
        var generation = 0
        var attempt: Task<Void, Never>?
        var waiters = WaiterList<LoopWaiter<Void>>()
        var handlers: [@Sendable (WebSocketCloseInfo) -> Void] = []
        var lastActivity = ContinuousClock.now
        /// The same on the clock of idleness.
        var idleSince = Duration.zero
        /// Sleeps until the connection will have been idle for too long, on a clock of the user's.
        var idleSleep: Task<Void, Never>?

        mutating func touch(_ now: Duration) {
            lastActivity = .now
            idleSince = now
        }

        mutating func forgetSocket() {
            machine.lost()
            socket = nil
        }
    }

    /// A managed connection. Nothing is opened, and nothing sent.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - headers: Additional headers of the handshake, behind those of the configuration.
    ///   - configuration: How to connect, and the limits of the connection.
    ///   - options: When to close, and what `release` does.
    ///   - clock: What idleness is measured with, for tests. The other deadlines are the loop's. Default:
    ///     `ContinuousClock`.
    /// - Throws: `invalidURL`, `invalidConfiguration`.
    public init(
        url: String, headers: HTTPFields = [:], configuration: WebSocketClientConfiguration = .init(),
        options: Options = .init(), clock: some Clock<Duration> = ContinuousClock()
    ) throws(WebSocketError) {
        _ = try WebSocketURL(international: url)
        for (name, duration) in [
            ("idleTimeout", options.idleTimeout), ("drain.timeout", options.drain?.timeout),
            ("drain.quietPeriod", options.drain?.quietPeriod),
        ] {
            guard let duration, duration <= .zero else { continue }
            throw WebSocketError(.invalidConfiguration, "\(name) is \(duration); it must be positive")
        }
        var configuration = configuration
        for field in headers { configuration.headers.append(field) }
        loop = configuration.eventLoop ?? EventLoopGroup.shared.next()
        configuration.eventLoop = loop
        self.url = url
        self.configuration = configuration
        self.options = options
        self.clock = SessionClock(clock)
        idleTimer = clock is ContinuousClock ? LoopTimer(loop) : nil
        state = Mutex(State())
    }

    deinit {
        idleTimer?.cancel()
        state.withLock { state in
            state.attempt?.cancel()
            state.idleSleep?.cancel()
        }
    }

    /// Opens and acquires a connection, runs `body` with it, and closes it.
    public static func with<Result: Sendable>(
        url: String, headers: HTTPFields = [:], configuration: WebSocketClientConfiguration = .init(),
        options: Options = .init(), executor: WebSocketBodyExecutor = .loop,
        _ body: @escaping @Sendable @concurrent (ManagedConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try ManagedConnection(
            url: url, headers: headers, configuration: configuration, options: options)
        do {
            let result = try await connection.withSession(executor: executor, body)
            await connection.close()
            return result
        } catch {
            await connection.close(code: .internalError)
            throw error
        }
    }

    // MARK: State

    /// Whether somebody has acquired the connection.
    public var isBusy: Bool { state.withLock { $0.machine.isBusy } }
    /// Whether `release` is throwing away what was left behind.
    public var isDraining: Bool { state.withLock { $0.machine.isDraining } }
    /// Whether there is an open connection.
    public var isConnected: Bool { state.withLock { $0.machine.isConnected && $0.socket?.state == .open } }
    /// When the connection was last connected, acquired, released, pinged, sent to or received from.
    public var lastActivity: ContinuousClock.Instant { state.withLock { $0.lastActivity } }
    /// How long ago that is, on a clock that nobody sets, or on the one that was given.
    public var idleDuration: Duration { clock.now() - state.withLock { $0.idleSince } }
    /// Why it does not connect any more; nil while it does.
    public var endReason: EndReason? {
        switch state.withLock({ $0.machine.end }) {
        case nil: nil
        case .closed: .closed
        case .idleTimeout: .idleTimeout
        }
    }
    /// The loop that the connection lives on.
    public var eventLoop: EventLoop { loop }

    /// Calls `handler` each time when the connection has ended, also while nobody uses it. It runs on the loop and must
    /// not block.
    public func onDisconnect(_ handler: @escaping @Sendable (WebSocketCloseInfo) -> Void) {
        state.withLock { $0.handlers.append(handler) }
    }

    // MARK: Connecting

    /// Opens the connection unless it is open. Callers at the same time share one attempt.
    ///
    /// - Throws: `connectionUnavailable`, with ``WebSocketCore/WebSocketError/unavailableCause``, when it cannot connect
    ///   or was closed for good; `cancelled`, while the attempt goes on.
    public func connect() async throws(WebSocketError) { try await connect(acquires: false) }

    private func connect(acquires: Bool) async throws(WebSocketError) {
        let hasAcquired = Mutex(false)
        do throws(WebSocketError) {
            try await loop.wait(
                for: acquires ? "acquire" : "connect",
                register: { waiter in
                    let isRefused = self.wantConnection(waiter, acquires: acquires)
                    hasAcquired.withLock { $0 = acquires && !isRefused }
                },
                cancel: { id in self.state.withLock { $0.waiters.remove(id: id) } })
        } catch {
            if hasAcquired.withLock({ $0 }) { state.withLock { $0.machine.acquireFailed() } }
            throw error
        }
    }

    /// Whether the caller was refused.
    private func wantConnection(_ waiter: LoopWaiter<Void>, acquires: Bool) -> Bool {
        let action = state.withLock { state in
            // It is closing, and nobody has said so yet.
            if let socket = state.socket, socket.state != .open { state.forgetSocket() }
            let action = acquires ? state.machine.acquire() : state.machine.connect()
            state.touch(clock.now())
            if action == .start || action == .join { state.waiters.append(id: waiter.id, waiter) }
            return action
        }
        switch action {
        case .refuse(let refusal):
            waiter.resume(.failure(.refused(refusal)))
            return true
        case .ready:
            watchIdleness()
            waiter.resume(.success(()))
        case .join: break
        case .start:
            let attempt = Task { await self.attempt() }
            state.withLock { $0.attempt = attempt }
        }
        return false
    }

    private func attempt() async {
        let result: Result<WebSocketConnection, WebSocketError>
        do throws(WebSocketError) {
            result = .success(try await WebSocketClient.connect(to: url, configuration: configuration))
        } catch {
            result = .failure(error)
        }
        if !loop.execute({ self.attemptEnded(result) }) { attemptEnded(result) }
    }

    private func attemptEnded(_ result: Result<WebSocketConnection, WebSocketError>) {
        let socket = try? result.get()
        let (isWanted, waiters, generation) = state.withLock { state in
            let isWanted = state.machine.attemptEnded(isConnected: socket != nil)
            state.attempt = nil
            state.touch(clock.now())
            if isWanted, let socket {
                state.socket = socket
                state.generation += 1
            }
            return (isWanted, state.waiters.removeAll(), state.generation)
        }
        guard isWanted else {
            socket?.abort()
            for waiter in waiters { waiter.resume(.failure(.refused(.closed(.closed)))) }
            return
        }
        switch result {
        case .success(let socket):
            // Also when it has ended before this line.
            socket.wire.addEndObserver { [weak self] info in self?.ended(generation, info) }
            watchIdleness()
            for waiter in waiters { waiter.resume(.success(())) }
        case .failure(let cause):
            for waiter in waiters { waiter.resume(.failure(.unavailable(cause))) }
        }
    }

    private func ended(_ generation: Int, _ info: WebSocketCloseInfo) {
        let handlers = state.withLock { state in
            if state.generation == generation { state.forgetSocket() }
            return state.handlers
        }
        for handler in handlers { handler(info) }
    }

    // MARK: Acquiring

    /// Takes the connection for yourself, connecting it if need be. Release it afterwards, or use
    /// ``withSession(executor:_:)``, which does.
    ///
    /// - Throws: `connectionBusy` at once when somebody else has it; what ``connect()`` throws.
    public func acquire() async throws(WebSocketError) { try await connect(acquires: true) }

    /// Gives the connection back. Does nothing when it is not acquired.
    ///
    /// - Parameter draining: Whether to drain first as `options.drain` says (without one: as its defaults say). Default:
    ///   when there is such a policy.
    /// - Throws: `drainTimedOut` when the peer does not stop sending, `connectionClosed` when a message came that must
    ///   not be thrown away or the connection ended. The connection is released and closed then; the next `acquire`
    ///   opens a new one.
    public func release(draining: Bool? = nil) async throws(WebSocketError) {
        let drains = draining ?? (options.drain != nil)
        let (action, socket) = state.withLock { state in
            state.touch(clock.now())
            return (state.machine.release(drains: drains), state.socket)
        }
        defer { watchIdleness() }
        guard action == .drain, let socket else {
            state.withLock { $0.machine.drained() }
            return
        }
        do throws(WebSocketError) {
            try await drain(socket, options.drain ?? DrainPolicy())
            state.withLock { state in
                state.machine.drained()
                state.touch(clock.now())
            }
        } catch {
            socket.abort()
            // Gone before it can be acquired again.
            state.withLock { state in
                if state.socket === socket { state.forgetSocket() }
                state.machine.drained()
            }
            throw error
        }
    }

    private func drain(_ socket: WebSocketConnection, _ policy: DrainPolicy) async throws(WebSocketError) {
        let deadline = ContinuousClock.now + policy.timeout
        while true {
            let left = deadline - .now
            guard left > .zero else {
                throw WebSocketError(
                    .drainTimedOut,
                    "messages kept coming for \(policy.timeout) after release; the connection was closed, acquire opens a new one"
                )
            }
            guard let message = try await socket.receive(within: min(left, policy.quietPeriod)) else {
                if left < policy.quietPeriod { continue }
                return
            }
            guard policy.shouldDiscard(message) else {
                throw WebSocketError(
                    .connectionClosed,
                    "a \(message) was left behind that must not be thrown away; the connection was closed, acquire opens a new one"
                )
            }
        }
    }

    /// Acquires the connection, runs `body`, and releases it, whatever happens.
    ///
    /// - Parameters:
    ///   - executor: Where the body runs. Default ``WebSocketBodyExecutor/loop``: it must not block there.
    ///   - body: Uses the connection.
    /// - Throws: What ``acquire()``, the body, and, when the body did not throw, ``release(draining:)`` throw.
    public func withSession<Result: Sendable>(
        executor: WebSocketBodyExecutor = .loop,
        _ body: @escaping @Sendable @concurrent (ManagedConnection) async throws -> Result
    ) async throws -> Result {
        try await acquire()
        do {
            let result: Result
            switch executor {
            case .loop:
                result = try await withTaskExecutorPreference(loop.taskExecutor) { try await body(self) }
            case .global:
                result = try await withTaskExecutorPreference(globalConcurrentExecutor) { try await body(self) }
            }
            try await release()
            return result
        } catch {
            try? await release()
            throw error
        }
    }

    // MARK: Using

    /// The connection, for its user.
    private func acquired() throws(WebSocketError) -> WebSocketConnection {
        let (isBusy, end, socket) = state.withLock { state in
            state.touch(clock.now())
            return (state.machine.isBusy, state.machine.end, state.socket)
        }
        if let end { throw .refused(.closed(end)) }
        guard isBusy else {
            throw WebSocketError(
                .notAcquired, "the connection must be acquired before it is used; call acquire() or withSession")
        }
        guard let socket else { throw .unavailable(nil) }
        return socket
    }

    /// Sends a message.
    ///
    /// - Throws: `notAcquired`; `connectionUnavailable` when there is no connection; `connectionClosed` when it ends
    ///   meanwhile.
    public func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        try await acquired().send(message)
        touch()
    }

    /// Sends a text message. See ``send(_:)-(WebSocketMessage)``.
    public func send(_ text: String) async throws(WebSocketError) { try await send(.text(text)) }

    /// Sends a binary message. See ``send(_:)-(WebSocketMessage)``.
    public func send(_ bytes: [UInt8]) async throws(WebSocketError) { try await send(.binary(bytes)) }

    /// Receives a message.
    ///
    /// - Parameter timeout: How long to wait for one; nil, the default, for as long as the connection lives.
    /// - Throws: `timedOut` with phase `receive`; what ``send(_:)-(WebSocketMessage)`` throws. A cancelled call takes no message.
    public func receive(timeout: Duration? = nil) async throws(WebSocketError) -> WebSocketMessage {
        let socket = try acquired()
        defer { touch() }
        guard let timeout else { return try await socket.receive() }
        return try await socket.receive(timeout: timeout)
    }

    /// Asks the peer for a sign of life, and waits for it. The connection need not be acquired.
    ///
    /// - Parameter timeout: How long the pong may take. A connection without one is aborted. Default 10 s.
    /// - Returns: The round trip.
    /// - Throws: `timedOut` with phase `ping`, `connectionUnavailable`, `connectionClosed`, `cancelled`.
    @discardableResult
    public func ping(timeout: Duration = .seconds(10)) async throws(WebSocketError) -> Duration {
        guard let socket = state.withLock({ $0.socket }) else { throw .unavailable(nil) }
        touch()
        let timer = LoopTimer(loop)
        let isLate = Mutex(false)
        loop.execute {
            timer.start(timeout) {
                isLate.withLock { $0 = true }
                socket.abort()
            }
        }
        defer { timer.cancel() }
        do throws(WebSocketError) {
            return try await socket.ping()
        } catch {
            guard isLate.withLock({ $0 }) else { throw error }
            throw WebSocketError(
                .timedOut, "no pong came within \(timeout); the connection was aborted, the next use opens a new one",
                phase: .ping, closeInfo: error.closeInfo)
        }
    }

    private func touch() { state.withLock { $0.touch(clock.now()) } }

    // MARK: Ending

    /// Closes the connection for good, and waits for its end, at most `closeTimeout`. Harmless when it is closed.
    public func close(code: WebSocketCloseCode = .normalClosure, reason: String = "") async {
        await close(.closed, WebSocketCloseFrame(code: code, reason: reason))
    }

    private func close(_ end: ManagedConnectionMachine.End, _ frame: WebSocketCloseFrame) async {
        let (socket, attempt) = state.withLock { state in
            _ = state.machine.close(end)
            state.idleSleep?.cancel()
            defer {
                state.attempt = nil
                state.idleSleep = nil
            }
            return (state.socket, state.attempt)
        }
        idleTimer?.cancel()
        attempt?.cancel()
        await attempt?.value
        await socket?.wire.closeRegardless(frame)
        state.withLock { $0.socket = nil }
    }

    /// One timer, set to the moment at which the connection will have been idle for too long.
    private func watchIdleness() {
        guard let idleTimeout = options.idleTimeout else { return }
        loop.execute { [weak self] in
            guard let self, state.withLock({ $0.machine.isIdle }) else { return }
            guard let idleTimer else { return sleep(for: idleTimeout) }
            idleTimer.start(max(idleTimeout - idleDuration, .milliseconds(1))) { [weak self] in self?.idlenessIsDue() }
        }
    }

    private func sleep(for idleTimeout: Duration) {
        let deadline = state.withLock { $0.idleSince } + idleTimeout
        let sleep = Task { [weak self, clock] in
            guard (try? await clock.sleep(until: deadline)) != nil else { return }
            self?.idlenessIsDue()
        }
        state.withLock { state in
            state.idleSleep?.cancel()
            state.idleSleep = sleep
        }
    }

    private func idlenessIsDue() {
        guard let idleTimeout = options.idleTimeout, state.withLock({ $0.machine.isIdle }) else { return }
        guard idleDuration >= idleTimeout else { return watchIdleness() }
        Task { await self.close(.idleTimeout, WebSocketCloseFrame(code: .normalClosure, reason: "idle")) }
    }
}

extension ManagedConnection: Hashable {
    /// Equal means the same object.
    public static func == (left: ManagedConnection, right: ManagedConnection) -> Bool { left === right }
    /// By identity.
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
