//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

// A connection from its opening until the session takes it.
extension SessionCoordinator {
    // MARK: Opening

    package mutating func attemptSucceeded(_ epoch: Int, _ connection: World.Connection, at now: Duration) {
        work[epoch] = nil
        run(machine.connected(epoch, connection), at: now)
    }

    /// - Parameter clock: Seconds since 1970.
    package mutating func attemptFailed(
        _ epoch: Int, _ error: WebSocketError, at now: Duration, clock: Int64? = nil
    ) {
        work[epoch] = nil
        counters.failedAttempts += 1
        add(.tell(.attemptFailed(error)))
        run(machine.connectFailed(epoch, error, at: now, clock: clock), at: now)
    }

    mutating func beginPreparing(_ epoch: Int, _ connection: World.Connection, isReconnect: Bool, isRenewal: Bool) {
        var list = subscriptions
        list.reset()
        ports[epoch] = Port(connection: connection, isRenewal: isRenewal, isReconnect: isReconnect, list: list)
        if isRenewal, let open = machine.openConnection {
            // From here on the old one's messages may come again on the new one.
            handover = Handover(old: open.0, new: epoch)
        }
        let work = World.makeWork()
        self.work[epoch] = work
        let facts = SessionPreparationFacts(
            isReconnect: isReconnect, isRenewal: isRenewal, subscriptions: list.channels,
            lastDisconnect: lastDisconnect)
        add(.prepare(epoch, connection, facts, work))
    }

    // MARK: The hooks

    /// The hook sent something by itself.
    package mutating func noteSentWhilePreparing(_ epoch: Int) { ports[epoch]?.accepted += 1 }

    package enum ReadAction: Sendable { case message(WebSocketMessage), failed(WebSocketError), waits }

    /// The hook wants the next message.
    package mutating func read(_ epoch: Int, id: UInt64, _ waiter: World.MessageWaiter) -> ReadAction {
        let over = WebSocketError(
            .connectionClosed, "the preparation is over; take messages from the session, or prepare in time")
        guard let port = ports[epoch], work[epoch] != nil, port.stage != .taken else { return .failed(over) }
        if let first = ports[epoch]?.mailbox.popFirst() {
            ports[epoch]?.mailboxBytes -= first.message.byteCount
            makeRoom()
            return .message(first.message)
        }
        if port.isDrained, let end = port.end { return .failed(end.info.map { .closed($0) } ?? over) }
        ports[epoch]?.readers.append((id, waiter))
        return .waits
    }

    package mutating func cancelRead(_ epoch: Int, id: UInt64) -> World.MessageWaiter? {
        guard let index = ports[epoch]?.readers.firstIndex(where: { $0.id == id }) else { return nil }
        return ports[epoch]?.readers.remove(at: index).waiter
    }

    /// The hook gives a message back.
    package mutating func deliverLater(_ epoch: Int, _ arrival: SessionArrival) {
        guard let port = ports[epoch], port.stage != .taken else { return }
        hold(arrival, epoch, port)
    }

    mutating func hold(_ arrival: SessionArrival, _ epoch: Int, _ port: Port) {
        if port.isRenewal, handover?.new == epoch {
            handover?.filter.hold(arrival.message, arrival.identity)
        } else {
            ports[epoch]?.held.append(arrival)
            ports[epoch]?.heldBytes += arrival.message.byteCount
        }
    }

    // MARK: Subscribing

    package enum SubscribeStep: Sendable {
        case send([String])
        case pause(until: Duration)
        case finished
    }

    /// `prepare` is through. What it has not read is delivered, as far as it is not an answer.
    package mutating func subscribeStep(_ epoch: Int, at now: Duration) -> SubscribeStep {
        guard let port = ports[epoch], port.stage != .taken else { return .finished }
        if port.stage == .preparing {
            ports[epoch]?.stage = .subscribing
            for arrival in port.mailbox { hold(arrival, epoch, port) }
            ports[epoch]?.mailbox = []
            ports[epoch]?.mailboxBytes = 0
            makeRoom()
        }
        let channels = ports[epoch]?.list.takeUnsent(at: now) ?? []
        if !channels.isEmpty { return .send(channels) }
        // The rest follows when messages flow, unless the old connection must not go before.
        guard let turn = ports[epoch]?.list.nextTurn, port.isRenewal || settings.holdsWhileSubscribing else {
            return .finished
        }
        return .pause(until: turn)
    }

    package enum AcknowledgementAction: Sendable { case done, waits }

    /// Waits for the first round of answers, where they are waited for.
    package mutating func acknowledgement(
        _ epoch: Int, _ signal: World.Signal, at now: Duration
    ) -> AcknowledgementAction {
        guard let port = ports[epoch], mustWait(port, epoch) else { return .done }
        ports[epoch]?.acknowledgement = signal
        return .waits
    }

    private func mustWait(_ port: Port, _ epoch: Int) -> Bool {
        guard port.stage == .subscribing, port.isRenewal || settings.holdsWhileSubscribing, port.end == nil,
            work[epoch] != nil, !port.list.awaited.isEmpty
        else { return false }
        // Many messages and no answer among them: the rest is awaited while they are delivered.
        let held = port.isRenewal ? handover?.filter.held.count ?? 0 : port.held.count
        return held < settings.inboundMessages
    }

    /// Lets the preparation go on if it has no more to wait for.
    mutating func reviewAcknowledgement(_ epoch: Int) {
        guard let port = ports[epoch], let signal = port.acknowledgement, !mustWait(port, epoch) else { return }
        ports[epoch]?.acknowledgement = nil
        add(.signal(signal))
    }

    package mutating func cancelAcknowledgement(_ epoch: Int) -> World.Signal? {
        guard let signal = ports[epoch]?.acknowledgement else { return nil }
        ports[epoch]?.acknowledgement = nil
        return signal
    }

    /// `resume` begins: from here on it reads.
    package mutating func beginResuming(_ epoch: Int) { ports[epoch]?.stage = .resuming }

    // MARK: The end of a preparation

    package mutating func preparationEnded(_ epoch: Int, _ result: Result<Bool, WebSocketError>, at now: Duration) {
        work[epoch] = nil
        guard let port = ports[epoch] else { return }
        let hasEnded = port.isDrained && port.end != nil
        switch result {
        case .success(let isContinuous):
            if port.isRenewal, hasEnded { return finishIfOver(epoch, at: now) }
            for arrival in port.mailbox { hold(arrival, epoch, port) }
            ports[epoch]?.mailbox = []
            ports[epoch]?.mailboxBytes = 0
            run(machine.prepared(epoch, isContinuous: isContinuous, at: now), at: now)
            makeRoom()
            finishIfOver(epoch, at: now)
        case .failure(let error):
            ports[epoch]?.failure = error
            if port.isDrained || port.end != nil || error.code == .connectionClosed {
                // Its end says more than the hook that met it.
                ports[epoch]?.deadline = now + settings.machine.handoverTimeout
                makeRoom()
                return finishIfOver(epoch, at: now)
            }
            preparationFailed(epoch, error, at: now)
        }
    }

    private mutating func preparationFailed(_ epoch: Int, _ error: WebSocketError, at now: Duration) {
        dropRenewal(epoch)
        ports[epoch]?.deadline = nil
        makeRoom()
        run(machine.preparationFailed(epoch, error, at: now), at: now)
    }

    /// The next connection does not come: what it brought the old one brings.
    mutating func dropRenewal(_ epoch: Int) {
        guard let handover, handover.new == epoch, !handover.isUnderWay else { return }
        if !handover.isOldGone {
            counters.messagesDiscarded += handover.filter.held.count
            self.handover = nil
        }
    }

    /// A connection that has ended, or should have, was waited for.
    mutating func waitedEnough(_ epoch: Int, at now: Duration) {
        guard let port = ports[epoch] else { return }
        ports[epoch]?.deadline = nil
        if let work = work.removeValue(forKey: epoch) { add(.cancel(work)) }
        if let failure = port.failure, !(port.isDrained && port.end != nil) {
            return preparationFailed(epoch, failure, at: now)
        }
        finishIfOver(epoch, at: now)
    }
}
