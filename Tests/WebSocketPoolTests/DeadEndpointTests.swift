//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketPool

/// An endpoint that has gone without a word, and one that comes back.
@Suite
struct DeadEndpointTests {
    static func configuration(_ maximum: Int = 16) -> WebSocketPoolConfiguration {
        var configuration = RegressionTests.small(maximum)
        configuration.idleTimeout = nil
        configuration.keepaliveInterval = nil
        return configuration
    }

    /// Fills the pool, half for each endpoint, and lets it rest past the bypass window.
    static func fill(_ pool: SimulatedPool, _ simulation: Simulation) async throws {
        var leases: [TypedLease<MockConnection>] = []
        for _ in 0..<16 { leases.append(try await pool.acquire()) }
        for lease in leases { lease.release() }
        #expect(pool.statistics.endpoints.map(\.total) == [8, 8])
        await simulation.pass(.seconds(4))
    }

    @Test(arguments: 0..<10)
    func oneAcquireWaitsForOneValidationAtMostWhileAnotherEndpointLives(seed: UInt64) throws {
        var configuration = Self.configuration()
        // Longer than the validation's timeout, so that only its failure shows that the endpoint is dead.
        configuration.connectStagger = .seconds(60)
        try withSimulatedPool(configuration, endpoints: 2, seed: seed) { pool, server, simulation in
            try await Self.fill(pool, simulation)
            server.set { $0.silent = [0] }
            for round in 0..<4 {
                let start = simulation.elapsed
                try await pool.withConnection { #expect($0.endpoint == 1) }
                #expect(simulation.elapsed - start <= (round == 0 ? .seconds(5) : .zero))
            }
            // The others of the dead endpoint were found out together, without a borrower.
            await simulation.pass(.seconds(6))
            #expect(pool.statistics.totals.validationsFailed == 8)
            #expect(pool.statistics.endpoints[1].total == 8)
            server.set { $0.silent = [] }
        }
    }

    @Test
    func anAcquireThatHasLostPatienceWithOneEndpointIsServedByAnother() throws {
        try withSimulatedPool(Self.configuration(), endpoints: 2) { pool, server, simulation in
            try await Self.fill(pool, simulation)
            server.set { $0.silent = [0] }
            let start = simulation.elapsed
            try await pool.withConnection { #expect($0.endpoint == 1) }
            #expect(simulation.elapsed - start <= .milliseconds(250))
            server.set { $0.silent = [] }
        }
    }

    @Test
    func neitherDoesAFirstConnectionWaitForAnEndpointThatDoesNotAnswer() throws {
        try withSimulatedPool(Self.configuration(), server: .init(silent: [0]), endpoints: 2) {
            pool, server, simulation in
            try await pool.withConnection { #expect($0.endpoint == 1) }
            #expect(simulation.elapsed <= .milliseconds(250))
            server.set { $0.silent = [] }
        }
    }

    @Test
    func aDeadConnectionFreesItsSlotAtOnceHoweverLongGoodbyesTake() throws {
        var configuration = Self.configuration(1)
        configuration.validationTimeout = .milliseconds(300)
        try withSimulatedPool(configuration) { pool, server, simulation in
            try await pool.withConnection { _ in }
            for _ in 0..<5 {
                await simulation.pass(.seconds(1))
                server.set {
                    $0.answersPings = false
                    $0.hangsOnClose = true
                }
                let start = simulation.elapsed
                let lease = try await pool.acquire()
                #expect(simulation.elapsed - start == .milliseconds(300))
                server.set { $0.hangsOnClose = false }
                lease.release()
            }
            #expect(pool.statistics.counts.closing == 0 && server.openConnections.count == 1)
        }
    }

    /// One endpoint: the old connections are found out together, and a new one serves.
    @Test
    func oneEndpointTheOldConnectionsAreFoundOutTogether() throws {
        try withSimulatedPool(Self.configuration(4)) { pool, server, simulation in
            var leases: [TypedLease<MockConnection>] = []
            for _ in 0..<4 { leases.append(try await pool.acquire()) }
            for lease in leases { lease.release() }
            await simulation.pass(.seconds(1))
            server.set { $0.answersPings = false }
            let start = simulation.elapsed
            let served = try await pool.acquire()
            #expect(try served.connection.id == 4 && simulation.elapsed - start == .seconds(5))
            await simulation.pass(.seconds(6))
            #expect(pool.statistics.totals.validationsFailed == 4)
            #expect(pool.statistics.counts.total == 1)
            served.release()
        }
    }

    /// An endpoint that comes back gets its share, although nothing new is needed.
    @Test(arguments: 0..<10)
    func anEndpointThatComesBackGetsItsShare(seed: UInt64) throws {
        try withSimulatedPool(Self.configuration(6), endpoints: 2, seed: seed) { pool, server, simulation in
            func use() async throws {
                var leases: [TypedLease<MockConnection>] = []
                for _ in 0..<6 { leases.append(try await pool.acquire()) }
                for lease in leases { lease.release() }
            }
            try await use()
            #expect(pool.statistics.endpoints.map(\.total) == [3, 3])
            server.set { $0.refusing = [0] }
            for connection in server.openConnections where connection.endpoint == 0 { connection.die() }
            try await use()
            #expect(pool.statistics.endpoints.map(\.total) == [0, 6])
            await simulation.pass(.seconds(30))
            server.set { $0.refusing = [] }
            // The longest ejection, and then one connection after the other.
            await simulation.pass(.seconds(61))
            let totals = pool.statistics.endpoints.map(\.total)
            #expect(totals[0] >= 2 && totals[1] - totals[0] <= 1, "\(totals)")
        }
    }
}
