//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// A server in maintenance says when it is worth coming back, to pools too.
@Suite(.timeLimit(.minutes(5)))
struct PoolRetryAfterTests {
    @Test(arguments: [429, 503])
    func aPoolComesBackWhenItIsToldTo(status: Int) async throws {
        let attempts = Atomic<Int>(0)
        let isOpen = Atomic(false)
        try await withLoopback(
            server: {
                $0.onRequest = { _ in
                    attempts.add(1, ordering: .relaxed)
                    return isOpen.load(ordering: .relaxed)
                        ? .accept() : .respond(status: status, headers: [.retryAfter: "120"])
                }
            }, handler: echo
        ) { loopback in
            let clock = WebSocketManualClock()
            var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 2, client: loopback.client)
            configuration.circuitBreaker.maximumRetryAfter = .seconds(600)
            let pool = try WebSocketConnectionPool(to: loopback.url, configuration: configuration, clock: clock)
            let running = Task { try await pool.run() }
            let error = try await failure { _ = try await pool.acquire() }
            #expect(error.code == .poolUnavailable && error.poolCause?.response?.status == status)
            #expect(pool.statistics.endpoints[0].isEjected)
            clock.advance(by: .seconds(119))
            #expect(try await failure { _ = try await pool.acquire() }.code == .poolUnavailable)
            #expect(attempts.load(ordering: .relaxed) == 1, "not before the time that was asked for")
            isOpen.store(true, ordering: .relaxed)
            // Up to a tenth later, so that not all pools come together.
            clock.advance(by: .seconds(14))
            let lease = try await pool.acquire()
            #expect(attempts.load(ordering: .relaxed) == 2)
            lease.release()
            await pool.shutDown()
            try await running.value
        }
    }
}
