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
import WebSocketsTestKit

/// Topics whose brokers share them among themselves.
@Suite(.timeLimit(.minutes(3))) struct SeveralBrokerTests {
    private let engines = (0..<3).map { _ in WebSocketMemoryTopicEngine() }
    private var brokers: [any WebSocketTopicBroker] { engines.map { $0.broker() } }

    /// One topic of each engine.
    private func topics(_ prefix: String = "t") -> [String] {
        (0..<engines.count).map { place in
            let numbers = (0...).lazy.map { "\(prefix)\($0)" }
            return numbers.first { TopicName.place(of: $0, among: engines.count) == place }!
        }
    }

    @Test func eachTopicReachesAllProcessesOverItsBroker() async throws {
        try await withTopicNodes(sharing: [brokers, brokers]) { nodes in
            let client = try await nodes[0].connect()
            for topic in topics() { #expect(try await client.tell("+\(topic)") == "done") }
            try await eventually("all are confirmed") { nodes[0].topics.confirmedTopics == Set(topics()) }
            let other = try await nodes[1].connect()
            for topic in topics() {
                #expect(try await other.tell("!\(topic) hello") == "accepted")
                #expect(try await client.next() == "\(topic)||hello")
            }
            let figures = try #require(nodes[1].topics.brokerStatistics)
            #expect(figures.published == 3 && figures.accepted == 3 && figures.connects == 3 && figures.isConnected)
            #expect(nodes[0].topics.brokerName == "memory, memory, memory")
            // Each broker has its own part and nothing else.
            engines[1].isReachable = false
            engines[1].cutAll()
            try await eventually("one is away") {
                nodes.allSatisfy { $0.topics.brokerStatistics?.isConnected == false }
            }
            #expect(try await other.tell("!\(topics()[0]) still") == "accepted")
            #expect(try await client.next() == "\(topics()[0])||still")
            #expect(try await other.tell("!\(topics()[1]) lost") == "brokerUnavailable")
            #expect(nodes[0].topics.confirmedTopics == [topics()[0], topics()[2]])
            engines[1].isReachable = true
            try await eventually("the gap is told") { !nodes[0].events.gaps.isEmpty }
            #expect(nodes[0].events.gaps == [WebSocketTopicGap(topic: topics()[1], cause: .disconnected)])
        }
    }

    @Test func historiesAreRecoveredFromTheirBrokers() async throws {
        let rules = ["h:": WebSocketTopicRules(history: .init(messages: 100, age: .seconds(60)))]
        try await withTopicNodes(sharing: [brokers, brokers], rules: rules) { nodes in
            let publisher = try await nodes[0].connect()
            for topic in topics("h:") {
                let first = try await publisher.tell("!\(topic) 1")
                #expect(first.hasSuffix(":1"))
                #expect(try await publisher.tell("!\(topic) 2") != "brokerUnavailable")
                let client = try await nodes[1].connect()
                #expect(try await client.tell("?\(topic) \(first)") == "complete 1")
                #expect(try await client.nextText() == "2")
            }
        }
    }

    @Test func theTopicsOfOneConnectionGoWithItAtEachBroker() async throws {
        try await withTopicNodes(sharing: [brokers]) { nodes in
            let client = try await nodes[0].connect()
            for topic in topics() { #expect(try await client.tell("+\(topic)") == "done") }
            try await eventually("all are confirmed") { nodes[0].topics.confirmedTopics == Set(topics()) }
            #expect(nodes[0].topics.brokerStatistics?.topics == 3)
            try await client.socket.close()
            try await eventually("all are given up") { nodes[0].topics.confirmedTopics.isEmpty }
        }
    }

    /// One broker's messages fill the loop, so that another's find no room: each time that is told, whoever filled it.
    @Test func whatALoopDoesNotTakeIsToldEachTime() async throws {
        let (full, left) = (topics()[0], topics()[1])
        let text = String(repeating: "x", count: 40_000)
        try await withTopicNodes(sharing: [brokers, brokers]) { configuration in
            configuration.maximumLoopBytes = 64 << 10
        } _: { nodes in
            let client = try await nodes[0].connect()
            for topic in [full, left] { #expect(try await client.tell("+\(topic)") == "done") }
            try await eventually("both are confirmed") { nodes[0].topics.confirmedTopics == [full, left] }
            func overflowed() -> Int { nodes[0].topics.brokerStatistics?.overflowed ?? 0 }
            for round in 1...3 {
                let hold = Hold()
                defer { hold.isOver.store(true, ordering: .relaxed) }
                for loop in nodes[0].loops { hold.begin(loop) }
                try await eventually("the loops are busy") { hold.count.load(ordering: .relaxed) == 2 }
                for _ in 0..<2 { try await nodes[1].topics.publishConfirmed(.text(text), to: full) }
                try await eventually("one fits in") { overflowed() == round * 2 - 1 }
                try await nodes[1].topics.publishConfirmed(.text(text), to: left)
                try await eventually("the other broker's does not") { overflowed() == round * 2 }
                hold.isOver.store(true, ordering: .relaxed)
                #expect(try await client.next() == "\(full)||\(text)")
                let told = [full, left].map { WebSocketTopicGap(topic: $0, cause: .overflow) }
                try await eventually("both are told") { nodes[0].events.gaps.count == round * 2 }
                #expect(Set(nodes[0].events.gaps.suffix(2)) == Set(told))
            }
        }
    }

    @Test func noneIsThereTwice() throws {
        let broker = engines[0].broker()
        let error = try #require(throws: WebSocketError.self) { try WebSocketTopics(brokers: [broker, broker]) }
        #expect(error.code == .invalidConfiguration)
        #expect(error.message.contains("twice"))
    }

    @Test func theirNumberIsLimited() async throws {
        for count in [0, 65] {
            let error = try #require(throws: WebSocketError.self) {
                try WebSocketTopics(brokers: (0..<count).map { _ in engines[0].broker() })
            }
            #expect(error.code == .invalidConfiguration)
            #expect(error.message.contains("\(count)"))
        }
    }

    @Test func theyRunOnce() async throws {
        let topics = try WebSocketTopics(brokers: brokers)
        let run = Task { try await topics.run() }
        try await eventually("they run") { topics.brokerStatistics?.isConnected == true }
        let error = await #expect(throws: WebSocketError.self) { try await topics.run() }
        #expect(error?.code == .invalidConfiguration)
        #expect(topics.brokerStatistics?.isConnected == true)
        run.cancel()
        try await run.value
        #expect(topics.brokerStatistics?.isConnected == false)
    }
}

/// Keeps loops from doing anything.
private final class Hold: Sendable {
    let count = Atomic<Int>(0)
    let isOver = Atomic<Bool>(false)

    func begin(_ loop: WebSocketEventLoop) {
        loop.execute { [self] in
            count.wrappingAdd(1, ordering: .relaxed)
            while !isOver.load(ordering: .relaxed) { usleep(5_000) }
        }
    }
}
