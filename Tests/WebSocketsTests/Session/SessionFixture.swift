//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import SimulationSupport
import Testing
import WebSocketCore

@testable import WebSockets

/// A session on the fake server, in simulated time.
struct SessionFixture: Sendable {
    let session: WebSocketSession
    let server: FakeServer
    let simulation: Simulation

    var core: SessionCore { session.core }

    /// Lets time pass in small steps until something is so. The limit is in simulated time and costs nothing.
    func until(
        _ what: String, within limit: Duration = .seconds(3_600), sourceLocation: SourceLocation = #_sourceLocation,
        _ condition: () -> Bool
    ) async throws {
        let deadline = simulation.elapsed + limit
        while !condition() {
            try #require(simulation.elapsed < deadline, "\(what)", sourceLocation: sourceLocation)
            await simulation.pass(.milliseconds(5))
        }
    }

    func untilConnected(_ count: Int = 1, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        try await until("connected \(count) times", sourceLocation: sourceLocation) {
            session.statistics.connects >= count && session.state == .connected
        }
    }

    /// The next event that is not an alert.
    func next() async throws -> WebSocketSessionEvent? {
        while let event = try await session.core.take(messagesOnly: false) {
            if case .alert = event { continue }
            return event
        }
        return nil
    }

    /// Everything that has happened and was not taken.
    func drainEvents() async throws -> [WebSocketSessionEvent] {
        var events: [WebSocketSessionEvent] = []
        while let event = try await session.core.take(messagesOnly: false) { events.append(event) }
        return events
    }
}

/// Runs `body` beside a session, then shuts the session down. One seed is one trace; several are tried.
func withFakeSession(
    seeds: Range<UInt64> = 0..<10, expectsFailure: Bool = false, endpoints: Int = 1,
    _ change: @escaping @Sendable (inout WebSocketSessionConfiguration) -> Void = { _ in },
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: @escaping @Sendable (SessionFixture) async throws -> Void
) throws {
    for seed in seeds {
        try Simulation.run(seed: seed) { simulation in
            let server = FakeServer(simulation)
            defer { server.dismiss() }
            var configuration = WebSocketSessionConfiguration()
            configuration.logger.logLevel = .critical
            change(&configuration)
            let session = WebSocketSession(
                configuration: configuration, clock: simulation, seed: seed, name: "ws://fake.test/",
                endpointCount: endpoints, open: server.open)
            let fixture = SessionFixture(session: session, server: server, simulation: simulation)
            var failure: WebSocketError?
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await session.run() }
                let result: Result<Void, any Error>
                do { result = .success(try await body(fixture)) } catch { result = .failure(error) }
                failure = session.failure
                await session.shutDown()
                try await group.waitForAll()
                try result.get()
            }
            #expect(
                (failure != nil) == expectsFailure, "seed \(seed): \(String(describing: failure))",
                sourceLocation: sourceLocation)
            let statistics = session.statistics
            #expect(statistics.isBalanced, "seed \(seed): \(statistics)", sourceLocation: sourceLocation)
            #expect(statistics.messagesPending == 0, "seed \(seed)", sourceLocation: sourceLocation)
            #expect(
                statistics.disconnects == statistics.proactiveDisconnects + statistics.reactiveDisconnects,
                sourceLocation: sourceLocation)
            for connection in server.connections {
                #expect(connection.hasEnded, "seed \(seed): a connection was left open", sourceLocation: sourceLocation)
            }
        }
    }
}
