//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
public import WebSocketCore
public import WebSocketLoop

/// One connection that its users take in turns: each acquires it, uses it alone, and releases it.
///
/// It connects when it is needed, reconnects in place after an unexpected end, and closes for good when nobody has used
/// it for `idleTimeout`. For several connections see ``WebSocketConnectionPool``.
///
/// ```swift
/// let connection = try WebSocketManagedConnection(url: "wss://example.com/rpc")
/// let reply = try await connection.withSession { connection in
///     try await connection.send("request")
///     return try await connection.receive(timeout: .seconds(5))
/// }
/// await connection.close()
/// ```
public final class WebSocketManagedConnection: Sendable, Identifiable {
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

    let url: String
    let configuration: WebSocketClientConfiguration
    let options: Options
    let loop: WebSocketEventLoop
    let clock: SessionClock
    /// Of the system's clock; another one is slept on.
    let idleTimer: LoopTimer?
    let state: Mutex<State>

    // Changed on the loop only, where one thing happens after the other; behind a lock for those who look.
    struct State: ~Copyable {
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
        loop = configuration.eventLoop ?? WebSocketEventLoopGroup.shared.next()
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
        _ body: @escaping @Sendable @concurrent (WebSocketManagedConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try WebSocketManagedConnection(
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
    public var eventLoop: WebSocketEventLoop { loop }

    /// Calls `handler` each time when the connection has ended, also while nobody uses it. It runs on the loop and must
    /// not block.
    public func onDisconnect(_ handler: @escaping @Sendable (WebSocketCloseInfo) -> Void) {
        state.withLock { $0.handlers.append(handler) }
    }
}

extension WebSocketManagedConnection: Hashable {
    /// Equal means the same object.
    public static func == (left: WebSocketManagedConnection, right: WebSocketManagedConnection) -> Bool {
        left === right
    }
    /// By identity.
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
