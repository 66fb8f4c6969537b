//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore
import WebSocketLoop
public import WebSocketPool

/// Lends WebSocket connections to one or several endpoints and keeps them fit to be lent.
///
/// ```swift
/// try await WebSocketConnectionPool.withPool(to: "wss://example.com/rpc") { pool in
///     let reply = try await pool.withConnection { socket in
///         try await socket.send(request)
///         return try await socket.receive()
///     }
/// }
/// ```
///
/// A pool made with ``init(to:configuration:clock:)-(String,_,_)`` does nothing until ``run()`` runs in some task;
/// an acquire made before that logs a warning, waits a second for it, and fails with `poolUnavailable`. Every method
/// may be called from any thread or task.
///
/// See <doc:Pool> for what each knob does.
public final class WebSocketConnectionPool: Sendable {
    let core: PoolCore
    /// Looked at once: a tracer is to be installed before the pool is made.
    let isTraced = WebSocketSpan.isTraced
    let configuration: WebSocketConnectionPoolConfiguration

    /// The configuration's ``WebSocketConnectionPoolConfiguration/name``.
    public var name: String? { configuration.name }

    // MARK: Life

    /// Makes a pool of connections to one URL. Starts nothing.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - configuration: How to connect, lend and clean up.
    ///   - clock: Measures the pool's timeouts and ages, but not the connections' own. Default: the continuous clock.
    /// - Throws: `invalidURL`, `invalidConfiguration`.
    public convenience init(
        to url: String, configuration: WebSocketConnectionPoolConfiguration = .init(),
        clock: any Clock<Duration> = ContinuousClock()
    ) throws(WebSocketError) {
        try self.init(to: [url], configuration: configuration, clock: clock)
    }

    /// Makes a pool of connections to several endpoints. Starts nothing.
    ///
    /// A new connection goes to the endpoint with the fewest leases. One that refuses connections is ejected for a
    /// while and returns gradually; see `WebSocketPoolCircuitBreaker`.
    ///
    /// - Throws: `invalidURL`; `invalidConfiguration`, also for an empty list.
    public convenience init(
        to urls: [String], configuration: WebSocketConnectionPoolConfiguration = .init(),
        clock: any Clock<Duration> = ContinuousClock()
    ) throws(WebSocketError) {
        self.init(
            try PoolEndpoints(urls, configuration: configuration, clock: clock), configuration: configuration,
            clock: clock)
    }

    init(
        _ endpoints: PoolEndpoints, configuration: WebSocketConnectionPoolConfiguration, clock: any Clock<Duration>
    ) {
        self.configuration = configuration
        let isDisposable = configuration.isDisposable
        let expectsReplies = configuration.pool.expectsReplies
        let afterConnect = configuration.afterConnect
        let home = PoolHome()
        var settings = configuration.pool
        // Longer than the client's own timeout, whose error says in which step the time ran out.
        settings.connectTimeout = configuration.attemptTimeout + .seconds(1)
        core = PoolCore(
            configuration: settings, clock: clock, coarseClock: WebSocketEventLoop.coarseNanoseconds,
            endpointNames: endpoints.initialNames,
            observer: PoolReporter(
                logger: configuration.logger, name: configuration.name, others: configuration.observers)
        ) { endpoint in
            let wire = try await endpoints.connect(to: endpoint)
            guard let core = home.core else {
                wire.loop.execute { wire.abort() }
                throw WebSocketError(.poolClosed, "the pool is gone; keep it for as long as it is used")
            }
            let connection = PooledWebSocket(
                wire, core: core, clock: clock, expectsReplies: expectsReplies, isDisposable: isDisposable)
            if let afterConnect { try await connection.prepare(afterConnect) }
            return connection
        }
        home.core = core
        endpoints.attach(
            list: { [weak core] in core?.listEndpoints($0, names: $1) },
            total: { [weak core] in core?.statistics.endpoints[$0].total ?? 0 })
    }

    /// Runs the pool until ``shutDown(grace:)``, or until the task is cancelled, which closes every connection at once.
    ///
    /// May be called once. Returns when every connection is closed and all background work has ended. In a
    /// `ServiceGroup` a graceful shutdown does what ``shutDown(grace:)`` does.
    ///
    /// - Throws: Why the warm-up failed, when `warmUpPolicy` is `failFast`; the pool is closed then. `poolClosed` when
    ///   it was called before, which changes nothing for the first call.
    public func run() async throws(WebSocketError) {
        do throws(WebSocketPoolError) { try await core.runAsService(grace: configuration.pool.shutdownGrace) } catch {
            throw WebSocketError(error)
        }
    }

    /// For code that has made the task in which the pool is about to run: no acquire warns that nothing runs it.
    package func promiseRun() { core.promiseRun() }

    /// Runs a pool for as long as `body` runs; then waits `shutdownGrace` for leases that outlive it.
    ///
    /// The body begins at once; with `waitsForWarmUp` or `failFast` when the warm-up has ended, and with `failFast` not
    /// at all when that failed.
    ///
    /// - Throws: What `body` throws; `invalidURL` and `invalidConfiguration`; and what ``run()`` throws.
    public static func withPool<Result>(
        to url: String, configuration: WebSocketConnectionPoolConfiguration = .init(),
        _ body: (WebSocketConnectionPool) async throws -> Result
    ) async throws -> Result {
        try await withPool(to: [url], configuration: configuration, body)
    }

    /// Like ``withPool(to:configuration:_:)-(String,_,_)``, with several endpoints.
    public static func withPool<Result>(
        to urls: [String], configuration: WebSocketConnectionPoolConfiguration = .init(),
        _ body: (WebSocketConnectionPool) async throws -> Result
    ) async throws -> Result {
        let pool = try WebSocketConnectionPool(to: urls, configuration: configuration)
        return try await pool.core.running({ try await pool.run() }) { try await body(pool) }
    }

    /// Refuses new acquires, fails those that wait with `poolClosed`, closes what is not lent, and waits for leases.
    /// When the grace is over their connections are closed under them. Returns when no connection is left.
    ///
    /// May be called again, with a shorter grace. Cancelling the caller ends the grace, not the wait.
    ///
    /// - Parameter grace: How long to wait for leases; `nil` for the configuration's `shutdownGrace`, 10 s by default.
    public func shutDown(grace: Duration? = nil) async {
        await core.shutDown(grace: grace ?? configuration.pool.shutdownGrace)
    }

    /// Opens up to `count` more connections, in parallel, but no more than `softMaximum` in all. Each can be lent as
    /// soon as it is there, and one that an acquire causes to be opened meanwhile counts.
    ///
    /// - Returns: How many were opened. With `bestEffort` failures only make it smaller.
    /// - Throws: With `failFast`, the first failure; `invalidConfiguration` for a negative count.
    @discardableResult
    public func warmUp(_ count: Int, policy: WebSocketPoolWarmUpPolicy = .bestEffort) async throws(WebSocketError)
        -> Int
    {
        guard count >= 0 else {
            throw WebSocketError(.invalidConfiguration, "the count is \(count); it must be at least 0")
        }
        do throws(WebSocketPoolError) {
            return try await core.warmUp(count, policy: policy)
        } catch {
            throw WebSocketError(error)
        }
    }

    // MARK: Control

    /// Changes the pool's size. Connections that are too many are closed when they are idle.
    ///
    /// - Throws: `invalidConfiguration` for a size that a pool could not be made with; nothing has changed then.
    public func resize(softMaximum: Int, hardMaximum: Int, minimumIdle: Int) throws(WebSocketError) {
        let problem = WebSocketPoolConfiguration.sizeProblem(
            soft: softMaximum, hard: hardMaximum, minimumIdle: minimumIdle)
        if let problem { throw WebSocketError(.invalidConfiguration, problem) }
        core.resize(softMaximum: softMaximum, hardMaximum: hardMaximum, minimumIdle: minimumIdle)
    }

    /// Changes the pool's size, without overflow connections. Throws as
    /// ``resize(softMaximum:hardMaximum:minimumIdle:)``.
    public func resize(maximumConnections: Int, minimumIdle: Int = 0) throws(WebSocketError) {
        try resize(softMaximum: maximumConnections, hardMaximum: maximumConnections, minimumIdle: minimumIdle)
    }

    /// Lets acquires wait, up to their timeouts, and opens no connection until ``resume()``. Leases go on
    /// (HikariCP: `suspendPool`).
    public func suspend() { core.suspend() }

    /// Ends what ``suspend()`` began.
    public func resume() { core.resume() }

    /// Closes idle connections above `minimumIdle`, and returns how many.
    @discardableResult
    public func releaseUnused() -> Int { core.releaseUnused() }

    /// Retires every connection there is: idle ones now, lent ones when they come back. For when all of them have
    /// become useless together, for example after a change of certificate files, which new connections read again
    /// (HikariCP: `softEvictConnections`).
    public func reset() { core.reset() }

    /// Whether ``run()`` has begun and no shutdown has.
    public var isRunning: Bool { core.isRunning }

    /// Whether a shutdown has begun: by ``shutDown(grace:)``, by cancellation of ``run()``, or because the warm-up
    /// failed. Acquires are refused from then on.
    public var isClosed: Bool { core.isClosed }

    /// Whether ``suspend()`` is in force.
    public var isSuspended: Bool { core.isSuspended }

    /// A consistent snapshot. Takes the pool's lock for a moment.
    public var statistics: WebSocketPoolStatistics { core.statistics }
}

/// Tells connections of a pool which one, without keeping it alive.
private final class PoolHome: Sendable {
    // Written once, before the pool runs.
    nonisolated(unsafe) weak var core: PoolCore?
}
