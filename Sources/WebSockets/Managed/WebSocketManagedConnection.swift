//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
import Synchronization
import WebSocketConcurrency
public import WebSocketCore
public import WebSocketLoop

/// One connection that its users take in turns: each acquires it, uses it alone, and releases it.
///
/// It connects when it is needed, reconnects in place after an unexpected end, and closes for good when it was unused
/// for `idleTimeout`. For several connections see ``WebSocketConnectionPool``.
///
/// ```swift
/// let connection = try WebSocketManagedConnection(to: "wss://example.com/rpc")
/// let reply = try await connection.withConnection(timeout: .seconds(10)) { connection in
///     try await connection.send("request")
///     return try await connection.receive(timeout: .seconds(5))
/// }
/// try await connection.close()
/// ```
///
/// Every method may be called from any thread or task.
public final class WebSocketManagedConnection: Sendable, Identifiable {
    /// How a managed connection behaves.
    public struct Options: Sendable {
        /// How long the connection may be unused before it is closed for good; nil for ever. Default 30 s.
        public var idleTimeout: Duration?
        /// What `release` does with messages that were not received. Default: nothing, the next user gets them.
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
        /// How long nothing must have come for draining to be done; at most `timeout`. Default 2 s.
        public var quietPeriod: Duration
        /// Whether a message may be thrown away; if one may not, the connection is closed. Default: every message may.
        public var shouldDiscard: @Sendable (WebSocketMessage) -> Bool

        /// The defaults, or others.
        public init(
            timeout: Duration = .seconds(5), quietPeriod: Duration = .seconds(2),
            shouldDiscard: @escaping @Sendable (WebSocketMessage) -> Bool = { _ in true }
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
        /// It was unused for `idleTimeout`.
        case idleTimeout
    }

    /// Where it connects to. Its description hides credentials and the query's values.
    public let url: WebSocketURL
    /// How it connects: as given, with the headers and the loop that it was made with.
    public let configuration: WebSocketClientConfiguration
    /// How it behaves.
    public let options: Options
    let address: String
    let loop: WebSocketEventLoop
    let clock: SessionClock
    /// Of the system's clock; another one is slept on.
    let idleTimer: LoopTimer?
    let state: Mutex<State>

    // Behind a lock, because callers on any thread look and release; attempts begin and end on the loop.
    struct State: ~Copyable {
        var machine = ManagedConnectionMachine()
        var socket: WebSocketConnection?
        /// The same connection for the one who has the turn; useless once the turn has ended.
        var turn: WebSocketConnection?
        /// Counts connections, so that news of an old one is not taken for news of this one.
        var generation = 0
        var attempt: Task<Void, Never>?
        /// The draining after a scope.
        var drain: Task<Void, Never>?
        var waiters = WaiterList<LoopWaiter<Void>>()
        var handlers: [@Sendable (WebSocketCloseInfo) -> Void] = []
        /// How the last connection ended.
        var closeInfo: WebSocketCloseInfo?
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

        mutating func endTurn(_ now: Duration) {
            turn?.revoke()
            turn = nil
            touch(now)
        }
    }

    /// A managed connection. Nothing is opened, and nothing sent.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - headers: Additional headers of the handshake; one that the configuration has too replaces it there.
    ///   - configuration: How to connect, and the limits of the connection.
    ///   - options: When to close, and what `release` does.
    ///   - clock: What idleness is measured with, for tests. The other deadlines are the loop's. Default:
    ///     `ContinuousClock`.
    /// - Throws: `invalidURL`, `invalidConfiguration`, for whatever could never connect; may read certificate files.
    public init(
        to url: String, headers: HTTPFields = [:], configuration: WebSocketClientConfiguration = .init(),
        options: Options = .init(), clock: some Clock<Duration> = ContinuousClock()
    ) throws(WebSocketError) {
        try options.check()
        var configuration = configuration
        for name in Set(headers.map(\.name)) { configuration.headers[fields: name] = headers[fields: name] }
        loop = configuration.eventLoop ?? WebSocketEventLoopGroup.shared.next()
        configuration.eventLoop = loop
        self.url = try configuration.request(for: url).url
        address = url
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

    // MARK: State

    /// Whether the connection is acquired.
    public var isBusy: Bool { state.withLock { $0.machine.isBusy } }
    /// Whether `release` is throwing away what was left behind.
    public var isDraining: Bool { state.withLock { $0.machine.isDraining } }
    /// Whether there is an open connection.
    public var isConnected: Bool { state.withLock { $0.machine.isConnected && $0.socket?.state == .open } }
    /// When the connection was last connected, acquired, released, pinged, sent to or received from.
    public var lastActivity: ContinuousClock.Instant { state.withLock { $0.lastActivity } }
    /// How long ago that is, on the continuous clock or on the one that was given.
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

    /// Calls `handler` each time when the connection has ended, also while it is not in use. It runs on the loop and
    /// must not block.
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

extension WebSocketManagedConnection.Options {
    /// - Throws: `invalidConfiguration`, with the name, the value and the range.
    func check() throws(WebSocketError) {
        for (name, duration) in [
            ("idleTimeout", idleTimeout), ("drain.timeout", drain?.timeout), ("drain.quietPeriod", drain?.quietPeriod),
        ] {
            guard let duration, duration <= .zero else { continue }
            throw WebSocketError(.invalidConfiguration, "\(name) is \(duration); it must be positive")
        }
        guard let drain, drain.quietPeriod > drain.timeout else { return }
        throw WebSocketError(
            .invalidConfiguration,
            "drain.quietPeriod is \(drain.quietPeriod); it must be at most drain.timeout, which is \(drain.timeout)")
    }
}
