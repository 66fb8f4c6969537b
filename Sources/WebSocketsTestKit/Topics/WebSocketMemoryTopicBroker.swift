//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSockets

/// A broker in memory, for tests: several `WebSocketTopics` of one process, each with a broker of the same
/// WebSocketMemoryTopicEngine, are joined like several processes.
public final class WebSocketMemoryTopicBroker: WebSocketTopicBroker {
    /// Everything.
    public let features: WebSocketTopicBrokerFeatures = [.topicOrder, .history, .counts]
    /// `memory`
    public let name = "memory"

    enum Step: Sendable {
        case subscribe([WebSocketTopicInterest])
        case unsubscribe([String])
        case publish([WebSocketTopicPublication])
        case received(WebSocketTopicDelivery)
        case settled(UInt64, WebSocketTopicOutcome)
        case subscribed(WebSocketTopicConfirmation)
        case counts([String: Int])
        case cut
        case wake
    }

    /// What travels on one connection goes with it.
    private struct Travelling: Sendable {
        let generation: Int
        let step: Step
    }

    private struct State {
        var isConnected = false
        var generation = 0
        var channels: Set<String> = []
        var isRefusing: Set<String> = []
        var counts: [String: Int] = [:]
    }

    private let engine: WebSocketMemoryTopicEngine
    private let state = Mutex(State())
    private let steps = AsyncStream.makeStream(of: Travelling.self)

    init(_ engine: WebSocketMemoryTopicEngine) { self.engine = engine }

    var isConnected: Bool { state.withLock { $0.isConnected } }
    func isSubscribed(to topic: String) -> Bool { state.withLock { $0.isConnected && $0.channels.contains(topic) } }

    func tell(_ step: Step) {
        // Under the lock, so that nothing is taken for the next connection's.
        state.withLock { state in
            _ = steps.continuation.yield(Travelling(generation: state.generation, step: step))
        }
    }

    func addChannel(_ topic: String) { state.withLock { _ = $0.channels.insert(topic) } }

    /// Cuts the connection. It comes back at once, while the engine is reachable.
    public func cut() { tell(.cut) }

    /// Answers subscriptions of a topic with `brokerRefused` from now on.
    public func refuse(_ topic: String) { state.withLock { _ = $0.isRefusing.insert(topic) } }

    func wake() { tell(.wake) }

    // MARK: WebSocketTopicBroker

    /// Asks for topics.
    public func subscribe(_ topics: [WebSocketTopicInterest]) { tell(.subscribe(topics)) }
    /// Gives topics up.
    public func unsubscribe(_ topics: [String]) { tell(.unsubscribe(topics)) }
    /// Publishes.
    public func publish(_ publications: [WebSocketTopicPublication]) { tell(.publish(publications)) }

    /// Tells how many subscribers topics have.
    public func tell(counts: [String: Int]) { tell(.counts(counts)) }

    func count(of topic: String) -> Int { state.withLock { $0.counts[topic] ?? 0 } }

    /// The sum of all brokers' that are connected.
    public func subscriberCount(of topic: String) async throws(WebSocketError) -> Int {
        guard engine.isReachable else {
            throw WebSocketError(.brokerUnavailable, "the engine cannot be reached; let it be reached again")
        }
        return engine.subscriberCount(of: topic)
    }

    /// Reads a history.
    public func history(
        of topic: String, after: WebSocketTopicPosition?, limit: Int
    ) async throws(WebSocketError) -> WebSocketTopicHistory {
        guard engine.isReachable, let history = engine.history(topic, after: after, limit: limit) else {
            throw WebSocketError(.brokerUnavailable, "the engine cannot be reached; let it be reached again")
        }
        return history
    }

    /// Until the task is cancelled.
    public func run(_ events: WebSocketTopicBrokerEvents) async {
        engine.add(self)
        connect(events)
        for await travelling in steps.stream { take(travelling, events) }
        engine.remove(self)
        disconnect(events)
    }

    private func connect(_ events: WebSocketTopicBrokerEvents) {
        guard engine.isReachable else { return }
        let generation: Int? = state.withLock { state in
            guard !state.isConnected else { return nil }
            state.isConnected = true
            state.generation += 1
            return state.generation
        }
        if let generation { events.connected(generation: generation) }
    }

    private func disconnect(_ events: WebSocketTopicBrokerEvents) {
        let wasConnected = state.withLock { state in
            defer {
                state.isConnected = false
                state.channels = []
                state.counts = [:]
            }
            return state.isConnected
        }
        if wasConnected {
            events.disconnected(WebSocketError(.brokerUnavailable, "the connection was cut; connect again"))
        }
    }

    private func take(_ travelling: Travelling, _ events: WebSocketTopicBrokerEvents) {
        let isPresent = state.withLock { $0.isConnected && $0.generation == travelling.generation }
        switch travelling.step {
        case .wake: connect(events)
        case .cut:
            disconnect(events)
            connect(events)
        case _ where !isPresent: break
        case .subscribe(let interests): for interest in interests { subscribe(interest, events) }
        case .unsubscribe(let topics): state.withLock { $0.channels.subtract(topics) }
        case .publish(let publications): for publication in publications { engine.publish(publication, from: self) }
        case .counts(let counts): state.withLock { $0.counts.merge(counts) { _, new in new } }
        case .subscribed(let confirmation): events.subscribed([confirmation])
        case .received(let delivery): if isSubscribed(to: delivery.topic) { events.received([delivery]) }
        case .settled(let id, let outcome): events.settled([(id, outcome)])
        }
    }

    private func subscribe(_ interest: WebSocketTopicInterest, _ events: WebSocketTopicBrokerEvents) {
        guard !state.withLock({ $0.isRefusing.contains(interest.topic) }) else {
            return events.refused(
                interest.topic, WebSocketError(.brokerRefused, "the engine was told to refuse the topic; allow it"))
        }
        engine.subscribe(self, interest)
    }
}
