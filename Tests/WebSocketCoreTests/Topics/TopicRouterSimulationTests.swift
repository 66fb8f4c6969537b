//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

/// Several processes and an engine, in random steps with cuts and restarts; what is promised holds all the way.
@Suite struct TopicRouterSimulationTests {
    @Test(arguments: 0..<TestDepth.choose(40, reduced: 4))
    func thePromisesHoldThroughCutsAndRestarts(seed: Int) throws {
        var world = TopicWorld(seed: UInt64(seed), isFaulty: true)
        for _ in 0..<TestDepth.choose(5_000, reduced: 1_000) { world.step() }
        world.settle()
        #expect(world.problems == [])
    }

    @Test(arguments: 100..<TestDepth.choose(110, reduced: 102))
    func withoutFaultsNothingIsMissing(seed: Int) throws {
        var world = TopicWorld(seed: UInt64(seed), isFaulty: false)
        for _ in 0..<TestDepth.choose(5_000, reduced: 1_000) { world.step() }
        world.settle()
        #expect(world.problems == [])
        for machine in world.nodes.map(\.machine) {
            #expect(machine.statistics.gaps == 0)
            #expect(machine.statistics.accepted == machine.statistics.published)
        }
    }
}

private struct TopicWorld {
    struct Node {
        var machine: TopicRouterMachine
        /// Connections that are subscribed, by topic.
        var subscribers: [String: Int] = [:]
        /// What they got since the topic was last without subscribers.
        var heard: [String: [WebSocketTopicDelivery]] = [:]
        var gapsSince: Set<String> = []
        var cutTopics: Set<String> = []
        var fetches: [(topic: String, after: WebSocketTopicPosition, limit: Int, token: UInt64)] = []
        var outcomes: [UInt64: Int] = [:]
        /// What the engine was told on this connection.
        var counts: [String: Int] = [:]
    }

    static let topics = ["plain:a", "plain:b", "order:a", "history:a", "history:b", "short:a"]

    var random: SessionRandom
    let isFaulty: Bool
    var now: UInt64 = 1
    var nodes: [Node] = []
    var engine = SimulatedTopicEngine(nodes: 3)
    var problems: [String] = []
    var messages = 0
    var waiters: UInt64 = 0

    init(seed: UInt64, isFaulty: Bool) {
        random = SessionRandom(seed: seed)
        self.isFaulty = isFaulty
        for index in 0..<3 {
            var settings = TopicRouterMachine.Settings(publisher: UInt64(index + 1))
            settings.rules = [
                "order:": .init(order: .topic), "history:": .init(history: .init(messages: 1_000, age: .seconds(60))),
                "short:": .init(history: .init(messages: 3, age: .seconds(60))),
            ]
            settings.seed = seed &+ UInt64(index)
            settings.heldMessages = isFaulty ? 20 : 1_000
            settings.catchUps = 2
            settings.sharesCounts = index != 2
            settings.whenAway = index == 1 ? .buffer(5_000_000_000) : .localOnly
            nodes.append(Node(machine: TopicRouterMachine(settings, now: now)))
        }
        if !isFaulty { for index in nodes.indices { connect(index) } }
    }

    mutating func problem(_ text: String) { if problems.count < 5 { problems.append(text) } }

    mutating func event(
        _ node: Int, _ body: (inout TopicRouterMachine, UInt64, inout [TopicRouterMachine.Action]) -> Void
    ) {
        var actions: [TopicRouterMachine.Action] = []
        body(&nodes[node].machine, now, &actions)
        for action in actions { carryOut(action, node) }
        let statistics = nodes[node].machine.statistics
        let sum = statistics.accepted + statistics.dropped + statistics.unknown + statistics.waiting
        if statistics.published != sum {
            problem("node \(node): \(statistics.published) published, \(sum) accounted for")
        }
    }

    mutating func carryOut(_ action: TopicRouterMachine.Action, _ node: Int) {
        switch action {
        case .subscribe(let interests):
            if engine.links[node].isUp { engine.links[node].commands += interests.map { .subscribe($0) } }
        case .unsubscribe(let topics):
            if engine.links[node].isUp { engine.links[node].commands += topics.map { .unsubscribe($0) } }
        case .publish(let publication):
            if engine.links[node].isUp { engine.links[node].commands.append(.publish(publication)) }
        case .deliver(let delivery, _): hear(delivery, node)
        case .settle(let waiter, _):
            nodes[node].outcomes[waiter, default: 0] += 1
            if nodes[node].outcomes[waiter]! > 1 { problem("waiter \(waiter) is resumed twice") }
        case .fetch(let topic, let after, let limit, let token):
            if !isFaulty { problem("node \(node) reads the history of \(topic) behind \(after)") }
            nodes[node].fetches.append((topic, after, limit, token))
        case .ready: break
        case .tell(.gap(let gap)):
            if let topic = gap.topic {
                nodes[node].gapsSince.insert(topic)
                nodes[node].cutTopics.remove(topic)
            }
        case .tell: break
        case .count(let counts): nodes[node].counts.merge(counts) { _, new in new }
        }
    }

    mutating func hear(_ delivery: WebSocketTopicDelivery, _ node: Int) {
        let topic = delivery.topic
        guard nodes[node].subscribers[topic, default: 0] > 0 else { return problem("\(topic) has no subscribers") }
        let heard = nodes[node].heard[topic] ?? []
        if heard.contains(where: { $0.message == delivery.message }) {
            problem("node \(node) hears \(delivery.message.text ?? "") of \(topic) twice")
        }
        if let before = heard.last?.position, let position = delivery.position {
            let isNext = before.epoch == position.epoch && position.offset == before.offset + 1
            let isLater = before.epoch != position.epoch || position.offset > before.offset
            if !isLater { problem("node \(node) hears \(position) behind \(before)") }
            // What was sent again in another epoch is left out when its publisher's later ones were heard: it was heard
            // itself, or stood in a gap that was told.
            let isHole =
                !isNext && isLater && before.epoch == position.epoch
                && ((before.offset + 1)..<position.offset).contains { offset in
                    let missing = WebSocketTopicPosition(epoch: position.epoch, offset: offset)!
                    let message = Self.parts(engine.numbered[topic]?[missing])
                    return !heard.contains { earlier in
                        let other = Self.parts(earlier.message)
                        return other[0] == message[0] && other[1] >= message[1]
                    }
                }
            if isHole || before.epoch != position.epoch, !nodes[node].gapsSince.contains(topic) {
                problem("node \(node) hears \(position) behind \(before) of \(topic) without a gap")
            }
        }
        // What each publisher has said is numbers that grow.
        let parts = Self.parts(delivery.message)
        for earlier in heard.reversed() {
            let other = Self.parts(earlier.message)
            guard other[0] == parts[0] else { continue }
            if other[1] > parts[1] { problem("node \(node) hears \(parts) behind \(other) of \(topic)") }
            break
        }
        nodes[node].gapsSince.remove(topic)
        nodes[node].heard[topic, default: []].append(delivery)
    }

    /// Publisher and number.
    private static func parts(_ message: WebSocketMessage?) -> [Int] {
        (message?.text ?? "").split(separator: ":").compactMap { Int($0) }
    }

    mutating func connect(_ node: Int) {
        guard !engine.links[node].isUp else { return }
        engine.connect(node)
        let generation = engine.links[node].generation
        event(node) { $0.connected(generation: generation, now: $1, &$2) }
    }

    mutating func cut(_ node: Int) {
        guard engine.links[node].isUp else { return }
        engine.cut(node)
        tellCut(node)
    }

    mutating func tellCut(_ node: Int) {
        for topic in nodes[node].machine.confirmedTopics where nodes[node].subscribers[topic, default: 0] > 0 {
            if topic.hasPrefix("plain") || topic.hasPrefix("order") { nodes[node].cutTopics.insert(topic) }
        }
        event(node) { $0.disconnected(WebSocketError(.brokerUnavailable, "cut"), now: $1, &$2) }
        nodes[node].counts = [:]
    }

    mutating func work(_ node: Int) {
        guard engine.links[node].isUp, !engine.links[node].answers.isEmpty else { return }
        switch engine.links[node].answers.removeFirst() {
        case .subscribed(let confirmation): event(node) { $0.subscribed([confirmation], now: $1, &$2) }
        case .settled(let id, let outcome): event(node) { $0.settled(id, outcome, now: $1, &$2) }
        case .received(let delivery): event(node) { $0.received([delivery], now: $1, &$2) }
        }
    }

    mutating func fetch(_ node: Int) {
        guard !nodes[node].fetches.isEmpty else { return }
        let request = nodes[node].fetches.removeFirst()
        let history = engine.read(request.topic, after: request.after, limit: request.limit)
        let fails = isFaulty && Int.random(in: 0..<50, using: &random) == 0
        event(node) {
            $0.caughtUp(
                request.topic, token: request.token,
                fails ? .failure(WebSocketError(.brokerUnavailable, "no answer")) : .success(history), now: $1, &$2)
        }
    }

    mutating func publish(_ node: Int, _ topic: String) {
        messages += 1
        let message = WebSocketMessage.text("\(node):\(messages)")
        waiters += 1
        let waiter: UInt64? = Bool.random(using: &random) ? waiters : nil
        var local = TopicRouterMachine.Local.later
        var actions: [TopicRouterMachine.Action] = []
        local = nodes[node].machine.publish(message, to: topic, except: nil, waiter: waiter, now: now, &actions)
        if local == .now, nodes[node].subscribers[topic, default: 0] > 0 {
            hear(WebSocketTopicDelivery(topic: topic, message: message), node)
        }
        event(node) { $2 = actions }
    }

    mutating func step() {
        let node = Int.random(in: 0..<3, using: &random)
        let topic = Self.topics.randomElement(using: &random)!
        switch Int.random(in: 0..<1_000, using: &random) {
        case 0..<60:
            nodes[node].subscribers[topic, default: 0] += 1
            event(node) { $0.retain(topic, now: $1, &$2) }
        case 60..<110:
            guard nodes[node].subscribers[topic, default: 0] > 0 else { return }
            nodes[node].subscribers[topic]! -= 1
            if nodes[node].subscribers[topic] == 0 {
                nodes[node].heard[topic] = nil
                nodes[node].cutTopics.remove(topic)
            }
            event(node) { $0.release(topic, now: $1, &$2) }
        case 110..<280: publish(node, topic)
        case 280..<550: engine.work(node)
        case 550..<850: work(node)
        case 850..<930: fetch(node)
        case 930..<960:
            now += UInt64.random(in: 1...1_000_000_000, using: &random)
            event(node) { $0.tick(now: $1, &$2) }
        case 960..<975: if isFaulty { cut(node) }
        case 975..<978:
            guard isFaulty else { return }
            let up = engine.links.indices.filter { engine.links[$0].isUp }
            engine.restart()
            for node in up { tellCut(node) }
        default: connect(node)
        }
    }

    /// All are connected, everything is carried out, and time passes until nothing is given up any more.
    mutating func settle() {
        for node in nodes.indices { connect(node) }
        for _ in 0..<20 {
            for node in nodes.indices {
                for _ in 0..<20_000 where !engine.links[node].commands.isEmpty { engine.work(node) }
            }
            for node in nodes.indices {
                while !engine.links[node].answers.isEmpty { work(node) }
                while !nodes[node].fetches.isEmpty { fetch(node) }
            }
            now += 3_000_000_000
            for node in nodes.indices { event(node) { $0.tick(now: $1, &$2) } }
        }
        for (index, node) in nodes.enumerated() {
            let wanted = Set(node.subscribers.filter { $0.value > 0 }.keys)
            let told = node.counts.filter { $0.value > 0 }
            if told != (index == 2 ? [:] : node.subscribers.filter { $0.value > 0 }) {
                problem("node \(index) has told \(told) and has \(node.subscribers)")
            }
            if node.machine.confirmedTopics != wanted {
                problem("node \(index) has \(node.machine.confirmedTopics) and wants \(wanted)")
            }
            if engine.links[index].channels != wanted {
                problem("the engine has \(engine.links[index].channels) of node \(index), which wants \(wanted)")
            }
            if node.machine.statistics.waiting != 0 || node.machine.statistics.waitingBytes != 0 {
                problem("node \(index): \(node.machine.statistics) at rest")
            }
            if !node.cutTopics.isEmpty { problem("node \(index) was not told of the cut of \(node.cutTopics)") }
            for topic in wanted where topic.hasPrefix("history") || topic.hasPrefix("short") {
                guard let last = node.heard[topic]?.last?.position else { continue }
                let top = engine.read(topic, after: last, limit: 1).top
                // Behind a restart of the engine there may be nothing new.
                if last.epoch == top.epoch, last.offset < top.offset, !node.gapsSince.contains(topic) {
                    problem("node \(index) stands at \(last) of \(topic), whose end is \(top)")
                }
            }
        }
    }
}
