//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketPool

/// One test for each weakness of the systems this pool replaces, named after it.
@Suite
struct RegressionTests {
    static func small(_ maximum: Int, _ change: (inout WebSocketPoolConfiguration) -> Void = { _ in })
        -> WebSocketPoolConfiguration
    {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = maximum
        configuration.hardMaximum = maximum
        change(&configuration)
        return configuration
    }

    // MARK: audex's connection

    /// Audex 1: two concurrent acquires both succeed, and a socket leaks.
    @Test(arguments: 0..<20)
    func concurrentAcquires(seed: UInt64) throws {
        var behaviour = MockServer.Behaviour()
        behaviour.connectDelay = .milliseconds(10)
        try withSimulatedPool(Self.small(1), server: behaviour, seed: seed) { pool, server, simulation in
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<5 {
                    group.addTask {
                        try? await pool.withConnection { connection in
                            #expect(connection.enter())
                            await simulation.pass(.milliseconds(1))
                            connection.leave()
                        }
                    }
                }
            }
            #expect(server.seen.connections.count == 1)
        }
    }

    /// Audex 2, aio 6: the health check does not wait for the answer.
    @Test
    func validationWaits() throws {
        try withSimulatedPool(Self.small(1)) { pool, server, simulation in
            try await pool.withConnection { _ in }
            server.set { $0.answersPings = false }
            await simulation.pass(.seconds(1))
            let start = simulation.elapsed
            try await pool.withConnection { #expect($0.id == 1, "a half-open connection was lent") }
            #expect(simulation.elapsed - start == .seconds(5), "the validation timeout")
            #expect(pool.statistics.totals.validationsFailed == 1)
        }
    }

    /// Audex 3 and 4, aio 9: idle time by the wall clock, polled, by two mechanisms at once.
    @Test
    func idleByInjectedClock() throws {
        let configuration = Self.small(8) { $0.keepaliveInterval = nil }
        try withSimulatedPool(configuration) { pool, server, simulation in
            let opened = try await pool.warmUp(8)
            #expect(opened == 8)
            await simulation.pass(.seconds(59))
            #expect(server.openConnections.count == 8)
            #expect(simulation.sleeperCount <= 4, "timers are few, not one for each connection")
            await simulation.pass(.milliseconds(1_001))
            #expect(server.openConnections.isEmpty)
        }
    }

    /// Audex 5: closing an idle connection waits for itself.
    @Test
    func idleCloseEndsOnce() throws {
        var behaviour = MockServer.Behaviour()
        behaviour.closeDelay = .seconds(1)
        try withSimulatedPool(server: behaviour) { pool, server, simulation in
            try await pool.withConnection { _ in }
            await simulation.pass(.seconds(62))
            #expect(server.seen.connections.map(\.closings) == [1])
            #expect(pool.statistics.counts.total == 0)
        }
    }

    /// Audex 6, aio 8: a connection can be used after release, or the error says busy.
    @Test
    func useAfterRelease() throws {
        let observer = RecordingObserver()
        try withSimulatedPool(observer: observer) { pool, _, _ in
            let lease = try await pool.acquire()
            _ = try lease.connection
            lease.release()
            let error = #expect(throws: WebSocketPoolError.self) { _ = try lease.connection }
            #expect(error?.code == .leaseEnded)

            let next = try await pool.acquire()
            lease.release(discard: true)
            #expect(next.isValid, "a second release hit somebody else's lease")
            #expect(observer.events.all.contains("release ignored"))
            #expect(pool.statistics.totals.releasesIgnored == 1)
            next.release()
        }
    }

    /// Audex 7: draining is never visible and its timeout never happens.
    @Test
    func drainingIsReal() throws {
        let configuration = Self.small(1) { $0.hygiene = .drain(.init(timeout: .seconds(3), quietPeriod: .seconds(1))) }
        var behaviour = MockServer.Behaviour()
        behaviour.drainDelay = .seconds(3600)
        try withSimulatedPool(configuration, server: behaviour) { pool, server, simulation in
            try await pool.acquire().release()
            #expect(pool.statistics.counts.draining == 1)
            await simulation.pass(.seconds(4))
            #expect(pool.statistics.counts.total == 0)
            #expect(pool.statistics.totals.drainsFailed == 1)
            #expect(server.openConnections.isEmpty)
        }
    }

    /// Audex 8: a remote close while idle is noticed at the next use only.
    @Test
    func closeWhileIdle() throws {
        try withSimulatedPool { pool, server, _ in
            try await pool.withConnection { _ in }
            server.openConnections[0].die()
            #expect(pool.statistics.counts.total == 0)
            try await pool.withConnection { #expect($0.id == 1) }
        }
    }

    // MARK: aio-websocket-pool

    /// Aio 1: drained connections are never reused.
    @Test
    func drainedIsReused() throws {
        let configuration = Self.small(1) { $0.hygiene = .drain(.init()) }
        var behaviour = MockServer.Behaviour()
        behaviour.drainDelay = .milliseconds(2)
        try withSimulatedPool(configuration, server: behaviour) { pool, server, _ in
            for _ in 0..<5 {
                try await pool.withConnection { connection in
                    #expect(connection.read() == 0)
                    connection.receive()
                }
            }
            #expect(server.seen.connections.count == 1)
            #expect(server.seen.drains >= 4)
        }
    }

    /// Aio 2: discarded and stale connections leak their slots.
    @Test
    func slotsDoNotLeak() throws {
        try withSimulatedPool(Self.small(3)) { pool, server, simulation in
            for _ in 0..<10 {
                let leases = [try await pool.acquire(), try await pool.acquire(), try await pool.acquire()]
                leases[0].release(discard: true)
                server.seen.connections.last { $0.isOpen }?.die()
                leases[1].release()
                leases[2].release()
                server.openConnections.last?.die(silently: true)
                await simulation.pass(.milliseconds(1))
            }
            let total = pool.statistics.counts.total
            #expect(total <= 3)
            let leases = [try await pool.acquire(), try await pool.acquire(), try await pool.acquire()]
            for lease in leases { lease.release() }
        }
    }

    /// Aio 3: a dead server is reported by a foreign error, late.
    @Test
    func deadServer() throws {
        try withSimulatedPool(server: .init(refusing: [0])) { pool, _, simulation in
            let error = await #expect(throws: WebSocketPoolError.self) { _ = try await pool.acquire() }
            #expect(error?.code == .poolUnavailable)
            #expect(error?.underlyingError is MockServer.Refused)
            #expect(simulation.elapsed < .seconds(3))
            let start = simulation.elapsed
            let second = await #expect(throws: WebSocketPoolError.self) { _ = try await pool.acquire() }
            #expect(second?.code == .poolUnavailable && simulation.elapsed == start, "an open circuit fails at once")
        }
    }

    /// Aio 4: one slow connect blocks every acquire and release.
    @Test
    func slowConnect() throws {
        try withSimulatedPool(Self.small(2)) { pool, server, simulation in
            try await pool.withConnection { _ in }
            server.set { $0.connectDelay = .seconds(9) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await pool.withNewConnection { _ in } }
                await simulation.pass(.milliseconds(1))
                let start = simulation.elapsed
                for _ in 0..<100 { try await pool.withConnection { _ in } }
                #expect(simulation.elapsed == start)
                try await group.waitForAll()
            }
        }
    }

    /// Aio 5: a full pool fails at once instead of waiting in line.
    @Test
    func fullPoolWaits() throws {
        try withSimulatedPool(Self.small(1)) { pool, _, simulation in
            let lease = try await pool.acquire()
            async let second: Void = pool.withConnection { _ in }
            await simulation.pass(.seconds(1))
            #expect(pool.statistics.counts.waiting == 1)
            lease.release()
            try await second
        }
    }

    /// Aio 7: leftovers go to the next borrower.
    @Test(arguments: [false, true])
    func noLeftovers(arrivesLate: Bool) throws {
        try withSimulatedPool { pool, server, _ in
            let lease = try await pool.acquire()
            if !arrivesLate { server.openConnections[0].receive() }
            lease.release()
            if arrivesLate { server.openConnections[0].receive() }
            try await pool.withConnection { #expect($0.read() == 0 && $0.id == 1) }
        }
    }

    /// Aio 10: reuse in the order of return keeps every connection warm.
    @Test
    func poolShrinks() throws {
        try withSimulatedPool { pool, server, simulation in
            let opened = try await pool.warmUp(5)
            #expect(opened == 5)
            for _ in 0..<100 {
                await simulation.pass(.seconds(1))
                try await pool.withConnection { _ in }
            }
            #expect(server.openConnections.count == 1)
        }
    }

    /// Aio 11: no lifetime, no minimum, no metrics.
    @Test
    func lifetimeAndMinimum() throws {
        let configuration = Self.small(4) {
            $0.minimumIdle = 2
            $0.maximumLifetime = .seconds(100)
        }
        try withSimulatedPool(configuration) { pool, server, simulation in
            await simulation.pass(.seconds(1_000))
            #expect(server.openConnections.count == 2)
            #expect(pool.statistics.totals.connectsSucceeded >= 20)
        }
    }

    /// Aio 12: closing takes the sum of all closing times.
    @Test
    func closingInParallel() throws {
        var behaviour = MockServer.Behaviour()
        behaviour.closeDelay = .seconds(5)
        try withSimulatedPool(server: behaviour) { pool, _, simulation in
            let opened = try await pool.warmUp(10)
            #expect(opened == 10)
            let start = simulation.elapsed
            await pool.shutDown()
            #expect(simulation.elapsed - start == .seconds(5))
        }
    }

    /// Aio 13: the warm-up overshoots the maximum.
    @Test
    func warmUpRespectsMaximum() throws {
        try withSimulatedPool(Self.small(3)) { pool, server, _ in
            async let first = pool.warmUp(10)
            async let lease = pool.acquire()
            _ = try await first
            try await lease.release()
            #expect(server.seen.connections.count <= 3)
        }
    }

    // MARK: postgres-nio and httpcore

    /// Postgres-nio 641: a keepalive and the idle timer get in each other's way.
    @Test
    func keepaliveAndIdleTimer() throws {
        let configuration = Self.small(3) {
            $0.keepaliveInterval = .seconds(7)
            $0.idleTimeout = .seconds(20)
        }
        var behaviour = MockServer.Behaviour()
        behaviour.validationDelay = .seconds(2)
        try withSimulatedPool(configuration, server: behaviour) { pool, server, simulation in
            let opened = try await pool.warmUp(3)
            #expect(opened == 3)
            await simulation.pass(.seconds(28))
            #expect(server.seen.validations >= 3)
            #expect(server.openConnections.isEmpty, "keepalives must not postpone the idle timeout")
        }
    }
}
