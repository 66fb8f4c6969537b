//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

/// The shell around a session's state machines: takes the lock, asks them, unlocks, acts.
final class SessionCore: Sendable {
    typealias Machine = SessionStateMachine<any SessionConnection>
    typealias EventWaiter = LoopContinuation<Result<WebSocketSessionEvent?, WebSocketError>>
    typealias SendWaiter = LoopContinuation<Result<WebSocketSendOutcome, WebSocketError>>
    typealias Outbox = SessionOutbox<SendWaiter>

    /// A connection as the session sees it.
    struct Port {
        let connection: any SessionConnection
        let isRenewal: Bool
        var preparation: WebSocketSessionPreparation?
        var prepared: Prepared?
        var ledger: ConnectionLedger?
        /// Whether everything that it brought has been passed on.
        var isDrained = true
        /// Nothing has to be prepared, so what it brings is passed on even if it ends before the session has taken it.
        var isTakenInAnyCase = false
    }

    /// While an old and a new connection are both there.
    struct Handover {
        let old: Int
        let new: Int
        var filter = HandoverFilter<WebSocketMessage>()
        var isOldDrained = false
        /// When the old one's messages are forgotten.
        var end: Duration?
    }

    /// Somebody waits for the session to be in some state.
    struct StateWaiter {
        /// nil while it is not known; the argument is what `run` ended with.
        let verdict: @Sendable (WebSocketSessionState, _ isResting: Bool) -> Bool?
        let continuation: LoopContinuation<Bool?>
    }

    struct Parts: ~Copyable {
        var machine: Machine
        var inbox: SessionInbox<EventWaiter>
        var outbox: Outbox
        var subscriptions: SubscriptionList
        var alerts: AlertThrottle
        var counters = WebSocketSessionStatistics()
        var ports: [Int: Port] = [:]
        var work: [Int: CancellableWork] = [:]
        var handover: Handover?
        var stateWaiters: [UInt64: StateWaiter] = [:]
        var roomWaiters: [LoopContinuation<Void>] = []
        var slowSend: CancellableWork?
        var isWriting = false
        /// The connection that took nothing any more.
        var deafEpoch: Int?
        var lastDisconnect: WebSocketSessionDisconnect?
        var failure: WebSocketError?
        var lastState = WebSocketSessionState.disconnected
        var origin: Duration = .zero
        var connectedAt: Duration?
        var disconnectedAt: Duration?
        var messageAt: Duration?
    }

    /// What remains to be done once the lock is free.
    struct After {
        private var actions: [() -> Void] = []
        private var last: (() -> Void)?
        mutating func `do`(_ action: @escaping () -> Void) { actions.append(action) }
        /// What makes the session go on, when everything that had happened has been told.
        mutating func finally(_ action: @escaping () -> Void) { last = action }
        func run() {
            for action in actions { action() }
            last?()
        }
    }

    let configuration: WebSocketSessionConfiguration
    let clock: SessionClock
    let parts: Mutex<Parts>
    let lane = SessionLane()
    let timer = SessionTimer()
    let open: @Sendable () async throws(WebSocketError) -> any SessionConnection
    let name: String
    private let hasRun = Atomic<Bool>(false)
    private let lastID = Atomic<UInt64>(0)

    init(
        configuration: WebSocketSessionConfiguration, clock: SessionClock, seed: UInt64, name: String,
        open: @escaping @Sendable () async throws(WebSocketError) -> any SessionConnection
    ) {
        self.configuration = configuration
        self.clock = clock
        self.name = name
        self.open = open
        var settings = Machine.Settings()
        settings.policy = configuration.reconnect
        settings.reconnectsAutomatically = configuration.reconnectsAutomatically
        settings.asksToDisconnect = configuration.shouldDisconnect != nil
        settings.asksToReconnect = configuration.shouldReconnect != nil
        settings.asksToRenew = configuration.shouldRenew != nil
        settings.disconnectCheckInterval = configuration.disconnectCheckInterval
        settings.reconnectCheckInterval = configuration.reconnectCheckInterval
        settings.maximumConnectionAge = configuration.maximumConnectionAge
        settings.disconnectMargin = configuration.disconnectMargin
        settings.makesBeforeBreaking = configuration.makesBeforeBreaking
        let coding = configuration.subscriptions
        parts = Mutex(
            Parts(
                machine: Machine(settings: settings, seed: seed),
                inbox: SessionInbox(
                    limits: .init(
                        messages: configuration.inboundMessages, bytes: configuration.inboundBytes,
                        policy: configuration.overflow)),
                outbox: Outbox(capacity: configuration.outboundQueue),
                subscriptions: SubscriptionList(
                    timing: .init(
                        acknowledgement: coding.reply == nil ? nil : coding.replyTimeout,
                        retryDelay: coding.retryDelay, attempts: coding.attempts)),
                alerts: AlertThrottle(interval: configuration.alertInterval)))
    }

    func nextID() -> UInt64 { lastID.wrappingAdd(1, ordering: .relaxed).newValue }

    // MARK: Running

    /// Runs until the session has ended. Cancellation ends it at once.
    func run() async throws(WebSocketError) {
        precondition(
            !hasRun.exchange(true, ordering: .acquiringAndReleasing), "WebSocketSession.run() may be called only once")
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.lane.drive() }
                group.addTask { await self.timer.run(self.clock) { self.tick() } }
                self.perform { parts, _, _ in ((), parts.machine.start()) }
            }
        } onCancel: {
            self.perform { parts, _, _ in ((), parts.machine.abort()) }
        }
        if let failure = parts.withLock({ $0.failure }) { throw failure }
    }

    /// Hands an event to the machines and does what they want.
    @discardableResult
    func perform<Value: Sendable>(
        _ event: (inout Parts, Duration, inout After) -> (Value, [Machine.Command])
    ) -> Value {
        var after = After()
        let value = parts.withLock { parts in
            let now = clock.now()
            let (value, commands) = event(&parts, now, &after)
            for command in commands { execute(command, &parts, now, &after) }
            settle(&parts, now, &after)
            return value
        }
        after.run()
        return value
    }

    private func tick() {
        perform { parts, now, after in
            for alert in parts.alerts.flush(at: now) { tell(.alert(alert), &parts, &after) }
            return ((), parts.machine.tick(at: now))
        }
        sendSubscriptions()
    }

    /// After every event: what follows from the state that was reached.
    private func settle(_ parts: inout Parts, _ now: Duration, _ after: inout After) {
        let state = parts.machine.publicState
        if parts.machine.openConnection == nil, parts.outbox.isConnected {
            notify(parts.outbox.closeActive(), &after)
        }
        notify(parts.outbox.expire(at: now), &after)
        startWriting(&parts, &after)
        let lost = parts.outbox.takeLost()
        if lost > 0 {
            observe(&after) { $0.messagesLost(lost) }
            raise(.messagesNotSent, "messages could not be sent: \(lost)", &parts, now, &after)
        }
        if state == .connected {
            for failure in parts.subscriptions.expire(at: now) { report(failure, &parts, now, &after) }
        }
        if let end = parts.handover?.end, end <= now { parts.handover = nil }
        if state != parts.lastState {
            let old = parts.lastState
            parts.lastState = state
            observe(&after) { $0.stateChanged(from: old, to: state) }
            let (logger, name) = (configuration.logger, name)
            after.do { logger.debug("session \(state)", metadata: ["url": "\(name)"]) }
        }
        for (id, waiter) in parts.stateWaiters {
            guard let verdict = waiter.verdict(state, parts.machine.isResting) else { continue }
            parts.stateWaiters[id] = nil
            after.do { waiter.continuation.resume(returning: verdict) }
        }
        let deadlines = [
            parts.machine.nextDeadline, parts.outbox.nextDeadline, parts.alerts.nextDeadline, parts.handover?.end,
            state == .connected ? parts.subscriptions.nextDeadline : nil,
        ]
        let next = deadlines.lazy.compactMap { $0 }.min()
        let timer = timer
        after.do { timer.arm(next) }
    }

    private func execute(_ command: Machine.Command, _ parts: inout Parts, _ now: Duration, _ after: inout After) {
        switch command {
        case .connect(let epoch):
            let work = CancellableWork()
            parts.work[epoch] = work
            after.do { self.lane.post { await work.run { await self.connect(epoch) } } }
        case .cancelWork(let epoch):
            if let work = parts.work.removeValue(forKey: epoch) { after.do { work.cancel() } }
        case .prepare(let epoch, let connection, let isReconnect, let isRenewal):
            prepare(epoch, connection, isReconnect: isReconnect, isRenewal: isRenewal, &parts, &after)
        case .activate(let epoch, let isReconnect, let gap):
            activate(epoch, isReconnect: isReconnect, gap: gap, &parts, now, &after)
        case .handOver(let new, let old): handOver(to: new, from: old, &parts, now, &after)
        case .close(let connection, let frame): after.do { connection.beginClosing(frame) }
        case .abort(let connection): after.do { connection.abort() }
        case .ask(let question, let epoch):
            let snapshot = snapshot(&parts, now)
            after.do { self.lane.post { await self.ask(question, epoch, snapshot) } }
        case .decide(let cause, let attempt, let decision):
            // The policy's closures are the application's: not under the lock.
            after.finally { [self] in
                let answer = configuration.reconnect.answer(cause, attempt: attempt, clock: WallClock.seconds)
                perform { parts, now, _ in ((), parts.machine.decided(answer, decision, at: now)) }
            }
        case .disconnected(let end):
            parts.counters.disconnects += 1
            if end.reason.isProactive {
                parts.counters.proactiveDisconnects += 1
            } else {
                parts.counters.reactiveDisconnects += 1
            }
            parts.disconnectedAt = now
            parts.lastDisconnect = end
            parts.subscriptions.reset()
            tell(.disconnected(end), &parts, &after)
        case .alert(let kind, let message): raise(kind, message, &parts, now, &after)
        case .rested:
            for waiter in parts.inbox.removeMessageTakers() {
                after.do { waiter.resume(returning: .success(nil)) }
            }
        case .ended(let error): end(error, &parts, now, &after)
        }
    }

    private func end(_ error: WebSocketError?, _ parts: inout Parts, _ now: Duration, _ after: inout After) {
        parts.failure = error
        for alert in parts.alerts.flush(at: now, all: true) { tell(.alert(alert), &parts, &after) }
        notify(parts.outbox.finishAll(), &after)
        let waiters = parts.inbox.finish(error)
        let rooms = parts.roomWaiters
        parts.roomWaiters = []
        let (lane, timer) = (lane, timer)
        // Connections that are still ending report to a session that only counts.
        let isQuiet = parts.ports.isEmpty
        after.do {
            for waiter in waiters { waiter.resume(returning: error.map { .failure($0) } ?? .success(nil)) }
            for room in rooms { room.resume(returning: ()) }
            if isQuiet { lane.finish() }
            timer.finish()
        }
    }

    // MARK: Telling

    func observe(_ after: inout After, _ tell: @escaping (any WebSocketSessionObserver) -> Void) {
        let observers = configuration.observers
        guard !observers.isEmpty else { return }
        after.do { for observer in observers { tell(observer) } }
    }

    func tell(_ event: WebSocketSessionEvent, _ parts: inout Parts, _ after: inout After) {
        switch event {
        case .gap(let gap):
            parts.counters.gaps += 1
            observe(&after) { $0.gapped(gap) }
        case .disconnected(let end): observe(&after) { $0.disconnected(end) }
        case .renewed: observe(&after) { $0.renewed() }
        case .alert(let alert): observe(&after) { $0.alerted(alert) }
        // Its observers want to know more.
        case .connected, .message: break
        }
        guard let delivery = parts.inbox.push(event) else { return }
        after.do { delivery.waiter.resume(returning: .success(delivery.event)) }
    }

    func raise(
        _ kind: WebSocketSessionAlert.Kind, _ message: String, _ parts: inout Parts, _ now: Duration,
        _ after: inout After
    ) {
        guard let alert = parts.alerts.raise(kind, message, at: now) else {
            return
        }
        tell(.alert(alert), &parts, &after)
        let (logger, name) = (configuration.logger, name)
        after.do {
            logger.warning(
                "session alert", metadata: ["url": "\(name)", "kind": "\(kind)", "message": "\(message.escapedForLog)"])
        }
    }

    func notify(_ notices: [Outbox.Notice], _ after: inout After) {
        guard !notices.isEmpty else { return }
        after.do {
            for notice in notices {
                switch notice {
                // Taken is what the caller wanted to know; what became of it is told to those who ask.
                case .taken(let waiter): waiter.resume(returning: .success(.written))
                case .ended(let waiter, let outcome): waiter.resume(returning: .success(outcome))
                }
            }
        }
    }

    func snapshot(_ parts: inout Parts, _ now: Duration) -> WebSocketSessionSnapshot {
        WebSocketSessionSnapshot(
            state: parts.machine.publicState, statistics: statistics(&parts, now), lastDisconnect: parts.lastDisconnect)
    }

    func statistics(_ parts: inout Parts, _ now: Duration) -> WebSocketSessionStatistics {
        var result = parts.counters
        let ledger = parts.outbox.ledger
        result.messagesSubmitted = ledger.submitted
        result.messagesWritten = ledger.written
        result.messagesNotSent = ledger.notSent
        result.messagesUnknown = ledger.unknown
        result.messagesCancelled = ledger.cancelled
        result.messagesRefused = ledger.dropped
        result.messagesPending = ledger.pending
        result.messagesDropped = parts.inbox.droppedMessages
        result.eventsDropped = parts.inbox.droppedEvents
        result.alertsSuppressed = parts.alerts.suppressedCount
        result.reconnectAttempts = parts.machine.reconnectAttempts
        result.uptime = now - parts.origin
        result.connectionDuration = parts.machine.connectedSince.map { now - $0 }
        result.sinceConnect = parts.connectedAt.map { now - $0 }
        result.sinceDisconnect = parts.disconnectedAt.map { now - $0 }
        result.sinceMessage = parts.messageAt.map { now - $0 }
        return result
    }
}

extension SessionCore {
    func beginShutdown() {
        perform { parts, _, _ in ((), parts.machine.shutDown(WebSocketCloseFrame(code: .normalClosure))) }
    }

    func resetStatistics() {
        parts.withLock { parts in
            parts.counters = WebSocketSessionStatistics()
            parts.origin = clock.now()
            parts.connectedAt = nil
            parts.disconnectedAt = nil
            parts.messageAt = nil
            parts.inbox.resetCounters()
            parts.outbox.resetLedger()
            parts.alerts.resetCount()
        }
    }
}
