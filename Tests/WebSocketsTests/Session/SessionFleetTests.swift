//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import SimulationSupport
import Testing
import WebSocketCore

@testable import WebSockets

@Suite(.serialized, .timeLimit(.minutes(5)))
struct SessionFleetTests {
    /// S2: each with its own seed, as sessions in as many processes have.
    /// S2: a thousand sessions that lose one server come back spread, and each comes back.
    @Test
    func aThousandSessionsThatLoseOneServerComeBackSpread() throws {
        let count = TestDepth.choose(1_000, reduced: 400)
        try Simulation.run(seed: 2) { simulation in
            let server = FakeServer(simulation)
            defer { server.dismiss() }
            var configuration = WebSocketSessionConfiguration()
            configuration.logger.logLevel = .critical
            configuration.reconnect.strategy = .fullJitter(base: .seconds(20), maximum: .seconds(60))
            let sessions = (0..<count).map { number in
                WebSocketSession(
                    configuration: configuration, clock: simulation, seed: UInt64(number), name: "ws://fake.test/",
                    open: server.open)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for session in sessions { group.addTask { try await session.run() } }
                while !sessions.allSatisfy(\.isConnected) { await simulation.pass(.milliseconds(10)) }
                let lost = simulation.elapsed
                for connection in server.connections { connection.cut() }
                while !sessions.allSatisfy({ $0.statistics.connects == 2 }) { await simulation.pass(.seconds(1)) }

                var rates = [Int](repeating: 0, count: 20)
                for attempt in server.attempts.dropFirst(count) {
                    rates[min(Int((attempt - lost) / .seconds(1)), 19)] += 1
                }
                #expect(rates.reduce(0, +) == count)
                // Attempts in the worst second, against twice the mean of all.
                #expect(rates.max()! <= 2 * count / rates.count, "\(rates)")
                #expect(sessions.allSatisfy { $0.statistics.failedAttempts == 0 && $0.statistics.gaps == 1 })
                for session in sessions { await session.shutDown() }
                try await group.waitForAll()
            }
        }
    }
}
