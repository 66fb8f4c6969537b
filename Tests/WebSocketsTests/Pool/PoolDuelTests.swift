//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSockets
import WebSocketsTestKit

/// HikariCP's two duels against other pools, and several endpoints.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolDuelTests {
    /// Database down: the endpoint stops answering, and every acquire ends within its timeout.
    @Test
    func databaseDownTheEndpointStopsAnswering() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(5)
            configuration.acquireTimeout = .milliseconds(400)
            configuration.validationBypass = .zero
            configuration.validationTimeout = .milliseconds(150)
            configuration.backoff = WebSocketPoolBackoff(base: .milliseconds(10), maximum: .milliseconds(50))
            configuration.circuitBreaker = WebSocketPoolCircuitBreaker(
                failureThreshold: 3, openDuration: .milliseconds(50), maximumOpenDuration: .milliseconds(200))
            try await fixture.withPool(configuration) { pool in
                let opened = try await pool.warmUp(5)
                #expect(opened == 5)
                fixture.relay.change { $0.isSilent = true }
                let codes = await withTaskGroup(of: (WebSocketError.Code?, Duration).self) { group in
                    for _ in 0..<30 {
                        group.addTask {
                            let begin = ContinuousClock.now
                            let error = await webSocketError { try await pool.acquire().release() }
                            return (error?.code, ContinuousClock.now - begin)
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                for (code, took) in codes {
                    // Nobody was lent a connection that does not answer.
                    #expect(code == .acquireTimedOut || code == .poolUnavailable)
                    // Its own timeout, and not the sum of others': with room for a busy machine.
                    #expect(took < .seconds(5))
                }
                #expect(pool.statistics.counts.waiting == 0 && pool.statistics.counts.leased == 0)

                fixture.relay.change { $0.isSilent = false }
                var reply: WebSocketMessage?
                while reply == nil { reply = try? await pool.withConnection { try await $0.exchange("back") } }
                #expect(reply == .text("back"))
            }
        }
    }

    /// Spike: 50 requests on 5 idle connections end with about 10 connections, though a connect takes 150 ms.
    @Test
    func spike50RequestsOn5IdleConnectionsEndWithAbout10Connections() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(50)
            configuration.connectStagger = WebSocketPoolConfiguration().connectStagger
            configuration.minimumIdle = 5
            try await fixture.withPool(configuration) { pool in
                await eventually { pool.statistics.counts.idle == 5 }
                fixture.relay.change { $0.connectDelay = .milliseconds(150) }
                let begin = ContinuousClock.now
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for index in 0..<50 {
                        group.addTask {
                            let reply = try await pool.withConnection { socket in
                                let reply = try await socket.exchange("\(index)")
                                // Each request takes 2 ms.
                                try await ContinuousClock().sleep(for: .milliseconds(2))
                                return reply
                            }
                            #expect(reply == .text("\(index)"))
                        }
                    }
                    try await group.waitForAll()
                }
                let statistics = pool.statistics
                // On a machine so busy that new connections came in time to help, it is right that there are more, and
                // each that helps lets two more begin. Simulated time, in ReliabilityTests, has the exact figure.
                let limit = ContinuousClock.now - begin < .milliseconds(150) ? 10 : 50
                #expect(statistics.counts.total <= limit, "\(statistics.counts)")
                #expect(statistics.totals.acquired == 50)
            }
        }
    }

    /// Several endpoints share the leases; one that fails is ejected and returns.
    @Test
    func severalEndpointsShareTheLeases() async throws {
        try await withPoolFixture { fixture in
            let second = try WebSocketFaultProxy(to: fixture.server.port)
            var configuration = fixture.configuration(8)
            configuration.circuitBreaker = WebSocketPoolCircuitBreaker(
                failureThreshold: 1, openDuration: .milliseconds(20), maximumOpenDuration: .milliseconds(40))
            try await WebSocketConnectionPool.withPool(
                to: [fixture.relay.url, second.url], configuration: configuration
            ) { pool in
                func leases(_ count: Int) async throws -> [WebSocketLease] {
                    var leases: [WebSocketLease] = []
                    for _ in 0..<count { leases.append(try await pool.acquire()) }
                    return leases
                }
                var held = try await leases(8)
                #expect(pool.statistics.endpoints.map(\.leased) == [4, 4])
                for lease in held { lease.release() }

                second.refuse()
                await eventually { pool.statistics.counts.total == 4 }
                held = try await leases(8)
                #expect(pool.statistics.endpoints.map(\.leased) == [8, 0])
                #expect(pool.statistics.totals.circuitsOpened >= 1)
                for lease in held { lease.release(discard: true) }

                second.listen()
                // It comes back with the first attempt that succeeds.
                var total = 0
                while total == 0 {
                    held = try await leases(8)
                    total = pool.statistics.endpoints[1].total
                    for lease in held { lease.release(discard: true) }
                }
                #expect(second.accepted > 4)
            }
            second.stop()
        }
    }
}
