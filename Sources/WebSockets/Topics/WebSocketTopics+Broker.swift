//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketConcurrency
public import WebSocketCore
import WebSocketLoop

extension WebSocketTopics {
    /// Keeps the connections to the brokers until the task is cancelled. A service of swift-service-lifecycle. Without a
    /// broker it only waits.
    ///
    /// - Throws: `invalidConfiguration` when they run already.
    public func run() async throws(WebSocketError) {
        guard let first = routers.all.first else { return await WebSocketTopics.untilCancelled() }
        if routers.all.count == 1 { try await first.run() } else { try await runAll() }
    }

    private func runAll() async throws(WebSocketError) {
        let result = await withTaskGroup(of: Result<Void, WebSocketError>.self) { group in
            for router in routers.all {
                group.addTask {
                    do throws(WebSocketError) {
                        return .success(try await router.run())
                    } catch {
                        return .failure(error)
                    }
                }
            }
            var first: Result<Void, WebSocketError>?
            for await result in group {
                // None ends by itself, but one that runs already.
                if first == nil { group.cancelAll() }
                first = first ?? result
            }
            return first ?? .success(())
        }
        try result.get()
    }

    private static func untilCancelled() async {
        let (stream, continuation) = AsyncStream.makeStream(of: Never.self)
        await withTaskCancellationHandler {
            for await _ in stream {}
        } onCancel: {
            continuation.finish()
        }
    }

    /// What happens between these topics and the broker, from now on. Each call makes a sequence of its own, which keeps
    /// the newest 4,096 events that were not taken, and ends when the topics are gone. Without a broker it has none.
    public var events: AsyncStream<WebSocketTopicEvent> {
        listeners.stream()
    }

    /// How the broker's side is doing; nil without a broker. With several brokers the sums, and connected when all are.
    public var brokerStatistics: WebSocketTopicBrokerStatistics? {
        guard var sum = routers.all.first?.statistics else { return nil }
        for router in routers.all.dropFirst() { sum.add(router.statistics) }
        return sum
    }

    /// What the broker is called, or all of them; nil without one.
    public var brokerName: String? {
        routers.all.isEmpty ? nil : routers.all.map(\.broker.name).joined(separator: ", ")
    }

    /// How many connections are subscribed to a topic: of this process, or of all.
    ///
    /// Each process tells the others at most once a second, and one that was killed counts for up to 30 s more. The topic
    /// of a broker that is not shared has the subscribers of this process only.
    ///
    /// - Throws: `invalidConfiguration` unless WebSocketTopicConfiguration/sharesCounts is set; `brokerUnavailable`,
    ///   `brokerRefused`.
    public func subscriberCount(of topic: String, everywhere: Bool) async throws(WebSocketError) -> Int {
        guard everywhere, let router = routers[topic], router.rules(of: topic).isShared else {
            return subscriberCount(of: topic)
        }
        return try await router.subscriberCount(of: topic)
    }

    /// Publishes, and waits for room and for the broker's answer.
    ///
    /// Subscribers of this process do not wait for that, but in topics that have one order.
    ///
    /// - Returns: Where the message stands in the topic's history; nil without history, or when it was sent twice and the
    ///   first answer is forgotten.
    /// - Throws: `brokerUnavailable` when the broker does not get it, or may have got it and did not answer: the message
    ///   says which; `messageTooBig`; `brokerRefused`; `cancelled`, while it waits for room.
    @discardableResult
    public func publishConfirmed(
        _ message: WebSocketMessage, to topic: String, except sender: WebSocketConnection? = nil
    ) async throws(WebSocketError) -> WebSocketTopicPosition? {
        guard let router = routers[topic] else {
            publish(message, to: topic, except: sender)
            return nil
        }
        switch await router.publish(message, to: topic, except: sender?.wire.number) {
        case .accepted(let position): return position
        case .dropped(let error): throw error
        case .unknown(let error):
            throw WebSocketError(
                .brokerUnavailable,
                "the message was sent, and the connection to the broker ended before its answer: \(error.message)")
        }
    }

    /// Subscribes a connection that was subscribed before, to a topic that has history: it gets what it missed, in order
    /// and once, and then what follows.
    ///
    /// What it missed is sent to the connection before this returns, as `framing` says.
    ///
    /// - Parameters:
    ///   - socket: The connection.
    ///   - topic: A topic with history.
    ///   - position: The last that it has, which is best kept by the client; nil for none.
    /// - Throws: `invalidConfiguration` for a topic without history; `cancelled`, while the subscription stays.
    @discardableResult
    public func subscribe(
        _ socket: WebSocketConnection, to topic: String, after position: WebSocketTopicPosition?
    ) async throws(WebSocketError) -> WebSocketTopicRecovery {
        guard let router = routers[topic], router.rules(of: topic).history != nil else {
            throw WebSocketError(
                .invalidConfiguration,
                "topic “\(topic.escapedForLog)” has no history; give it one in WebSocketTopicConfiguration.rules")
        }
        let wire = socket.wire
        let table = table(of: wire.loop)
        router.retain(topic, table)
        let isTaken = table.post {
            if !table.subscribe(wire, to: topic) { router.release(topic, table) }
            table.hold(wire, topic)
        }
        if !isTaken { router.release(topic, table) }
        let recovery = await router.recover(topic, after: position)
        var missed: [EncodedMessage] = []
        var floor: WebSocketTopicPosition?
        switch recovery {
        case .new(let top): floor = top
        case .incomplete(_, let top): floor = top
        case .complete(let deliveries, let top):
            missed = deliveries.map { router.framed($0) }
            floor = top
        }
        let limits = router.limits
        let totals = totals
        let isKept: Bool = await suspend { [missed, floor] (continuation: LoopContinuation<Bool>) in
            let isTaken = table.post {
                let counts = table.release(wire, topic, missed, floor: floor, limits)
                if let counts { totals.note(counts) }
                continuation.resume(returning: counts != nil)
            }
            if !isTaken { continuation.resume(returning: true) }
        }
        if case .incomplete(.unavailable(let error), _) = recovery, error.code == .cancelled { throw error }
        return isKept ? recovery : .incomplete(.overflow, nil)
    }
}

extension TopicRouter {
    /// What a subscriber has missed behind a position.
    func recover(_ topic: String, after position: WebSocketTopicPosition?) async -> WebSocketTopicRecovery {
        if let error = await ready(topic) { return .incomplete(.unavailable(error), nil) }
        let most = configuration.maximumRecoveredMessages
        let history: WebSocketTopicHistory
        do throws(WebSocketError) {
            history = try await broker.history(of: topic, after: position, limit: position == nil ? 0 : most + 1)
        } catch {
            return .incomplete(.unavailable(error), nil)
        }
        let top = history.top
        guard let position else { return .new(top) }
        guard position.epoch == top.epoch, position.offset <= top.offset else { return .incomplete(.epochChanged, top) }
        guard history.messages.count <= most else { return .incomplete(.tooMany, top) }
        var next = position.offset
        var bytes = 0
        for message in history.messages {
            next += 1
            guard message.position?.epoch == top.epoch, message.position?.offset == next else {
                return .incomplete(.tooOld, top)
            }
            bytes += message.message.byteCount
        }
        guard next == top.offset else { return .incomplete(.tooOld, top) }
        guard bytes <= configuration.maximumRecoveredBytes else { return .incomplete(.tooMany, top) }
        return .complete(history.messages, top)
    }
}

#if ServiceLifecycle
public import ServiceLifecycle

extension WebSocketTopics: Service {}
#endif

extension WebSocketTopics {
    /// Topics whose subscription stands at the broker; for tests.
    package var confirmedTopics: Set<String> {
        routers.all.reduce(into: []) { $0.formUnion($1.confirmedTopics) }
    }
}
