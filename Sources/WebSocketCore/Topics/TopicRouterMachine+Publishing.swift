//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

extension TopicRouterMachine {
    /// What a publication means for the subscribers of this process.
    package enum Local: Sendable, Equatable {
        /// They get it at once.
        case now
        /// They get it from the broker, or by an action.
        case later
    }

    /// Publishes a message.
    ///
    /// - Parameters:
    ///   - except: A connection of this process that does not get it.
    ///   - waiter: A caller that waits for room and for the outcome. Without one the message is dropped, and counted, when
    ///     there is no room.
    package mutating func publish(
        _ message: WebSocketMessage, to topic: String, except: UInt64?, waiter: UInt64?, now: UInt64,
        _ actions: inout [Action]
    ) -> Local {
        let rules = rules(of: topic)
        guard rules.isShared else {
            if let waiter { actions.append(.settle(waiter: waiter, .accepted(nil))) }
            return .now
        }
        statistics.published += 1
        let local: Local = rules.actualOrder == .publisher ? .now : .later
        let limit = rules.history == nil ? settings.messageBytes : settings.historyMessageBytes
        if let problem = TopicName.problem(topic) {
            drop(
                WebSocketError(
                    .invalidConfiguration,
                    "the topic “\(topic.escapedForLog)” cannot be shared: \(problem); choose another name"),
                waiter, now: now, &actions)
            return local
        }
        guard message.byteCount <= limit else {
            drop(
                WebSocketError(
                    .messageTooBig,
                    "a message of \(message.byteCount) bytes is too large for topic “\(topic.escapedForLog)”, whose limit is \(limit); send less, or raise the limit"
                ),
                waiter, now: now, &actions)
            return local
        }
        guard crowd.isEmpty || waiter == nil, hasRoom(for: message, topic) else {
            guard let waiter else {
                drop(
                    WebSocketError(
                        .sendQueueFull,
                        "\(statistics.waiting) messages of \(statistics.waitingBytes) bytes wait for the broker already; publish with await, which waits for room"
                    ),
                    nil, now: now, &actions)
                return local
            }
            crowd.append(
                Crowded(topic: topic, message: message, rules: rules, except: except, waiter: waiter))
            return local
        }
        admit(message, to: topic, rules, except: except, waiter: waiter, now: now, &actions)
        return local
    }

    private func hasRoom(for message: WebSocketMessage, _ topic: String) -> Bool {
        guard statistics.waiting < settings.waitingMessages else { return false }
        // One always goes, or one that is larger than the limit never would.
        return statistics.waiting == 0
            || statistics.waitingBytes + message.byteCount + topic.utf8.count + 64 <= settings.waitingBytes
    }

    private mutating func admit(
        _ message: WebSocketMessage, to topic: String, _ rules: WebSocketTopicRules, except: UInt64?, waiter: UInt64?,
        now: UInt64, _ actions: inout [Action]
    ) {
        lastNumber += 1
        let waiting = Waiting(
            publication: WebSocketTopicPublication(
                id: lastNumber, publisher: settings.publisher, topic: topic, message: message, history: rules.history),
            order: rules.actualOrder, except: except, waiter: waiter, time: now)
        statistics.waiting += 1
        statistics.waitingBytes += waiting.bytes
        guard !isConnected else { return hand(waiting, &actions) }
        let deadline = deadline(of: waiting)
        guard deadline > now else {
            // Not in front of those whose time is over as well.
            expire(now: now, &actions)
            return end(waiting, .dropped(away), now: now, &actions)
        }
        queue.append(waiting)
        scheduleExpiry(at: deadline)
    }

    /// Gives a publication to the broker.
    mutating func hand(_ waiting: Waiting, _ actions: inout [Action]) {
        inFlight[waiting.publication.id] = waiting
        if let except = waiting.except, waiting.order == .topic { exceptions[waiting.publication.id] = except }
        actions.append(.publish(waiting.publication))
    }

    // MARK: Outcomes

    /// The broker's answer to a publication.
    package mutating func settled(
        _ id: UInt64, _ outcome: WebSocketTopicOutcome, now: UInt64, _ actions: inout [Action]
    ) {
        guard let waiting = inFlight.removeValue(forKey: id) else { return }
        count(outcome)
        finish(waiting, outcome, now: now, &actions)
        admitCrowd(now: now, &actions)
    }

    /// A publication that the broker does not get. Subscribers of this process get it now, if they were to hear it from the
    /// broker and it has no place in a sequence.
    private mutating func end(
        _ waiting: Waiting, _ outcome: WebSocketTopicOutcome, now: UInt64, _ actions: inout [Action]
    ) {
        count(outcome)
        exceptions[waiting.publication.id] = nil
        let isHeard = topics[waiting.publication.topic].map { $0.subscribers > 0 } ?? false
        if isHeard, waiting.order == .topic, waiting.publication.history == nil, !waiting.isEchoed {
            actions.append(
                .deliver(
                    WebSocketTopicDelivery(topic: waiting.publication.topic, message: waiting.publication.message),
                    except: waiting.except))
        }
        finish(waiting, outcome, now: now, &actions)
    }

    private mutating func count(_ outcome: WebSocketTopicOutcome) {
        switch outcome {
        case .accepted: statistics.accepted += 1
        case .dropped: statistics.dropped += 1
        case .unknown: statistics.unknown += 1
        }
    }

    private mutating func finish(
        _ waiting: Waiting, _ outcome: WebSocketTopicOutcome, now: UInt64, _ actions: inout [Action]
    ) {
        statistics.waiting -= 1
        statistics.waitingBytes -= waiting.bytes
        if let waiter = waiting.waiter {
            actions.append(.settle(waiter: waiter, outcome))
        } else if case .dropped(let error) = outcome, error.code != .brokerUnavailable {
            alert(error, now: now, &actions)
        }
    }

    private mutating func drop(
        _ error: WebSocketError, _ waiter: UInt64?, now: UInt64, _ actions: inout [Action]
    ) {
        statistics.dropped += 1
        if let waiter {
            actions.append(.settle(waiter: waiter, .dropped(error)))
        } else {
            alert(error, now: now, &actions)
        }
    }

    /// Room has become free.
    private mutating func admitCrowd(now: UInt64, _ actions: inout [Action]) {
        while let first = crowd.first, hasRoom(for: first.message, first.topic) {
            crowd.removeFirst()
            admit(
                first.message, to: first.topic, first.rules, except: first.except, waiter: first.waiter, now: now,
                &actions)
        }
    }

    /// The caller no longer waits. A publication that waits for room is taken back, and the answer is true; one that was
    /// taken goes on.
    package mutating func cancel(waiter: UInt64) -> Bool {
        guard let index = crowd.firstIndex(where: { $0.waiter == waiter }) else { return false }
        crowd.remove(at: index)
        statistics.dropped += 1
        return true
    }

    // MARK: Without the broker

    /// The connection ended. What has history is sent again, in its order, because the broker knows it again; of the rest
    /// it is not known whether others have it.
    mutating func takeBack(_ error: WebSocketError, now: UInt64, _ actions: inout [Action]) {
        let unanswered = inFlight.values.sorted { $0.publication.id < $1.publication.id }
        inFlight = [:]
        for waiting in unanswered {
            if waiting.publication.history != nil {
                queue.append(waiting)
                scheduleExpiry(at: deadline(of: waiting))
            } else {
                end(waiting, .unknown(error), now: now, &actions)
            }
        }
        // The echoes' connection is gone; those of what is sent again come anew.
        let queued = Set(queue.map(\.publication.id))
        exceptions = exceptions.filter { queued.contains($0.key) }
        admitCrowd(now: now, &actions)
    }

    /// Until when a publication waits for the broker.
    private func deadline(of waiting: Waiting) -> UInt64 {
        if waiting.publication.history != nil { return waiting.time &+ settings.historyPatience }
        switch settings.whenAway {
        case .buffer(let age): return max(waiting.time &+ age, awaySince &+ settings.patience)
        case .localOnly, .fail: return awaySince &+ settings.patience
        }
    }

    private mutating func scheduleExpiry(at deadline: UInt64) {
        guard expiry.map({ deadline < $0.deadline }) ?? true else { return }
        if let expiry { timers.cancel(expiry.token) }
        expiry = (deadline, timers.schedule(at: deadline, .expiry))
    }

    mutating func expire(now: UInt64, _ actions: inout [Action]) {
        guard !isConnected else { return }
        var kept: Deque<Waiting> = []
        var next: UInt64?
        while let waiting = queue.popFirst() {
            let deadline = deadline(of: waiting)
            if deadline <= now {
                end(waiting, .dropped(away), now: now, &actions)
            } else {
                next = min(next ?? deadline, deadline)
                kept.append(waiting)
            }
        }
        queue = kept
        if let next { scheduleExpiry(at: next) }
        admitCrowd(now: now, &actions)
    }

    private var away: WebSocketError {
        WebSocketError(
            .brokerUnavailable, "the broker cannot be reached; only subscribers of this process could get the message")
    }
}
