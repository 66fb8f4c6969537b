//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What the machine commands, and what callers ask of it.
extension SessionCoordinator {
    mutating func run(_ commands: [Machine.Command], at now: Duration) {
        for command in commands { execute(command, at: now) }
    }

    private mutating func execute(_ command: Machine.Command, at now: Duration) {
        switch command {
        case .connect(let epoch, let attempt):
            let work = World.makeWork()
            self.work[epoch] = work
            add(.connect(epoch, attempt, work))
        case .cancelWork(let epoch): if let work = work.removeValue(forKey: epoch) { add(.cancel(work)) }
        case .prepare(let epoch, let connection, let isReconnect, let isRenewal):
            beginPreparing(epoch, connection, isReconnect: isReconnect, isRenewal: isRenewal)
        case .activate(let epoch, let isReconnect, let gap):
            activate(epoch, isReconnect: isReconnect, gap: gap, at: now)
        case .handOver(let new, let old): handOver(to: new, from: old, at: now)
        case .close(let connection, let frame): add(.close(connection, frame))
        case .abort(let connection): add(.abort(connection))
        case .ask(let question, let epoch): add(.ask(question, epoch, snapshot(at: now)))
        case .decide(let cause, let attempt, let decision): addLast(.decide(cause, attempt: attempt, decision))
        case .disconnected(let end):
            counters.disconnects += 1
            if end.reason.isProactive {
                counters.proactiveDisconnects += 1
            } else {
                counters.reactiveDisconnects += 1
            }
            disconnectedAt = now
            lastDisconnect = end
            subscriptions.reset()
            tell(.disconnected(end))
        case .alert(let kind, let message): raise(kind, message, at: now)
        case .rested(let rest): rested(rest)
        case .ended(let error): end(error, at: now)
        }
    }

    private mutating func rested(_ rest: SessionRest) {
        switch rest {
        case .closed:
            for waiter in inbox.removeMessageTakers() { add(.give(waiter, .success(nil))) }
        // Messages will come again when the application wants them.
        case .left: break
        case .gaveUp(let error):
            failure = error
            add(outbox.finishAll())
            failRequests(error)
            for waiter in inbox.removeAllTakers() { add(.give(waiter, .failure(error))) }
        }
    }

    private mutating func end(_ error: WebSocketError?, at now: Duration) {
        for alert in alerts.flush(at: now, all: true) { tell(.alert(alert)) }
        add(outbox.finishAll())
        failRequests(error ?? endedError)
        for waiter in inbox.finish(error) { add(.give(waiter, error.map { .failure($0) } ?? .success(nil))) }
        makeRoom()
        // Connections that are still ending report to a session that only counts.
        if ports.isEmpty { add(.finishWork) }
        add(.finishTimer)
    }

    /// What a caller is told who comes when the session has ended.
    package var endedError: WebSocketError {
        WebSocketError(.connectionClosed, "the session was shut down; start a new one")
    }

    // MARK: Life

    /// `run` is called. False when it was called before.
    package mutating func beginRunning(at now: Duration) -> Bool {
        guard !hasRun else { return false }
        hasRun = true
        isRunning = true
        return true
    }

    package mutating func start(at now: Duration) { run(machine.start(at: now), at: now) }
    package mutating func stopRunning() { isRunning = false }

    package mutating func connect(at now: Duration) {
        if case .gaveUp = machine.rest { failure = nil }
        run(machine.connect(at: now), at: now)
    }

    package mutating func scheduleReconnect(at time: Duration) -> Bool {
        guard machine.scheduleReconnect(at: time) else { return false }
        failure = nil
        return true
    }

    package mutating func disconnect(
        reconnectAfter delay: Duration?, _ frame: WebSocketCloseFrame, at now: Duration
    ) -> Bool {
        guard let commands = machine.disconnect(.userRequested, reconnectAfter: delay, frame, at: now) else {
            return false
        }
        run(commands, at: now)
        return true
    }

    package mutating func scheduleDisconnect(at time: Duration, reconnectAfter delay: Duration?) -> Bool {
        machine.scheduleDisconnect(at: time, reconnectAfter: delay)
    }

    package mutating func renew(at now: Duration) -> Bool {
        guard let commands = machine.renew(at: now) else { return false }
        run(commands, at: now)
        return true
    }

    package mutating func close(_ frame: WebSocketCloseFrame, at now: Duration) { run(machine.close(frame), at: now) }
    package mutating func shutDown(at now: Duration) {
        run(machine.shutDown(WebSocketCloseFrame(code: .normalClosure)), at: now)
    }
    package mutating func abort(at now: Duration) { run(machine.abort(), at: now) }
    package mutating func kill(at now: Duration) { run(machine.kill(), at: now) }

    // MARK: Answers

    package mutating func decided(_ answer: WebSocketReconnectPolicy.Answer, _ decision: Int, at now: Duration) {
        run(machine.decided(answer, decision, at: now), at: now)
    }
    package mutating func answeredDisconnect(_ answer: Bool, _ epoch: Int, at now: Duration) {
        run(machine.answeredDisconnect(answer, epoch, at: now), at: now)
    }
    package mutating func answeredRenew(_ answer: Bool, _ epoch: Int, at now: Duration) {
        run(machine.answeredRenew(answer, epoch, at: now), at: now)
    }
    package mutating func answeredReconnect(_ answer: WebSocketReconnectWindow, _ epoch: Int, at now: Duration) {
        run(machine.answeredReconnect(answer, epoch, at: now), at: now)
    }

    // MARK: Waiting

    package enum WaitAction: Sendable { case known(Bool?), waits }

    package mutating func wait(
        id: UInt64, _ waiter: World.StateWaiter, for verdict: @escaping @Sendable (SessionView) -> Bool?
    ) -> WaitAction {
        if let known = verdict(view) { return .known(known) }
        stateWaiters[id] = StateWaiter(verdict: verdict, waiter: waiter)
        return .waits
    }

    package mutating func cancelWait(id: UInt64) -> World.StateWaiter? { stateWaiters.removeValue(forKey: id)?.waiter }

    // MARK: Statistics

    func snapshot(at now: Duration) -> WebSocketSessionSnapshot {
        WebSocketSessionSnapshot(
            state: machine.publicState, statistics: statistics(at: now), lastDisconnect: lastDisconnect)
    }

    package func statistics(at now: Duration) -> WebSocketSessionStatistics {
        var result = counters
        let ledger = outbox.ledger
        result.messagesSubmitted = ledger.submitted
        result.messagesWritten = ledger.written
        result.messagesNotSent = ledger.notSent
        result.messagesUnknown = ledger.unknown
        result.messagesCancelled = ledger.cancelled
        result.messagesRefused = ledger.dropped
        result.messagesPending = ledger.pending
        result.messagesDropped = inbox.droppedMessages
        result.eventsDropped = inbox.droppedEvents
        result.gaps += inbox.holes
        result.alertsSuppressed = alerts.suppressedCount
        result.reconnectAttempts = machine.reconnectAttempts
        result.uptime = now - origin
        result.connectionDuration = machine.connectedSince.map { now - $0 }
        result.sinceConnect = connectedAt.map { now - $0 }
        result.sinceDisconnect = disconnectedAt.map { now - $0 }
        result.sinceMessage = messageAt.map { now - $0 }
        return result
    }

    package mutating func resetStatistics(at now: Duration) {
        counters = WebSocketSessionStatistics()
        origin = now
        connectedAt = nil
        disconnectedAt = nil
        messageAt = nil
        heardHoles = 0
        inbox.resetCounters()
        outbox.resetLedger()
        alerts.resetCount()
    }
}
