//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketPool

/// Connections that are opened ahead.
@Suite
struct WarmUpTests {
    private static func configuration(_ maximum: Int, warm: Int) -> WebSocketPoolConfiguration {
        var configuration = RegressionTests.small(maximum)
        configuration.warmUpCount = warm
        return configuration
    }

    @Test
    func aConnectionThatIsThereIsLentHoweverLongTheOthersTake() throws {
        let slow = Mutex(0)
        try Simulation.run { simulation in
            let server = MockServer(on: simulation)
            var configuration = Self.configuration(2, warm: 2)
            configuration.shutdownGrace = .zero
            try await SimulatedPool.withPool(
                configuration: configuration, clock: simulation,
                connect: { endpoint in
                    // The first at once, the second after four seconds.
                    if slow.withLock({
                        $0 += 1; return $0
                    }) > 1 {
                        await simulation.pass(.seconds(4))
                    }
                    return try await server.connect(endpoint)
                }
            ) { pool in
                await simulation.pass(.milliseconds(500))
                let counts = pool.statistics.counts
                #expect(counts.idle == 1 && counts.leased == 0 && counts.connecting == 1)
                try await pool.withConnection { _ in }
                #expect(simulation.elapsed == .milliseconds(500))
                await simulation.pass(.seconds(4))
                // Two warm-ups, one acquire.
                #expect(pool.statistics.totals.acquired == 1 && pool.statistics.counts.idle == 2)
            }
        }
    }

    /// An acquire meanwhile causes no further connection, and nothing is drained.
    @Test
    func anAcquireMeanwhileCausesNoFurtherConnection() throws {
        var configuration = Self.configuration(8, warm: 3)
        configuration.hygiene = .drain(.init())
        try withSimulatedPool(configuration, server: .init(connectDelay: .milliseconds(100))) {
            pool, server, simulation in
            let lease = try await pool.acquire()
            #expect(simulation.elapsed == .milliseconds(100))
            await simulation.pass(.milliseconds(1))
            #expect(server.seen.connections.count == 3 && server.seen.drains == 0)
            #expect(pool.statistics.counts.idle == 2 && pool.statistics.counts.draining == 0)
            lease.release(discard: true)
        }
    }

    @Test
    func withPoolWaitsForTheWarmUpWhenItIsAskedTo() throws {
        for waits in [false, true] {
            var configuration = Self.configuration(8, warm: 3)
            configuration.waitsForWarmUp = waits
            try withSimulatedPool(configuration, server: .init(connectDelay: .seconds(1))) { pool, _, simulation in
                #expect(simulation.elapsed == (waits ? .seconds(1) : .zero))
                #expect(pool.statistics.counts.idle == (waits ? 3 : 0))
            }
        }
    }

    /// A body that cannot have a pool does not begin, and the reason comes at once.
    @Test(arguments: [0, 2])
    func aBodyThatCannotHaveAPoolDoesNotBegin(warm: Int) throws {
        var configuration = Self.configuration(4, warm: warm)
        configuration.warmUpPolicy = .failFast
        let began = Mutex(false)
        let error = #expect(throws: WebSocketPoolError.self) {
            try withSimulatedPool(configuration, server: .init(connectDelay: .seconds(1), refusing: [0])) { _, _, _ in
                began.withLock { $0 = true }
            }
        }
        #expect(error?.code == .connectFailed && error?.underlyingError is MockServer.Refused)
        #expect(!began.withLock { $0 })
    }

    @Test
    func acquiresOfAPoolThatCouldNotStartAreToldWhy() throws {
        var configuration = Self.configuration(4, warm: 1)
        configuration.warmUpPolicy = .failFast
        try Simulation.run { [configuration] simulation in
            let server = MockServer(.init(connectDelay: .seconds(1), refusing: [0]), on: simulation)
            let pool = SimulatedPool(configuration: configuration, clock: simulation) { try await server.connect($0) }
            let running = Task(executorPreference: simulation) { try await pool.run() }
            await simulation.pass(.milliseconds(1))
            for _ in 0..<2 {
                let error = await #expect(throws: WebSocketPoolError.self) { _ = try await pool.acquire() }
                #expect(error?.code == .poolClosed && error?.underlyingError is MockServer.Refused)
                #expect(error?.description.contains("could not start") == true)
                #expect(simulation.elapsed == .seconds(1) && pool.isClosed)
            }
            await #expect(throws: WebSocketPoolError.self) { try await running.value }
        }
    }
}
