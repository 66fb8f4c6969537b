//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

/// Carries out what the router machine says: asks it under a lock, and acts outside of it, one thread at a time and in
/// order.
final class TopicRouter: Sendable {
    struct State {
        var machine: TopicRouterMachine
        /// Which loops have subscribers of a topic, those on their way included.
        var loops: [String: [ObjectIdentifier: Interest]] = [:]
        var actions: [TopicRouterMachine.Action] = []
        /// A thread carries actions out, in their order.
        var isActing = false
        var outcomes: [UInt64: Waiter<WebSocketTopicOutcome>] = [:]
        var ready: [UInt64: Waiter<WebSocketError?>] = [:]
        var lastWaiter: UInt64 = 0
        var isRunning = false
        /// While they run: there is a deadline where there was none.
        var pulse: AsyncStream<Void>.Continuation?
        /// Something keeps the time while they do not run.
        var isTicking = false
        /// Messages that a loop did not take.
        var overflowed = 0
        /// Topics of those that were told, by loop, until it takes messages again.
        var overflown: [ObjectIdentifier: Overflow] = [:]
        var gaps = 0
        /// What observers were told of.
        var reported = WebSocketTopicBrokerStatistics()
    }

    struct Interest {
        let table: TopicTable
        var count: Int
    }

    /// What a loop did not take in one of its turns.
    struct Overflow {
        let turn: UInt64
        var topics: Set<String> = []
    }

    let broker: any WebSocketTopicBroker
    let configuration: WebSocketTopicConfiguration
    let limits: BroadcastLimits
    let totals: BroadcastTotals
    let state: Mutex<State>
    private let listeners: TopicListeners

    init(
        broker: any WebSocketTopicBroker, configuration: WebSocketTopicConfiguration, limits: BroadcastLimits,
        totals: BroadcastTotals, listeners: TopicListeners
    ) {
        self.broker = broker
        self.configuration = configuration
        self.limits = limits
        self.totals = totals
        self.listeners = listeners
        var random = SystemRandomNumberGenerator()
        let settings = configuration.settings(publisher: random.next(), seed: random.next())
        state = Mutex(State(machine: TopicRouterMachine(settings, now: Self.now)))
    }

    static var now: UInt64 { UInt64(WebSocketEventLoop.coarseNanoseconds()) }

    // MARK: Asking and acting

    func ask<Answer: Sendable>(
        _ body: (inout TopicRouterMachine, UInt64, inout [TopicRouterMachine.Action]) -> Answer
    ) -> Answer { change { body(&$0.machine, Self.now, &$0.actions) } }

    private func change<Answer: Sendable>(_ body: (inout State) -> Answer) -> Answer {
        let (answer, acts, wakes) = state.withLock { state in
            let hadDeadline = state.machine.nextDeadline != nil
            let answer = body(&state)
            let acts = !state.actions.isEmpty && !state.isActing
            if acts { state.isActing = true }
            return (answer, acts, !hadDeadline && state.machine.nextDeadline != nil)
        }
        if wakes { wake() }
        if acts { act() }
        return answer
    }

    private func act() {
        while true {
            var batch: [TopicRouterMachine.Action] = []
            let isDone = state.withLock { state in
                swap(&batch, &state.actions)
                if batch.isEmpty { state.isActing = false }
                return batch.isEmpty
            }
            if isDone { return }
            carryOut(batch)
        }
    }

    private func carryOut(_ actions: [TopicRouterMachine.Action]) {
        var publications: [WebSocketTopicPublication] = []
        var deliveries: [(delivery: WebSocketTopicDelivery, except: UInt64?)] = []
        for action in actions {
            if case .publish(let publication) = action {
                publications.append(publication)
                continue
            }
            if case .deliver(let delivery, let except) = action {
                deliveries.append((delivery, except))
                continue
            }
            flush(&publications)
            flush(&deliveries)
            switch action {
            case .publish, .deliver: break
            case .subscribe(let interests): broker.subscribe(interests)
            case .unsubscribe(let topics): broker.unsubscribe(topics)
            case .settle(let waiter, let outcome):
                state.withLock { $0.outcomes.removeValue(forKey: waiter) }?.resume(returning: outcome)
            case .ready(let waiter, let error):
                state.withLock { $0.ready.removeValue(forKey: waiter) }?.resume(returning: error)
            case .fetch(let topic, let after, let limit, let token): fetch(topic, after, limit, token)
            case .tell(let event): tell(event)
            case .count(let counts): broker.tell(counts: counts)
            }
        }
        flush(&publications)
        flush(&deliveries)
    }

    private func flush(_ publications: inout [WebSocketTopicPublication]) {
        guard !publications.isEmpty else { return }
        broker.publish(publications)
        publications = []
    }

    private func fetch(_ topic: String, _ after: WebSocketTopicPosition, _ limit: Int, _ token: UInt64) {
        Task {
            let result: Result<WebSocketTopicHistory, WebSocketError>
            do throws(WebSocketError) {
                result = .success(try await broker.history(of: topic, after: after, limit: limit))
            } catch {
                result = .failure(error)
            }
            ask { $0.caughtUp(topic, token: token, result, now: $1, &$2) }
        }
    }

    private func tell(_ event: WebSocketTopicEvent) {
        for observer in configuration.observers { observer.happened(event) }
        listeners.tell(event)
    }

    // MARK: Subscribers

    func retain(_ topic: String, _ table: TopicTable) {
        change { state in
            let id = ObjectIdentifier(table.loop)
            state.loops[topic, default: [:]][id, default: Interest(table: table, count: 0)].count += 1
            state.machine.retain(topic, now: Self.now, &state.actions)
        }
    }

    func release(_ topic: String, _ table: TopicTable) { release(topic, loop: ObjectIdentifier(table.loop)) }

    func release(_ topic: String, loop: ObjectIdentifier) {
        change { state in
            guard let interest = state.loops[topic]?[loop] else { return }
            if interest.count > 1 {
                state.loops[topic]![loop]!.count -= 1
            } else {
                state.loops[topic]![loop] = nil
                if state.loops[topic]!.isEmpty { state.loops[topic] = nil }
            }
            state.machine.release(topic, now: Self.now, &state.actions)
        }
    }

    // MARK: Publishing

    func rules(of topic: String) -> WebSocketTopicRules { state.withLock { $0.machine.rules(of: topic) } }

    func publish(
        _ message: WebSocketMessage, to topic: String, except: UInt64?, waiter: UInt64?
    ) -> TopicRouterMachine.Local {
        ask { $0.publish(message, to: topic, except: except, waiter: waiter, now: $1, &$2) }
    }

    /// Publishes and waits for the outcome; the closure runs when subscribers of this process are to get it at once.
    func publish(
        _ message: WebSocketMessage, to topic: String, except: UInt64?
    ) async -> WebSocketTopicOutcome {
        let waiter = newWaiter()
        return await withTaskCancellationHandler {
            await suspend { continuation in
                state.withLock { $0.outcomes[waiter] = continuation }
                if publish(message, to: topic, except: except, waiter: waiter) == .now {
                    deliverHere(message, to: topic, except: except)
                }
                if Task.isCancelled { cancel(waiter) }
            }
        } onCancel: {
            cancel(waiter)
        }
    }

    /// A publication that waits for room is taken back. One that has been taken comes to its end.
    private func cancel(_ waiter: UInt64) {
        let continuation = state.withLock { state in
            state.machine.cancel(waiter: waiter) ? state.outcomes.removeValue(forKey: waiter) : nil
        }
        continuation?.resume(returning: .dropped(.cancelled("publish")))
    }

    private func newWaiter() -> UInt64 {
        state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
    }

    // MARK: Delivering

    func framed(_ delivery: WebSocketTopicDelivery) -> EncodedMessage {
        EncodedMessage(configuration.framing.map { $0(delivery) } ?? delivery.message)
    }

    /// To the subscribers of this process, at once.
    func deliverHere(_ message: WebSocketMessage, to topic: String, except: UInt64?) {
        let tables = state.withLock { $0.loops[topic].map { $0.values.map(\.table) } ?? [] }
        guard !tables.isEmpty else { return }
        let encoded = framed(WebSocketTopicDelivery(topic: topic, message: message))
        for table in tables {
            table.post { [limits, totals] in
                totals.note(table.publish(encoded, to: topic, limits, except: except))
            }
        }
    }

    private struct Parcel: Sendable {
        let topic: String
        let message: EncodedMessage
        let position: WebSocketTopicPosition?
        let except: UInt64?
    }

    /// What came from the broker: one message is framed once, and one loop is woken once.
    private func flush(_ deliveries: inout [(delivery: WebSocketTopicDelivery, except: UInt64?)]) {
        guard !deliveries.isEmpty else { return }
        var parcels: [ObjectIdentifier: (table: TopicTable, parcels: [Parcel], bytes: Int)] = [:]
        for (delivery, except) in deliveries {
            let tables = state.withLock { $0.loops[delivery.topic].map { $0.values.map(\.table) } ?? [] }
            guard !tables.isEmpty else { continue }
            let parcel = Parcel(
                topic: delivery.topic, message: framed(delivery), position: delivery.position, except: except)
            let bytes = delivery.message.byteCount + 64
            for table in tables {
                let posted = table.postedBytes.wrappingAdd(bytes, ordering: .relaxed).newValue
                guard posted <= configuration.maximumLoopBytes || posted == bytes else {
                    table.postedBytes.wrappingSubtract(bytes, ordering: .relaxed)
                    overflow(delivery.topic, table)
                    continue
                }
                let id = ObjectIdentifier(table)
                parcels[id, default: (table, [], 0)].parcels.append(parcel)
                parcels[id]!.bytes += bytes
            }
        }
        deliveries = []
        for (table, parcels, bytes) in parcels.values {
            table.post { [limits, totals] in
                table.postedBytes.wrappingSubtract(bytes, ordering: .relaxed)
                table.turns.wrappingAdd(1, ordering: .relaxed)
                for parcel in parcels {
                    totals.note(
                        table.publish(
                            parcel.message, to: parcel.topic, limits, except: parcel.except, at: parcel.position))
                }
            }
        }
    }

    /// One event for each topic until the loop takes messages again, also another broker's.
    private func overflow(_ topic: String, _ table: TopicTable) {
        let isFirst = state.withLock { state in
            state.overflowed += 1
            let turn = table.turns.load(ordering: .relaxed)
            let id = ObjectIdentifier(table)
            if state.overflown[id]?.turn != turn { state.overflown[id] = Overflow(turn: turn) }
            let isFirst = state.overflown[id]!.topics.insert(topic).inserted
            if isFirst { state.gaps += 1 }
            return isFirst
        }
        if isFirst { tell(.gap(WebSocketTopicGap(topic: topic, cause: .overflow))) }
    }

    // MARK: Recovery

    /// Waits until the topic is subscribed at the broker; returns why it is not, nil when it is.
    func ready(_ topic: String) async -> WebSocketError? {
        let waiter = newWaiter()
        let timer = Task { [timeout = configuration.recoveryTimeout] in
            try await Task.sleep(for: timeout)
            stopWaiting(
                topic, waiter,
                WebSocketError(.brokerUnavailable, "the broker did not confirm the topic within \(timeout); try again"))
        }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await suspend { continuation in
                state.withLock { $0.ready[waiter] = continuation }
                ask { machine, _, actions in machine.awaitReady(topic, waiter: waiter, &actions) }
                if Task.isCancelled { stopWaiting(topic, waiter, .cancelled("subscribe")) }
            }
        } onCancel: {
            stopWaiting(topic, waiter, .cancelled("subscribe"))
        }
    }

    private func stopWaiting(_ topic: String, _ waiter: UInt64, _ error: WebSocketError) {
        let continuation = state.withLock { state in
            _ = state.machine.stopWaiting(topic, waiter: waiter)
            // Also of a topic that is given up, whose machine knows nothing of it any more.
            return state.ready.removeValue(forKey: waiter)
        }
        continuation?.resume(returning: error)
    }

    // MARK: Looking

    /// How many subscribers a topic has in all processes.
    func subscriberCount(of topic: String) async throws(WebSocketError) -> Int {
        guard configuration.sharesCounts else {
            throw WebSocketError(
                .invalidConfiguration,
                "the processes do not tell each other their numbers of subscribers; set sharesCounts in WebSocketTopicConfiguration, in all of them"
            )
        }
        return try await broker.subscriberCount(of: topic)
    }

    var statistics: WebSocketTopicBrokerStatistics {
        state.withLock { state in
            var statistics = state.machine.statistics
            statistics.topics = state.machine.wantedTopics.count
            statistics.overflowed = state.overflowed
            statistics.gaps += state.gaps
            return statistics
        }
    }

    /// For tests.
    var confirmedTopics: Set<String> { state.withLock { $0.machine.confirmedTopics } }
}
