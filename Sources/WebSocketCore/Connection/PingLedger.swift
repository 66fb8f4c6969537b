//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

/// Our pings and their pongs (RFC 6455 §5.5.2, §5.5.3): the keepalive's and the caller's. Holds no clock:
/// times come in with the events, in nanoseconds.
package struct PingLedger<Waiter: Sendable>: Sendable {
    private enum Owner: Sendable {
        case keepAlive
        case caller(id: UInt64, Waiter)
    }

    private struct Pending: Sendable {
        let number: UInt32
        /// When it was queued, and from then on when the operating system took it.
        var sentAt: UInt64
        let owner: Owner
        /// What the caller chose to send instead of a number.
        var chosen: [UInt8]?
    }

    /// Part of every payload, so that a pong that a third party made up is not taken for ours.
    private let nonce: UInt32
    private var counter: UInt32 = 0
    private var pending: Deque<Pending> = []
    /// The pings up to this number are with the operating system; those up to the next in the burst under way.
    private var outThrough: UInt32 = 0
    private var burstThrough: UInt32 = 0
    /// The newest ping that a pong has answered.
    private var answeredThrough: UInt32 = 0
    /// When the last pong came that answered something.
    private var answeredAt: UInt64 = 0
    private var awaitsProbe = false
    private var lastProbe: (number: UInt32, sentAt: UInt64)?
    /// Payloads of the caller's whose wait was given up, the newest last: their pongs are still pongs of ours.
    private var forgotten: Deque<(number: UInt32, payload: [UInt8])> = []
    /// The last measured round trip, in nanoseconds.
    package private(set) var latency: UInt64?

    package init(nonce: UInt32) { self.nonce = nonce }

    package var pendingCount: Int { pending.count }

    package struct Ping: Equatable, Sendable {
        package let payload: UInt64
    }

    /// The caller pings.
    package mutating func ping(now: UInt64, waiterID: UInt64, _ waiter: Waiter) -> Ping {
        counter &+= 1
        pending.append(Pending(number: counter, sentAt: now, owner: .caller(id: waiterID, waiter)))
        return Ping(payload: payload(counter))
    }

    /// The caller pings with a payload of its own. `false`, and nothing is noted, while the same one is unanswered: their
    /// pongs could not be told apart.
    package mutating func ping(with payload: [UInt8], now: UInt64, waiterID: UInt64, _ waiter: Waiter) -> Bool {
        guard !pending.contains(where: { $0.chosen == payload }) else { return false }
        counter &+= 1
        forgotten.removeAll { $0.payload == payload }
        pending.append(
            Pending(number: counter, sentAt: now, owner: .caller(id: waiterID, waiter), chosen: payload))
        return true
    }

    /// The keepalive pings. An earlier ping of its own is awaited no longer.
    package mutating func keepAlive(now: UInt64) -> Ping {
        pending.removeAll { if case .keepAlive = $0.owner { true } else { false } }
        counter &+= 1
        pending.append(Pending(number: counter, sentAt: now, owner: .keepAlive))
        return Ping(payload: payload(counter))
    }

    // MARK: Bursts

    /// Whether pings wait to be handed to the operating system.
    package var awaitsBurst: Bool { outThrough != counter }

    /// What was asked for so far is handed to the operating system from here on.
    package mutating func burstBegins() { burstThrough = counter }

    /// The operating system has taken the burst: the time of its pings begins. Whether the keepalive's is among them.
    package mutating func burstIsOut(now: UInt64) -> Bool {
        var isKeepAliveOut = false
        for index in pending.indices.reversed() {
            let number = pending[index].number
            if burstThrough &- number >= 1 << 31 { continue }
            // Numbers wrap around, so they are compared by their distance.
            guard number &- outThrough &- 1 < 1 << 31 else { break }
            pending[index].sentAt = now
            if case .keepAlive = pending[index].owner { isKeepAliveOut = true }
        }
        if let probe = lastProbe, probe.number &- outThrough &- 1 < 1 << 31, burstThrough &- probe.number < 1 << 31 {
            lastProbe?.sentAt = now
        }
        outThrough = burstThrough
        return isKeepAliveOut
    }

    // MARK: Pongs

    package struct PongAction {
        /// Waiters of this ping and of all before it, with each one's round trip in nanoseconds.
        package var resumed: [(Waiter, UInt64)] = []
        /// The round trip of the ping that this pong answers, if it is one of ours.
        package var roundTrip: UInt64?
        /// Whether the keepalive's ping is answered.
        package var answersKeepAlive = false
        /// When to ask for a `probe`, if no earlier pong asked for one that is still to come.
        package var probeDeadline: UInt64?
    }

    /// A pong arrived. One that is not ours is allowed and proves nothing (§5.5.3). None makes this side send more than
    /// one ping for each that it has sent already.
    package mutating func pong(_ bytes: UnsafeRawBufferPointer, now: UInt64) -> PongAction {
        var action = PongAction()
        guard let number = number(of: bytes) else { return action }
        answer(number, now: now, &action)
        // The same pong again says nothing about what may have been dropped.
        guard number &- answeredThrough &- 1 < 1 << 31 else { return action }
        answeredThrough = number
        answeredAt = now
        if !pending.isEmpty && !awaitsProbe {
            awaitsProbe = true
            action.probeDeadline = now &+ max(latency ?? 0, Self.shortestProbeDelay)
        }
        return action
    }

    /// The number of the ping that this pong answers.
    private mutating func number(of bytes: UnsafeRawBufferPointer) -> UInt32? {
        if let ping = pending.first(where: { $0.chosen.map(bytes.elementsEqual) ?? false }) { return ping.number }
        if let index = forgotten.firstIndex(where: { bytes.elementsEqual($0.payload) }) {
            return forgotten.remove(at: index).number
        }
        guard bytes.count == 8 else { return nil }
        let value = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
        let number = UInt32(truncatingIfNeeded: value)
        guard UInt32(truncatingIfNeeded: value >> 32) == nonce, counter &- number < 1 << 31 else {
            return nil
        }
        return number
    }

    private mutating func answer(_ number: UInt32, now: UInt64, _ action: inout PongAction) {
        // A pong answers every ping before it too (§5.5.3), also when no call waits for its own any more.
        while let first = pending.first, number &- first.number < 1 << 31 {
            pending.removeFirst()
            let roundTrip = now &- first.sentAt
            switch first.owner {
            case .caller(_, let waiter): action.resumed.append((waiter, roundTrip))
            case .keepAlive: action.answersKeepAlive = true
            }
            if first.number == number { action.roundTrip = roundTrip }
        }
        if let probe = lastProbe, probe.number == number {
            lastProbe = nil
            action.roundTrip = now &- probe.sentAt
        }
        if let roundTrip = action.roundTrip { latency = roundTrip }
    }

    /// Of several pings that arrive in one read libwebsockets 4.1.6 answers only the first (§5.5.3 would have it answer
    /// the last). So a pong of ours leaves it open whether the pings sent before it came will be answered, and if none is
    /// within another round trip, one more is sent on behalf of all. It is answered itself, or one before it in the same
    /// read is, whose pong leads here again. As each ping's pong counts once, and there is one probe in a round trip at
    /// most, they do not multiply, whatever else the peer sends.
    package mutating func probe(now: UInt64) -> Ping? {
        awaitsProbe = false
        guard let first = pending.first, first.sentAt <= answeredAt, outThrough &- first.number < 1 << 31 else {
            return nil
        }
        counter &+= 1
        lastProbe = (counter, now)
        return Ping(payload: payload(counter))
    }

    /// Long enough for pongs that are on their way, on a connection within one machine.
    private static var shortestProbeDelay: UInt64 { 1_000_000 }

    /// How many of the caller's payloads are kept after their waits.
    private static var maximumForgotten: Int { 8 }

    /// The caller no longer waits; the ping itself is already on its way.
    package mutating func cancel(id: UInt64) -> Waiter? {
        let place = pending.firstIndex { if case .caller(id, _) = $0.owner { true } else { false } }
        guard let place, case .caller(_, let waiter) = pending[place].owner else { return nil }
        let ping = pending.remove(at: place)
        if let payload = ping.chosen {
            if forgotten.count == Self.maximumForgotten { forgotten.removeFirst() }
            forgotten.append((ping.number, payload))
        }
        return waiter
    }

    /// The connection ended: all who still wait.
    package mutating func finish() -> [Waiter] {
        defer { pending = [] }
        return pending.compactMap { if case .caller(_, let waiter) = $0.owner { waiter } else { nil } }
    }

    private func payload(_ number: UInt32) -> UInt64 { UInt64(nonce) << 32 | UInt64(number) }
}
