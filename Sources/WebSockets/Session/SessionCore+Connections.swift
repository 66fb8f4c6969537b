//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

// Opening, preparing, reading and losing connections.
extension SessionCore {
    // MARK: Opening

    func connect(_ epoch: Int) async {
        do throws(WebSocketError) {
            let connection = try await open()
            perform { parts, _, _ in
                parts.work[epoch] = nil
                return ((), parts.machine.connected(epoch, connection))
            }
        } catch {
            perform { parts, now, after in
                parts.work[epoch] = nil
                parts.counters.failedAttempts += 1
                observe(&after) { $0.attemptFailed(error) }
                return ((), parts.machine.connectFailed(epoch, error, at: now))
            }
        }
    }

    func prepare(
        _ epoch: Int, _ connection: any SessionConnection, isReconnect: Bool, isRenewal: Bool, _ parts: inout Parts,
        _ after: inout After
    ) {
        var subscriptions = parts.subscriptions
        subscriptions.reset()
        let preparation = WebSocketSessionPreparation(
            connection: connection, isReconnect: isReconnect, isRenewal: isRenewal,
            subscriptions: subscriptions.channels, lastDisconnect: parts.lastDisconnect)
        parts.ports[epoch] = Port(
            connection: connection, isRenewal: isRenewal, preparation: preparation,
            isTakenInAnyCase: !isRenewal && configuration.prepare == nil && configuration.resume == nil
                && subscriptions.channels.isEmpty)
        if isRenewal, let open = parts.machine.openConnection {
            // From here on the old one's messages may come again on the new one.
            parts.handover = Handover(old: open.0, new: epoch)
        }
        let work = CancellableWork()
        parts.work[epoch] = work
        after.do { [self, subscriptions] in
            connection.observe(
                written: { total in self.written(epoch, total) }, ended: { self.transportEnded(epoch, $0) })
            lane.post { await work.run { await self.prepare(epoch, preparation, subscriptions) } }
        }
    }

    private func prepare(
        _ epoch: Int, _ preparation: WebSocketSessionPreparation, _ wanted: SubscriptionList
    ) async {
        typealias Outcome = (subscribed: Subscribed, isContinuous: Bool)
        let outcome: Result<Outcome, WebSocketError>
        do {
            let result = try await clock.limit(configuration.preparationTimeout) { [self] in
                try await configuration.prepare?(preparation)
                let subscribed = try await subscribeAll(wanted, preparation)
                // The old connection must not go before the server has read what the new one wants.
                if preparation.isRenewal { try await preparation.ping() }
                let isContinuous =
                    preparation.isReconnect && !preparation.isRenewal
                    ? try await configuration.resume?(preparation) ?? false : false
                return Outcome(subscribed, isContinuous)
            }
            if let result {
                outcome = .success(result)
            } else {
                outcome = .failure(
                    WebSocketError(
                        .timedOut,
                        "preparing the connection took longer than preparationTimeout (\(configuration.preparationTimeout)); do less in prepare and resume, or allow more time"
                    ))
            }
        } catch {
            outcome = .failure(
                error as? WebSocketError
                    ?? WebSocketError(.notConnected, "preparing the connection failed: \("\(error)".escapedForLog)"))
        }
        let prepared = (try? outcome.get()).map { Prepared($0.subscribed, preparation, configuration.messageIdentity) }
        perform { parts, now, after in
            parts.work[epoch] = nil
            parts.ports[epoch]?.isTakenInAnyCase = false
            switch outcome {
            case .success(let (_, isContinuous)):
                parts.ports[epoch]?.prepared = prepared
                return ((), parts.machine.prepared(epoch, isContinuous: isContinuous, at: now))
            case .failure(let error):
                if parts.handover?.new == epoch { parts.handover = nil }
                return ((), parts.machine.preparationFailed(epoch, error, at: now))
            }
        }
        // It may have ended meanwhile and not have been taken after all.
        perform { parts, now, after in ((), finishIfOver(epoch, &parts, now, &after)) }
        sendSubscriptions()
    }

    // MARK: Using

    func activate(
        _ epoch: Int, isReconnect: Bool, gap: Duration?, _ parts: inout Parts, _ now: Duration, _ after: inout After
    ) {
        guard let port = parts.ports[epoch], let prepared = port.prepared else { return }
        parts.counters.connects += 1
        parts.connectedAt = now
        takeOver(epoch, prepared, &parts, now)
        let downtime = isReconnect ? parts.disconnectedAt.map { now - $0 } : nil
        observe(&after) { $0.connected(isReconnect: isReconnect, after: downtime) }
        tell(.connected(isReconnect: isReconnect), &parts, &after)
        if let gap { tell(.gap(WebSocketSessionGap(.reconnected(after: gap))), &parts, &after) }
        for failure in prepared.subscribed.failures { report(failure, &parts, now, &after) }
        // A renewal whose old connection died first becomes an ordinary connection, but may repeat messages.
        if parts.handover?.new == epoch { parts.handover?.end = now + Self.overlap }
        for arrival in prepared.held where admits(arrival, epoch, &parts) {
            push(arrival.message, epoch, &parts, now, canPause: false, &after)
        }
        startPump(epoch, port.connection, &parts, &after)
    }

    /// How long a renewed connection may repeat what the old one brought.
    private static var overlap: Duration { .seconds(5) }

    func handOver(to new: Int, from old: Int, _ parts: inout Parts, _ now: Duration, _ after: inout After) {
        guard let port = parts.ports[new], let prepared = port.prepared else { return }
        parts.counters.connects += 1
        parts.counters.renewals += 1
        parts.connectedAt = now
        takeOver(new, prepared, &parts, now)
        for failure in prepared.subscribed.failures { report(failure, &parts, now, &after) }
        for arrival in prepared.held { parts.handover?.filter.hold(arrival.message, arrival.identity) }
        startPump(new, port.connection, &parts, &after)
    }

    private func takeOver(_ epoch: Int, _ prepared: Prepared, _ parts: inout Parts, _ now: Duration) {
        parts.counters.messagesReceived += prepared.received
        parts.counters.bytesReceived += prepared.bytes
        if prepared.received > 0 { parts.messageAt = now }
        // What was subscribed or unsubscribed meanwhile follows; `sendSubscriptions` does it.
        var list = prepared.subscribed.list
        for channel in parts.subscriptions.channels where !list.contains(channel) { _ = list.add(channel) }
        for channel in list.channels where !parts.subscriptions.contains(channel) { _ = list.remove(channel) }
        parts.subscriptions = list
        parts.ports[epoch]?.preparation = nil
        parts.ports[epoch]?.prepared = nil
        parts.outbox.open(epoch, accepted: prepared.accepted)
    }

    private func startPump(
        _ epoch: Int, _ connection: any SessionConnection, _ parts: inout Parts, _ after: inout After
    ) {
        parts.ports[epoch]?.isDrained = false
        after.do { [self] in
            lane.post(on: connection.executor) { await self.pump(epoch, connection) }
        }
    }

    /// Passes on what the connection brings, to its end.
    private func pump(_ epoch: Int, _ connection: any SessionConnection) async {
        while let message = try? await connection.receive() {
            if deliver(message, epoch) { await roomForMore(epoch) }
        }
        perform { parts, now, after in
            parts.ports[epoch]?.isDrained = true
            return ((), finishIfOver(epoch, &parts, now, &after))
        }
    }

    // MARK: Delivering

    /// - Returns: Whether the pump has to wait for room.
    private func deliver(_ message: WebSocketMessage, _ epoch: Int) -> Bool {
        // The application's closures are not called under the lock, so whether they are needed is found out before.
        if let reply = configuration.subscriptions.reply {
            let awaited = parts.withLock { $0.subscriptions.awaited }
            if !awaited.isEmpty, let answer = reply(message, awaited) {
                perform { parts, now, after in
                    noteReceived(message, &parts, now)
                    guard let failure = parts.subscriptions.answered(answer, at: now) else { return ((), []) }
                    report(failure, &parts, now, &after)
                    return ((), [])
                }
                return false
            }
        }
        var arrival = Arrival(message: message)
        while true {
            var after = After()
            let mustWait = parts.withLock { parts -> Bool? in
                if !arrival.isIdentified, parts.isHandingOver(epoch) { return nil }
                let now = clock.now()
                noteReceived(message, &parts, now)
                return pass(arrival, epoch, &parts, now, &after)
            }
            after.run()
            if let mustWait { return mustWait }
            arrival.identify(configuration.messageIdentity)
        }
    }

    private func noteReceived(_ message: WebSocketMessage, _ parts: inout Parts, _ now: Duration) {
        parts.counters.messagesReceived += 1
        parts.counters.bytesReceived += message.byteCount
        parts.messageAt = now
    }

    /// A message on its way to the user, past a handover if there is one.
    private func pass(
        _ arrival: Arrival, _ epoch: Int, _ parts: inout Parts, _ now: Duration, _ after: inout After
    ) -> Bool {
        if let handover = parts.handover {
            if epoch == handover.old {
                parts.handover?.filter.oldDelivered(arrival.identity)
            } else if epoch == handover.new, !handover.isOldDrained, parts.retiringIs(handover.old) {
                parts.handover?.filter.hold(arrival.message, arrival.identity)
                return handover.filter.held.count >= configuration.inboundMessages
            }
        }
        guard admits(arrival, epoch, &parts) else { return false }
        return push(arrival.message, epoch, &parts, now, canPause: parts.ports[epoch]?.ledger == nil, &after)
    }

    /// Whether the message is not one that the old connection has already brought.
    private func admits(_ arrival: Arrival, _ epoch: Int, _ parts: inout Parts) -> Bool {
        guard let handover = parts.handover, handover.new == epoch, !handover.filter.isEmpty else { return true }
        let isNew = parts.handover?.filter.admits(arrival.identity) ?? true
        if !isNew { parts.counters.duplicatesDropped += 1 }
        return isNew
    }

    @discardableResult
    private func push(
        _ message: WebSocketMessage, _ epoch: Int, _ parts: inout Parts, _ now: Duration, canPause: Bool,
        _ after: inout After
    ) -> Bool {
        switch parts.inbox.push(message, canPause: canPause) {
        case .deliver(let delivery):
            after.do { delivery.waiter.resume(returning: .success(delivery.event)) }
            return false
        case .buffered: return false
        case .bufferedPause: return true
        case .dropped:
            observe(&after) { $0.messageDropped() }
            raise(
                .inboundOverflow, "messages come faster than they are taken and are dropped", &parts, now, &after)
            return false
        case .disconnect:
            raise(
                .inboundOverflow, "messages come faster than they are taken; the connection is closed", &parts, now,
                &after)
            after.do { self.perform { parts, _, _ in ((), parts.machine.overflowed(epoch)) } }
            return false
        }
    }

    /// Returns when the inbox has room, or the connection or the session has ended.
    private func roomForMore(_ epoch: Int) async {
        await suspend { (continuation: LoopContinuation<Void>) in
            let hasRoom = parts.withLock { parts in
                let isHeld = parts.handover.map {
                    $0.new == epoch && $0.filter.held.count >= configuration.inboundMessages
                }
                if !(parts.inbox.isSourcePaused || isHeld == true) || parts.ports[epoch]?.ledger != nil
                    || parts.inbox.outcome != nil
                {
                    return true
                }
                parts.roomWaiters.append(continuation)
                return false
            }
            if hasRoom { continuation.resume(returning: ()) }
        }
    }

    /// Lets every pump that waits look again.
    func makeRoom(_ parts: inout Parts, _ after: inout After) {
        let waiters = parts.roomWaiters
        guard !waiters.isEmpty else { return }
        parts.roomWaiters = []
        after.do { for waiter in waiters { waiter.resume(returning: ()) } }
    }

    // MARK: Losing

    private func transportEnded(_ epoch: Int, _ ledger: ConnectionLedger) {
        perform { parts, now, after in
            parts.ports[epoch]?.ledger = ledger
            // A pump that waits for room must read what is left.
            makeRoom(&parts, &after)
            return ((), finishIfOver(epoch, &parts, now, &after))
        }
    }

    /// The connection is over when it has ended and everything that it brought has been passed on.
    private func finishIfOver(
        _ epoch: Int, _ parts: inout Parts, _ now: Duration, _ after: inout After
    ) -> [Machine.Command] {
        guard let port = parts.ports[epoch], port.isDrained, !port.isTakenInAnyCase, let ledger = port.ledger else {
            return []
        }
        parts.ports[epoch] = nil
        let isOver = parts.machine.publicState == .closed || parts.machine.isShutdown
        notify(
            parts.outbox.ended(epoch, total: ledger.written, inDoubt: ledger.inDoubt, keeps: !isOver), &after)
        if parts.handover?.old == epoch { releaseHandover(&parts, now, &after) }
        if parts.handover?.new == epoch { parts.handover = nil }
        let commands = parts.machine.connectionEnded(epoch, ledger.info, at: now)
        if parts.ports.isEmpty, parts.machine.publicState == .closed {
            let lane = lane
            after.do { lane.finish() }
        }
        return commands
    }

    /// The old connection has brought its last message: what the new one brought meanwhile follows.
    private func releaseHandover(_ parts: inout Parts, _ now: Duration, _ after: inout After) {
        guard var handover = parts.handover else { return }
        let count = handover.filter.held.count
        let messages = handover.filter.release()
        handover.isOldDrained = true
        let new = handover.new
        if parts.machine.openConnection?.0 == new { handover.end = now + Self.overlap }
        parts.handover = handover
        parts.counters.duplicatesDropped += count - messages.count
        if parts.machine.openConnection?.0 == new { tell(.renewed, &parts, &after) }
        for message in messages { push(message, new, &parts, now, canPause: false, &after) }
        makeRoom(&parts, &after)
    }

    /// Counts and passes on the total that the operating system has taken.
    private func written(_ epoch: Int, _ total: Int) {
        var after = After()
        parts.withLock { notify($0.outbox.written(epoch, total: total), &after) }
        after.run()
    }
}

extension SessionCore.Parts {
    /// Whether this connection is the one before the present one, and still delivers.
    func retiringIs(_ epoch: Int) -> Bool { ports[epoch] != nil }

    /// Whether it matters which of this connection's messages are the same as another one's.
    func isHandingOver(_ epoch: Int) -> Bool { handover.map { $0.old == epoch || $0.new == epoch } ?? false }
}

extension SessionCore {
    /// A message and what the application takes it for. Its closure is called without the lock, so before it is known
    /// whether the answer is needed it is asked for once, and then the lock is taken again.
    struct Arrival: Sendable {
        let message: WebSocketMessage
        private(set) var identity: WebSocketMessage?
        private(set) var isIdentified = false

        init(message: WebSocketMessage) { self.message = message }

        mutating func identify(_ closure: (WebSocketMessage) -> WebSocketMessage?) {
            identity = closure(message)
            isIdentified = true
        }
    }

    /// What preparing a connection left behind.
    struct Prepared: Sendable {
        let subscribed: Subscribed
        /// Messages that the connection took and that are not the application's, and those that came.
        let accepted: Int
        let received: Int
        let bytes: Int
        let held: [Arrival]

        init(
            _ subscribed: Subscribed, _ preparation: WebSocketSessionPreparation,
            _ identity: (WebSocketMessage) -> WebSocketMessage?
        ) {
            let result = preparation.result
            self.subscribed = subscribed
            accepted = result.accepted
            received = result.received
            bytes = result.bytes
            held = result.held.map { message in
                var arrival = Arrival(message: message)
                if preparation.isRenewal { arrival.identify(identity) }
                return arrival
            }
        }
    }
}
