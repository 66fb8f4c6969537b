//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

// Connections that the session uses, from its first message to its last.
extension SessionCoordinator {
    /// How long a renewed connection may repeat what the old one brought.
    private static var overlap: Duration { .seconds(5) }

    mutating func activate(_ epoch: Int, isReconnect: Bool, gap: Duration?, at now: Duration) {
        guard let port = ports[epoch] else { return }
        let downtime = isReconnect ? disconnectedAt.map { now - $0 } : nil
        takeOver(epoch, port, at: now)
        // Before `connected`: what was frozen at the end of the last connection is thawed when nothing is missing.
        if let gap { tell(.gap(WebSocketSessionGap(.reconnected(after: gap)))) }
        add(.tell(.connected(isReconnect: isReconnect, after: downtime)))
        tell(.connected(isReconnect: isReconnect))
        if handover?.new == epoch {
            // A renewal whose old connection died first is an ordinary connection, but may repeat messages.
            handover?.isUnderWay = true
            handover?.end = now + Self.overlap
            let count = handover?.filter.held.count ?? 0
            let messages = handover?.filter.release() ?? []
            counters.duplicatesDropped += count - messages.count
            for message in messages { push(message, epoch, at: now, canPause: false) }
        }
        for arrival in port.held { push(arrival.message, epoch, at: now, canPause: false) }
        makeRoom()
    }

    mutating func handOver(to new: Int, from old: Int, at now: Duration) {
        guard let port = ports[new] else { return }
        counters.renewals += 1
        takeOver(new, port, at: now)
        handover?.isUnderWay = true
        handover?.oldHeardAt = now
        makeRoom()
    }

    private mutating func takeOver(_ epoch: Int, _ port: Port, at now: Duration) {
        counters.connects += 1
        connectedAt = now
        failure = nil
        // What was subscribed or unsubscribed meanwhile follows.
        var list = port.list
        for channel in subscriptions.channels where !list.contains(channel) { _ = list.add(channel) }
        var unwanted: [String] = []
        for channel in list.channels where !subscriptions.contains(channel) {
            if list.remove(channel, awaitsAnswer: now) == true { unwanted.append(channel) }
        }
        subscriptions = list
        ports[epoch]?.stage = .taken
        ports[epoch]?.held = []
        ports[epoch]?.heldBytes = 0
        ports[epoch]?.deadline = nil
        outbox.open(epoch, accepted: port.accepted)
        if !unwanted.isEmpty { add(.unsubscribe(epoch, unwanted)) }
        repeatRequests()
    }

    // MARK: Arriving

    package enum ArrivalAction: Sendable {
        /// Ask the closures first, and come again.
        case look(SessionInterest)
        case taken
        /// Taken; nothing more is to be read until there is room.
        case pause
    }

    /// The connection brought a message. `finish` is not needed afterwards: the effects are returned.
    package mutating func arrived(
        _ arrival: SessionArrival, _ epoch: Int, at now: Duration
    ) -> (ArrivalAction, [Effect]) {
        if let interest = interest(in: arrival, epoch) { return (.look(interest), []) }
        counters.messagesReceived += 1
        counters.bytesReceived += arrival.message.byteCount
        if let reply = arrival.reply {
            answered(reply, epoch, at: now)
            return (.taken, finish(at: now))
        }
        messageAt = now
        if let id = arrival.request, let index = requests.firstIndex(where: { $0.id == id }) {
            add(.reply(requests.remove(at: index).waiter, .success(arrival.message)))
            return (.taken, takeEffects())
        }
        let pauses = route(arrival, epoch, at: now)
        // Dropping and disconnecting have consequences.
        return (pauses ? .pause : .taken, settings.overflow == .suspendReading ? takeEffects() : finish(at: now))
    }

    private func interest(in arrival: SessionArrival, _ epoch: Int) -> SessionInterest? {
        var interest = SessionInterest()
        if !arrival.isIdentified, let handover, handover.old == epoch || handover.new == epoch {
            interest.wantsIdentity = true
        }
        if !arrival.isExamined {
            interest.channels =
                (ports[epoch].flatMap { $0.stage == .taken ? nil : $0.list } ?? subscriptions).recognised
            interest.requests = requests.map { ($0.id, $0.matches) }
        }
        guard interest.wantsIdentity || !interest.channels.isEmpty || !interest.requests.isEmpty else { return nil }
        return interest
    }

    private mutating func answered(_ reply: WebSocketSubscriptionReply, _ epoch: Int, at now: Duration) {
        tell(.subscription(reply))
        let failure: SubscriptionList.Failure?
        if let port = ports[epoch], port.stage != .taken {
            failure = ports[epoch]?.list.answered(reply, at: now) ?? nil
            reviewAcknowledgement(epoch)
        } else {
            failure = subscriptions.answered(reply, at: now)
        }
        if let failure { report(failure, at: now) }
    }

    /// The application's `answer` answered it.
    package mutating func answeredByApplication(_ message: WebSocketMessage) {
        counters.messagesReceived += 1
        counters.bytesReceived += message.byteCount
    }

    /// - Returns: Whether the reader has to wait for room.
    private mutating func route(_ arrival: SessionArrival, _ epoch: Int, at now: Duration) -> Bool {
        guard let port = ports[epoch] else { return false }
        let isBeingPrepared = work[epoch] != nil
        switch port.stage {
        case .taken: return pass(arrival, epoch, at: now)
        case .preparing, .resuming:
            guard isBeingPrepared else {
                if port.stage == .resuming { hold(arrival, epoch, port) } else { counters.messagesDiscarded += 1 }
                return false
            }
            if let reader = port.readers.first {
                ports[epoch]?.readers.removeFirst()
                add(.reply(reader.waiter, .success(arrival.message)))
                return false
            }
            ports[epoch]?.mailbox.append(arrival)
            ports[epoch]?.mailboxBytes += arrival.message.byteCount
            return isBeingPrepared && isCrowded(epoch)
        case .subscribing:
            hold(arrival, epoch, port)
            reviewAcknowledgement(epoch)
            return isBeingPrepared && isCrowded(epoch)
        }
    }

    /// Whether nothing more is to be read from the connection for the time being. A connection that is being prepared is
    /// read until its messages take up too much room: answers and pongs are among them.
    private func isCrowded(_ epoch: Int) -> Bool {
        guard let port = ports[epoch], port.end == nil else { return false }
        let isNew = handover?.new == epoch && handover?.filter.isReleased == false
        let heldBytes = isNew ? handover?.filter.heldBytes ?? 0 : port.heldBytes
        if port.stage != .taken {
            return work[epoch] != nil && port.mailboxBytes + heldBytes >= settings.inboundBytes
        }
        if isNew {
            return heldBytes >= settings.inboundBytes
                || (handover?.filter.held.count ?? 0) >= settings.inboundMessages
        }
        return inbox.isSourcePaused
    }

    /// A message on its way to the user, past a handover if there is one.
    private mutating func pass(_ arrival: SessionArrival, _ epoch: Int, at now: Duration) -> Bool {
        if handover?.old == epoch {
            if handover?.isAbandoned == true {
                counters.messagesDiscarded += 1
                return false
            }
            handover?.oldHeardAt = now
            guard handover?.filter.admitsOld(arrival.identity) ?? true else {
                counters.duplicatesDropped += 1
                return false
            }
        } else if let handover, handover.new == epoch {
            if !handover.filter.isReleased {
                self.handover?.filter.hold(arrival.message, arrival.identity)
                return isCrowded(epoch)
            }
            guard self.handover?.filter.admits(arrival.identity, remembers: !handover.isOldGone) ?? true else {
                counters.duplicatesDropped += 1
                return false
            }
        }
        return push(arrival.message, epoch, at: now, canPause: ports[epoch]?.end == nil)
    }

    @discardableResult
    private mutating func push(_ message: WebSocketMessage, _ epoch: Int, at now: Duration, canPause: Bool) -> Bool {
        switch inbox.push(message, canPause: canPause) {
        case .deliver(let delivery):
            add(.give(delivery.waiter, .success(delivery.event)))
            return false
        case .buffered: return false
        case .bufferedPause: return true
        case .dropped:
            if settings.isObserved {
                add(.tell(.messageDropped))
                if inbox.holes != heardHoles { add(.tell(.gapped(WebSocketSessionGap(.overflow(dropped: 1))))) }
            }
            heardHoles = inbox.holes
            raise(.inboundOverflow, "messages come faster than they are taken and are dropped", at: now)
            return false
        case .disconnect:
            raise(.inboundOverflow, "messages come faster than they are taken; the connection is closed", at: now)
            run(machine.overflowed(epoch, at: now), at: now)
            return false
        }
    }

    /// Whether the reader may go on; if not, `signal` is given when it may look again.
    package mutating func awaitRoom(_ epoch: Int, _ signal: World.Signal) -> Bool {
        guard inbox.outcome == nil, isCrowded(epoch) else { return true }
        roomWaiters.append(signal)
        return false
    }

    // MARK: Taking

    package enum TakeAction: Sendable { case now(Result<WebSocketSessionEvent?, WebSocketError>), empty }

    package mutating func take(messagesOnly: Bool) -> (TakeAction, [Effect]) {
        switch inbox.take(messagesOnly: messagesOnly) {
        case .event(let event, let resumes):
            if resumes { makeRoom() }
            return (.now(.success(event)), takeEffects())
        case .ended(let error): return (.now(error.map { .failure($0) } ?? .success(nil)), [])
        case .empty:
            switch machine.rest {
            case .gaveUp(let error): return (.now(.failure(error)), [])
            case .closed where messagesOnly: return (.now(.success(nil)), [])
            case .closed, .left, nil: return (.empty, [])
            }
        }
    }

    package mutating func waitForEvent(id: UInt64, messagesOnly: Bool, _ waiter: World.EventWaiter) {
        inbox.wait(id: id, messagesOnly: messagesOnly, waiter)
    }

    package mutating func cancelTake(id: UInt64) -> World.EventWaiter? { inbox.cancel(id: id) }

    // MARK: Losing

    /// Everything that the connection brought has been read.
    package mutating func drained(_ epoch: Int, at now: Duration) {
        ports[epoch]?.isDrained = true
        finishIfOver(epoch, at: now)
    }

    package mutating func transportEnded(_ epoch: Int, _ end: SessionTransportEnd, at now: Duration) {
        ports[epoch]?.end = end
        // A reader that waits for room must read what is left.
        makeRoom()
        reviewAcknowledgement(epoch)
        finishIfOver(epoch, at: now)
    }

    /// The connection is over when it has ended and everything that it brought has been passed on. One that is being
    /// prepared is given a moment, because the hooks may find in what it brought all that they want.
    mutating func finishIfOver(_ epoch: Int, at now: Duration) {
        guard let port = ports[epoch], port.isDrained, let end = port.end else { return }
        if port.stage != .taken, work[epoch] != nil {
            let error =
                end.info.map { WebSocketError.closed($0) }
                ?? WebSocketError(.connectionClosed, "the connection ended; the session opens another one")
            ports[epoch]?.readers = []
            for reader in port.readers {
                add(.reply(reader.waiter, .failure(error)))
            }
            ports[epoch]?.deadline = port.deadline ?? now + settings.machine.handoverTimeout
            return
        }
        if port.stage != .taken { salvage(port, epoch, at: now) }
        ports[epoch] = nil
        let isOver = machine.publicState == .closed || machine.isShutdown
        add(outbox.ended(epoch, total: end.written, inDoubt: end.inDoubt, keeps: !isOver))
        connectionLost(epoch, end.info)
        if handover?.old == epoch {
            handover?.isOldGone = true
            handover?.filter.oldEnded()
            if handover?.isUnderWay == true {
                handover?.end = now + Self.overlap
                if handover?.filter.isReleased == false { releaseHandover(at: now) }
            }
            if handover?.isAbandoned == true { handover = nil }
        }
        if handover?.new == epoch { successorEnded(at: now) }
        run(machine.connectionEnded(epoch, end.info, at: now), at: now)
        if ports.isEmpty, machine.publicState == .closed { add(.finishWork) }
    }

    /// The new connection ended. The gap that follows is told; the old one is not heard any more.
    private mutating func successorEnded(at now: Duration) {
        guard let handover, handover.isUnderWay, !handover.isOldGone else {
            self.handover = nil
            return
        }
        if !handover.filter.isReleased { releaseHandover(at: now) }
        self.handover?.isAbandoned = true
        if let old = ports[handover.old] { add(.abort(old.connection)) }
    }

    /// A connection ended before the session took it: what may be delivered is, and the rest is counted.
    private mutating func salvage(_ port: Port, _ epoch: Int, at now: Duration) {
        if handover?.new == epoch {
            guard handover?.isOldGone == true else {
                counters.messagesDiscarded += port.mailbox.count
                return dropRenewal(epoch)
            }
            let count = handover?.filter.held.count ?? 0
            let messages = handover?.filter.release() ?? []
            counters.duplicatesDropped += count - messages.count
            salvage(messages, epoch, at: now)
            return
        }
        guard !port.isRenewal else {
            counters.messagesDiscarded += port.held.count + port.mailbox.count
            return
        }
        var arrivals = port.held
        // A hook that failed by itself has made nothing of these. One that met the end has not had its turn with them.
        if port.stage == .preparing, let failure = port.failure, failure.code != .connectionClosed {
            counters.messagesDiscarded += port.mailbox.count
        } else {
            arrivals += port.mailbox
        }
        salvage(arrivals.map(\.message), epoch, at: now)
    }

    private mutating func salvage(_ messages: [WebSocketMessage], _ epoch: Int, at now: Duration) {
        guard !messages.isEmpty else { return }
        if machine.hasBeenOpen {
            tell(.gap(WebSocketSessionGap(.reconnected(after: machine.downSince.map { now - $0 } ?? .zero))))
        }
        for message in messages { push(message, epoch, at: now, canPause: false) }
    }

    /// What the new connection brought while the old one was not through follows.
    mutating func releaseHandover(at now: Duration) {
        guard let handover else { return }
        let count = handover.filter.held.count
        let messages = self.handover?.filter.release(remembers: !handover.isOldGone) ?? []
        counters.duplicatesDropped += count - messages.count
        tell(.renewed)
        for message in messages { push(message, handover.new, at: now, canPause: false) }
        makeRoom()
    }
}
