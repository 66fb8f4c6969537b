//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSocketCore
import WebSockets
import WebSocketsTestKit

/// Topics of several processes, which are several `WebSocketTopics` here, joined in memory.
@Suite(.timeLimit(.minutes(3))) struct SharedTopicTests {
    private let engine = WebSocketMemoryTopicEngine()
    private static let history: [String: WebSocketTopicRules] = [
        "h:": .init(history: .init(messages: 100, age: .seconds(60))), "o:": .init(order: .topic),
    ]

    private func brokers(_ count: Int) -> [any WebSocketTopicBroker] { (0..<count).map { _ in engine.broker() } }

    @Test func whatIsPublishedReachesSubscribersOfAllProcesses() async throws {
        try await withTopicNodes(brokers(3)) { nodes in
            var subscribers: [TopicClient] = []
            for node in nodes { subscribers.append(try await node.subscriber(of: "news")) }
            let publisher = try await nodes[1].connect()
            #expect(try await publisher.tell("+news") == "done")
            for number in 0..<20 { #expect(try await publisher.tell(">news \(number)") == "done") }
            for number in 0..<20 {
                for subscriber in subscribers { #expect(try await subscriber.next() == "news||\(number)") }
            }
            // The sender is left out, and nothing comes twice.
            #expect(try await subscribers[0].tell(">news last") == "done")
            #expect(try await publisher.nextText() == "last")
            #expect(try await subscribers[1].nextText() == "last")
            #expect(try await subscribers[2].nextText() == "last")
            try await eventually("all is settled") { nodes[1].topics.brokerStatistics?.waiting == 0 }
            #expect(nodes[1].topics.brokerStatistics?.accepted == 20)
            #expect(nodes.allSatisfy { $0.events.gaps.isEmpty })
        }
    }

    @Test func aPublicationReachesASubscriptionOfTheSameTask() async throws {
        try await withTopicNodes(brokers(2), rules: Self.history) { nodes in
            for topic in ["plain", "o:x", "h:x"] {
                let client = try await nodes[0].connect()
                let node = nodes[0]
                #expect(try await client.tell("-nothing") == "done")
                let socket = try #require(node.server.connections.last)
                node.topics.subscribe(socket, to: topic)
                node.topics.publish("first", to: topic)
                #expect(try await client.nextText() == "first")
                try await client.socket.close()
            }
        }
    }

    @Test func subscribersOfThisProcessDoNotWaitForTheBroker() async throws {
        engine.isReachable = false
        try await withTopicNodes(brokers(2), waits: false) { nodes in
            let client = try await nodes[0].connect()
            #expect(try await client.tell("+news") == "done")
            #expect(try await client.tell(">news not for me") == "done")
            nodes[0].topics.publish("now", to: "news")
            #expect(try await client.nextText() == "now")
            #expect(try await client.tell("!news confirmed") == "brokerUnavailable")
            #expect(try await client.nextText() == "confirmed")
            try await eventually("what waited is dropped") { nodes[0].topics.brokerStatistics?.dropped == 3 }
            engine.isReachable = true
            try await eventually("it is back") { nodes[0].topics.confirmedTopics == ["news"] }
            #expect(try await client.tell("!news confirmed") == "accepted")
        }
    }

    @Test func aCutIsToldOnceForEachTopicAndMended() async throws {
        try await withTopicNodes(brokers(2)) { nodes in
            let first = try await nodes[0].subscriber(of: "a")
            _ = try await first.tell("+b")
            try await eventually("both are confirmed") { nodes[0].topics.confirmedTopics == ["a", "b"] }
            for round in 1...3 {
                engine.cutAll()
                try await eventually("gaps are told") { nodes[0].events.gaps.count == 2 * round }
                let gaps = nodes[0].events.gaps.suffix(2)
                #expect(Set(gaps.compactMap(\.topic)) == ["a", "b"])
                #expect(gaps.allSatisfy { $0.cause == .disconnected })
                let other = try await nodes[1].connect()
                #expect(try await other.tell("!a round \(round)") == "accepted")
                #expect(try await first.nextText() == "round \(round)")
            }
            #expect(nodes[1].events.gaps.isEmpty)
        }
    }

    @Test func aHoleIsClosedFromHistory() async throws {
        try await withTopicNodes(brokers(2), rules: Self.history) { nodes in
            let client = try await nodes[0].subscriber(of: "h:x")
            let other = try await nodes[1].connect()
            var expected: [String] = []
            for round in 0..<5 {
                if round == 2 { engine.lose(2) }
                if round == 3 { engine.cutAll() }
                for number in 0..<4 {
                    #expect(try await other.tell("!h:x \(round).\(number)") != "brokerUnavailable")
                    expected.append("\(round).\(number)")
                }
            }
            var offset = 0
            for text in expected {
                offset += 1
                let message = try await client.next()
                #expect(message.hasSuffix(":\(offset)|\(text)"))
            }
            #expect(nodes[0].events.gaps.isEmpty)
            #expect((nodes[0].topics.brokerStatistics?.recovered ?? 0) >= 2)
        }
    }

    @Test func aClientGoesOnAtAnotherProcessWhereItWas() async throws {
        try await withTopicNodes(brokers(3), rules: Self.history) { nodes in
            let publisher = try await nodes[2].connect()
            let first = try await nodes[0].connect()
            #expect(try await first.tell("?h:x").hasPrefix("new "))
            _ = try await publisher.tell("!h:x 1")
            let message = try await first.next()
            #expect(message.hasSuffix("|1"))
            let position = message.split(separator: "|")[1]
            try await first.socket.close()
            for number in 2...6 { _ = try await publisher.tell("!h:x \(number)") }
            let second = try await nodes[1].connect()
            #expect(try await second.tell("?h:x \(position)") == "complete 5")
            _ = try await publisher.tell("!h:x 7")
            for number in 2...7 { #expect(try await second.next().hasSuffix(":\(number)|\(number)")) }
            #expect(try await second.tell("-h:x") == "done")
        }
    }

    @Test func whatCannotBeRecoveredIsSaid() async throws {
        try await withTopicNodes(brokers(2), rules: Self.history, change: { $0.maximumRecoveredMessages = 10 }) {
            nodes in
            let publisher = try await nodes[1].connect()
            func recover(_ position: some StringProtocol) async throws -> String {
                let client = try await nodes[0].connect()
                let answer = try await client.tell("?h:x \(position)")
                // Live messages follow in any case.
                _ = try await publisher.tell("!h:x live")
                let next = try await client.nextText()
                #expect(answer.hasPrefix("complete") || next == "live")
                try await client.socket.close()
                return answer
            }
            let first = try await publisher.tell("!h:x 1")
            let epoch = first.prefix { $0 != ":" }
            #expect(try await recover("other:1") == "incomplete epochChanged")
            #expect(try await recover("\(epoch):99") == "incomplete epochChanged")
            for _ in 0..<12 { _ = try await publisher.tell("!h:x more") }
            #expect(try await recover(first) == "incomplete tooMany")
            engine.trim("h:x", to: 2)
            #expect(try await recover(first) == "incomplete tooOld")
            engine.restart()
            #expect(try await recover(first) == "incomplete epochChanged")
            let client = try await nodes[0].connect()
            #expect(try await client.tell("?plain 1:1") == "invalidConfiguration")
        }
    }

    @Test func anEngineThatDeliversTwiceIsNotNoticed() async throws {
        engine.isDoubling = true
        try await withTopicNodes(brokers(2), rules: Self.history) { nodes in
            for topic in ["plain", "o:x", "h:x"] {
                let near = try await nodes[0].subscriber(of: topic)
                let far = try await nodes[1].subscriber(of: topic)
                let publisher = try await nodes[0].connect()
                for number in 0..<10 { _ = try await publisher.tell("!\(topic) \(number)") }
                for number in 0..<10 {
                    #expect(try await near.nextText() == "\(number)")
                    #expect(try await far.nextText() == "\(number)")
                }
            }
            #expect((nodes[1].topics.brokerStatistics?.duplicates ?? 0) >= 30)
        }
    }

    @Test func aTopicOfOneOrderIsTheSameEverywhere() async throws {
        try await withTopicNodes(brokers(2), rules: Self.history) { nodes in
            let near = try await nodes[0].subscriber(of: "o:x")
            let far = try await nodes[1].subscriber(of: "o:x")
            for number in 0..<200 {
                nodes[0].topics.publish(.text("a\(number)"), to: "o:x")
                nodes[1].topics.publish(.text("b\(number)"), to: "o:x")
            }
            var texts: [[String]] = [[], []]
            for _ in 0..<400 {
                texts[0].append(try await near.nextText())
                texts[1].append(try await far.nextText())
            }
            #expect(texts[0] == texts[1])
            #expect(texts[0].filter { $0.hasPrefix("a") } == (0..<200).map { "a\($0)" })
        }
    }

    @Test func theLastSubscriberTakesTheSubscriptionAlong() async throws {
        try await withTopicNodes(brokers(1)) { nodes in
            let first = try await nodes[0].subscriber(of: "a")
            let second = try await nodes[0].subscriber(of: "a")
            #expect(engine.subscriptionCount(of: "a") == 1)
            _ = try await first.tell("-a")
            #expect(nodes[0].topics.brokerStatistics?.topics == 1)
            try await second.socket.close()
            try await eventually("it is given up") { engine.subscriptionCount(of: "a") == 0 }
            #expect(nodes[0].topics.brokerStatistics?.topics == 0)
        }
    }

    @Test func whatTheBrokerRefusesIsAnAlert() async throws {
        let broker = engine.broker()
        broker.refuse("secret")
        try await withTopicNodes([broker], rules: ["secret": Self.history["h:"]!]) { nodes in
            let client = try await nodes[0].connect()
            #expect(try await client.tell("?secret a:1").hasPrefix("incomplete unavailable"))
            #expect(nodes[0].events.alerts.map(\.code) == [.brokerRefused])
        }
    }

    @Test func sizesAndNamesHaveLimits() async throws {
        try await withTopicNodes(brokers(1), rules: Self.history, change: { $0.maximumMessageBytes = 10 }) { nodes in
            let client = try await nodes[0].connect()
            #expect(try await client.tell("!a 0123456789") == "accepted")
            #expect(try await client.tell("!a 01234567890") == "messageTooBig")
            #expect(try await client.tell("!} no") == "invalidConfiguration")
            #expect(nodes[0].topics.brokerStatistics?.dropped == 2)
        }
    }

    @Test func whatIsNotSharedStays() async throws {
        try await withTopicNodes(brokers(2), rules: ["own:": .init(isShared: false)]) { nodes in
            let near = try await nodes[0].connect()
            let far = try await nodes[1].connect()
            _ = try await near.tell("+own:a")
            _ = try await far.tell("+own:a")
            nodes[0].topics.publish("here", to: "own:a")
            #expect(try await near.nextText() == "here")
            _ = try await far.tell("+shared")
            try await eventually("it is confirmed") { nodes[1].topics.confirmedTopics == ["shared"] }
            nodes[0].topics.publish("there", to: "shared")
            #expect(try await far.nextText() == "there")
            #expect(nodes[0].topics.brokerStatistics?.published == 1)
        }
    }

    @Test func theSequenceOfEventsEndsWithItsTopics() async throws {
        for broker in [engine.broker(), nil] {
            var topics = try broker.map { try WebSocketTopics(broker: $0) } ?? WebSocketTopics()
            let events = topics.events
            topics = WebSocketTopics()
            for await event in events { Issue.record("\(event)") }
            #expect(topics.brokerName == nil)
        }
    }

    @Test func settingsThatCannotBeUsedAreNamed() async throws {
        func message(_ change: (inout WebSocketTopicConfiguration) -> Void) -> String {
            var configuration = WebSocketTopicConfiguration()
            change(&configuration)
            do throws(WebSocketError) {
                _ = try WebSocketTopics(broker: engine.broker(), configuration: configuration)
                return ""
            } catch {
                return error.message
            }
        }
        #expect(message { $0.maximumWaitingBytes = 0 }.contains("maximumWaitingBytes is 0"))
        #expect(message { $0.recoveryTimeout = .zero }.contains("recoveryTimeout"))
        #expect(message { $0.whenAway = .buffer(.seconds(601)) }.contains("whenAway.buffer"))
        #expect(
            message { $0.rules = ["a": .init(history: .init(messages: 0, age: .seconds(9)))] }.contains("1...10000"))
        #expect(message { $0.rules = ["a": .init(history: .init(messages: 1, age: .zero))] }.contains("24 h"))
        let topics = try WebSocketTopics(broker: engine.broker())
        let running = Task { try await topics.run() }
        try await eventually("it runs") { topics.brokerStatistics?.isConnected == true }
        await #expect(throws: WebSocketError.self) { try await topics.run() }
        running.cancel()
        try await running.value
        #expect(topics.brokerStatistics?.isConnected == false)
        // Whoever publishes then is told all the same.
        await #expect(throws: WebSocketError.self) { try await topics.publishConfirmed("nobody", to: "a") }
    }
}

@Suite(.timeLimit(.minutes(2))) struct TopicBrokerChecksTests {
    @Test func theBrokerInMemoryPassesTheChecks() async throws {
        let engine = WebSocketMemoryTopicEngine()
        #expect(try await WebSocketTopicBrokerChecks { engine.broker() }.run() == [])
    }

    @Test func aBrokerThatDeliversTwiceDoesNot() async throws {
        let engine = WebSocketMemoryTopicEngine()
        engine.isDoubling = true
        #expect(try await !WebSocketTopicBrokerChecks(patience: .seconds(1)) { engine.broker() }.run().isEmpty)
    }
}
