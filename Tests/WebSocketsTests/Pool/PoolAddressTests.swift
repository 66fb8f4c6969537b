//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSockets
import WebSocketsTestKit

@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolAddressTests {
    /// Each address is an endpoint; leases are spread, and the list follows the name service.
    @Test
    func eachAddressIsAnEndpointLeasesAreSpread() async throws {
        try await withPoolFixture { fixture in
            let second = try WebSocketFaultProxy(to: fixture.server.port, host: "127.0.0.2", port: fixture.relay.port)
            let third = try WebSocketFaultProxy(to: fixture.server.port, host: "127.0.0.3", port: fixture.relay.port)
            let known = Box<Result<[String], WebSocketError>>(.success(["127.0.0.1", "127.0.0.2"]))
            var configuration = fixture.configuration(8)
            configuration.usesAllAddresses = true
            configuration.resolutionLifetime = .zero
            let endpoints = try PoolEndpoints(
                ["ws://pool.test:\(fixture.relay.port)/"], configuration: configuration, clock: ContinuousClock()
            ) { (host, _) throws(WebSocketError) in
                #expect(host == "pool.test")
                return try known.value.get()
            }
            let pool = WebSocketConnectionPool(endpoints, configuration: configuration, clock: ContinuousClock())
            let running = Task { try await pool.run() }

            func lend(_ count: Int) async throws -> [WebSocketLease] {
                var leases: [WebSocketLease] = []
                for _ in 0..<count { leases.append(try await pool.acquire()) }
                return leases
            }
            for lease in try await lend(4) {
                // The server is asked for the name, not for the address.
                _ = try await lease.socket.exchange("a")
                lease.release(discard: true)
            }
            #expect(fixture.relay.accepted == 2 && second.accepted == 2)

            // A failed look-up changes nothing.
            known.change { $0 = .failure(WebSocketError(.nameNotFound, "no such name")) }
            for lease in try await lend(2) { lease.release(discard: true) }
            #expect(fixture.relay.accepted == 3 && second.accepted == 3)

            known.change { $0 = .success(["127.0.0.3", "127.0.0.1"]) }
            // The attempt that learns of it may still go to the address that has gone.
            try await pool.acquire().release(discard: true)
            await eventually { pool.statistics.counts.total == 0 }
            let before = second.accepted
            for lease in try await lend(6) { lease.release(discard: true) }
            #expect(second.accepted == before && third.accepted >= 3)

            await pool.shutDown()
            try await running.value
            second.stop()
            third.stop()
        }
    }

    @Test
    func aNameThatHasNoAddressIsAnErrorWithItsCause() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(2)
            configuration.usesAllAddresses = true
            configuration.circuitBreaker.failureThreshold = 1
            try await WebSocketConnectionPool.withPool(
                to: "ws://nothing.invalid:1/", configuration: configuration
            ) { pool in
                let error = await webSocketError { try await pool.acquire() }
                #expect(error?.code == .poolUnavailable && error?.poolCause?.code == .nameNotFound)
            }
            // And one that has: through the real resolver.
            try await WebSocketConnectionPool.withPool(
                to: "ws://localhost:\(fixture.relay.port)/", configuration: configuration
            ) { pool in
                let reply = try await pool.withConnection { try await $0.exchange("a") }
                #expect(reply == .text("a"))
            }
        }
    }
}
