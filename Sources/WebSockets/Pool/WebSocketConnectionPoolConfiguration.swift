//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
public import WebSocketCore
public import WebSocketLoop
public import WebSocketPool

/// How a ``WebSocketConnectionPool`` connects, lends and cleans up. Every default is finite and safe.
///
/// The knobs of the pool itself are those of `WebSocketPoolConfiguration`, which has their defaults and what they do to one
/// another; they can be set here as if they were properties of this type:
///
/// ```swift
/// var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 50)
/// configuration.minimumIdle = 5
/// configuration.acquireTimeout = .seconds(2)
/// configuration.client.headers[.authorization] = token
/// ```
@dynamicMemberLookup
public struct WebSocketConnectionPoolConfiguration: Sendable {
    /// Size, waiting, health and cleanliness.
    public var pool = WebSocketPoolConfiguration()

    /// What the pool is called in the log, as metadata `pool`. Default none (HikariCP: `poolName`). For metrics, give
    /// it to `WebSocketPoolMetrics` as a dimension.
    public var name: String?

    /// How each connection is opened, and what it does once it is open.
    ///
    /// `eventLoop`, when set, is where all connections live. `openTimeout` and the pool's `connectTimeout` both bound
    /// an attempt: the shorter one counts. `options.keepAlive` and the pool's `keepaliveInterval` both ping idle
    /// connections; the former also those that are lent.
    public var client = WebSocketClientConfiguration()

    /// The loops that connections are spread over, in turn. Default ``WebSocketEventLoopGroup/shared``.
    public var eventLoopGroup: WebSocketEventLoopGroup?

    /// Called for each new connection before it is lent, for example to log in or to subscribe (pgx: `AfterConnect`,
    /// HikariCP: `connectionInitSql`). Default none.
    ///
    /// Runs on the connection's loop, as a part of the attempt: `connectTimeout` bounds it, and when it throws the
    /// attempt has failed with its error, for backoff and circuit breaker too. It must receive what it asks for: with
    /// messages left unread the connection is closed instead of being lent. The socket is useless afterwards.
    public var afterConnect: (@Sendable @concurrent (WebSocketConnection) async throws -> Void)?

    /// Which leftover messages may be thrown away when the pool's `hygiene` is `.drain`. One that may not closes the
    /// connection. Default: all.
    public var isDisposable: @Sendable (WebSocketMessage) -> Bool = { _ in true }

    /// Whether every address of the URL's host is an endpoint of its own, so that leases are spread over them and one
    /// that fails is ejected. Default `false`: an attempt takes whichever address answers first (RFC 8305).
    public var usesAllAddresses = false

    /// With ``usesAllAddresses``: how old a look-up may be when a connection is opened. Default 30 s.
    public var resolutionLifetime: Duration = .seconds(30)

    /// Told what happens, for metrics and the like. Default none.
    public var observers: [any WebSocketPoolObserver] = []

    /// Connections coming and going are logged at `debug`, suspected leaks at `warning`.
    public var logger = Logger(label: "swift-libwebsockets")

    /// - Parameters:
    ///   - maximumConnections: See ``maximumConnections``.
    ///   - minimumIdle: Idle connections that are kept ready. Default 0.
    ///   - client: See ``client``.
    public init(
        maximumConnections: Int = 16, minimumIdle: Int = 0, client: WebSocketClientConfiguration = .init()
    ) {
        self.client = client
        pool.minimumIdle = minimumIdle
        pool.isFatalConnectError = { ($0 as? WebSocketError)?.wouldComeAgain ?? false }
        pool.retryAfter = { error in
            guard let response = (error as? WebSocketError)?.response else { return nil }
            return RetryAfter.delay(response.headers, now: WallClock.seconds)
        }
        self.maximumConnections = maximumConnections
    }

    /// Connections there are at most, whatever they are doing, at least 1. Default 16 (HikariCP: `maximumPoolSize`).
    ///
    /// Sets the soft and the hard maximum together; set `softMaximum` and `hardMaximum` for connections that come with
    /// a burst and go with it.
    public var maximumConnections: Int {
        get { pool.hardMaximum }
        set {
            pool.softMaximum = newValue
            pool.hardMaximum = newValue
        }
    }

    /// The first setting that cannot be used, apart from those of the client, which says so itself.
    var problem: String? {
        guard resolutionLifetime >= .zero else {
            return "resolutionLifetime is \(resolutionLifetime); it must be zero or more"
        }
        return pool.problem
    }

    /// Every setting of the pool itself: sizes, times, health, retry.
    public subscript<Value>(dynamicMember member: WritableKeyPath<WebSocketPoolConfiguration, Value>) -> Value {
        get { pool[keyPath: member] }
        set { pool[keyPath: member] = newValue }
    }
}
