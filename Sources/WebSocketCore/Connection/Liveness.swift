//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a connection's socket shows of its peer at one moment. Where the kernel tells nothing (Unix domain sockets), the
/// optional parts are `nil`.
package struct SocketSigns: Equatable, Sendable {
    /// Grows with every read that brought something. Wraps.
    package var heard: UInt32
    /// Grows with everything that the socket has taken from this side. Wraps.
    package var taken: UInt32
    /// Bytes that the kernel has received from the peer, whether they were read or not.
    package var received: UInt64?
    /// Bytes that the peer's kernel has acknowledged.
    package var acknowledged: UInt64?
    /// When the last acknowledgement came, on the clock of the events.
    package var acknowledgedAt: UInt64?
    /// Bytes that the kernel still has to send, or to see acknowledged.
    package var waiting: Int
    /// Whether the kernel has asked the peer's kernel again for an acknowledgement, and has none yet.
    package var isInDoubt: Bool

    package init(
        heard: UInt32, taken: UInt32, received: UInt64? = nil, acknowledged: UInt64? = nil,
        acknowledgedAt: UInt64? = nil, waiting: Int = 0, isInDoubt: Bool = false
    ) {
        self.heard = heard
        self.taken = taken
        self.received = received
        self.acknowledged = acknowledged
        self.acknowledgedAt = acknowledgedAt
        self.waiting = waiting
        self.isInDoubt = isInDoubt
    }

    /// Whether anything has come from the peer since. Any byte counts: a pong cannot stand inside a frame (RFC 6455 §5.4).
    package func hasHeardMore(than earlier: Self) -> Bool { heard != earlier.heard || received != earlier.received }

    /// Whether the peer has taken anything since.
    package func hasMoved(since earlier: Self) -> Bool {
        if let acknowledged { return acknowledged != earlier.acknowledged || taken != earlier.taken }
        return taken != earlier.taken || waiting < earlier.waiting
    }
}

/// Judges whether the peer is still there, and bounds the closing handshake. Holds no clock and no socket: times come in
/// with the events, in nanoseconds, and what the socket shows comes as ``SocketSigns``.
///
/// A peer is judged by what it can be blamed for. A ping's time begins when the operating system has taken it, and while
/// it travels behind data that the peer takes, nothing is late. Any byte that arrives is life. While this side has paused
/// reading, a missing pong says nothing, and an acknowledgement by the peer's kernel has to do. The owner reads its sockets
/// before it reports a deadline.
package struct Liveness<Waiter: Sendable>: Sendable {
    /// The state of the keepalive.
    private enum Watch: Equatable, Sendable {
        /// No keepalive, or the end is near.
        /// → nothing.
        case off
        /// The next ping goes out at this time.
        /// → `queued` then.
        case resting(until: UInt64)
        /// The ping waits behind other bytes of this side.
        /// → `underWay` when the operating system has it; `resting` with its pong; `failed` when the socket takes nothing
        ///   and nothing comes for a whole timeout.
        case queued(at: UInt64, lookAt: UInt64, seen: SocketSigns)
        /// The operating system has the ping; it is acknowledged when `mark` bytes are.
        /// → `resting` with its pong or another sign of life; `delivered` when the acknowledgement was seen.
        case underWay(at: UInt64, lookAt: UInt64, mark: UInt64?, seen: SocketSigns)
        /// The peer's kernel has the ping.
        /// → `resting` with its pong or another sign of life.
        case delivered(at: UInt64, deadline: UInt64, seen: SocketSigns)
    }

    /// How far this side's close frame has come.
    private enum Closing: Equatable, Sendable {
        case notBegun
        /// Behind other bytes; `patience` begins when it is written.
        case queued(patience: UInt64)
        /// In the burst that the socket has taken a part of.
        case inBurst(patience: UInt64)
        case written
    }

    package private(set) var pings: PingLedger<Waiter>
    private let interval: UInt64?
    private let timeout: UInt64?
    private var watch = Watch.off
    private var closing = Closing.notBegun
    /// Something waits to be handed to the operating system whose time begins then. Looked at with every burst.
    package private(set) var awaitsBurst = false

    package init(interval: UInt64?, timeout: UInt64?, nonce: UInt32) {
        self.interval = interval
        self.timeout = timeout
        pings = PingLedger(nonce: nonce)
    }

    // MARK: Keepalive

    /// The connection is open. Returns when `timerFired` is to be called first.
    package mutating func begin(now: UInt64) -> UInt64? {
        guard let interval else { return nil }
        watch = .resting(until: now &+ interval)
        return now &+ interval
    }

    package enum TimerAction: Equatable, Sendable {
        /// Send a ping, and call again at the deadline.
        case ping(PingLedger<Waiter>.Ping, next: UInt64)
        /// Call again at the deadline.
        case again(UInt64)
        /// The peer is gone.
        case failed
        /// Nothing is watched any more.
        case rest
    }

    /// The keepalive's deadline has come, and the sockets have been read since.
    package mutating func timerFired(now: UInt64, signs: SocketSigns, isReadingPaused: Bool) -> TimerAction {
        switch watch {
        case .off: return .rest
        case .resting(let until): return now < until ? .again(until) : ping(now: now, signs: signs)
        case .queued(let at, let lookAt, let seen):
            guard now >= lookAt else { return .again(lookAt) }
            let isExcused = isReadingPaused && !signs.isInDoubt
            guard isExcused || signs.hasHeardMore(than: seen) || signs.hasMoved(since: seen) else { return fail() }
            return look(.queued(at: at, lookAt: now &+ patience, seen: signs))
        case .underWay(let at, let lookAt, let mark, let seen):
            guard now >= lookAt else { return .again(lookAt) }
            if signs.hasHeardMore(than: seen) { return settle(at, now: now, signs: signs) }
            if isDelivered(mark, signs) {
                // The last acknowledgement is this one or a later one, so the peer is not asked too much of.
                let deadline = min(max(signs.acknowledgedAt ?? now, lookAt &- patience), now) &+ patience
                return judgeDelivered(
                    at, deadline: deadline, seen: seen, now: now, signs: signs, isReadingPaused: isReadingPaused)
            }
            let isExcused = isReadingPaused && !signs.isInDoubt
            guard isExcused || signs.hasMoved(since: seen) else { return fail() }
            return look(.underWay(at: at, lookAt: now &+ patience, mark: mark, seen: signs))
        case .delivered(let at, let deadline, let seen):
            guard now >= deadline else { return .again(deadline) }
            return judgeDelivered(
                at, deadline: deadline, seen: seen, now: now, signs: signs, isReadingPaused: isReadingPaused)
        }
    }

    private mutating func judgeDelivered(
        _ at: UInt64, deadline: UInt64, seen: SocketSigns, now: UInt64, signs: SocketSigns, isReadingPaused: Bool
    ) -> TimerAction {
        if isReadingPaused || signs.hasHeardMore(than: seen) { return settle(at, now: now, signs: signs) }
        guard now < deadline else { return fail() }
        return look(.delivered(at: at, deadline: deadline, seen: seen))
    }

    private var patience: UInt64 { timeout ?? 0 }

    private func isDelivered(_ mark: UInt64?, _ signs: SocketSigns) -> Bool {
        if let mark, let acknowledged = signs.acknowledged { acknowledged >= mark } else { signs.waiting == 0 }
    }

    private mutating func look(_ next: Watch) -> TimerAction {
        watch = next
        switch next {
        case .off: return .rest
        case .resting(let deadline), .queued(_, let deadline, _), .underWay(_, let deadline, _, _),
            .delivered(_, let deadline, _):
            return .again(deadline)
        }
    }

    private mutating func fail() -> TimerAction {
        watch = .off
        return .failed
    }

    /// The peer lives. The next ping goes out in the interval, counted from the last one.
    private mutating func settle(_ pingedAt: UInt64, now: UInt64, signs: SocketSigns) -> TimerAction {
        let next = pingedAt &+ (interval ?? 0)
        return next > now ? look(.resting(until: next)) : ping(now: now, signs: signs)
    }

    private mutating func ping(now: UInt64, signs: SocketSigns) -> TimerAction {
        let ping = pings.keepAlive(now: now)
        awaitsBurst = true
        let next = now &+ (timeout ?? interval ?? 0)
        // Without a timeout no one judges, but the traffic keeps the connection alive in the middleboxes.
        watch = timeout == nil ? .resting(until: next) : .queued(at: now, lookAt: next, seen: signs)
        return .ping(ping, next: next)
    }

    // MARK: Pings and pongs

    /// The caller pings.
    package mutating func ping(now: UInt64, waiterID: UInt64, _ waiter: Waiter) -> PingLedger<Waiter>.Ping {
        awaitsBurst = true
        return pings.ping(now: now, waiterID: waiterID, waiter)
    }

    /// The caller pings with a payload of its own. `false`, and nothing is noted, while the same one is unanswered.
    package mutating func ping(with payload: [UInt8], now: UInt64, waiterID: UInt64, _ waiter: Waiter) -> Bool {
        guard pings.ping(with: payload, now: now, waiterID: waiterID, waiter) else { return false }
        awaitsBurst = true
        return true
    }

    /// It is time for the probe that a pong asked for.
    package mutating func probe(now: UInt64) -> PingLedger<Waiter>.Ping? {
        guard let probe = pings.probe(now: now) else { return nil }
        awaitsBurst = true
        return probe
    }

    package mutating func cancel(id: UInt64) -> Waiter? { pings.cancel(id: id) }

    package struct PongAction {
        package var answer: PingLedger<Waiter>.PongAction
        /// When the keepalive's timer is to fire next, if that changes.
        package var nextDeadline: UInt64?
    }

    package mutating func pong(_ bytes: UnsafeRawBufferPointer, now: UInt64) -> PongAction {
        var action = PongAction(answer: pings.pong(bytes, now: now))
        guard action.answer.answersKeepAlive, let interval else { return action }
        switch watch {
        case .off: return action
        // The peer was found to live before.
        case .resting where timeout != nil: return action
        case .resting, .queued, .underWay, .delivered: break
        }
        watch = .resting(until: now &+ interval)
        action.nextDeadline = now &+ interval
        return action
    }

    /// The connection has ended: all who still wait for a pong.
    package mutating func finish() -> [Waiter] {
        watch = .off
        awaitsBurst = false
        return pings.finish()
    }

    /// Nothing more is sent, so nothing is asked any more.
    package mutating func stopAsking() { watch = .off }

    // MARK: Bursts

    /// All that waits is handed to the operating system from here on. Only asked for while `awaitsBurst`.
    package mutating func burstBegins() {
        pings.burstBegins()
        switch closing {
        case .queued(let patience): closing = .inBurst(patience: patience)
        case .notBegun, .inBurst, .written: break
        }
    }

    package struct BurstAction: Sendable {
        /// Call `keepAliveIsOut`.
        package var asksForSigns = false
        /// The close frame is written: the peer has until then.
        package var closeDeadline: UInt64?
    }

    /// The operating system has taken what was queued when `burstBegins` was called.
    package mutating func burstIsOut(now: UInt64) -> BurstAction {
        var action = BurstAction()
        if pings.burstIsOut(now: now) {
            switch watch {
            case .queued: action.asksForSigns = true
            case .off, .resting, .underWay, .delivered: break
            }
        }
        switch closing {
        case .inBurst(let patience):
            closing = .written
            action.closeDeadline = now &+ patience
        case .notBegun, .queued, .written: break
        }
        switch closing {
        case .queued: awaitsBurst = true
        case .notBegun, .inBurst, .written: awaitsBurst = pings.awaitsBurst
        }
        return action
    }

    /// The operating system has the keepalive's ping.
    package mutating func keepAliveIsOut(now: UInt64, signs: SocketSigns) {
        switch watch {
        case .queued(let at, _, let earlier):
            let mark = signs.acknowledged.map { $0 &+ UInt64(signs.waiting) }
            // What came since the ping was queued may be its answer already.
            var seen = signs
            (seen.heard, seen.received) = (earlier.heard, earlier.received)
            watch = .underWay(at: at, lookAt: now &+ patience, mark: mark, seen: seen)
        case .off, .resting, .underWay, .delivered: break
        }
    }

    // MARK: Closing

    /// This side's close frame is queued; `patience` is the peer's, from when it is written.
    package mutating func closeIsQueued(patience: UInt64) {
        watch = .off
        closing = .queued(patience: patience)
        awaitsBurst = true
    }

    /// Whether the operating system has this side's close frame.
    package var isCloseWritten: Bool { closing == .written }

    /// Whether the close frame still waits behind other bytes.
    package var isCloseWaiting: Bool {
        switch closing {
        case .queued, .inBurst: true
        case .notBegun, .written: false
        }
    }
}

/// Finds out that a connection has been idle: it is looked at four times in a timeout, so that nothing has to be timed for
/// each message.
package struct IdleWatch: Sendable {
    private var seen: UInt32
    private var looks = 0

    /// - Parameter activity: A number that changes with every message.
    package init(activity: UInt32) { seen = activity }

    /// Another quarter of the timeout is over, and the sockets have been read since. Whether the connection is idle.
    package mutating func isIdle(activity: UInt32) -> Bool {
        looks = activity == seen ? looks + 1 : 0
        seen = activity
        return looks >= 4
    }
}
