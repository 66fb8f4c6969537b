//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import SimulationSupport
import Testing
import WebSocketCore

@testable import WebSockets

/// The session's part of the cancellation matrix K: backoff, resubscribing and stopping; before, during, after, twice.
@Suite struct SessionCancellationTests {
    enum Point: String, CaseIterable { case backoff, resubscribing, stopping }
    enum Moment: String, CaseIterable { case before, during, after, twice }

    @Test(arguments: Point.allCases, Moment.allCases)
    func whateverIsCancelledRunReturnsAndNothingIsLeft(point: Point, moment: Moment) throws {
        for seed in 0..<10 as Range<UInt64> {
            try Simulation.run(seed: seed) { simulation in
                let server = FakeServer(simulation)
                defer { server.dismiss() }
                var configuration = WebSocketSessionConfiguration()
                configuration.logger.logLevel = .critical
                configuration.reconnect.strategy = .fixed(.seconds(100))
                if point == .resubscribing {
                    // The server never answers, so the replay goes on for as long as it may.
                    configuration.subscriptions.reply = { _, _ in nil }
                    configuration.subscriptions.delivery = .afterAnswers
                }
                let session = WebSocketSession(
                    configuration: configuration, clock: simulation, seed: seed, name: "ws://fake.test/",
                    open: server.open)
                if point == .resubscribing { try await session.subscribe("a") }
                let fixture = SessionFixture(session: session, server: server, simulation: simulation)
                if point == .stopping {
                    try await stop(fixture, at: moment)
                } else {
                    try await run(fixture, to: point, cancelled: moment)
                }
                #expect(session.state == .closed)
                let attempts = server.attempts.count
                await simulation.pass(.seconds(1_000))
                #expect(server.attempts.count == attempts, "something came back")
                for connection in server.connections { #expect(connection.hasEnded) }
                #expect(session.statistics.isBalanced && session.statistics.messagesPending == 0)
            }
        }
    }

    /// Cancels the task of `run`.
    private func run(_ fixture: SessionFixture, to point: Point, cancelled moment: Moment) async throws {
        let (session, server, simulation) = (fixture.session, fixture.server, fixture.simulation)
        try await withThrowingTaskGroup(of: Void.self) { group in
            if moment == .before { group.cancelAll() }
            group.addTask { try await session.run() }
            if moment != .before {
                try await fixture.until("open") { server.connections.count == 1 }
                switch (point, moment) {
                case (.backoff, _):
                    try await fixture.untilConnected()
                    server.last.cut()
                    try await fixture.until("waiting") { session.state == .reconnecting }
                    if moment == .after { try await fixture.untilConnected(2) }
                case (_, .after): try await fixture.untilConnected()
                default:
                    try await fixture.until("sent") { server.last.texts.count == 1 }
                    #expect(!session.isConnected)
                }
            }
            let before = simulation.elapsed
            group.cancelAll()
            if moment == .twice { group.cancelAll() }
            try await group.waitForAll()
            #expect(simulation.elapsed - before <= .seconds(11))
            if moment == .before { for connection in server.connections { #expect(connection.wasAborted) } }
        }
    }

    /// Cancels the task that shuts the session down. The grace ends, the shutdown does not.
    private func stop(_ fixture: SessionFixture, at moment: Moment) async throws {
        let (session, server, simulation) = (fixture.session, fixture.server, fixture.simulation)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await session.run() }
            try await fixture.untilConnected()
            if moment != .after { server.last.setAnswersClose(false) }
            let before = simulation.elapsed
            await withTaskGroup(of: Void.self) { stopping in
                if moment == .before { stopping.cancelAll() }
                stopping.addTask { await session.shutDown() }
                if moment == .during || moment == .twice {
                    await simulation.pass(.milliseconds(100))
                    #expect(session.state == .closing)
                    stopping.cancelAll()
                    if moment == .twice { stopping.cancelAll() }
                }
                await stopping.waitForAll()
                stopping.cancelAll()
            }
            #expect(simulation.elapsed - before <= .seconds(11))
            try await group.waitForAll()
        }
    }
}
