//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Synchronization
import Testing
import WebSocketCore
import WebSockets

/// The link to a broker lives on a loop, and that may be the loop of a connection too.
@Suite(.timeLimit(.minutes(2))) struct TopicOrderTests {
    @Test func whatIsOnItsWayToALoopIsNotOvertakenFromTheLoop() async throws {
        let broker = HandBroker()
        try await withTopicNodes([broker]) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            let loop = try #require(nodes[0].server.connections.first).eventLoop
            let events = try #require(broker.events)
            for round in 0..<50 {
                let gate = Gate()
                loop.execute {
                    gate.isHeld.store(true, ordering: .releasing)
                    while !gate.mayGoOn.load(ordering: .acquiring) { usleep(100) }
                    events.received([WebSocketTopicDelivery(topic: "a", message: .text("\(round) second"))])
                }
                try await eventually("the loop is held") { gate.isHeld.load(ordering: .acquiring) }
                events.received([WebSocketTopicDelivery(topic: "a", message: .text("\(round) first"))])
                gate.mayGoOn.store(true, ordering: .releasing)
                #expect(try await client.nextText() == "\(round) first")
                #expect(try await client.nextText() == "\(round) second")
            }
        }
    }
}

private final class Gate: Sendable {
    let isHeld = Atomic<Bool>(false)
    let mayGoOn = Atomic<Bool>(false)
}

/// A broker whose events the test tells itself.
private final class HandBroker: WebSocketTopicBroker {
    let features: WebSocketTopicBrokerFeatures = []
    let name = "hand"
    private let state = Mutex<WebSocketTopicBrokerEvents?>(nil)

    var events: WebSocketTopicBrokerEvents? { state.withLock { $0 } }

    func run(_ events: WebSocketTopicBrokerEvents) async {
        state.withLock { $0 = events }
        events.connected(generation: 1)
        while !Task.isCancelled { try? await Task.sleep(for: .milliseconds(20)) }
        events.disconnected(WebSocketError(.shutDown, "the topics were stopped"))
        // They keep the router, which keeps this.
        state.withLock { $0 = nil }
    }

    func subscribe(_ topics: [WebSocketTopicInterest]) {
        guard let events else { return }
        // Not before this call returns.
        Task { events.subscribed(topics.map { WebSocketTopicConfirmation(topic: $0.topic) }) }
    }

    func unsubscribe(_ topics: [String]) {}
    func publish(_ publications: [WebSocketTopicPublication]) {}

    func history(
        of topic: String, after: WebSocketTopicPosition?, limit: Int
    ) async throws(WebSocketError) -> WebSocketTopicHistory {
        throw WebSocketError(.brokerUnavailable, "there is none")
    }
}
