//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Decides what a session does next. Holds no clock, no task and no connection but as something to pass on.
///
/// Times are durations since the session's beginning. Every event returns what has to be done, in order.
package struct SessionStateMachine<Connection: Sendable>: ~Copyable {
    /// Names one attempt and the connection that comes of it. Never reused.
    package typealias Epoch = Int
    /// Names one question to the policy. Never reused.
    package typealias Decision = Int

    package struct Settings: Sendable {
        package var policy = WebSocketReconnectPolicy()
        package var reconnectsAutomatically = true
        /// Which of the application's closures there are.
        package var asksToDisconnect = false
        package var asksToReconnect = false
        package var asksToRenew = false
        package var disconnectCheckInterval: Duration = .seconds(10)
        package var reconnectCheckInterval: Duration = .seconds(5)
        package var maximumConnectionAge: Duration?
        package var disconnectMargin: Duration = .seconds(300)
        /// Whether an old connection is replaced before it is closed.
        package var makesBeforeBreaking = false
        /// How long a connection that is left may take for its end when another one is to follow.
        package var handoverTimeout: Duration = .seconds(1)
        package var endpointCount = 1

        package init() {}
    }

    package enum Question: Sendable, Equatable { case disconnect, reconnect, renew }

    package enum Command: Sendable {
        case connect(Epoch, SessionAttempt)
        /// Stop the attempt or the preparation of this epoch.
        case cancelWork(Epoch)
        /// Subscribe and let the application prepare.
        case prepare(Epoch, Connection, isReconnect: Bool, isRenewal: Bool)
        /// Messages flow from here on. `gap` is how long there was no connection.
        case activate(Epoch, isReconnect: Bool, gap: Duration?)
        /// Messages go to the first, and come from the second until it has ended.
        case handOver(to: Epoch, from: Epoch)
        case close(Connection, WebSocketCloseFrame)
        case abort(Connection)
        case ask(Question, Epoch)
        /// Ask the policy's closures what follows, then `decided`.
        case decide(WebSocketReconnectPolicy.Cause, attempt: Int, Decision)
        case disconnected(WebSocketSessionDisconnect)
        case alert(WebSocketSessionAlert.Kind, String)
        /// Nothing will come until a caller asks for it.
        case rested(SessionRest)
        case ended(WebSocketError?)
    }

    /// What follows when the connection that is being closed has ended.
    enum Sequel: Sendable {
        case rest(SessionRest)
        case wait(Duration)
        case reconnect
        case ask
        /// As if the server had done it.
        case react
        case end
    }

    struct Open: Sendable {
        let epoch: Epoch
        let connection: Connection
        let since: Duration
        var nextCheck: Duration?
        var nextRenewalCheck: Duration?
        /// The last moment for a renewal, whatever the application says.
        var lastRenewal: Duration?
        var limit: Duration?
        /// Failed renewals, by the same policy as failed connections.
        var renewals: ReconnectEngine
        /// Where renewals go. The first goes where the connection is.
        var renewalEndpoints: EndpointRotation
        /// The policy is being asked about a renewal that failed.
        var renewalDecision: Decision?
        var scheduled: (at: Duration, sequel: Sequel)?
        var successor = Successor.none
    }

    enum Successor: Sendable {
        case none
        /// → `preparing` when it is open; `none` when it fails.
        case attempting(Epoch)
        /// → the open connection when it is prepared; `none` when it fails.
        case preparing(Epoch, Connection)
    }

    struct Leaving: Sendable {
        let epoch: Epoch
        let connection: Connection
        let since: Duration?
        let reason: WebSocketDisconnectReason
        var error: WebSocketError?
        var sequel: Sequel
        /// When it is cut, because what follows must not wait any longer.
        var deadline: Duration?
    }

    enum State: Sendable {
        /// `run` has not begun. → `attempting` when it does; `ended` on shutdown.
        case unstarted
        /// There is nothing to do. → `attempting` on connect; `waiting` when a reconnect is scheduled; `ended`.
        case resting(SessionRest)
        /// The policy is being asked. → `waiting`, `attempting` or `ended` by its answer; `attempting` on connect;
        /// `waiting` when a reconnect is scheduled; `resting` on close; `ended`.
        case deciding(Decision, WebSocketReconnectPolicy.Cause)
        /// → `attempting` at that time or on connect; `resting` on close; `ended`.
        case waiting(until: Duration)
        /// The application decides when; nil while it is being asked. → `attempting`, `waiting` or `resting` by its
        /// answer; `ended`.
        case asking(next: Duration?)
        /// → `preparing` when the connection is open; `waiting`, `resting` or `ended` when it fails.
        case attempting(Epoch)
        /// → `open` when it is prepared; `leaving` when that fails; what follows an end when it ends.
        case preparing(Epoch, Connection)
        /// → `leaving` when this side ends it; what follows an end when the server or the network does.
        case open(Open)
        /// → what its sequel says, when the connection has ended.
        case leaving(Leaving)
        /// Final. Every later event is ignored, and connections that still come are cut.
        case ended
    }

    package let settings: Settings
    var state = State.unstarted
    var engine: ReconnectEngine
    var endpoints: EndpointRotation
    let seed: UInt64
    var lastEpoch = 0
    var lastDecision = 0
    /// The connection before the present one, which brings its last messages.
    var retiring: (epoch: Epoch, connection: Connection)?
    /// Whether there was a connection before that the next one continues.
    var isRecovering = false
    var hasBeenOpen = false
    /// Since when there is no connection.
    var downSince: Duration?
    package internal(set) var isShutdown = false
    /// The last thing that went wrong.
    package internal(set) var lastError: WebSocketError?

    package init(settings: Settings, seed: UInt64) {
        self.settings = settings
        self.seed = seed
        engine = ReconnectEngine(policy: settings.policy, seed: seed)
        endpoints = EndpointRotation(count: settings.endpointCount)
    }

    /// What users see.
    package var publicState: WebSocketSessionState {
        switch state {
        case .unstarted, .resting: .disconnected
        case .deciding, .waiting, .asking, .attempting, .preparing: isRecovering ? .reconnecting : .connecting
        case .open: .connected
        case .leaving: .closing
        case .ended: .closed
        }
    }

    package var connectedSince: Duration? { if case .open(let open) = state { open.since } else { nil } }
    package var reconnectAttempts: Int { engine.attempts }
    package var rest: SessionRest? { if case .resting(let rest) = state { rest } else { nil } }
    /// The connection that messages go to.
    package var openConnection: (Epoch, Connection)? {
        if case .open(let open) = state { (open.epoch, open.connection) } else { nil }
    }

    // MARK: Getting a connection

    /// `run` has begun.
    package mutating func start(at now: Duration) -> [Command] {
        guard case .unstarted = state else { return [] }
        return attempt(at: now)
    }

    /// A caller wants a connection. Joins what is under way: there is never a second attempt.
    package mutating func connect(at now: Duration) -> [Command] {
        switch state {
        case .resting, .deciding, .waiting, .asking:
            engine.restart()
            return attempt(at: now)
        case .unstarted, .attempting, .preparing, .open, .leaving, .ended: return []
        }
    }

    /// A caller wants a connection at that time.
    package mutating func scheduleReconnect(at time: Duration) -> Bool {
        switch state {
        case .resting, .deciding, .waiting, .asking:
            isRecovering = true
            state = .waiting(until: time)
            return true
        case .unstarted, .attempting, .preparing, .open, .leaving, .ended: return false
        }
    }

    mutating func attempt(at now: Duration) -> [Command] {
        lastEpoch += 1
        state = .attempting(lastEpoch)
        endpoints.choose(at: now)
        return [
            .connect(
                lastEpoch,
                SessionAttempt(
                    number: engine.attempts + 1, endpoint: endpoints.index, isReconnect: hasBeenOpen, isRenewal: false,
                    lastError: lastError))
        ]
    }

    package mutating func connected(_ epoch: Epoch, _ connection: Connection) -> [Command] {
        switch state {
        case .attempting(epoch):
            state = .preparing(epoch, connection)
            return [.prepare(epoch, connection, isReconnect: hasBeenOpen, isRenewal: false)]
        case .open(var open):
            guard case .attempting(epoch) = open.successor else { return [.abort(connection)] }
            open.successor = .preparing(epoch, connection)
            state = .open(open)
            return [.prepare(epoch, connection, isReconnect: true, isRenewal: true)]
        // An attempt that was given up came through all the same.
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .preparing, .leaving, .ended:
            return [.abort(connection)]
        }
    }

    /// - Parameter clock: Seconds since 1970, for a server that says until when and not what time it has.
    package mutating func connectFailed(
        _ epoch: Epoch, _ error: WebSocketError, at now: Duration, clock: Int64? = nil
    ) -> [Command] {
        switch state {
        case .attempting(epoch):
            lastError = error
            if downSince == nil { downSince = now }
            let wait = settings.policy.serverWish(.connectFailed(error), clock)
            guard let cause = endpoints.failed(error, wait: wait, at: now) else { return attempt(at: now) }
            lastError = cause
            return next(after: .connectFailed(cause), at: now)
        case .open(var open):
            guard case .attempting(epoch) = open.successor else { return [] }
            return renewalFailed(&open, error, at: now, clock: clock)
        // The attempt was given up before it failed.
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .preparing, .leaving, .ended: return []
        }
    }

    /// The connection is subscribed, and the application has prepared it.
    ///
    /// - Parameter isContinuous: Whether the application closed the gap.
    package mutating func prepared(_ epoch: Epoch, isContinuous: Bool, at now: Duration) -> [Command] {
        switch state {
        case .preparing(epoch, let connection):
            engine.connected(at: now)
            endpoints.connected()
            state = .open(makeOpen(epoch, connection, at: now))
            let isReconnect = hasBeenOpen
            let gap = isReconnect && !isContinuous ? downSince.map { now - $0 } ?? .zero : nil
            hasBeenOpen = true
            isRecovering = true
            downSince = nil
            return [.activate(epoch, isReconnect: isReconnect, gap: gap)]
        case .open(let open):
            guard case .preparing(epoch, let connection) = open.successor else { return [] }
            engine.connected(at: now)
            endpoints = open.renewalEndpoints
            endpoints.connected()
            retiring = (open.epoch, open.connection)
            state = .open(makeOpen(epoch, connection, at: now))
            return [
                .handOver(to: epoch, from: open.epoch),
                .close(open.connection, WebSocketCloseFrame(code: .normalClosure, reason: "renewed")),
            ]
        // It ended, or was given up, while it was prepared.
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .preparing, .leaving, .ended: return []
        }
    }

    package mutating func preparationFailed(
        _ epoch: Epoch, _ error: WebSocketError, at now: Duration
    ) -> [Command] {
        switch state {
        case .preparing(epoch, let connection):
            lastError = error
            state = .leaving(
                Leaving(
                    epoch: epoch, connection: connection, since: nil, reason: .preparationFailed, error: error,
                    sequel: .react, deadline: now + settings.handoverTimeout))
            return [.close(connection, WebSocketCloseFrame(code: .normalClosure))]
        case .open(var open):
            guard case .preparing(epoch, let connection) = open.successor else { return [] }
            return renewalFailed(&open, error, at: now)
                + [.close(connection, WebSocketCloseFrame(code: .normalClosure))]
        // It ended, or was given up, while it was prepared.
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .preparing, .leaving, .ended: return []
        }
    }

    /// The next endpoint is tried at once. When all have failed and there is an age, the policy says when it is tried again,
    /// as after any failed attempt.
    mutating func renewalFailed(
        _ open: inout Open, _ error: WebSocketError, at now: Duration, clock: Int64? = nil
    ) -> [Command] {
        lastError = error
        let alert = Command.alert(.renewalFailed, error.message)
        let wait = settings.policy.serverWish(.connectFailed(error), clock)
        guard let cause = open.renewalEndpoints.failed(error, wait: wait, at: now) else {
            return [alert] + attemptRenewal(&open, at: now)
        }
        lastError = cause
        open.successor = .none
        guard open.limit != nil else {
            state = .open(open)
            return [alert]
        }
        lastDecision += 1
        open.renewalDecision = lastDecision
        open.nextRenewalCheck = nil
        state = .open(open)
        return [alert, .decide(.connectFailed(cause), attempt: open.renewals.attempts + 1, lastDecision)]
    }

    mutating func attemptRenewal(_ open: inout Open, at now: Duration) -> [Command] {
        lastEpoch += 1
        open.successor = .attempting(lastEpoch)
        open.renewalEndpoints.choose(at: now)
        state = .open(open)
        return [
            .connect(
                lastEpoch,
                SessionAttempt(
                    number: open.renewals.attempts + 1, endpoint: open.renewalEndpoints.index, isReconnect: true,
                    isRenewal: true, lastError: lastError))
        ]
    }

    private func makeOpen(_ epoch: Epoch, _ connection: Connection, at now: Duration) -> Open {
        var renewals = ReconnectEngine(policy: settings.policy, seed: seed &+ UInt64(epoch))
        // What fails now was right when the present connection was opened.
        renewals.connected(at: now)
        var open = Open(
            epoch: epoch, connection: connection, since: now, renewals: renewals, renewalEndpoints: endpoints)
        if settings.asksToDisconnect { open.nextCheck = now + settings.disconnectCheckInterval }
        if let age = settings.maximumConnectionAge {
            open.limit = now + age
            // A margin that is longer than the whole life would end it at once.
            let margin = min(settings.disconnectMargin, age / 2)
            open.nextRenewalCheck = now + age - margin
            if settings.makesBeforeBreaking { open.lastRenewal = now + age - margin / 10 }
        }
        return open
    }
}
