//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import DequeModule

/// Our pings and their pongs (RFC 6455 §5.5.2, §5.5.3): the keepalive's and the user's. Holds no clock:
/// times come in with the events, in nanoseconds.
@usableFromInline package struct PingLedger<Waiter: Sendable>: Sendable {
    @usableFromInline enum Owner: Sendable {
        case keepAlive
        case user(id: UInt64, Waiter)
    }

    @usableFromInline struct Pending: Sendable {
        @usableFromInline let number: UInt32
        @usableFromInline let sentAt: UInt64
        @usableFromInline let owner: Owner
        /// What the user chose to send instead of a number.
        @usableFromInline var chosen: [UInt8]?
    }

    @usableFromInline let interval: UInt64?
    @usableFromInline let timeout: UInt64?
    /// Part of every payload, so that a pong made up by somebody else is not taken for ours.
    @usableFromInline let nonce: UInt32
    @usableFromInline var counter: UInt32 = 0
    @usableFromInline var pending: Deque<Pending> = []
    /// When the last pong came.
    @usableFromInline var answeredAt: UInt64 = 0
    @usableFromInline var awaitsProbe = false
    @usableFromInline var lastProbe: (number: UInt32, sentAt: UInt64)?
    /// When the keepalive's ping went out, while its pong is awaited.
    @usableFromInline var keepAliveSentAt: UInt64?
    /// The last measured round trip, in nanoseconds.
    @usableFromInline package private(set) var latency: UInt64?

    @inlinable package init(interval: UInt64?, timeout: UInt64?, nonce: UInt32) {
        self.interval = interval
        self.timeout = timeout
        self.nonce = nonce
    }

    @inlinable package var pendingCount: Int { pending.count }

    /// When the keepalive's timer is to fire first.
    package func firstDeadline(now: UInt64) -> UInt64? { interval.map { now &+ $0 } }

    package struct Ping: Equatable {
        package let payload: UInt64
    }

    /// The user pings.
    package mutating func ping(now: UInt64, waiterID: UInt64, _ waiter: Waiter) -> Ping {
        counter &+= 1
        pending.append(Pending(number: counter, sentAt: now, owner: .user(id: waiterID, waiter)))
        return Ping(payload: payload(counter))
    }

    /// The user pings with a payload of his own. `false`, and nothing is noted, while the same one is unanswered: nobody
    /// could tell their pongs apart.
    package mutating func ping(with payload: [UInt8], now: UInt64, waiterID: UInt64, _ waiter: Waiter) -> Bool {
        guard !pending.contains(where: { $0.chosen == payload }) else { return false }
        counter &+= 1
        pending.append(
            Pending(number: counter, sentAt: now, owner: .user(id: waiterID, waiter), chosen: payload))
        return true
    }

    package enum TimerAction: Equatable {
        /// Send a ping and fire again at the deadline.
        case ping(Ping, next: UInt64)
        /// Fire again at the deadline.
        case again(UInt64)
        /// The pong is late: the connection is dead.
        case failed
    }

    /// The keepalive's timer fired.
    package mutating func timerFired(now: UInt64) -> TimerAction {
        guard let interval else { preconditionFailure("there is no keepalive") }
        if let sentAt = keepAliveSentAt {
            if let timeout {
                let deadline = sentAt &+ timeout
                return now >= deadline ? .failed : .again(deadline)
            }
            // Nobody judges a late pong, but the traffic keeps the connection alive in the middleboxes.
            pending.removeAll { if case .keepAlive = $0.owner { true } else { false } }
        }
        counter &+= 1
        pending.append(Pending(number: counter, sentAt: now, owner: .keepAlive))
        keepAliveSentAt = now
        return .ping(Ping(payload: payload(counter)), next: now &+ (timeout ?? interval))
    }

    package struct PongAction {
        /// Waiters of this ping and of all before it, with each one's round trip in nanoseconds.
        package var resumed: [(Waiter, UInt64)] = []
        /// The round trip of the ping that this pong answers, if it is one of ours.
        package var roundTrip: UInt64?
        /// When the keepalive's timer is to fire next, if the pong answered its ping.
        package var nextDeadline: UInt64?
        /// When to ask for a `probe`, if no earlier pong asked for one that is still to come.
        package var probeDeadline: UInt64?
    }

    /// A pong arrived. One that is not ours is allowed and proves nothing (§5.5.3).
    package mutating func pong(_ bytes: UnsafeRawBufferPointer, now: UInt64) -> PongAction {
        var action = answer(bytes, now: now)
        // Whatever it answers, a ping that somebody gave up included: those that arrived with it may have been dropped.
        answeredAt = now
        if !pending.isEmpty && !awaitsProbe {
            awaitsProbe = true
            action.probeDeadline = now &+ max(latency ?? 0, Self.shortestProbeDelay)
        }
        return action
    }

    private mutating func answer(_ bytes: UnsafeRawBufferPointer, now: UInt64) -> PongAction {
        var action = PongAction()
        let number: UInt32
        if let ping = pending.first(where: { $0.chosen.map(bytes.elementsEqual) ?? false }) {
            number = ping.number
        } else {
            guard bytes.count == 8 else { return action }
            let value = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
            number = UInt32(truncatingIfNeeded: value)
            // Numbers wrap around, so they are compared by their distance.
            guard UInt32(truncatingIfNeeded: value >> 32) == nonce, counter &- number < 1 << 31 else { return action }
        }
        // A pong answers every ping before it too (§5.5.3), also when nobody waits for its own any more.
        while let first = pending.first, number &- first.number < 1 << 31 {
            pending.removeFirst()
            let roundTrip = now &- first.sentAt
            switch first.owner {
            case .user(_, let waiter): action.resumed.append((waiter, roundTrip))
            case .keepAlive:
                keepAliveSentAt = nil
                if let interval { action.nextDeadline = now &+ interval }
            }
            if first.number == number { action.roundTrip = roundTrip }
        }
        if let probe = lastProbe, probe.number == number {
            lastProbe = nil
            action.roundTrip = now &- probe.sentAt
        }
        if let roundTrip = action.roundTrip { latency = roundTrip }
        return action
    }

    /// Of several pings that arrive in one read libwebsockets 4.1.6 answers only the first (§5.5.3 would have it answer
    /// the last). So a pong leaves it open whether the pings sent before it came will be answered, and if none is within
    /// another round trip, one more is sent on behalf of all. It is answered itself, or one before it in the same read
    /// is, whose pong leads here again; and as there is one in a round trip at most, they do not multiply.
    package mutating func probe(now: UInt64) -> Ping? {
        awaitsProbe = false
        guard let first = pending.first, first.sentAt <= answeredAt else { return nil }
        counter &+= 1
        lastProbe = (counter, now)
        return Ping(payload: payload(counter))
    }

    /// Long enough for pongs that are on their way, on a connection within one machine.
    private static var shortestProbeDelay: UInt64 { 1_000_000 }

    /// The user no longer waits; the ping itself is already on its way.
    package mutating func cancel(id: UInt64) -> Waiter? {
        let place = pending.firstIndex { if case .user(id, _) = $0.owner { true } else { false } }
        guard let place, case .user(_, let waiter) = pending.remove(at: place).owner else { return nil }
        return waiter
    }

    /// The connection ended: all who still wait.
    package mutating func finish() -> [Waiter] {
        defer { pending = [] }
        return pending.compactMap { if case .user(_, let waiter) = $0.owner { waiter } else { nil } }
    }

    private func payload(_ number: UInt32) -> UInt64 { UInt64(nonce) << 32 | UInt64(number) }
}
