//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSockets

/// What several WebSocketMemoryTopicBrokers of one process share: an engine with topics, histories and faults. For
/// tests of services that run in several processes.
public final class WebSocketMemoryTopicEngine: Sendable {
    private struct Kept {
        var epoch: String
        var top: UInt64 = 0
        var records: [WebSocketTopicDelivery] = []
        /// The last publication of each publisher, and where it came to stand.
        var repeats: [UInt64: (number: UInt64, position: WebSocketTopicPosition)] = [:]
    }

    private struct State {
        var brokers: [WebSocketMemoryTopicBroker] = []
        var kept: [String: Kept] = [:]
        var epochs = 0
        var isReachable = true
        var isDoubling = false
        var losing = 0
    }
    private let state = Mutex(State())

    /// An engine without brokers.
    public init() {}

    /// A broker of it, for one `WebSocketTopics`.
    public func broker() -> WebSocketMemoryTopicBroker { WebSocketMemoryTopicBroker(self) }

    // MARK: Faults

    /// Cuts every connection. They come back at once, while the engine is reachable.
    public func cutAll() { for broker in state.withLock({ $0.brokers }) { broker.cut() } }

    /// Cuts every connection and forgets all histories, as a server that is started anew.
    public func restart() {
        state.withLock { $0.kept = [:] }
        cutAll()
    }

    /// Whether brokers can connect. What is connected stays so.
    public var isReachable: Bool {
        get { state.withLock { $0.isReachable } }
        set {
            let brokers = state.withLock { state in
                state.isReachable = newValue
                return state.brokers
            }
            if newValue { for broker in brokers { broker.wake() } }
        }
    }

    /// Delivers everything twice, as an engine does that delivers at least once. Default false.
    public var isDoubling: Bool {
        get { state.withLock { $0.isDoubling } }
        set { state.withLock { $0.isDoubling = newValue } }
    }

    /// Does not deliver this many of the next messages; a history has them all the same.
    public func lose(_ count: Int) { state.withLock { $0.losing += count } }

    /// Drops the oldest messages of a history, all but this many.
    public func trim(_ topic: String, to count: Int) {
        state.withLock { state in
            guard let kept = state.kept[topic] else { return }
            state.kept[topic]!.records = Array(kept.records.suffix(count))
        }
    }

    /// How many brokers are connected.
    public var connectionCount: Int { state.withLock { $0.brokers.count { $0.isConnected } } }

    /// How many brokers are subscribed to a topic.
    public func subscriptionCount(of topic: String) -> Int {
        state.withLock { $0.brokers.count { $0.isSubscribed(to: topic) } }
    }

    func subscriberCount(of topic: String) -> Int {
        state.withLock { $0.brokers.reduce(0) { $0 + $1.count(of: topic) } }
    }

    // MARK: For brokers

    func add(_ broker: WebSocketMemoryTopicBroker) { state.withLock { $0.brokers.append(broker) } }
    func remove(_ broker: WebSocketMemoryTopicBroker) {
        state.withLock { $0.brokers.removeAll { $0 === broker } }
    }

    private static func kept(_ topic: String, _ state: inout State) -> Kept {
        if let known = state.kept[topic] { return known }
        state.epochs += 1
        let made = Kept(epoch: "memory\(state.epochs)")
        state.kept[topic] = made
        return made
    }

    /// The confirmation stands between the messages of the topic where it belongs.
    func subscribe(_ broker: WebSocketMemoryTopicBroker, _ interest: WebSocketTopicInterest) {
        state.withLock { state in
            broker.addChannel(interest.topic)
            var top: WebSocketTopicPosition?
            if interest.wantsPosition {
                let kept = Self.kept(interest.topic, &state)
                top = WebSocketTopicPosition(epoch: kept.epoch, offset: kept.top)
            }
            broker.tell(.subscribed(WebSocketTopicConfirmation(topic: interest.topic, top: top)))
        }
    }

    /// One step: numbers, keeps and hands out. All brokers see the same order, because it happens under the lock.
    func publish(_ publication: WebSocketTopicPublication, from broker: WebSocketMemoryTopicBroker) {
        state.withLock { state in
            let topic = publication.topic
            var position: WebSocketTopicPosition?
            if let rule = publication.history {
                var kept = Self.kept(topic, &state)
                if let known = kept.repeats[publication.publisher], known.number >= publication.id {
                    let first = known.number == publication.id ? known.position : nil
                    return broker.tell(.settled(publication.id, .accepted(first)))
                }
                kept.top += 1
                position = WebSocketTopicPosition(epoch: kept.epoch, offset: kept.top)
                kept.records.append(Self.delivery(publication, position))
                if kept.records.count > rule.messages { kept.records.removeFirst() }
                if let position { kept.repeats[publication.publisher] = (publication.id, position) }
                state.kept[topic] = kept
            }
            if state.losing > 0 {
                state.losing -= 1
            } else {
                let delivery = Self.delivery(publication, position)
                for other in state.brokers where other.isSubscribed(to: topic) {
                    other.tell(.received(delivery))
                    if state.isDoubling { other.tell(.received(delivery)) }
                }
            }
            broker.tell(.settled(publication.id, .accepted(position)))
        }
    }

    private static func delivery(
        _ publication: WebSocketTopicPublication, _ position: WebSocketTopicPosition?
    ) -> WebSocketTopicDelivery {
        WebSocketTopicDelivery(
            topic: publication.topic, message: publication.message, position: position,
            origin: .init(publisher: publication.publisher, number: publication.id))
    }

    func history(_ topic: String, after: WebSocketTopicPosition?, limit: Int) -> WebSocketTopicHistory? {
        state.withLock { state in
            let kept = Self.kept(topic, &state)
            guard let top = WebSocketTopicPosition(epoch: kept.epoch, offset: kept.top) else { return nil }
            guard let after, after.epoch == kept.epoch else { return WebSocketTopicHistory(messages: [], top: top) }
            let messages = kept.records.filter { ($0.position?.offset ?? 0) > after.offset }
            return WebSocketTopicHistory(messages: Array(messages.prefix(limit)), top: top)
        }
    }
}
