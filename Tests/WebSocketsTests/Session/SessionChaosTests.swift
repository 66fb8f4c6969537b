//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketCore

@testable import WebSockets

/// A venue that does everything wrong that venues do, for a minute, against default settings: what is lost is told, nothing
/// comes twice, and the sums agree.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct SessionChaosTests {
    /// Sends numbered deltas to each connection, as long as it is subscribed.
    private final class Venue: Sendable {
        private struct State {
            var subscribers: [FakeConnection] = []
            var next = 0
            var orders: [String: Int] = [:]
        }
        private let state = Mutex(State())

        var orders: [String: Int] { state.withLock { $0.orders } }
        func subscribe(_ connection: FakeConnection) { state.withLock { $0.subscribers.append(connection) } }
        func take(_ order: String) { state.withLock { $0.orders[order, default: 0] += 1 } }
        func tick() {
            let (number, subscribers) = state.withLock { state in
                state.next += 1
                state.subscribers.removeAll { $0.hasEnded }
                return (state.next, state.subscribers)
            }
            for subscriber in subscribers { subscriber.push(.text("\(number)")) }
        }
        func dismiss() { state.withLock { $0.subscribers = [] } }
    }

    @Test(arguments: [false, true]) func theLedgersAreExact(isIdempotent: Bool) throws {
        try withFakeSession(
            seeds: 0..<8,
            { configuration in
                configuration.reconnect.strategy = .fullJitter(base: .milliseconds(100), maximum: .seconds(1))
                configuration.reconnect.maximumAttempts = nil
                configuration.outboundQueue = 1_000
                configuration.maximumConnectionAge = .seconds(17)
                configuration.makesBeforeBreaking = true
                configuration.answer = { $0 == .text("ping") ? .text("pong") : nil }
                configuration.subscriptions.reply = { message, channels in
                    message == .text("ok") ? channels.first.map { .accepted($0) } : nil
                }
            }
        ) { fixture in
            let session = fixture.session
            let venue = Venue()
            defer { venue.dismiss() }
            fixture.server.onConnect { $0.setPongsBehindMessages() }
            fixture.server.onMessage { connection, message in
                guard case .text(let text) = message else { return }
                if text.contains("subscribe") {
                    connection.say("ok")
                    venue.subscribe(connection)
                } else if text != "pong" {
                    venue.take(text)
                }
            }
            try await session.subscribe("deltas")
            try await fixture.untilConnected()
            let isOver = Box(false)
            let outcomes = Box<[String: WebSocketSendOutcome]>([:])
            let ledger = Box(SessionLedger())
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for try await event in session.events { ledger.change { $0.take(event) } }
                }
                group.addTask {
                    var orders = 0
                    while !isOver.value {
                        orders += 1
                        let order = "order \(orders)"
                        if let outcome = try? await session.sendConfirmed(.text(order), isIdempotent: isIdempotent) {
                            outcomes.change { $0[order] = outcome }
                        }
                        await fixture.simulation.pass(.milliseconds(20))
                    }
                }
                group.addTask {
                    var number = 0
                    while !isOver.value {
                        number += 1
                        venue.tick()
                        if number % 200 == 0 { fixture.server.connections.last?.say("ping") }
                        await fixture.simulation.pass(.milliseconds(5))
                    }
                }
                for _ in 0..<80 {
                    await fixture.simulation.pass(.milliseconds(Int64(200 + fixture.simulation.random(900))))
                    try await Self.mischief(fixture, session)
                }
                fixture.server.answer()
                try await fixture.until("a calm end") { session.state == .connected }
                isOver.change { $0 = true }
                try await fixture.until("everything has its outcome") { session.statistics.messagesPending == 0 }
                await session.shutDown()
                try await group.waitForAll()
            }
            let statistics = session.statistics
            let result = ledger.value
            #expect(result.untold == 0 && result.doubled == 0, "\(result) \(statistics)")
            #expect(result.delivered > 1_000 && statistics.renewals > 0 && statistics.reactiveDisconnects > 0)
            #expect(statistics.isBalanced && statistics.messagesDropped == 0)
            #expect(statistics.gaps == result.gaps && statistics.renewals == result.renewals, "\(result) \(statistics)")
            #expect(statistics.connects == result.connects + result.renewals, "\(result) \(statistics)")
            #expect(statistics.disconnects == statistics.proactiveDisconnects + statistics.reactiveDisconnects)
            // Every connection that was opened is accounted for.
            #expect(statistics.connects + statistics.failedAttempts <= fixture.server.attempts.count)
            let arrived = venue.orders
            for (order, outcome) in outcomes.value {
                if outcome == .written, !isIdempotent { #expect(arrived[order] == 1, "\(order)") }
                if outcome == .notSent { #expect(arrived[order] == nil, "\(order)") }
            }
            if !isIdempotent { #expect(arrived.values.allSatisfy { $0 == 1 }) }
        }
    }

    private static func mischief(_ fixture: SessionFixture, _ session: WebSocketSession) async throws {
        let busy = WebSocketError(
            .handshakeRejected, "the server answered 503", response: .init(status: 503, headers: [.retryAfter: "1"]))
        switch fixture.simulation.random(7) {
        case 0: await session.kill()
        case 1: fixture.server.last.cut()
        case 2: fixture.server.last.close(.serviceRestart)
        case 3: try? session.renew()
        case 4:
            fixture.server.answer(.refuse(busy))
            fixture.server.last.cut()
        case 5:
            fixture.server.last.setAnswersClose(false)
            try? session.renew()
        default: try? await session.disconnect(reconnectAfter: .milliseconds(300))
        }
    }
}
