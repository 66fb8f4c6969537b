//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketConcurrency

// What a pool is told from outside, whatever lends its connections.
extension PoolCore {
    /// A pool of connections that `connect` opens. Starts nothing.
    ///
    /// - Parameters:
    ///   - configuration: See ``WebSocketPoolConfiguration``.
    ///   - clock: Measures every timeout and age.
    ///   - coarseClock: A cheaper one, for a continuous `clock`: used instead when how long leases last is not observed
    ///     and no span is too short for it.
    ///   - endpointNames: What the endpoints are called that `connect` understands, by index. New connections go to the
    ///     one with the fewest leases; one that refuses connections is ejected for a while (see
    ///     ``WebSocketPoolCircuitBreaker``).
    ///   - observer: Told what happens.
    ///   - connect: Opens a connection to the endpoint with the given index. Should end soon after its task was
    ///     cancelled; the pool gives its slot away at `connectTimeout` whether it does or not, and closes a connection
    ///     that comes too late.
    package convenience init(
        configuration: WebSocketPoolConfiguration, clock: any Clock<Duration>,
        coarseClock: (@Sendable () -> Ticks)? = nil, endpointNames: [String],
        observer: (any WebSocketPoolObserver)? = nil,
        connect: @escaping @Sendable (_ endpoint: Int) async throws -> any WebSocketPooledConnection
    ) {
        let isExact = observer?.observesLeases ?? false || configuration.needsExactTime
        let time: AnyClock
        if let coarseClock, !isExact {
            time = AnyClock(clock, coarse: coarseClock)
        } else {
            time = AnyClock(clock)
        }
        self.init(
            configuration: configuration, time: time, endpointCount: endpointNames.count, endpointNames: endpointNames,
            observer: observer, connect: connect)
    }

    /// Runs the pool for as long as `body` runs, then waits `shutdownGrace` for leases that outlive it.
    package func running<Value>(
        _ run: @escaping @Sendable () async throws -> Void, _ body: () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await run() }
            guard await isReady() else {
                // Throws why, at once: there is nothing to run a body with.
                try await group.waitForAll()
                throw error(.poolClosed)
            }
            let result: Result<Value, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            await shutDown(grace: configuration.shutdownGrace)
            // A pool that failed to start explains an error of the body better than the body does.
            try await group.waitForAll()
            return try result.get()
        }
    }

    /// Refuses new acquires, fails the waiting ones, closes what is not lent, and waits `grace` at most for leases.
    /// Then it closes their connections under them. Returns when no connection is left, `grace + closeTimeout` later
    /// at most. May be called again, with a shorter grace; cancelling the caller ends the grace.
    package func shutDown(grace: Duration) async { await shutDown(grace: grace.ticks) }

    /// Begins what ``shutDown(grace:)`` waits for.
    package func beginShutdown(grace: Duration) { beginShutdown(grace: grace.ticks) }

    /// Changes the pool's size. Connections that are too many are closed when they are idle.
    package func resize(softMaximum: Int, hardMaximum: Int, minimumIdle: Int) {
        send { $0.resize(soft: softMaximum, hard: hardMaximum, minimumIdle: minimumIdle, at: $1) }
    }

    /// Lets acquires wait, up to their timeouts, and opens no connection until ``resume()``. Leases go on.
    package func suspend() { machine.withLock { $0.suspend() } }

    /// Ends ``suspend()``: waiters are served again. Harmless if the pool is not suspended.
    package func resume() { send { $0.resume(at: $1) } }

    /// Closes idle connections above `minimumIdle`, and returns how many.
    @discardableResult
    package func releaseUnused() -> Int {
        let now = time.now
        let (count, action) = machine.withLock { $0.releaseUnused(at: now) }
        act(action)
        return count
    }

    /// Retires every connection there is: idle ones now, lent ones when they come back.
    package func reset() { send { $0.reset(at: $1) } }

    /// Changes which endpoints get new connections, by index, for example after a look-up in the name service. Further
    /// ones are added, those that are not listed get none, and one that is listed again starts with a clean record.
    /// Connections to endpoints that are not listed live on, up to their idle timeout and lifetime.
    ///
    /// Ignored when it lists nothing, because a pool without endpoints could only fail.
    package func listEndpoints(_ isListed: [Bool], names: [String] = []) {
        send { $0.listEndpoints(isListed, names: names, at: $1) }
    }

    /// Whether ``run()`` has begun and no shutdown has. Acquires wait or are served then.
    package var isRunning: Bool { machine.withLock { if case .running = $0.lifecycle { true } else { false } } }

    /// Whether a shutdown has begun, by ``shutDown(grace:)``, by cancellation, or because the warm-up failed. Acquires
    /// are refused from then on.
    package var isClosed: Bool {
        machine.withLock {
            switch $0.lifecycle {
            case .initial, .running: false
            case .shuttingDown, .closed: true
            }
        }
    }

    /// Whether ``suspend()`` is in force.
    package var isSuspended: Bool { machine.withLock { $0.isSuspended } }

    /// A consistent snapshot.
    package var statistics: WebSocketPoolStatistics { machine.withLock { $0.statistics } }
}
