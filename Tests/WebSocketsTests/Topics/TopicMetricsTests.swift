//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
import LoopbackSupport
import MetricsTestKit
import Testing
import WebSocketCore
import WebSockets
import WebSocketsTestKit

@Suite(.timeLimit(.minutes(3))) struct TopicMetricsTests {
    private let engine = WebSocketMemoryTopicEngine()
    private let metrics = TestMetrics()

    private func meter(_ name: String) -> Double? { try? metrics.expectMeter("rooms_\(name)").lastValue }
    private func count(_ name: String, _ dimensions: (String, String)...) -> Int64? {
        try? metrics.expectCounter("rooms_\(name)", dimensions).totalValue
    }

    private func withNode(
        every interval: Duration, _ body: (TopicNode) async throws -> Void
    ) async throws {
        let observers = [WebSocketTopicMetrics(label: "rooms", factory: metrics)]
        try await withTopicNodes([engine.broker()]) { configuration in
            configuration.observers = observers
            configuration.observationInterval = interval
            configuration.maximumMessageBytes = 8
        } _: { nodes in
            try await body(nodes[0])
        }
    }

    @Test func whatHappensIsToldAtOnceAndWhatIsCountedAtTheEnd() async throws {
        try await withNode(every: .seconds(600)) { node in
            let client = try await node.subscriber(of: "a")
            #expect(meter("connected") == 1)
            #expect(try await client.tell("!a one") == "accepted")
            #expect(try await client.tell("!a too long for this") == "messageTooBig")
            try await eventually("its echo has come") { node.topics.brokerStatistics?.own == 1 }
            engine.cutAll()
            try await eventually("the gap is told") { node.events.gaps.count == 1 }
            #expect(count("gaps", ("cause", "disconnected")) == 1)
            #expect(count("connects") == 2)
            #expect(meter("connected") == 1)
            #expect(count("published") == 0)
            engine.isReachable = false
            engine.cutAll()
            try await eventually("the broker is away") { node.topics.brokerStatistics?.isConnected == false }
            try await eventually("that is shown") { meter("connected") == 0 }
        }
        #expect(count("published") == 2)
        #expect(count("settled", ("outcome", "accepted")) == 1)
        #expect(count("settled", ("outcome", "dropped")) == 1)
        #expect(count("settled", ("outcome", "unknown")) == 0)
        #expect(count("received") == 1)
        #expect(count("left_out", ("reason", "own")) == 1)
        #expect(count("left_out", ("reason", "duplicate")) == 0)
        #expect(meter("connected") == 0)
    }

    @Test func whatIsCountedIsToldAgainAndAgain() async throws {
        try await withNode(every: .milliseconds(100)) { node in
            let client = try await node.subscriber(of: "a")
            for round in 1...3 {
                #expect(try await client.tell("!a \(round)") == "accepted")
                try await eventually("it is counted") { count("settled", ("outcome", "accepted")) == Int64(round) }
            }
            try await eventually("the topic is shown") { meter("topics") == 1 }
            #expect(try await client.tell("-a") == "done")
            try await eventually("the topic is gone") { meter("topics") == 0 }
            #expect(count("published") == 3)
        }
    }
}
#endif
