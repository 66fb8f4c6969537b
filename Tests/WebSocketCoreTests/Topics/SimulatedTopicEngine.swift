//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// An engine of the kind of Redis, one command at a time, with what travels in each direction in queues that are cut.
struct SimulatedTopicEngine {
    enum Command {
        case subscribe(WebSocketTopicInterest)
        case unsubscribe(String)
        case publish(WebSocketTopicPublication)
    }

    enum Answer {
        case subscribed(WebSocketTopicConfirmation)
        case settled(UInt64, WebSocketTopicOutcome)
        case received(WebSocketTopicDelivery)
    }

    struct Link {
        var isUp = false
        var generation = 0
        var commands: [Command] = []
        var answers: [Answer] = []
        var channels: Set<String> = []
    }

    private struct Kept {
        var epoch: String
        var records: [WebSocketTopicDelivery] = []
        var top: UInt64 = 0
        var repeats: [UInt64: (number: UInt64, position: WebSocketTopicPosition)] = [:]
    }

    var links: [Link]
    private var kept: [String: Kept] = [:]
    private var epochs = 0
    /// All that ever stood at a position, by topic.
    private(set) var numbered: [String: [WebSocketTopicPosition: WebSocketMessage]] = [:]

    init(nodes: Int) { links = Array(repeating: Link(), count: nodes) }

    private mutating func history(_ topic: String) -> Kept {
        if let known = kept[topic] { return known }
        epochs += 1
        let made = Kept(epoch: "e\(epochs)")
        kept[topic] = made
        return made
    }

    /// The first command that has come from a node.
    mutating func work(_ node: Int) {
        guard links[node].isUp, !links[node].commands.isEmpty else { return }
        switch links[node].commands.removeFirst() {
        case .subscribe(let interest):
            links[node].channels.insert(interest.topic)
            let top = interest.wantsPosition ? position(history(interest.topic)) : nil
            links[node].answers.append(.subscribed(WebSocketTopicConfirmation(topic: interest.topic, top: top)))
        case .unsubscribe(let topic): links[node].channels.remove(topic)
        case .publish(let publication): publish(publication, from: node)
        }
    }

    private func position(_ kept: Kept) -> WebSocketTopicPosition {
        WebSocketTopicPosition(epoch: kept.epoch, offset: kept.top)!
    }

    private mutating func publish(_ publication: WebSocketTopicPublication, from node: Int) {
        let topic = publication.topic
        var position: WebSocketTopicPosition?
        if let rule = publication.history {
            var kept = history(topic)
            if let known = kept.repeats[publication.publisher], known.number >= publication.id {
                let first = known.number == publication.id ? known.position : nil
                links[node].answers.append(.settled(publication.id, .accepted(first)))
                return
            }
            kept.top += 1
            position = self.position(kept)
            numbered[topic, default: [:]][position!] = publication.message
            kept.records.append(delivery(publication, position))
            if kept.records.count > rule.messages { kept.records.removeFirst() }
            kept.repeats[publication.publisher] = (publication.id, position!)
            self.kept[topic] = kept
        }
        for other in links.indices where links[other].isUp && links[other].channels.contains(topic) {
            links[other].answers.append(.received(delivery(publication, position)))
        }
        links[node].answers.append(.settled(publication.id, .accepted(position)))
    }

    private func delivery(
        _ publication: WebSocketTopicPublication, _ position: WebSocketTopicPosition?
    ) -> WebSocketTopicDelivery {
        WebSocketTopicDelivery(
            topic: publication.topic, message: publication.message, position: position,
            origin: .init(publisher: publication.publisher, number: publication.id))
    }

    mutating func read(_ topic: String, after: WebSocketTopicPosition, limit: Int) -> WebSocketTopicHistory {
        let kept = history(topic)
        let messages = kept.records.filter { ($0.position?.offset ?? 0) > after.offset }.prefix(limit)
        return WebSocketTopicHistory(
            messages: kept.epoch == after.epoch ? Array(messages) : [], top: position(kept))
    }

    mutating func cut(_ node: Int) { links[node] = Link(isUp: false, generation: links[node].generation) }

    mutating func connect(_ node: Int) {
        links[node].isUp = true
        links[node].generation += 1
    }

    /// Everything that was kept is gone.
    mutating func restart() {
        for node in links.indices { cut(node) }
        kept = [:]
    }
}
