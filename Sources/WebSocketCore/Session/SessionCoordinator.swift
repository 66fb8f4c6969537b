//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

/// Everything that a session knows: it owns the machines and makes of each event what has to be done. Holds no lock, no
/// clock, no task and no closure of the application but those that recognise replies.
///
/// After every event `finish` returns the effects. The caller holds a lock until then, and carries them out without it.
package struct SessionCoordinator<World: SessionWorld>: ~Copyable {
    package typealias Machine = SessionStateMachine<World.Connection>
    package typealias Effect = SessionEffect<World>
    package typealias Outbox = SessionOutbox<World.SendWaiter>

    package struct Settings: Sendable {
        package var machine = Machine.Settings()
        package var inboundMessages = 1_000
        package var inboundBytes = 16 << 20
        package var overflow = WebSocketOverflowPolicy.suspendReading
        package var outboundQueue = 0
        package var outboundDeadline: Duration?
        package var alertInterval: Duration = .seconds(300)
        package var alertIntervals: [WebSocketSessionAlert.Kind: Duration] = [:]
        package var silenceTimeout: Duration?
        /// Whether messages wait for the answers to subscriptions.
        package var holdsWhileSubscribing = false
        package var timing = SubscriptionList.Timing(acknowledgement: nil, retryDelay: .seconds(1), attempts: 3)
        /// Whether events are of interest that every message may bring.
        package var isObserved = false

        package init() {}
    }

    /// How far a connection has come.
    enum Stage: Sendable { case preparing, subscribing, resuming, taken }

    /// A connection as the session sees it.
    struct Port: Sendable {
        let connection: World.Connection
        let isRenewal: Bool
        let isReconnect: Bool
        var stage = Stage.preparing
        /// How far its channels have come, until the session takes it.
        var list: SubscriptionList
        /// What the application's hook may read.
        var mailbox: Deque<SessionArrival> = []
        var mailboxBytes = 0
        var readers: [(id: UInt64, waiter: World.MessageWaiter)] = []
        /// What is delivered once the session has taken it.
        var held: [SessionArrival] = []
        var heldBytes = 0
        /// Messages that it took before the session did.
        var accepted = 0
        /// Waits for the answers to subscriptions.
        var acknowledgement: World.Signal?
        var end: SessionTransportEnd?
        /// Whether everything that it brought has been read.
        var isDrained = false
        /// Why its preparation failed.
        var failure: WebSocketError?
        /// When it is not waited for any more.
        var deadline: Duration?
    }

    /// While an old and a new connection are both there.
    struct Handover: Sendable {
        let old: Int
        let new: Int
        var filter = HandoverFilter<WebSocketMessage>()
        /// Whether the new one has taken over.
        var isUnderWay = false
        var isOldGone = false
        /// Whether the new one has ended before the old one: what the old one still brings is not wanted any more.
        var isAbandoned = false
        /// When the old one last brought something.
        var oldHeardAt: Duration = .zero
        /// When the old one's messages are forgotten.
        var end: Duration?
    }

    struct StateWaiter: Sendable {
        /// nil while it is not known.
        let verdict: @Sendable (SessionView) -> Bool?
        let waiter: World.StateWaiter
    }

    struct Request: Sendable {
        let id: UInt64
        let message: WebSocketMessage
        let isIdempotent: Bool
        let matches: @Sendable (WebSocketMessage) -> Bool
        let waiter: World.MessageWaiter
        /// The connection that took it.
        var epoch: Int?
        /// Sent again on the next connection.
        var waitsForConnection = false
    }

    let settings: Settings
    package internal(set) var machine: Machine
    package internal(set) var inbox: SessionInbox<World.EventWaiter>
    package internal(set) var outbox: Outbox
    package internal(set) var subscriptions: SubscriptionList
    var alerts: AlertThrottle
    var counters = WebSocketSessionStatistics()
    var ports: [Int: Port] = [:]
    var work: [Int: World.Work] = [:]
    var handover: Handover?
    var requests: [Request] = []
    var stateWaiters: [UInt64: StateWaiter] = [:]
    var roomWaiters: [World.Signal] = []
    var slowSend: World.Work?
    var isWriting = false
    /// The connection that took nothing any more.
    var refusingEpoch: Int?
    /// Whether `run` has begun.
    package internal(set) var isRunning = false
    package internal(set) var hasRun = false
    var hasToldThatItDoesNotRun = false
    package internal(set) var lastDisconnect: WebSocketSessionDisconnect?
    /// Why the session gave up, until it is connected again.
    package internal(set) var failure: WebSocketError?
    var lastState = WebSocketSessionState.disconnected
    var origin: Duration = .zero
    var connectedAt: Duration?
    var disconnectedAt: Duration?
    var messageAt: Duration?
    var heardHoles = 0
    private var effects: [Effect] = []
    private var lastEffect: Effect?

    package init(settings: Settings, seed: UInt64) {
        self.settings = settings
        machine = Machine(settings: settings.machine, seed: seed)
        inbox = SessionInbox(
            limits: .init(
                messages: settings.inboundMessages, bytes: settings.inboundBytes, policy: settings.overflow))
        outbox = Outbox(capacity: settings.outboundQueue)
        subscriptions = SubscriptionList(timing: settings.timing)
        alerts = AlertThrottle(interval: settings.alertInterval, intervals: settings.alertIntervals)
    }

    // MARK: Effects

    mutating func add(_ effect: Effect) { effects.append(effect) }

    /// What makes the session go on, when everything that had happened has been told.
    mutating func addLast(_ effect: Effect) {
        if let lastEffect { effects.append(lastEffect) }
        lastEffect = effect
    }

    mutating func takeEffects() -> [Effect] {
        guard lastEffect != nil || !effects.isEmpty else { return [] }
        defer { effects = [] }
        if let last = lastEffect.take() { effects.append(last) }
        return effects
    }

    /// What follows from the state that was reached, and then everything that has to be done.
    package mutating func finish(at now: Duration) -> [Effect] {
        let state = machine.publicState
        if machine.openConnection == nil, outbox.isConnected { add(outbox.closeActive()) }
        add(outbox.expire(at: now))
        reviewRequests()
        startWriting()
        let lost = outbox.takeLost()
        if lost > 0 {
            add(.tell(.messagesLost(lost)))
            raise(.messagesNotSent, "messages could not be sent: \(lost)", at: now)
        }
        reviewSubscriptions(state, at: now)
        if let end = handover?.end, end <= now { handover = nil }
        if state != lastState {
            add(.tell(.stateChanged(from: lastState, to: state)))
            lastState = state
        }
        if !stateWaiters.isEmpty {
            let view = view
            for (id, waiter) in stateWaiters {
                guard let verdict = waiter.verdict(view) else { continue }
                stateWaiters[id] = nil
                add(.known(waiter.waiter, verdict))
            }
        }
        add(.arm(nextDeadline))
        return takeEffects()
    }

    package var view: SessionView {
        SessionView(
            state: machine.publicState, rest: machine.rest, isRunning: isRunning, subscriptions: subscriptions)
    }

    // MARK: Time

    private var nextDeadline: Duration? {
        var next = [
            machine.nextDeadline, outbox.nextDeadline, alerts.nextDeadline, handover?.end, releaseDeadline,
            silenceDeadline, machine.openConnection == nil ? nil : subscriptions.nextDeadline,
        ].compactMap { $0 }.min()
        for port in ports.values where port.stage != .taken {
            for time in [port.deadline, port.list.nextDeadline].compactMap({ $0 }) { next = min(next ?? time, time) }
        }
        return next
    }

    /// When the connection has been silent for too long.
    private var silenceDeadline: Duration? {
        guard let patience = settings.silenceTimeout, let since = machine.connectedSince else { return nil }
        return max(since, messageAt ?? since) + patience
    }

    /// When the new connection waits no longer for the old one's last messages.
    var releaseDeadline: Duration? {
        guard let handover, handover.isUnderWay, !handover.filter.isReleased else { return nil }
        return handover.oldHeardAt + settings.machine.handoverTimeout
    }

    package mutating func tick(at now: Duration) {
        for alert in alerts.flush(at: now) { tell(.alert(alert)) }
        if let deadline = releaseDeadline, deadline <= now {
            if inbox.isSourcePaused {
                // It is this side that does not read.
                handover?.oldHeardAt = now
            } else {
                releaseHandover(at: now)
            }
        }
        if let deadline = silenceDeadline, deadline <= now { run(machine.fellSilent(), at: now) }
        for (epoch, port) in ports where port.stage != .taken {
            if let deadline = port.deadline, deadline <= now { waitedEnough(epoch, at: now) }
        }
        run(machine.tick(at: now), at: now)
    }

    // MARK: Telling

    mutating func tell(_ event: WebSocketSessionEvent) {
        switch event {
        case .gap(let gap):
            counters.gaps += 1
            add(.tell(.gapped(gap)))
        case .disconnected(let end): add(.tell(.disconnected(end)))
        case .renewed: add(.tell(.renewed))
        case .alert(let alert): add(.tell(.alerted(alert)))
        // Observers are told more of the first, and nothing of the others.
        case .connected, .message, .subscription: break
        }
        if let delivery = inbox.push(event) { add(.give(delivery.waiter, .success(delivery.event))) }
    }

    package mutating func raise(_ kind: WebSocketSessionAlert.Kind, _ message: String, at now: Duration) {
        if let alert = alerts.raise(kind, message, at: now) { tell(.alert(alert)) }
    }

    mutating func add(_ notices: [Outbox.Notice]) {
        for notice in notices {
            switch notice {
            // Taken is what the caller wanted to know; what became of it is told to those who ask.
            case .taken(let waiter): add(.settle(waiter, .success(.written)))
            case .ended(let waiter, let outcome): add(.settle(waiter, .success(outcome)))
            }
        }
    }

    /// Lets every reader that waits look again.
    mutating func makeRoom() {
        for waiter in roomWaiters { add(.signal(waiter)) }
        roomWaiters = []
    }
}
