//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSockets

/// What every adapter of an engine must do, as checks that a test of it runs:
///
/// ```swift
/// let failures = try await WebSocketTopicBrokerChecks { MyBroker(url: url) }.run()
/// #expect(failures == [])
/// ```
///
/// They use topics whose names begin with a random word, so that they can run beside others.
public struct WebSocketTopicBrokerChecks: Sendable {
    private let make: @Sendable () async throws -> any WebSocketTopicBroker
    private let patience: Duration

    /// Checks for brokers of an engine.
    ///
    /// - Parameters:
    ///   - patience: How long an answer may take. Default 10 s.
    ///   - make: Makes a broker, connected to the same engine each time.
    public init(
        patience: Duration = .seconds(10), make: @escaping @Sendable () async throws -> any WebSocketTopicBroker
    ) {
        self.make = make
        self.patience = patience
    }

    /// Runs all of them. Returns what is wrong, one sentence each; nothing when all is well.
    public func run() async throws -> [String] {
        var failures: [String] = []
        let first = Probe(try await make(), patience)
        let second = Probe(try await make(), patience)
        let running = [first.run(), second.run()]
        let checks: [(String, (Probe, Probe) async throws -> String?)] = [
            ("connecting", Self.connects), ("publishing", Self.publishes), ("order", Self.keepsOrder),
            ("a subscription before a publication", Self.hearsItself), ("unsubscribing", Self.unsubscribes),
            ("subscribing again", Self.confirmsAgain), ("many topics", Self.subscribesMany),
        ]
        let historyChecks: [(String, (Probe, Probe) async throws -> String?)] = [
            ("positions", Self.numbers), ("reading a history", Self.reads), ("publishing again", Self.knowsRepeats),
        ]
        let countChecks: [(String, (Probe, Probe) async throws -> String?)] = [("counts", Self.counts)]
        let features = first.broker.features
        let due =
            checks + (features.contains(.history) ? historyChecks : [])
            + (features.contains(.counts) ? countChecks : [])
        for (name, check) in due {
            if let problem = try await check(first, second) { failures.append("\(name): \(problem)") }
        }
        for task in running {
            task.cancel()
            await task.value
        }
        if first.isConnected || second.isConnected { failures.append("ending: no `disconnected` was told") }
        return failures
    }

    // MARK: Without history

    private static func connects(_ first: Probe, _ second: Probe) async throws -> String? {
        for probe in [first, second] {
            guard await probe.waits({ $0.isConnected }) else { return "`connected` was not told" }
        }
        return nil
    }

    private static func publishes(_ first: Probe, _ second: Probe) async throws -> String? {
        let topic = first.newTopic()
        second.broker.subscribe([.init(topic: topic)])
        guard await second.waits({ $0.confirmed[topic] == 1 }) else { return "a subscription was not confirmed" }
        let messages: [WebSocketMessage] = [
            "text ä", "", .binary([]), .binary([0xF5, 0, 255, 13, 10]), .binary(Array(repeating: 9, count: 200_000)),
        ]
        let publications = messages.map { first.publication($0, topic) }
        first.broker.publish(publications)
        guard await second.waits({ $0.received.filter { $0.topic == topic }.count >= messages.count }) else {
            return "not every message came"
        }
        for (delivery, publication) in zip(second.received(topic), publications) {
            guard delivery.message == publication.message, delivery.origin?.number == publication.id,
                delivery.origin?.publisher == publication.publisher
            else { return "\(publication.message) came as \(delivery.message), or from another node" }
        }
        guard await first.waits({ state in publications.allSatisfy { state.settled[$0.id] == 1 } }) else {
            return "a publication was not settled, or not once"
        }
        return nil
    }

    private static func keepsOrder(_ first: Probe, _ second: Probe) async throws -> String? {
        let topic = first.newTopic()
        second.broker.subscribe([.init(topic: topic)])
        guard await second.waits({ $0.confirmed[topic] == 1 }) else { return "a subscription was not confirmed" }
        let publications = (0..<1_000).map { first.publication(.text("\($0)"), topic) }
        for start in stride(from: 0, to: 1_000, by: 50) {
            first.broker.publish(Array(publications[start..<start + 50]))
        }
        guard await second.waits({ $0.received.filter { $0.topic == topic }.count >= 1_000 }) else {
            return "\(second.received(topic).count) of 1000 messages came"
        }
        let numbers = second.received(topic).compactMap { $0.origin?.number }
        return numbers == publications.map(\.id) ? nil : "messages of one publisher came in another order"
    }

    private static func hearsItself(_ first: Probe, _: Probe) async throws -> String? {
        let topic = first.newTopic()
        first.broker.subscribe([.init(topic: topic)])
        first.broker.publish([first.publication("own", topic)])
        let isHeard = await first.waits { $0.received.contains { $0.topic == topic } }
        return isHeard ? nil : "what was published behind a subscription did not reach it"
    }

    private static func unsubscribes(_ first: Probe, _ second: Probe) async throws -> String? {
        let (topic, fence) = (first.newTopic(), first.newTopic())
        second.broker.subscribe([.init(topic: topic), .init(topic: fence)])
        guard await second.waits({ $0.confirmed[fence] == 1 && $0.confirmed[topic] == 1 }) else {
            return "a subscription was not confirmed"
        }
        second.broker.unsubscribe([topic])
        // From the same broker, so that it comes behind.
        second.broker.publish([second.publication("late", topic), second.publication("fence", fence)])
        guard await second.waits({ $0.received.contains { $0.topic == fence } }) else {
            return "a message did not come"
        }
        return second.received(topic).isEmpty ? nil : "a topic is heard that was given up"
    }

    private static func confirmsAgain(_ first: Probe, _: Probe) async throws -> String? {
        let topic = first.newTopic()
        for round in 1...3 {
            first.broker.subscribe([.init(topic: topic)])
            guard await first.waits({ $0.confirmed[topic] == round }) else {
                return "confirmation \(round) did not come"
            }
        }
        return nil
    }

    private static func subscribesMany(_ first: Probe, _: Probe) async throws -> String? {
        let topics = (0..<2_000).map { _ in first.newTopic() }
        first.broker.subscribe(topics.map { .init(topic: $0) })
        let areConfirmed = await first.waits { state in topics.allSatisfy { state.confirmed[$0] == 1 } }
        first.broker.unsubscribe(topics)
        return areConfirmed ? nil : "not all of 2000 topics were confirmed"
    }

    // MARK: With counts

    private static func counts(_ first: Probe, _ second: Probe) async throws -> String? {
        let (topic, other) = (first.newTopic(), first.newTopic())
        for (own, others, sum) in [(2, 3, 5), (0, 3, 3), (0, 0, 0), (7, 0, 7)] {
            first.broker.tell(counts: [topic: own, other: 1])
            second.broker.tell(counts: [topic: others])
            let deadline = ContinuousClock.now + first.patience
            while true {
                let count = try await second.broker.subscriberCount(of: topic)
                if count == sum { break }
                guard ContinuousClock.now < deadline else { return "\(own) and \(others) are \(count)" }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        first.broker.tell(counts: [topic: 0, other: 0])
        return nil
    }

    // MARK: With history

    private static func history(_ messages: Int) -> WebSocketTopicRules.History {
        .init(messages: messages, age: .seconds(60))
    }

    private static func numbers(_ first: Probe, _ second: Probe) async throws -> String? {
        let topic = first.newTopic()
        second.broker.subscribe([.init(topic: topic, wantsPosition: true)])
        guard await second.waits({ $0.confirmed[topic] == 1 }), let top = second.top(topic) else {
            return "a confirmation did not say where the history ends"
        }
        first.broker.publish((0..<10).map { first.publication(.text("\($0)"), topic, history(100)) })
        second.broker.publish((0..<10).map { second.publication(.text("\($0)"), topic, history(100)) })
        guard await second.waits({ $0.received.filter { $0.topic == topic }.count >= 20 }) else {
            return "not every message came"
        }
        for (index, delivery) in second.received(topic).enumerated() {
            guard delivery.position == WebSocketTopicPosition(epoch: top.epoch, offset: top.offset + UInt64(index) + 1)
            else {
                return "message \(index + 1) behind \(top) stands at \(delivery.position?.description ?? "nothing")"
            }
        }
        return nil
    }

    private static func reads(_ first: Probe, _ second: Probe) async throws -> String? {
        let topic = first.newTopic()
        let before = try await second.broker.history(of: topic, after: nil, limit: 10)
        guard before.messages.isEmpty else { return "there are messages for no position" }
        let publications = (0..<10).map { first.publication(.text("\($0)"), topic, history(8)) }
        first.broker.publish(publications)
        guard await first.waits({ state in publications.allSatisfy { state.settled[$0.id] == 1 } }) else {
            return "a publication was not settled"
        }
        let all = try await second.broker.history(of: topic, after: before.top, limit: 100)
        guard all.top.offset == before.top.offset + 10, all.messages.map(\.message) == publications[2...].map(\.message)
        else { return "of 10 messages, of which 8 are kept, it has \(all.messages.count), and ends at \(all.top)" }
        guard all.messages.last?.position == all.top else { return "the last message does not stand at the end" }
        let few = try await second.broker.history(of: topic, after: all.messages[1].position, limit: 3)
        guard few.messages.map(\.message) == publications[4..<7].map(\.message) else { return "a limit is not kept" }
        guard let other = WebSocketTopicPosition(epoch: "another", offset: 1) else { return nil }
        let foreign = try await second.broker.history(of: topic, after: other, limit: 3)
        return foreign.messages.isEmpty ? nil : "there are messages for another epoch"
    }

    private static func knowsRepeats(_ first: Probe, _ second: Probe) async throws -> String? {
        let topic = first.newTopic()
        let publication = first.publication("once", topic, history(10))
        first.broker.publish([publication])
        guard await first.waits({ $0.settled[publication.id] == 1 }) else { return "a publication was not settled" }
        first.broker.publish([publication])
        guard await first.waits({ $0.settled[publication.id] == 2 }) else { return "a repeat was not settled" }
        let top = try await second.broker.history(of: topic, after: nil, limit: 0).top
        return top.offset == 1 ? nil : "a publication with a known number was published again"
    }
}

/// A broker and what it told.
private final class Probe: Sendable {
    struct State: Sendable {
        var isConnected = false
        var confirmed: [String: Int] = [:]
        var tops: [String: WebSocketTopicPosition] = [:]
        var received: [WebSocketTopicDelivery] = []
        var settled: [UInt64: Int] = [:]
        var lastNumber: UInt64 = 0
    }

    let broker: any WebSocketTopicBroker
    let patience: Duration
    private let publisher = UInt64.random(in: .min ... .max)
    private let word = String(UInt64.random(in: .min ... .max), radix: 36)
    private let state = Mutex(State())

    init(_ broker: any WebSocketTopicBroker, _ patience: Duration) {
        self.broker = broker
        self.patience = patience
    }

    func run() -> Task<Void, Never> {
        Task {
            await broker.run(
                .observing { event in
                    self.state.withLock { state in
                        switch event {
                        case .connected: state.isConnected = true
                        case .disconnected: state.isConnected = false
                        case .subscribed(let confirmation):
                            state.confirmed[confirmation.topic, default: 0] += 1
                            state.tops[confirmation.topic] = confirmation.top
                        case .received(let delivery): state.received.append(delivery)
                        case .settled(let id, _): state.settled[id, default: 0] += 1
                        case .refused, .unreadable, .alert: break
                        }
                    }
                })
        }
    }

    var isConnected: Bool { state.withLock { $0.isConnected } }
    func top(_ topic: String) -> WebSocketTopicPosition? { state.withLock { $0.tops[topic] } }
    func received(_ topic: String) -> [WebSocketTopicDelivery] {
        state.withLock { $0.received.filter { $0.topic == topic } }
    }

    private func number() -> UInt64 {
        state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
    }

    func newTopic() -> String { "\(word):\(number())" }

    func publication(
        _ message: WebSocketMessage, _ topic: String, _ history: WebSocketTopicRules.History? = nil
    ) -> WebSocketTopicPublication {
        WebSocketTopicPublication(id: number(), publisher: publisher, topic: topic, message: message, history: history)
    }

    func waits(_ condition: (State) -> Bool) async -> Bool {
        let deadline = ContinuousClock.now + patience
        while !state.withLock({ condition($0) }) {
            guard ContinuousClock.now < deadline else { return false }
            try? await Task.sleep(for: .milliseconds(5))
        }
        return true
    }
}
