//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketConcurrency

/// Lends connections and keeps them fit to be lent.
///
/// The pool does nothing until ``run()`` runs in some task; acquires made before that wait for it, for a second at
/// most. All methods may be called from any thread.
///
/// ```swift
/// let reply = try await pool.withConnection { connection in
///     try await connection.request(message)
/// }
/// ```
public final class ConnectionPool<Connection: WebSocketPooledConnection, Time: Clock<Duration>>: Sendable {
    package let core: PoolCore

    /// Makes a pool. Starts nothing.
    ///
    /// - Parameters:
    ///   - configuration: See ``WebSocketPoolConfiguration``.
    ///   - clock: Measures every timeout and age.
    ///   - endpointCount: How many endpoints `connect` understands. New connections go to the one with the fewest
    ///     leases; one that refuses connections is ejected for a while (see ``WebSocketPoolCircuitBreaker``).
    ///   - observer: Told what happens.
    ///   - connect: Opens a connection to the endpoint with the given index, `0 ..< endpointCount`. Should end soon
    ///     after its task was cancelled; the pool gives its slot away at `connectTimeout` whether it does or not, and
    ///     closes a connection that comes too late.
    public init(
        configuration: WebSocketPoolConfiguration = .init(), clock: Time, endpointCount: Int = 1,
        observer: (any WebSocketPoolObserver)? = nil,
        connect: @escaping @Sendable (_ endpoint: Int) async throws -> Connection
    ) {
        self.core = PoolCore(
            configuration: configuration, time: AnyClock(clock), endpointCount: endpointCount, observer: observer,
            connect: connect)
    }

    init(_ core: PoolCore) { self.core = core }

    /// Runs the pool until it is shut down, or until the task is cancelled, which closes every connection at once.
    ///
    /// May be called once. Returns when all connections and all background work have ended.
    ///
    /// - Throws: ``WebSocketPoolError`` when the warm-up failed and its policy is `failFast`; the pool is closed then.
    ///   `poolClosed` when it was called before, which changes nothing for the first call.
    public func run() async throws(WebSocketPoolError) { try await self.core.run() }

    /// Runs a pool for as long as `body` runs, then waits `shutdownGrace` for leases that outlive it.
    public static func withPool<Value>(
        configuration: WebSocketPoolConfiguration = .init(), clock: Time, endpointCount: Int = 1,
        observer: (any WebSocketPoolObserver)? = nil,
        connect: @escaping @Sendable (_ endpoint: Int) async throws -> Connection,
        _ body: (ConnectionPool<Connection, Time>) async throws -> Value
    ) async throws -> Value {
        let pool = ConnectionPool(
            configuration: configuration, clock: clock, endpointCount: endpointCount, observer: observer,
            connect: connect)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await pool.run() }
            guard await pool.core.isReady() else {
                // Throws why, at once: there is nothing to run a body with.
                try await group.waitForAll()
                throw pool.core.error(.poolClosed)
            }
            let result: Result<Value, any Error>
            do { result = .success(try await body(pool)) } catch { result = .failure(error) }
            await pool.shutDown(grace: configuration.shutdownGrace)
            // A pool that failed to start explains an error of the body better than the body does.
            try await group.waitForAll()
            return try result.get()
        }
    }

    /// Opens up to `count` more connections, in parallel, but no more than `softMaximum` in all. Each can be lent as
    /// soon as it is there, and one that an acquire causes to be opened meanwhile counts.
    ///
    /// - Returns: How many were opened. With `bestEffort` failures only make it smaller.
    /// - Throws: With `failFast`, the first failure.
    @discardableResult
    public func warmUp(_ count: Int, policy: WebSocketPoolWarmUpPolicy = .bestEffort) async throws(WebSocketPoolError)
        -> Int
    {
        try await self.core.warmUp(count, policy: policy)
    }

    /// Refuses new acquires, fails the waiting ones, closes what is not lent, and waits `grace` at most for leases.
    /// Then it closes their connections under them. Returns when no connection is left, `grace + closeTimeout` later
    /// at most. May be called again, with a shorter grace; cancelling the caller ends the grace.
    public func shutDown(grace: Duration = .zero) async { await self.core.shutDown(grace: grace.ticks) }

    // MARK: Control

    /// Changes the pool's size. Connections that are too many are closed when they are idle.
    public func resize(softMaximum: Int, hardMaximum: Int, minimumIdle: Int) {
        self.core.send { $0.resize(soft: softMaximum, hard: hardMaximum, minimumIdle: minimumIdle, at: $1) }
    }

    /// Lets acquires wait, up to their timeouts, and opens no connection until ``resume()``. Leases go on.
    public func suspend() {
        self.core.machine.withLock { $0.suspend() }
    }

    /// Ends ``suspend()``: waiters are served again. Harmless if the pool is not suspended.
    public func resume() {
        self.core.send { $0.resume(at: $1) }
    }

    /// Closes idle connections above `minimumIdle`, and returns how many.
    @discardableResult
    public func releaseUnused() -> Int {
        let now = self.core.time.now
        let (count, action) = self.core.machine.withLock { $0.releaseUnused(at: now) }
        self.core.act(action)
        return count
    }

    /// Retires every connection there is: idle ones now, lent ones when they come back. For when all of them have
    /// become useless together, for example after a change of credentials.
    public func reset() {
        self.core.send { $0.reset(at: $1) }
    }

    /// Changes which endpoints get new connections, by index, for example after a look-up in the name service. Further
    /// ones are added, those that are not listed get none, and one that is listed again starts with a clean record.
    /// Connections to endpoints that are not listed live on, up to their idle timeout and lifetime.
    ///
    /// Ignored when it lists nothing, because a pool without endpoints could only fail.
    public func listEndpoints(_ isListed: [Bool]) {
        self.core.send { $0.listEndpoints(isListed, at: $1) }
    }

    /// Like ``listEndpoints(_:)``, with what the endpoints are called.
    package func listEndpoints(_ isListed: [Bool], names: [String]) {
        self.core.send { $0.listEndpoints(isListed, names: names, at: $1) }
    }

    /// Begins what ``shutDown(grace:)`` waits for.
    package func beginShutdown(grace: Duration) { self.core.beginShutdown(grace: grace.ticks) }

    /// Whether ``run()`` has begun and no shutdown has. Acquires wait or are served then.
    public var isRunning: Bool {
        self.core.machine.withLock { if case .running = $0.lifecycle { true } else { false } }
    }

    /// Whether a shutdown has begun, by ``shutDown(grace:)``, by cancellation, or because the warm-up failed. Acquires
    /// are refused from then on.
    public var isClosed: Bool {
        self.core.machine.withLock {
            switch $0.lifecycle {
            case .initial, .running: false
            case .shuttingDown, .closed: true
            }
        }
    }

    /// Whether ``suspend()`` is in force.
    public var isSuspended: Bool { self.core.machine.withLock { $0.isSuspended } }

    /// A consistent snapshot.
    public var statistics: WebSocketPoolStatistics { self.core.machine.withLock { $0.statistics } }
}

extension ConnectionPool where Time == ContinuousClock {
    /// For a layer that does not pass the clock's type on, and that knows a cheaper clock. That one is only used
    /// instead of the continuous clock, when nobody observes how long leases last and no span is too short for it.
    package convenience init(
        configuration: WebSocketPoolConfiguration, anyClock: any Clock<Duration>,
        coarseClock: @escaping @Sendable () -> Ticks,
        endpointNames: [String], observer: (any WebSocketPoolObserver)?,
        connect: @escaping @Sendable (_ endpoint: Int) async throws -> Connection
    ) {
        self.init(
            PoolCore(
                configuration: configuration,
                time: observer?.observesLeases ?? false || configuration.needsExactTime
                    ? AnyClock(anyClock) : AnyClock(anyClock, coarse: coarseClock),
                endpointCount: endpointNames.count, endpointNames: endpointNames, observer: observer, connect: connect))
    }

    /// Makes a pool on the continuous clock. Starts nothing.
    public convenience init(
        configuration: WebSocketPoolConfiguration = .init(), endpointCount: Int = 1,
        observer: (any WebSocketPoolObserver)? = nil,
        connect: @escaping @Sendable (_ endpoint: Int) async throws -> Connection
    ) {
        self.init(
            configuration: configuration, clock: ContinuousClock(), endpointCount: endpointCount, observer: observer,
            connect: connect)
    }
}
