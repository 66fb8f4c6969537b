//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

extension TopicRouterMachine {
    /// Messages have come from the broker.
    package mutating func received(_ deliveries: [WebSocketTopicDelivery], now: UInt64, _ actions: inout [Action]) {
        for delivery in deliveries { receive(delivery, now: now, &actions) }
    }

    /// Something has come through a topic's channel that cannot be read.
    package mutating func unreadable(_ topic: String, now: UInt64, _ actions: inout [Action]) {
        statistics.received += 1
        statistics.invalid += 1
        alert(
            WebSocketError(
                .protocolViolation,
                "a message for topic “\(topic.escapedForLog)” cannot be read; do all processes have the same version?"),
            now: now, &actions)
    }

    private mutating func receive(_ delivery: WebSocketTopicDelivery, now: UInt64, _ actions: inout [Action]) {
        statistics.received += 1
        if delivery.origin == nil { statistics.foreign += 1 }
        guard isConnected, let topic = topics[delivery.topic], topic.rules.isShared else {
            statistics.unwanted += 1
            return
        }
        if let origin = delivery.origin, origin.publisher == settings.publisher {
            guard topic.rules.actualOrder == .topic else {
                statistics.own += 1
                return
            }
            inFlight[origin.number]?.isEchoed = true
        }
        if topic.hasHistory, let position = delivery.position {
            receive(delivery, at: position, topic, now: now, &actions)
        } else {
            deliver(delivery, &actions)
        }
    }

    private static let knownPublishers = 256

    /// Each publisher's numbers grow, so one that is not greater was here.
    private mutating func isNew(_ origin: WebSocketTopicDelivery.Origin?, _ name: String) -> Bool {
        guard let origin else { return true }
        if let number = topics[name]?.numbers[origin.publisher], number >= origin.number { return false }
        if topics[name]!.numbers.count >= Self.knownPublishers { topics[name]!.numbers = [:] }
        topics[name]!.numbers[origin.publisher] = origin.number
        return true
    }

    /// A publication with history may come again in another epoch: its answer was lost, and the engine has forgotten it.
    mutating func deliver(_ delivery: WebSocketTopicDelivery, _ actions: inout [Action]) {
        guard isNew(delivery.origin, delivery.topic) else {
            statistics.duplicates += 1
            return
        }
        var except: UInt64?
        if let origin = delivery.origin, origin.publisher == settings.publisher {
            except = exceptions.removeValue(forKey: origin.number)
        }
        guard topics[delivery.topic].map({ $0.subscribers > 0 }) ?? false else {
            statistics.unwanted += 1
            return
        }
        actions.append(.deliver(delivery, except: except))
    }

    // MARK: Confirmations

    /// Subscriptions stand at the broker.
    package mutating func subscribed(
        _ confirmations: [WebSocketTopicConfirmation], now: UInt64, _ actions: inout [Action]
    ) {
        guard isConnected else { return }
        for confirmation in confirmations { confirm(confirmation, now: now, &actions) }
        tellGapForAll(now: now, &actions)
    }

    private mutating func confirm(
        _ confirmation: WebSocketTopicConfirmation, now: UInt64, _ actions: inout [Action]
    ) {
        let name = confirmation.topic
        guard let topic = topics[name], topic.unanswered > 0 else { return }
        topics[name]!.unanswered -= 1
        guard topic.unanswered == 1 else { return }
        guard topic.link == .wanted || topic.link == .confirmed else {
            // It was given up before the answer came.
            if topic.link == .absent, topic.subscribers == 0 { forget(name) }
            return
        }
        topics[name]!.link = .confirmed
        topics[name]!.isInterrupted = false
        if topic.hasHistory {
            compare(confirmation.top, topic, name, now: now, &actions)
            if topics[name]!.check == nil {
                let due = now &+ spread(settings.checkInterval)
                topics[name]!.check = timers.schedule(at: due, .check(name))
            }
        } else if topic.isInterrupted, !isGapForAll {
            gap(name, .disconnected, now: now, &actions)
        }
        for waiter in topic.waiters { actions.append(.ready(waiter: waiter, nil)) }
        topics[name]!.waiters = []
    }

    /// One event for very many topics, when all are heard again.
    private mutating func tellGapForAll(now: UInt64, _ actions: inout [Action]) {
        guard isGapForAll, !topics.values.contains(where: { $0.link == .wanted }) else { return }
        isGapForAll = false
        gap(nil, .disconnected, now: now, &actions)
    }

    /// The broker does not let this process hear a topic.
    package mutating func refused(
        _ name: String, _ error: WebSocketError, now: UInt64, _ actions: inout [Action]
    ) {
        guard isConnected, let topic = topics[name], topic.unanswered > 0 else { return }
        topics[name]!.unanswered -= 1
        guard topic.unanswered == 1 else { return }
        if topic.subscribers == 0 { return forget(name) }
        topics[name]!.link = .refused
        for waiter in topic.waiters { actions.append(.ready(waiter: waiter, error)) }
        topics[name]!.waiters = []
        actions.append(.tell(.alert(error)))
        tellGapForAll(now: now, &actions)
    }

    // MARK: Sequences

    /// Where the history ends, as of the confirmation: whatever is missing up to there is fetched.
    private mutating func compare(
        _ top: WebSocketTopicPosition?, _ topic: Topic, _ name: String, now: UInt64, _ actions: inout [Action]
    ) {
        guard let top else {
            // What came before the confirmation cannot be placed.
            let isLost = topic.last == nil && !topic.held.isEmpty
            if isLost { topics[name]!.held = [] }
            if topic.isInterrupted || isLost { gap(name, .recoveryFailed, now: now, &actions) }
            return
        }
        guard let last = topic.last else {
            topics[name]!.last = top
            topics[name]!.held = []
            if topic.isInterrupted { gap(name, .disconnected, now: now, &actions) }
            // Of what came before the confirmation that which leads up to it; the rest is of an earlier subscription.
            var first = top.offset + 1
            var own: ArraySlice<WebSocketTopicDelivery> = []
            for (index, delivery) in topic.held.enumerated().reversed() {
                guard delivery.position?.epoch == top.epoch, delivery.position?.offset == first - 1 else { break }
                first -= 1
                own = topic.held[index...]
            }
            if topic.isOverflown, own.count == topic.held.count { gap(name, .overflow, now: now, &actions) }
            topics[name]!.isOverflown = false
            for delivery in own { deliver(delivery, &actions) }
            return
        }
        // What was read from the history may be ahead of what comes on the connection.
        if last.epoch != top.epoch || (top.offset < last.offset && !topic.isAhead) {
            topics[name]!.last = top
            topics[name]!.held = []
            topics[name]!.catchUp = nil
            gap(name, .epochChanged, now: now, &actions)
        } else if top.offset > last.offset {
            catchUp(name, &actions)
        }
    }

    private mutating func receive(
        _ delivery: WebSocketTopicDelivery, at position: WebSocketTopicPosition, _ topic: Topic, now: UInt64,
        _ actions: inout [Action]
    ) {
        let name = delivery.topic
        guard let last = topic.last else {
            guard topic.link == .confirmed else {
                if topic.held.count >= settings.heldMessages {
                    topics[name]!.held.removeFirst()
                    topics[name]!.isOverflown = true
                }
                return topics[name]!.held.append(delivery)
            }
            topics[name]!.last = position
            return deliver(delivery, &actions)
        }
        guard last.epoch == position.epoch else {
            topics[name]!.held = []
            topics[name]!.catchUp = nil
            topics[name]!.last = position
            gap(name, .epochChanged, now: now, &actions)
            return deliver(delivery, &actions)
        }
        guard position.offset > last.offset else {
            statistics.duplicates += 1
            return
        }
        if topic.catchUp == nil, position.offset == last.offset + 1 {
            topics[name]!.last = position
            return deliver(delivery, &actions)
        }
        if topic.held.count >= settings.heldMessages {
            // What is held is not delivered late behind newer messages.
            topics[name]!.held = []
            topics[name]!.catchUp = nil
            topics[name]!.last = position
            gap(name, .overflow, now: now, &actions)
            return deliver(delivery, &actions)
        }
        topics[name]!.held.append(delivery)
        if topic.catchUp == nil { catchUp(name, &actions) }
    }

    private mutating func catchUp(_ name: String, _ actions: inout [Action]) {
        guard topics[name]?.catchUp == nil else { return }
        lastToken += 1
        topics[name]!.catchUp = lastToken
        catchUpQueue.append(name)
        startCatchUps(&actions)
    }

    private mutating func startCatchUps(_ actions: inout [Action]) {
        while catchUps.count < settings.catchUps, let name = catchUpQueue.popFirst() {
            guard let topic = topics[name], let token = topic.catchUp, let last = topic.last, !catchUps.contains(token)
            else { continue }
            catchUps.insert(token)
            actions.append(.fetch(topic: name, after: last, limit: settings.heldMessages, token: token))
        }
    }

    /// What a topic's history has behind the position that was asked for.
    package mutating func caughtUp(
        _ name: String, token: UInt64, _ result: Result<WebSocketTopicHistory, WebSocketError>, now: UInt64,
        _ actions: inout [Action]
    ) {
        guard catchUps.remove(token) != nil else { return }
        defer { startCatchUps(&actions) }
        guard let topic = topics[name], topic.catchUp == token, let last = topic.last else { return }
        topics[name]!.catchUp = nil
        topics[name]!.isAhead = true
        let held = topic.held
        topics[name]!.held = []
        switch result {
        case .failure(let error):
            alert(error, now: now, &actions)
            resume(name, held, behind: last, gap: .recoveryFailed, now: now, &actions)
        case .success(let history) where history.top.epoch != last.epoch || history.top.offset < last.offset:
            topics[name]!.last = history.top
            gap(name, .epochChanged, now: now, &actions)
            resume(
                name, held.filter { $0.position?.epoch == history.top.epoch }, behind: history.top, gap: nil, now: now,
                &actions)
        case .success(let history):
            let first = history.messages.first?.position?.offset
            let isWhole = first == last.offset + 1 || (first == nil && history.top.offset == last.offset)
            statistics.recovered += history.messages.count
            if isWhole { statistics.recoveries += 1 } else { gap(name, .tooOld, now: now, &actions) }
            for message in history.messages {
                guard let position = message.position else { continue }
                topics[name]!.last = position
                deliver(message, &actions)
            }
            if history.messages.isEmpty { topics[name]!.last = history.top }
            let reached = topics[name]!.last ?? history.top
            if reached.offset < history.top.offset, !history.messages.isEmpty {
                // There is more than one answer holds.
                topics[name]!.held = held
                return catchUp(name, &actions)
            }
            resume(name, held, behind: reached, gap: nil, now: now, &actions)
        }
    }

    /// Goes on with what came meanwhile.
    private mutating func resume(
        _ name: String, _ held: [WebSocketTopicDelivery], behind last: WebSocketTopicPosition,
        gap cause: WebSocketTopicGap.Cause?, now: UInt64, _ actions: inout [Action]
    ) {
        if let cause { gap(name, cause, now: now, &actions) }
        var last = last
        var isFree = cause != nil
        for (index, delivery) in held.enumerated() {
            guard let position = delivery.position, position.offset > last.offset else {
                statistics.duplicates += 1
                continue
            }
            guard isFree || position.offset == last.offset + 1 else {
                topics[name]!.held = Array(held[index...])
                return catchUp(name, &actions)
            }
            // Behind a gap that was told there may be a hole in front of the first one.
            isFree = false
            last = position
            topics[name]!.last = position
            deliver(delivery, &actions)
        }
    }
}
