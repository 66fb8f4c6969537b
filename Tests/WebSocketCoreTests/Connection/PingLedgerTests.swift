//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

@Suite struct PingLedgerTests {
    typealias Ledger = PingLedger<Int>
    static let nonce: UInt32 = 0xA1B2_C3D4

    private static func bytes(_ payload: UInt64) -> [UInt8] { withUnsafeBytes(of: payload.bigEndian) { Array($0) } }

    private static func pong(
        _ ledger: inout Ledger, _ bytes: [UInt8], now: UInt64
    ) -> Ledger.PongAction {
        withExactBytes(bytes) { ledger.pong($0, now: now) }
    }

    private static func handOver(_ ledger: inout Ledger, now: UInt64) {
        ledger.burstBegins()
        _ = ledger.burstIsOut(now: now)
    }

    @Test func payloadsHaveTheNonceAndANumber() {
        var ledger = Ledger(nonce: Self.nonce)
        let payloads = (1...2).map { ledger.ping(now: 0, waiterID: UInt64($0), $0).payload }
        #expect(payloads == [0xA1B2_C3D4_0000_0001, 0xA1B2_C3D4_0000_0002])
        #expect(ledger.pendingCount == 2 && ledger.latency == nil)
    }

    @Test func aPongAnswersEarlierPings() {
        var ledger = Ledger(nonce: Self.nonce)
        let pings = (1...4).map { ledger.ping(now: UInt64($0), waiterID: UInt64($0), $0 * 10) }
        let action = Self.pong(&ledger, Self.bytes(pings[2].payload), now: 100)
        #expect(action.resumed.map(\.0) == [10, 20, 30])
        #expect(action.resumed.map(\.1) == [99, 98, 97])
        #expect(!action.answersKeepAlive)
        #expect(ledger.latency == 97)
        #expect(ledger.pendingCount == 1)
        // The same pong again, and one for an answered ping, prove nothing.
        #expect(Self.pong(&ledger, Self.bytes(pings[2].payload), now: 200).resumed.isEmpty)
        #expect(Self.pong(&ledger, Self.bytes(pings[0].payload), now: 200).resumed.isEmpty)
        #expect(ledger.latency == 97)
        #expect(Self.pong(&ledger, Self.bytes(pings[3].payload), now: 200).resumed.map(\.0) == [40])
    }

    /// A peer on libwebsockets 4.1.6 answers only the first of several pings that arrive together.
    @Test func pingsThatThePeerDroppedAreAnsweredByOneMore() throws {
        var ledger = Ledger(nonce: Self.nonce)
        let first = ledger.ping(now: 0, waiterID: 1, 10)
        _ = ledger.ping(now: 0, waiterID: 2, 20)
        _ = ledger.keepAlive(now: 1)
        Self.handOver(&ledger, now: 1)
        let answer = Self.pong(&ledger, Self.bytes(first.payload), now: 10)
        // A round trip later, but not sooner than a millisecond.
        #expect(answer.resumed.map(\.0) == [10] && answer.probeDeadline == 1_000_010)
        let third = ledger.ping(now: 11, waiterID: 3, 30)
        let asked = ledger.probe(now: 1_000_010)
        let probe = try #require(asked)
        #expect(probe.payload == third.payload + 1)
        let last = Self.pong(&ledger, Self.bytes(probe.payload), now: 3_000_010)
        #expect(last.resumed.map(\.0) == [20, 30] && last.answersKeepAlive)
        #expect(last.probeDeadline == nil && ledger.pendingCount == 0)
    }

    @Test func aProbeIsOnlyForThoseWhoMayHaveBeenDropped() {
        var ledger = Ledger(nonce: Self.nonce)
        let pings = (1...3).map { ledger.ping(now: 0, waiterID: UInt64($0), $0) }
        Self.handOver(&ledger, now: 0)
        #expect(Self.pong(&ledger, Self.bytes(pings[0].payload), now: 2_000_000).probeDeadline == 4_000_000)
        // One deadline is enough, and the others were only late.
        #expect(Self.pong(&ledger, Self.bytes(pings[1].payload), now: 2_000_001).probeDeadline == nil)
        #expect(Self.pong(&ledger, Self.bytes(pings[2].payload), now: 2_000_002).resumed.map(\.0) == [3])
        _ = ledger.ping(now: 2_000_003, waiterID: 4, 4)
        Self.handOver(&ledger, now: 2_000_003)
        let probe = ledger.probe(now: 4_000_000)
        #expect(probe == nil, "the first ping after a pong is answered")
    }

    /// The pong that a peer did send may be that of a ping whose caller has given up.
    @Test(arguments: [false, true])
    func aPingDroppedBesideACancelledOneIsAskedAgain(chosen: Bool) throws {
        var ledger = Ledger(nonce: Self.nonce)
        var answered: [UInt8] = [7]
        if chosen {
            let isSent = ledger.ping(with: answered, now: 0, waiterID: 1, 10)
            #expect(isSent)
        } else {
            answered = Self.bytes(ledger.ping(now: 0, waiterID: 1, 10).payload)
        }
        _ = ledger.ping(now: 0, waiterID: 2, 20)
        Self.handOver(&ledger, now: 0)
        let cancelled = ledger.cancel(id: 1)
        #expect(cancelled == 10)
        #expect(Self.pong(&ledger, answered, now: 5).probeDeadline == 1_000_005)
        let asked = ledger.probe(now: 1_000_005)
        let probe = try #require(asked)
        let last = Self.pong(&ledger, Self.bytes(probe.payload), now: 3_000_005)
        #expect(last.resumed.map(\.0) == [20] && last.roundTrip == 2_000_000 && ledger.latency == 2_000_000)
        #expect(ledger.pendingCount == 0)
    }

    /// A peer that reads now and then, and answers one ping of each read: every ping is answered in the end, and those
    /// sent on behalf of others stay few.
    @Test(arguments: [91, 92, 93, 94] as [UInt64])
    func everyPingIsAnsweredInTheEnd(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<100 {
            let answersLast = round % 4 == 0
            let delay = UInt64(random.below(4))
            let readsEvery = 1 + random.below(6)
            let pingsEvery = 1 + random.below(4)
            let millisecond: UInt64 = 1_000_000
            var ledger = Ledger(nonce: Self.nonce)
            var unread: [(at: UInt64, payload: UInt64)] = []
            var pongs: [(at: UInt64, payload: UInt64)] = []
            var probeDeadline: UInt64?
            var (users, answered, probes): (UInt64, Int, Int) = (0, 0, 0)
            for step: UInt64 in 0..<400 {
                let now = step * millisecond
                while let pong = pongs.first, pong.at <= step {
                    pongs.removeFirst()
                    let action = Self.pong(&ledger, Self.bytes(pong.payload), now: now)
                    answered += action.resumed.count
                    if let deadline = action.probeDeadline {
                        try check(probeDeadline == nil, "a second deadline")
                        probeDeadline = deadline
                    }
                }
                if step < 200 && random.below(pingsEvery) == 0 {
                    for _ in 0..<(1 + random.below(3)) {
                        users += 1
                        unread.append((step + delay, ledger.ping(now: now, waiterID: users, 0).payload))
                        Self.handOver(&ledger, now: now)
                    }
                }
                if let deadline = probeDeadline, deadline <= now {
                    probeDeadline = nil
                    if let probe = ledger.probe(now: now) {
                        probes += 1
                        unread.append((step + delay, probe.payload))
                    }
                }
                let read = unread.prefix { $0.at <= step }
                guard random.below(readsEvery) == 0, !read.isEmpty else { continue }
                unread.removeFirst(read.count)
                pongs.append((step + delay, (answersLast ? read.last! : read.first!).payload))
            }
            let place = "seed \(seed), round \(round)"
            try check(answered == Int(users), "\(place): \(answered) of \(users) were answered")
            try check(probes <= 400, "\(place): \(probes) probes for \(users) pings")
        }
    }

    @Test func foreignPongsAreIgnored() {
        var ledger = Ledger(nonce: Self.nonce)
        let keepAlive = ledger.keepAlive(now: 0)
        let ours = Self.bytes(keepAlive.payload)
        var foreign: [[UInt8]] = [
            [], [1], Array("a pong of somebody else's".utf8), Self.bytes(0), Self.bytes(1), Self.bytes(.max),
            Self.bytes(UInt64(Self.nonce) << 32), Self.bytes(keepAlive.payload + 1), Array(ours.dropLast()), ours + [0],
            Array(ours.reversed()),
        ]
        for bit in 0..<64 { foreign.append(Self.bytes(keepAlive.payload ^ 1 << UInt64(bit))) }
        for bytes in foreign {
            let action = Self.pong(&ledger, bytes, now: 1)
            #expect(action.resumed.isEmpty && !action.answersKeepAlive && action.probeDeadline == nil, "\(bytes)")
        }
        #expect(ledger.pendingCount == 1 && ledger.latency == nil)
    }

    /// The time of a ping begins when the operating system has taken it, not when it was queued behind other bytes.
    @Test func aRoundTripBeginsWithTheBurst() {
        var ledger = Ledger(nonce: Self.nonce)
        let first = ledger.ping(now: 0, waiterID: 1, 10)
        #expect(ledger.awaitsBurst)
        ledger.burstBegins()
        let second = ledger.ping(now: 5, waiterID: 2, 20)
        #expect(ledger.burstIsOut(now: 100) == false && ledger.awaitsBurst)
        let answer = Self.pong(&ledger, Self.bytes(first.payload), now: 107)
        #expect(answer.roundTrip == 7 && answer.resumed.map(\.1) == [7])
        _ = ledger.keepAlive(now: 200)
        ledger.burstBegins()
        #expect(ledger.burstIsOut(now: 1_000) == true && !ledger.awaitsBurst)
        #expect(Self.pong(&ledger, Self.bytes(second.payload), now: 1_001).roundTrip == 1)
    }

    /// `wire.md` 22: a peer that answers with pongs of its own, or with an old one of ours, is not pinged for it.
    @Test func pongsThatAnswerNothingAskForNothing() {
        var ledger = Ledger(nonce: Self.nonce)
        let answered = ledger.ping(now: 0, waiterID: 1, 10)
        Self.handOver(&ledger, now: 0)
        #expect(Self.pong(&ledger, Self.bytes(answered.payload), now: 1).resumed.count == 1)
        _ = ledger.ping(now: 2, waiterID: 2, 20)
        Self.handOver(&ledger, now: 2)
        for now: UInt64 in 3..<1_000 {
            for bytes in [[], [7], Self.bytes(answered.payload), Self.bytes(answered.payload + 77)] {
                #expect(Self.pong(&ledger, bytes, now: now).probeDeadline == nil)
            }
        }
        #expect(ledger.pendingCount == 1)
    }

    /// Payloads that the caller chose and gave up are kept, but few of them.
    @Test func givenUpPayloadsAreForgotten() {
        var ledger = Ledger(nonce: Self.nonce)
        for id in 1...20 as ClosedRange<UInt64> {
            let isSent = ledger.ping(with: [UInt8(id)], now: id, waiterID: id, 0)
            #expect(isSent && ledger.cancel(id: id) == 0)
        }
        _ = ledger.ping(now: 30, waiterID: 30, 30)
        Self.handOver(&ledger, now: 30)
        #expect(Self.pong(&ledger, [1], now: 40).probeDeadline == nil, "too long ago")
        #expect(Self.pong(&ledger, [20], now: 50).probeDeadline == 1_000_050)
    }

    @Test func aCancelledWaiterIsNotTold() {
        var ledger = Ledger(nonce: Self.nonce)
        let first = ledger.ping(now: 0, waiterID: 7, 70)
        _ = ledger.ping(now: 1, waiterID: 8, 80)
        #expect(ledger.cancel(id: 7) == 70)
        #expect(ledger.cancel(id: 7) == nil)
        #expect(ledger.cancel(id: 99) == nil)
        // Its pong tells nobody anything.
        let action = Self.pong(&ledger, Self.bytes(first.payload), now: 30)
        #expect(action.resumed.isEmpty && !action.answersKeepAlive && ledger.latency == nil)
        #expect(ledger.finish() == [80])
        #expect(ledger.finish().isEmpty && ledger.pendingCount == 0)
    }

    /// Whoever pings with a deadline, for ever, at a peer that never answers, must not grow the ledger.
    @Test func cancelledPingsLeaveNothingBehind() {
        var ledger = Ledger(nonce: Self.nonce)
        for id in 1...1_000 as ClosedRange<UInt64> {
            _ = ledger.ping(now: id, waiterID: id, 0)
            #expect(ledger.cancel(id: id) == 0)
        }
        #expect(ledger.pendingCount == 0)
    }

    /// The peer may answer the latest ping only (RFC 6455 §5.5.3), and nobody may be waiting for that one.
    @Test func thePongOfACancelledPingAnswersEarlierOnes() {
        var ledger = Ledger(nonce: Self.nonce)
        _ = ledger.ping(now: 0, waiterID: 1, 10)
        let cancelled = ledger.ping(now: 5, waiterID: 2, 20)
        _ = ledger.cancel(id: 2)
        _ = ledger.ping(now: 6, waiterID: 3, 30)
        #expect(Self.pong(&ledger, Self.bytes(cancelled.payload), now: 9).resumed.map(\.0) == [10])
        #expect(ledger.finish() == [30])
    }

    /// The ledger beside a list of all pings ever sent.
    struct Pair {
        enum Kind: Equatable {
            case user(Int)
            case keepAlive, probe
        }
        var now: UInt64 = 0
        var pings: [(payload: UInt64, sentAt: UInt64, kind: Kind, isOpen: Bool)] = []
        var latency: UInt64?
        var answeredAt: UInt64 = 0
        var answeredThrough = -1
        var outThrough = -1
        var awaitsProbe = false
        var lastProbe: Int?
        var ledger = Ledger(nonce: PingLedgerTests.nonce)

        private var open: [Int] { pings.indices.filter { pings[$0].isOpen } }

        mutating func ping() throws(Mismatch) {
            let id = pings.count + 1
            let ping = ledger.ping(now: now, waiterID: UInt64(id), id)
            try sent(ping, .user(id))
        }

        private mutating func sent(_ ping: Ledger.Ping, _ kind: Kind) throws(Mismatch) {
            try check(!pings.contains { $0.payload == ping.payload }, "a payload came twice")
            pings.append((ping.payload, now, kind, kind != .probe))
        }

        mutating func keepAlive() throws(Mismatch) {
            if let awaited = pings.firstIndex(where: { $0.isOpen && $0.kind == .keepAlive }) {
                pings[awaited].isOpen = false
            }
            try sent(ledger.keepAlive(now: now), .keepAlive)
        }

        /// The operating system takes what was asked for so far; `another` ping comes between the two steps.
        mutating func handOver(another: Bool = false) throws(Mismatch) {
            ledger.burstBegins()
            let last = pings.count - 1
            if another { try ping() }
            var isKeepAlive = false
            for index in pings.indices where index > outThrough && index <= last {
                pings[index].sentAt = now
                if pings[index].isOpen && pings[index].kind == .keepAlive { isKeepAlive = true }
            }
            outThrough = max(outThrough, last)
            try check(ledger.burstIsOut(now: now) == isKeepAlive, "the keepalive's ping is out")
            try check(ledger.awaitsBurst == another, "awaits another burst")
        }

        /// The pong of the ping at this index, answered before or not.
        mutating func pong(_ index: Int) throws(Mismatch) {
            guard pings.indices.contains(index) else { return }
            let wasOpen = pings[index].isOpen
            let action = PingLedgerTests.pong(&ledger, PingLedgerTests.bytes(pings[index].payload), now: now)
            var resumed: [(Int, UInt64)] = []
            var answersKeepAlive = false
            if wasOpen || index == lastProbe { latency = now - pings[index].sentAt }
            if index == lastProbe { lastProbe = nil }
            for earlier in 0...index where pings[earlier].isOpen {
                pings[earlier].isOpen = false
                switch pings[earlier].kind {
                case .user(let waiter): resumed.append((waiter, now - pings[earlier].sentAt))
                case .keepAlive: answersKeepAlive = true
                case .probe: break
                }
            }
            try asksForProbe(action, answers: index)
            try check(action.answersKeepAlive == answersKeepAlive, "answers the keepalive")
            try check(action.resumed.elementsEqual(resumed, by: ==), "resumed \(action.resumed) instead of \(resumed)")
        }

        private mutating func asksForProbe(_ action: Ledger.PongAction, answers index: Int) throws(Mismatch) {
            let isNews = index > answeredThrough
            if isNews { (answeredThrough, answeredAt) = (index, now) }
            let asks = isNews && !awaitsProbe && !open.isEmpty
            let deadline = asks ? now + max(latency ?? 0, 1_000_000) : nil
            try check(action.probeDeadline == deadline, "probe at \(String(describing: action.probeDeadline))")
            awaitsProbe = awaitsProbe || asks
        }

        mutating func probe() throws(Mismatch) {
            guard awaitsProbe else { return }
            awaitsProbe = false
            let mustProbe = open.first.map { pings[$0].sentAt <= answeredAt && $0 <= outThrough } ?? false
            let probe = ledger.probe(now: now)
            try check((probe != nil) == mustProbe, "probe \(String(describing: probe))")
            guard let probe else { return }
            lastProbe = pings.count
            try sent(probe, .probe)
        }

        mutating func cancel(_ index: Int) throws(Mismatch) {
            guard pings.indices.contains(index) else { return }
            let id = UInt64(index + 1)
            if pings[index].isOpen, case .user(let waiter) = pings[index].kind {
                try check(ledger.cancel(id: id) == waiter, "cancel")
                pings[index].isOpen = false
            }
            try check(ledger.cancel(id: id) == nil, "cancelled twice")
        }

        mutating func foreign() throws(Mismatch) {
            let action = PingLedgerTests.pong(&ledger, PingLedgerTests.bytes(UInt64(pings.count)), now: now)
            try check(action.resumed.isEmpty && !action.answersKeepAlive, "a foreign pong counted")
            try check(action.probeDeadline == nil, "a foreign pong asks for a ping")
        }

        func invariants() throws(Mismatch) {
            try check(ledger.pendingCount == open.count, "\(ledger.pendingCount) pending instead of \(open.count)")
            try check(ledger.latency == latency, "latency")
        }

        mutating func finish() throws(Mismatch) {
            let waiting = open.compactMap { if case .user(let waiter) = pings[$0].kind { waiter } else { nil } }
            try check(ledger.finish() == waiting, "finish")
            try check(ledger.pendingCount == 0, "pending after the end")
        }

        mutating func perform(_ operation: Int) throws(Mismatch) {
            switch operation {
            case 0: try ping()
            case 1: try keepAlive()
            case 2: if let first = open.first { try pong(first) }
            case 3: try pong(pings.count - 1)
            case 4: if let first = open.first { try cancel(first) }
            case 5: try foreign()
            case 6: try probe()
            case 7: try handOver()
            default: now += 3
            }
            try invariants()
        }
    }

    @Test func allShortSequences() throws {
        func visit(_ pair: Pair, _ trace: [Int]) throws {
            if trace.count == TestDepth.choose(5, reduced: 3) {
                var last = pair
                try last.finish()
                return
            }
            for operation in 0..<9 {
                // Two foreign pongs in a row are one.
                if operation == 5 && trace.last == 5 { continue }
                var next = pair
                do throws(Mismatch) {
                    try next.perform(operation)
                } catch {
                    throw Mismatch(description: "\(trace + [operation]): \(error)")
                }
                try visit(next, trace + [operation])
            }
        }
        try visit(Pair(), [])
    }

    @Test(arguments: [71, 72, 73, 74] as [UInt64])
    func randomSequences(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<40 {
            var pair = Pair()
            for step in 0..<100 {
                do throws(Mismatch) {
                    switch random.below(13) {
                    case 0, 1: try pair.ping()
                    case 2, 3: try pair.keepAlive()
                    case 11: try pair.handOver()
                    case 12: try pair.handOver(another: true)
                    case 4, 5: try pair.pong(random.below(pair.pings.count + 1))
                    case 6: try pair.cancel(random.below(pair.pings.count + 1))
                    case 7: try pair.foreign()
                    case 8: try pair.probe()
                    default: pair.now += UInt64(random.below(8))
                    }
                    try pair.invariants()
                } catch {
                    throw Mismatch(description: "seed \(seed), round \(round), step \(step): \(error)")
                }
            }
            try pair.finish()
        }
    }

    @Test func payloadsOfTheUsersChoosing() {
        var ledger = Ledger(nonce: Self.nonce)
        let empty = ledger.ping(with: [], now: 1, waiterID: 1, 10)
        let numbered = ledger.ping(now: 2, waiterID: 2, 20)
        let chosen = ledger.ping(with: [1, 2], now: 3, waiterID: 3, 30)
        #expect(empty && chosen)
        let emptyAgain = ledger.ping(with: [], now: 4, waiterID: 4, 40)
        let chosenAgain = ledger.ping(with: [1, 2], now: 4, waiterID: 4, 40)
        #expect(!emptyAgain && !chosenAgain, "their pongs could not be told apart")
        #expect(ledger.pendingCount == 3)
        let foreign = Self.pong(&ledger, [1], now: 5)
        #expect(foreign.resumed.isEmpty && foreign.roundTrip == nil)
        let early = Self.pong(&ledger, Self.bytes(numbered.payload), now: 10)
        #expect(early.resumed.map(\.0) == [10, 20])
        #expect(early.roundTrip == 8)
        let late = Self.pong(&ledger, [1, 2], now: 13)
        #expect(late.resumed.map(\.0) == [30])
        #expect(late.roundTrip == 10 && ledger.latency == 10)
        let free = ledger.ping(with: [1, 2], now: 14, waiterID: 5, 50)
        #expect(free, "it was answered")
        let cancelled = ledger.cancel(id: 5)
        #expect(cancelled == 50)
        let nobodys = Self.pong(&ledger, [1, 2], now: 15)
        #expect(nobodys.roundTrip == nil)
    }
}
