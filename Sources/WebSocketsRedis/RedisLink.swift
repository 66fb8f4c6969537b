//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import RedisWire
import Synchronization
import WebSocketCore
import WebSocketLoop
import WebSockets

/// The connection on which a process subscribes and publishes: one, so that what is published behind a subscription
/// reaches it, and both are at the same server.
///
/// Calls of other threads go through a list of its own, because a call on the loop would overtake those that are on their
/// way to it. Everything else is loop-confined.
final class RedisLink: @unchecked Sendable {
    enum Call: Sendable {
        case subscribe([WebSocketTopicInterest])
        case unsubscribe([String])
        case publish([WebSocketTopicPublication])
        case counts([String: Int])
    }

    private struct Calls {
        var waiting: [Call] = []
        var isPosted = false
        var isClosed = false
    }

    private let loop: WebSocketEventLoop
    let pipe: RedisPipe
    let server: RedisServer
    let keys: RedisKeys
    private let settings: WebSocketRedisConfiguration
    private let events: WebSocketTopicBrokerEvents
    private let calls = Mutex(Calls())
    /// What one read brought, in its order.
    private var told: [Told] = []
    /// Publications for a history that wait until the script is there again, and those on their way.
    private var heldHistory: [WebSocketTopicPublication] = []
    private var isHolding = false
    private var historyInFlight = 0
    private var round: LoopByteStream.Token?
    private var missedEchoes = 0
    private var isEchoDue = false
    private var hasToldUnreadable = false
    private var hasToldUncounted = false
    private var heartbeat: LoopByteStream.Token?
    /// When other processes were last heard.
    private var heard: [String: ContinuousClock.Instant] = [:]

    private enum Told {
        case received([WebSocketTopicDelivery])
        case settled([(id: UInt64, outcome: WebSocketTopicOutcome)])
        case subscribed([WebSocketTopicConfirmation])
        case refused(String, WebSocketError)
        case alert(WebSocketError)
        case unreadable(String)
    }

    init(
        _ pipe: RedisPipe, server: RedisServer, keys: RedisKeys, settings: WebSocketRedisConfiguration,
        loop: WebSocketEventLoop, events: WebSocketTopicBrokerEvents
    ) {
        self.pipe = pipe
        self.server = server
        self.keys = keys
        self.settings = settings
        self.loop = loop
        self.events = events
    }

    /// Begins, on the loop.
    func start() {
        pipe.onPush = { [self] in take($0) }
        pipe.onBatch = { [self] in tellAll() }
        pipe.afterEnd { [self] in
            pipe.cancel(round)
            pipe.cancel(heartbeat)
        }
        var writer = RESPWriter()
        writer.command("SUBSCRIBE", keys.service, keys.nodes)
        pipe.send(writer.take(), confirmations: 2) { [self] answer in
            guard case .error(let error)? = answer else {
                scheduleRound()
                return beat()
            }
            pipe.end(
                WebSocketError(
                    .brokerRefused,
                    "Redis refused channels \(keys.service) and \(keys.nodes): “\(error.text.escapedForLog)”; check the user's access rules"
                ))
        }
    }

    /// Nothing is asked any more. From any thread.
    func close() { calls.withLock { $0.isClosed = true } }

    // MARK: Calls

    /// From any thread.
    func call(_ call: Call) {
        let mustPost = calls.withLock { calls in
            guard !calls.isClosed else { return false }
            calls.waiting.append(call)
            defer { calls.isPosted = true }
            return !calls.isPosted
        }
        if mustPost { loop.execute { self.carryOutCalls() } }
    }

    private func carryOutCalls() {
        while true {
            let batch = calls.withLock { calls in
                defer { calls.waiting = [] }
                if calls.waiting.isEmpty { calls.isPosted = false }
                return calls.waiting
            }
            guard !batch.isEmpty else { break }
            // Calls of one kind that follow one another are one command.
            var wanted: [WebSocketTopicInterest] = []
            var unwanted: [String] = []
            func flush() {
                subscribe(wanted)
                unsubscribe(unwanted)
                wanted = []
                unwanted = []
            }
            for call in batch {
                switch call {
                case .subscribe(let interests):
                    if !unwanted.isEmpty { flush() }
                    wanted += interests
                case .unsubscribe(let topics):
                    if !wanted.isEmpty { flush() }
                    unwanted += topics
                case .publish(let publications):
                    flush()
                    for publication in publications { publish(publication) }
                case .counts(let counts): for (topic, count) in counts { tell(count, of: topic) }
                }
            }
            flush()
        }
    }

    // MARK: Subscribing

    private static let batch = 512

    private func subscribe(_ interests: [WebSocketTopicInterest]) {
        for start in stride(from: 0, to: interests.count, by: Self.batch) {
            request(Array(interests[start..<min(start + Self.batch, interests.count)]))
        }
    }

    private func unsubscribe(_ topics: [String]) {
        for start in stride(from: 0, to: topics.count, by: Self.batch) {
            pipe.tell(["UNSUBSCRIBE"] + topics[start..<min(start + Self.batch, topics.count)].map(keys.channel))
        }
    }

    private func request(_ interests: [WebSocketTopicInterest]) {
        var writer = RESPWriter()
        writer.command(["SUBSCRIBE"] + interests.map { keys.channel($0.topic) })
        pipe.send(writer.take(), confirmations: interests.count) { [self] answer in
            switch answer {
            case nil: break
            case .error(let error)?:
                // One that may not be heard refuses all.
                guard interests.count == 1 else { return interests.forEach { request([$0]) } }
                tell(.refused(interests[0].topic, refusal(of: interests[0].topic, error)))
            case _?:
                tell(
                    .subscribed(
                        interests.filter { !$0.wantsPosition }.map { WebSocketTopicConfirmation(topic: $0.topic) }))
                // The end of the history as of now: on this connection, so that it stands between the messages.
                for interest in interests where interest.wantsPosition { askTop(interest.topic) }
            }
        }
    }

    private func askTop(_ topic: String) {
        pipe.send(server.read(keys, topic, after: nil, limit: 0)) { [self] answer in
            guard let answer else { return }
            if case .error(let error) = answer, error.code == "NOSCRIPT" {
                pipe.send(["SCRIPT", "LOAD", RedisScripts.read]) { _ in }
                return askTop(topic)
            }
            var top: WebSocketTopicPosition?
            do throws(WebSocketError) {
                top = try RedisHistoryAnswer.parse(answer, topic: topic).top
            } catch {
                // What is wrong for one is wrong for all.
                if !hasToldUnreadable { tell(.alert(error)) }
                hasToldUnreadable = true
            }
            tell(.subscribed([WebSocketTopicConfirmation(topic: topic, top: top)]))
        }
    }

    private func refusal(of topic: String, _ error: RESPError) -> WebSocketError {
        WebSocketError(
            .brokerRefused,
            "Redis refused channel \(keys.channel(topic).escapedForLog): “\(error.text.escapedForLog)”; check the user's access rules"
        )
    }

    // MARK: Publishing

    private func publish(_ publication: WebSocketTopicPublication) {
        guard publication.history != nil else {
            var writer = RESPWriter()
            writer.begin(3)
            writer.add("PUBLISH")
            writer.add(keys.channel(publication.topic))
            writer.add(TopicEnvelope.encode(publication))
            return pipe.send(writer.take()) { [self] answer in
                guard let answer else { return }
                settle(publication.id, answer, nil)
            }
        }
        if isHolding { heldHistory.append(publication) } else { append(publication) }
    }

    /// Numbers of one publisher must come in their order, or the script takes the lower one for a repeat. So when it is
    /// gone, nothing goes out until all that met this have come back.
    private func append(_ publication: WebSocketTopicPublication) {
        historyInFlight += 1
        pipe.send(server.publish(keys, publication)) { [self] answer in
            historyInFlight -= 1
            guard let answer else { return }
            if case .error(let error) = answer, error.code == "NOSCRIPT" {
                isHolding = true
                heldHistory.append(publication)
                heldHistory.sort { $0.id < $1.id }
            } else {
                let parts = answer.elements
                let position = parts.flatMap { parts in
                    parts.count == 3 ? RedisHistoryAnswer.position(parts[0], parts[1]) : nil
                }
                settle(publication.id, answer, position?.offset == 0 ? nil : position)
            }
            if isHolding, historyInFlight == 0 { loadAgain() }
        }
    }

    private func loadAgain() {
        pipe.send(["SCRIPT", "LOAD", RedisScripts.publish]) { [self] answer in
            isHolding = false
            let held = heldHistory
            heldHistory = []
            guard let answer else { return }
            if case .error(let error) = answer {
                return held.forEach { settle($0.id, .error(error), nil) }
            }
            for publication in held { publish(publication) }
        }
    }

    private func settle(_ id: UInt64, _ answer: RESPValue, _ position: WebSocketTopicPosition?) {
        let outcome: WebSocketTopicOutcome =
            if case .error(let error) = answer { .dropped(.redis(error)) } else { .accepted(position) }
        if case .settled(var outcomes)? = told.last {
            // Taken out first, so that it grows where it is.
            told.removeLast()
            outcomes.append((id, outcome))
            told.append(.settled(outcomes))
        } else {
            told.append(.settled([(id, outcome)]))
        }
    }

    // MARK: Receiving

    private static let message = Array("message".utf8)

    private func take(_ elements: [RESPValue]) {
        guard elements.count == 3, elements[0].bytes == Self.message, let channel = elements[1].bytes,
            let payload = elements[2].bytes
        else { return }
        guard let topic = keys.topic(ofChannel: channel) else {
            if channel.elementsEqual(keys.service.utf8) { isEchoDue = false }
            if channel.elementsEqual(keys.nodes.utf8) { hear(payload) }
            return
        }
        guard case .delivery(let delivery) = TopicEnvelope.decode(payload, topic: topic) else {
            return tell(.unreadable(topic))
        }
        if case .received(var deliveries)? = told.last {
            told.removeLast()
            deliveries.append(delivery)
            told.append(.received(deliveries))
        } else {
            told.append(.received([delivery]))
        }
    }

    private func tell(_ what: Told) { told.append(what) }

    private func tellAll() {
        guard !told.isEmpty else { return }
        let batch = told
        told = []
        for what in batch {
            switch what {
            case .received(let deliveries): events.received(deliveries)
            case .settled(let outcomes): events.settled(outcomes)
            case .subscribed(let topics): if !topics.isEmpty { events.subscribed(topics) }
            case .refused(let topic, let error): events.refused(topic, error)
            case .alert(let error): events.alert(error)
            case .unreadable(let topic): events.unreadable(topic)
            }
        }
    }

    // MARK: Other processes

    /// An engine that forgets what is not told again for two hours keeps nothing of processes that are gone for good.
    private static let countsAge = "7200"

    private func tell(_ count: Int, of topic: String) {
        let key = keys.counts(topic)
        if count > 0 {
            pipe.send(["HSET", key, keys.node, String(count)]) { [self] in notice($0) }
            pipe.send(["EXPIRE", key, Self.countsAge]) { [self] in notice($0) }
        } else {
            pipe.send(["HDEL", key, keys.node]) { [self] in notice($0) }
        }
    }

    /// What is wrong for one is wrong for all.
    private func notice(_ answer: RESPValue?) {
        guard case .error(let error)? = answer, !hasToldUncounted else { return }
        hasToldUncounted = true
        tell(.alert(.redis(error)))
    }

    /// Says that this process is there, and looks for those that were.
    private func beat() {
        guard pipe.isOpen else { return }
        let lease = settings.heartbeatInterval * 3 / .milliseconds(1)
        pipe.send(["SET", keys.lease(keys.node), "1", "PX", String(Int(lease))]) { [self] in notice($0) }
        pipe.send(["PUBLISH", keys.nodes, keys.node]) { _ in }
        // Longer than a lease, so that one that has ended has none any more.
        let deadline = ContinuousClock.now - settings.heartbeatInterval * 3.5
        for (node, time) in heard where time < deadline {
            pipe.send(["GET", keys.lease(node)]) { [self] answer in
                // What this process had not read yet came before the answer.
                guard heard[node] == time else { return }
                heard[node] = nil
                guard answer?.bytes != nil else { return }
                tell(
                    .alert(
                        WebSocketError(
                            .brokerUnavailable,
                            "process \(node.escapedForLog) is there and was not heard for \(settings.heartbeatInterval * 3.5); it or this one does not get what others publish"
                        )))
            }
        }
        heartbeat = pipe.schedule(after: settings.heartbeatInterval * Double.random(in: 0.9...1.1)) { [self] in beat() }
    }

    private static let maximumHeard = 10_000

    private func hear(_ payload: [UInt8]) {
        guard payload.count <= 64, let node = String(validating: payload, as: UTF8.self), node != keys.node,
            heard.count < Self.maximumHeard || heard[node] != nil
        else { return }
        heard[node] = .now
    }

    // MARK: Whether it is still the right server

    private func scheduleRound() {
        guard pipe.isOpen else { return }
        let interval = settings.checkInterval * Double.random(in: 0.9...1.1)
        round = pipe.schedule(after: interval) { [self] in
            guard pipe.isOpen else { return }
            if isEchoDue { missedEchoes += 1 } else { missedEchoes = 0 }
            guard missedEchoes < 2 else {
                return pipe.end(
                    WebSocketError(
                        .brokerUnavailable,
                        "Redis does not deliver what this process publishes to itself; it is connected to anew"))
            }
            isEchoDue = true
            pipe.send(["PUBLISH", keys.service, "echo"]) { _ in }
            if settings.requiresPrimary {
                pipe.send(["ROLE"]) { [pipe] answer in
                    guard let answer, let problem = RedisServer.roleProblem(answer) else { return }
                    pipe.end(problem)
                }
            }
            scheduleRound()
        }
    }
}
