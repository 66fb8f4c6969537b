//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSockets
import WebSocketsTestKit

/// Connections die in every state, and the pool ends in every state.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolEndingTests {
    /// A connection that dies idle is replaced, and nobody is lent the dead one.
    @Test
    func aConnectionThatDiesIdleIsReplaced() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool { pool in
                let opened = try await pool.warmUp(3)
                #expect(opened == 3)
                fixture.relay.kill()
                await eventually { pool.statistics.counts.total == 0 }
                #expect(pool.statistics.totals.connectionsClosed == 3)
                #expect(try await pool.withConnection { try await $0.exchange("a") } == .text("a"))
            }
        }
    }

    @Test
    func aConnectionThatDiesLeasedFailsItsBorrowerAndWakesTheNextWaiter() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                let lease = try await pool.acquire()
                let waiting = Task { try await pool.withConnection { try await $0.exchange("next") } }
                await eventually { pool.statistics.counts.waiting == 1 }
                let socket = try lease.socket
                fixture.relay.kill()
                let error = await webSocketError { try await socket.receive() }
                #expect(error?.code == .connectionClosed)
                #expect(try await waiting.value == .text("next"))
                #expect(!lease.isValid)
                lease.release()
                let statistics = pool.statistics
                #expect(statistics.totals.leasesBroken == 1 && statistics.totals.releasesIgnored == 0)
                #expect(statistics.counts.total == 1)
            }
        }
    }

    @Test
    func aBorrowerThatClosesItsConnectionLeavesAPlaceForAnother() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                for _ in 0..<3 { try await pool.withConnection { _ = try await $0.close() } }
                for _ in 0..<3 {
                    try await pool.withConnection { socket in
                        try await socket.send("close")
                        _ = try await socket.closed()
                    }
                }
                #expect(fixture.relay.accepted == 6)
                await eventually { pool.statistics.counts.total == 0 }
            }
        }
    }

    @Test(arguments: [false, true])
    func aConnectionThatDiesWhileItIsValidatedIsNotLent(silently: Bool) async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.validationBypass = .zero
            configuration.validationTimeout = silently ? .milliseconds(50) : .seconds(20)
            try await fixture.withPool(configuration) { pool in
                try await pool.warmUp(1)
                fixture.relay.change { $0.isSilent = true }
                let waiting = Task { try await pool.withConnection { try await $0.exchange("a") } }
                if silently {
                    await eventually { pool.statistics.totals.validationsFailed == 1 }
                } else {
                    await eventually { pool.statistics.counts.validating == 1 }
                    fixture.relay.kill()
                }
                fixture.relay.change { $0.isSilent = false }
                #expect(try await waiting.value == .text("a"))
                #expect(pool.statistics.counts.total == 1)
            }
        }
    }

    @Test
    func aConnectionThatDiesWhileItIsDrainedFreesItsPlace() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.hygiene = .drain(WebSocketPoolDrainOptions(timeout: .seconds(20), quietPeriod: .seconds(20)))
            try await fixture.withPool(configuration) { pool in
                try await pool.withConnection { _ = try await $0.exchange("a") }
                #expect(pool.statistics.counts.draining == 1)
                fixture.relay.kill()
                await eventually { pool.statistics.counts.total == 0 }
                #expect(try await pool.withConnection { try await $0.exchange("b") } == .text("b"))
            }
        }
    }

    @Test
    func idleConnectionsArePingedAndOneThatDoesNotAnswerIsReplaced() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.keepaliveInterval = .milliseconds(20)
            configuration.validationTimeout = .milliseconds(100)
            configuration.minimumIdle = 1
            try await fixture.withPool(configuration) { pool in
                await eventually { pool.statistics.totals.validationsStarted >= 3 }
                fixture.relay.change { $0.isSilent = true }
                await eventually { pool.statistics.totals.validationsFailed >= 1 }
                fixture.relay.change { $0.isSilent = false }
                await eventually { pool.statistics.counts.idle == 1 && fixture.relay.accepted >= 2 }
            }
        }
    }

    @Test(arguments: 0..<4)
    func shutdownWhileAcquiresWaitAndConnectionsOpenResumesEverybodyOnce(round: Int) async throws {
        try await withPoolFixture { fixture in
            fixture.relay.change { $0.isSilent = true }
            let pool = try WebSocketConnectionPool(to: fixture.relay.url, configuration: fixture.configuration(2))
            let running = Task { try await pool.run() }
            let waiting = (0..<6).map { _ in Task { await webSocketError { try await pool.acquire() } } }
            await eventually { pool.statistics.counts.waiting == 6 && pool.statistics.counts.connecting == 2 }
            // At different moments of the handshake.
            if round > 0 { await eventually { fixture.relay.accepted >= round % 3 } }
            await pool.shutDown(grace: .zero)
            for task in waiting { #expect(await task.value?.code == .poolClosed) }
            try await running.value
            #expect(pool.statistics.counts.total == 0 && pool.statistics.totals.acquireFailures == 6)
        }
    }

    @Test
    func shutdownWhileConnectionsDrainClosesThemAtOnce() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(2)
            configuration.hygiene = .drain(WebSocketPoolDrainOptions(timeout: .seconds(50), quietPeriod: .seconds(50)))
            let pool = try WebSocketConnectionPool(to: fixture.relay.url, configuration: configuration)
            let running = Task { try await pool.run() }
            try await pool.withConnection { _ in }
            #expect(pool.statistics.counts.draining == 1)
            await pool.shutDown()
            try await running.value
            #expect(pool.statistics.totals.connectionsClosed == 1)
        }
    }

    /// A graceful shutdown waits for leases, and takes them back when the grace is over.
    @Test(arguments: [false, true])
    func aGracefulShutdownWaitsForLeases(isLong: Bool) async throws {
        try await withPoolFixture { fixture in
            let pool = try WebSocketConnectionPool(to: fixture.relay.url, configuration: fixture.configuration(2))
            let running = Task { try await pool.run() }
            let lease = try await pool.acquire()
            let socket = try lease.socket
            let ending = Task { await pool.shutDown(grace: isLong ? .seconds(50) : .milliseconds(20)) }
            await eventually { pool.tryAcquire() == nil }
            if isLong {
                // The lease goes on as if nothing were.
                #expect(try await socket.exchange("last words") == .text("last words"))
                lease.release()
            } else {
                let error = await webSocketError { try await socket.receive() }
                #expect(error?.code == .connectionClosed)
                #expect(!lease.isValid)
            }
            await ending.value
            try await running.value
            #expect(pool.statistics.counts.total == 0)
        }
    }

    @Test
    func cancellingRunEndsThePoolAndItsLeases() async throws {
        try await withPoolFixture { fixture in
            let pool = try WebSocketConnectionPool(to: fixture.relay.url, configuration: fixture.configuration(1))
            let running = Task { try await pool.run() }
            let lease = try await pool.acquire()
            let waiting = Task { await webSocketError { try await pool.acquire() } }
            await eventually { pool.statistics.counts.waiting == 1 }
            running.cancel()
            try await running.value
            #expect(await waiting.value?.code == .poolClosed)
            #expect(!lease.isValid && pool.statistics.counts.total == 0)
        }
    }

    @Test(arguments: 0..<6)
    func anAcquireThatIsCancelledWhereverItIsCostsNoPlace(moment: Int) async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                let isStuck = moment % 2 == 1
                if isStuck { fixture.relay.change { $0.isSilent = true } }
                let acquiring = Task { try await pool.acquire() }
                if moment >= 2 { await eventually { pool.statistics.totals.connectsStarted == 1 } }
                if moment >= 4 { await eventually { fixture.relay.accepted == 1 } }
                acquiring.cancel()
                do { try await acquiring.value.release() } catch let error as WebSocketError {
                    #expect(error.code == .cancelled)
                }
                fixture.relay.change { $0.isSilent = false }
                #expect(try await pool.withConnection { try await $0.exchange("a") } == .text("a"))
                #expect(pool.statistics.counts.leased == 0 && pool.statistics.counts.total == 1)
            }
        }
    }
}
