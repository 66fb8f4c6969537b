//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSockets
import WebSocketsTestKit

/// Whatever a borrower leaves behind, the next one does not meet it.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolCleanlinessTests {
    /// Leaves one unread message behind: the second of two answers.
    private static func litter(_ pool: WebSocketConnectionPool) async throws {
        try await pool.withConnection { socket in
            let reply = try await socket.exchange("twice")
            #expect(reply == .text("first"))
            await eventually { socket.wire.hasInboundResidue }
        }
    }

    @Test
    func byDefaultAConnectionWithUnreadMessagesIsNotReused() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                try await Self.litter(pool)
                #expect(try await pool.withConnection { try await $0.exchange("mine") } == .text("mine"))
                #expect(fixture.relay.accepted == 2)
            }
        }
    }

    @Test(arguments: [0, 30])
    func drainingThrowsUnreadMessagesAwayAndKeepsTheConnection(quietMilliseconds: Int) async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.hygiene = .drain(
                WebSocketPoolDrainOptions(timeout: .seconds(10), quietPeriod: .milliseconds(quietMilliseconds)))
            try await fixture.withPool(configuration) { pool in
                try await Self.litter(pool)
                #expect(try await pool.withConnection { try await $0.exchange("mine") } == .text("mine"))
                #expect(fixture.relay.accepted == 1)
                let totals = pool.statistics.totals
                #expect(totals.drainsStarted >= 1 && totals.drainsFailed == 0)
            }
        }
    }

    /// What a server says first is its first borrower's, however early it comes. It was taken for a leftover, and the pool
    /// opened connections without end.
    @Test
    func theGreetingOfAServerIsTheFirstBorrowers() async throws {
        let listener = try WebSocketBytePeerListener()
        var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
        configuration.afterConnect = { socket in await eventually { socket.wire.hasInboundResidue } }
        try await WebSocketConnectionPool.withPool(
            to: "ws://127.0.0.1:\(listener.port)/", configuration: configuration
        ) { pool in
            async let greeting = pool.withConnection { try await $0.receive() }
            let peer = try await listener.accept()
            try await peer.acceptHandshake(behind: WebSocketWireFrame.text("welcome").bytes)
            #expect(try await greeting == "welcome")
            #expect(pool.statistics.totals.connectsSucceeded == 1)
            peer.close()
        }
    }

    /// A connection that nobody has used has nothing to drain: warm-ups are there to be lent.
    @Test
    func aConnectionThatNobodyHasUsedIsLentUndrained() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(2)
            // A drain that is waited for fails the test by the suite's limit.
            configuration.hygiene = .drain(
                WebSocketPoolDrainOptions(timeout: .seconds(3_600), quietPeriod: .seconds(3_600)))
            try await fixture.withPool(configuration) { pool in
                try await pool.warmUp(2)
                #expect(pool.statistics.counts.idle == 2 && pool.statistics.totals.drainsStarted == 0)
                let first = try await pool.acquire()
                let second = try await pool.acquire()
                #expect(fixture.relay.accepted == 2)
                first.release(discard: true)
                second.release(discard: true)
            }
        }
    }

    @Test
    func aQuietPeriodCatchesWhatComesAfterTheRelease() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.hygiene = .drain(
                WebSocketPoolDrainOptions(timeout: .seconds(20), quietPeriod: .milliseconds(200)))
            try await fixture.withPool(configuration) { pool in
                try await pool.warmUp(1)
                fixture.relay.change { $0.toClient.limitData = .init(bytes: 100_000, then: .silence) }
                try await pool.withConnection { socket in
                    try await socket.send("large")
                    await eventually { socket.wire.hasInboundResidue }
                }
                // Half a message is there and no more comes: longer than the quiet period, but not over.
                #expect(pool.statistics.counts.draining == 1)
                fixture.relay.change { $0.toClient.limitData = nil }
                #expect(try await pool.withConnection { try await $0.exchange("mine") } == .text("mine"))
                #expect(fixture.relay.accepted == 1 && pool.statistics.totals.drainsFailed == 0)
            }
        }
    }

    @Test
    func aMessageThatMustNotBeThrownAwayClosesTheConnection() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.hygiene = .drain(
                WebSocketPoolDrainOptions(timeout: .seconds(10), quietPeriod: .milliseconds(30)))
            configuration.isDisposable = { $0 != .text("second") }
            try await fixture.withPool(configuration) { pool in
                try await Self.litter(pool)
                #expect(try await pool.withConnection { try await $0.exchange("mine") } == .text("mine"))
                #expect(fixture.relay.accepted == 2 && pool.statistics.totals.drainsFailed == 1)
            }
        }
    }

    @Test
    func aConnectionThatIsNeverQuietIsClosedAtTheDrainsTimeout() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.hygiene = .drain(
                WebSocketPoolDrainOptions(timeout: .milliseconds(50), quietPeriod: .milliseconds(5)))
            try await fixture.withPool(configuration) { pool in
                let littered = try await pool.withConnection { socket in
                    _ = try await socket.exchange("a")
                    fixture.relay.change { $0.toClient.limitData = .init(bytes: 100_000, then: .silence) }
                    try await socket.send("large")
                    await eventually { socket.wire.hasInboundResidue }
                    return socket.id
                }
                await eventually { pool.statistics.totals.drainsFailed >= 1 }
                fixture.relay.change { $0.toClient.limitData = nil }
                let (reply, isOther) = try await pool.withConnection { socket in
                    (try await socket.exchange("mine"), socket.id != littered)
                }
                #expect(reply == .text("mine") && isOther)
            }
        }
    }

    @Test
    func halfAMessageIsALeftoverAsWell() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                try await pool.warmUp(1)
                fixture.relay.change { $0.toClient.limitData = .init(bytes: 100_000, then: .silence) }
                try await pool.withConnection { socket in
                    try await socket.send("large")
                    await eventually { socket.wire.hasInboundResidue }
                }
                fixture.relay.change { $0.toClient.limitData = nil }
                #expect(try await pool.withConnection { try await $0.exchange("mine") } == .text("mine"))
                #expect(fixture.relay.accepted == 2)
            }
        }
    }

    @Test
    func aMessageThatComesWhileTheConnectionIsIdleIsNobodys() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.expectsReplies = false
            try await fixture.withPool(configuration) { pool in
                try await pool.warmUp(1)
                fixture.relay.change { $0.toClient.limitData = .init(bytes: 0, then: .silence) }
                let former = try await pool.withConnection { socket in
                    try await socket.send("late")
                    return socket.wire
                }
                #expect(pool.statistics.counts.idle == 1)
                fixture.relay.change { $0.toClient.limitData = nil }
                await eventually { former.hasInboundResidue }
                #expect(try await pool.withConnection { try await $0.exchange("mine") } == .text("mine"))
                #expect(fixture.relay.accepted == 2)
            }
        }
    }

    /// A message handler, or a receiver that still waits, does not outlive its lease.
    @Test(arguments: [false, true])
    func aMessageHandlerOrAReceiverThatStillWaits(byHandler: Bool) async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.hygiene = .drain(WebSocketPoolDrainOptions(timeout: .seconds(10), quietPeriod: .zero))
            try await fixture.withPool(configuration) { pool in
                let straggler = try await pool.withConnection { socket -> Task<WebSocketMessage?, Never>? in
                    if byHandler {
                        socket.onMessage { _, _ in }
                        return nil
                    }
                    let task = Task { try? await socket.receive() }
                    await eventually { socket.wire.hasInboundResidue }
                    return task
                }
                #expect(try await pool.withConnection { try await $0.exchange("mine") } == .text("mine"))
                #expect(await straggler?.value == nil)
                #expect(fixture.relay.accepted == 2)
            }
        }
    }

    @Test(arguments: [false, true])
    func anAnswerThatABodyDidNotWaitForIsNotTheNextOnes(drains: Bool) async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            if drains {
                configuration.hygiene = .drain(
                    WebSocketPoolDrainOptions(timeout: .seconds(60), quietPeriod: .milliseconds(1)))
            }
            try await fixture.withPool(configuration) { pool in
                try await pool.warmUp(1)
                for round in 1...5 {
                    fixture.relay.change { $0.toClient.limitData = .init(bytes: 0, then: .silence) }
                    let gaveUp = try await pool.withConnection { socket in
                        try await socket.send("asked \(round)")
                        return try await socket.receive(within: .milliseconds(1)) == nil
                    }
                    #expect(gaveUp)
                    // The quiet period is over, and the answer is still missing.
                    if drains { #expect(pool.statistics.counts.draining == 1) }
                    fixture.relay.change { $0.toClient.limitData = nil }
                    #expect(
                        try await pool.withConnection { try await $0.exchange("mine \(round)") }
                            == .text("mine \(round)"))
                }
                #expect(fixture.relay.accepted == (drains ? 1 : 6))
            }
        }
    }

    @Test
    func whereMessagesAreNotAnsweredALeaseThatOnlySendsIsReused() async throws {
        try await withPoolFixture { fixture in
            for expects in [true, false] {
                var configuration = fixture.configuration(1)
                configuration.expectsReplies = expects
                let before = fixture.relay.accepted
                try await fixture.withPool(configuration) { pool in
                    for _ in 0..<3 { try await pool.withConnection { try await $0.send("silence") } }
                }
                #expect(fixture.relay.accepted - before == (expects ? 3 : 1))
            }
        }
    }

    @Test(
        "A socket that was kept throws after its release, and reaches nobody's conversation", arguments: [false, true])
    func kept(byScope: Bool) async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                let kept: WebSocketConnection
                if byScope {
                    kept = try await pool.withConnection { $0 }
                } else {
                    let lease = try await pool.acquire()
                    kept = try lease.socket
                    #expect(try await kept.exchange("a") == .text("a"))
                    lease.release()
                }
                let next = try await pool.acquire()
                let socket = try next.socket
                #expect(socket.id == kept.id && fixture.relay.accepted == 1)
                #expect(await webSocketError { try await kept.send("intruder") }?.code == .leaseEnded)
                #expect(await webSocketError { try await kept.send([1, 2, 3]) }?.code == .leaseEnded)
                #expect(await webSocketError { try await kept.receive() }?.code == .leaseEnded)
                #expect(await webSocketError { try await kept.receive(timeout: .seconds(1)) }?.code == .leaseEnded)
                #expect(await webSocketError { try await kept.ping() }?.code == .leaseEnded)
                #expect(await webSocketError { for try await _ in kept.messages {} }?.code == .leaseEnded)
                _ = try await kept.close()
                kept.abort()
                #expect(try await socket.exchange("mine") == .text("mine"))
                #expect(next.isValid && socket.state == .open)
                next.release()
            }
        }
    }

    @Test
    func withoutHygieneTheNextBorrowerGetsThemAsASubscriptionMayWant() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.hygiene = .none
            try await fixture.withPool(configuration) { pool in
                try await Self.litter(pool)
                #expect(try await pool.withConnection { try await $0.receive() } == .text("second"))
            }
        }
    }
}
