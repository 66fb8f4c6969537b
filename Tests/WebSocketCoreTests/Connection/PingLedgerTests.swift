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

    @Test func payloadsHaveTheNonceAndANumber() {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
        #expect(ledger.firstDeadline(now: 5) == nil)
        let payloads = (1...2).map { ledger.ping(now: 0, waiterID: UInt64($0), $0).payload }
        #expect(payloads == [0xA1B2_C3D4_0000_0001, 0xA1B2_C3D4_0000_0002])
        #expect(ledger.pendingCount == 2 && ledger.latency == nil)
    }

    @Test func aPongAnswersEarlierPings() {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
        let pings = (1...4).map { ledger.ping(now: UInt64($0), waiterID: UInt64($0), $0 * 10) }
        let action = Self.pong(&ledger, Self.bytes(pings[2].payload), now: 100)
        #expect(action.resumed.map(\.0) == [10, 20, 30])
        #expect(action.resumed.map(\.1) == [99, 98, 97])
        #expect(action.nextDeadline == nil)
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
        var ledger = Ledger(interval: 10_000_000, timeout: 5_000_000, nonce: Self.nonce)
        let first = ledger.ping(now: 0, waiterID: 1, 10)
        _ = ledger.ping(now: 0, waiterID: 2, 20)
        guard case .ping = ledger.timerFired(now: 1) else {
            Issue.record("no keepalive ping")
            return
        }
        let answer = Self.pong(&ledger, Self.bytes(first.payload), now: 10)
        // A round trip later, but not sooner than a millisecond.
        #expect(answer.resumed.map(\.0) == [10] && answer.probeDeadline == 1_000_010)
        let third = ledger.ping(now: 11, waiterID: 3, 30)
        let asked = ledger.probe(now: 1_000_010)
        let probe = try #require(asked)
        #expect(probe.payload == third.payload + 1)
        let last = Self.pong(&ledger, Self.bytes(probe.payload), now: 3_000_010)
        #expect(last.resumed.map(\.0) == [20, 30] && last.nextDeadline == 13_000_010)
        #expect(last.probeDeadline == nil && ledger.pendingCount == 0)
    }

    @Test func aProbeIsOnlyForThoseWhoMayHaveBeenDropped() {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
        let pings = (1...3).map { ledger.ping(now: 0, waiterID: UInt64($0), $0) }
        #expect(Self.pong(&ledger, Self.bytes(pings[0].payload), now: 2_000_000).probeDeadline == 4_000_000)
        // One deadline is enough, and the others were only late.
        #expect(Self.pong(&ledger, Self.bytes(pings[1].payload), now: 2_000_001).probeDeadline == nil)
        #expect(Self.pong(&ledger, Self.bytes(pings[2].payload), now: 2_000_002).resumed.map(\.0) == [3])
        _ = ledger.ping(now: 2_000_003, waiterID: 4, 4)
        let probe = ledger.probe(now: 4_000_000)
        #expect(probe == nil, "the first ping after a pong is answered")
    }

    /// The pong that a peer did send may be that of a ping whose caller has given up.
    @Test(arguments: [false, true])
    func aPingDroppedBesideACancelledOneIsAskedAgain(chosen: Bool) throws {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
        var answered: [UInt8] = [7]
        if chosen {
            let isSent = ledger.ping(with: answered, now: 0, waiterID: 1, 10)
            #expect(isSent)
        } else {
            answered = Self.bytes(ledger.ping(now: 0, waiterID: 1, 10).payload)
        }
        _ = ledger.ping(now: 0, waiterID: 2, 20)
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
            var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
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
        var ledger = Ledger(interval: 10, timeout: 5, nonce: Self.nonce)
        guard case .ping(let keepAlive, next: 5) = ledger.timerFired(now: 0) else {
            Issue.record("no ping")
            return
        }
        let ours = Self.bytes(keepAlive.payload)
        var foreign: [[UInt8]] = [
            [], [1], Array("a pong of somebody else's".utf8), Self.bytes(0), Self.bytes(1), Self.bytes(.max),
            Self.bytes(UInt64(Self.nonce) << 32), Self.bytes(keepAlive.payload + 1), Array(ours.dropLast()), ours + [0],
            Array(ours.reversed()),
        ]
        for bit in 0..<64 { foreign.append(Self.bytes(keepAlive.payload ^ 1 << UInt64(bit))) }
        for bytes in foreign {
            let action = Self.pong(&ledger, bytes, now: 1)
            #expect(action.resumed.isEmpty && action.nextDeadline == nil, "\(bytes)")
        }
        #expect(ledger.pendingCount == 1 && ledger.latency == nil)
        #expect(ledger.timerFired(now: 5) == .failed)
    }

    @Test func aCancelledWaiterIsNotTold() {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
        let first = ledger.ping(now: 0, waiterID: 7, 70)
        _ = ledger.ping(now: 1, waiterID: 8, 80)
        #expect(ledger.cancel(id: 7) == 70)
        #expect(ledger.cancel(id: 7) == nil)
        #expect(ledger.cancel(id: 99) == nil)
        // Its pong tells nobody anything.
        let action = Self.pong(&ledger, Self.bytes(first.payload), now: 30)
        #expect(action.resumed.isEmpty && action.nextDeadline == nil && ledger.latency == nil)
        #expect(ledger.finish() == [80])
        #expect(ledger.finish().isEmpty && ledger.pendingCount == 0)
    }

    /// Whoever pings with a deadline, for ever, at a peer that never answers, must not grow the ledger.
    @Test func cancelledPingsLeaveNothingBehind() {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
        for id in 1...1_000 as ClosedRange<UInt64> {
            _ = ledger.ping(now: id, waiterID: id, 0)
            #expect(ledger.cancel(id: id) == 0)
        }
        #expect(ledger.pendingCount == 0)
    }

    /// The peer may answer the latest ping only (RFC 6455 §5.5.3), and nobody may be waiting for that one.
    @Test func thePongOfACancelledPingAnswersEarlierOnes() {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
        _ = ledger.ping(now: 0, waiterID: 1, 10)
        let cancelled = ledger.ping(now: 5, waiterID: 2, 20)
        _ = ledger.cancel(id: 2)
        _ = ledger.ping(now: 6, waiterID: 3, 30)
        #expect(Self.pong(&ledger, Self.bytes(cancelled.payload), now: 9).resumed.map(\.0) == [10])
        #expect(ledger.finish() == [30])
    }

    /// The pong of a ping whose caller has given up says nothing about the keepalive's ping behind it.
    @Test func aCancelledPingIsNotTheKeepAlives() {
        var ledger = Ledger(interval: 100, timeout: 50, nonce: Self.nonce)
        let user = ledger.ping(now: 0, waiterID: 1, 1)
        #expect(ledger.cancel(id: 1) == 1)
        guard case .ping(_, next: 150) = ledger.timerFired(now: 100) else {
            Issue.record("no keepalive ping")
            return
        }
        #expect(Self.pong(&ledger, Self.bytes(user.payload), now: 110).nextDeadline == nil)
        #expect(ledger.timerFired(now: 149) == .again(150))
        #expect(ledger.timerFired(now: 150) == .failed)
    }

    @Test func theKeepAlivesTiming() {
        var ledger = Ledger(interval: 100, timeout: 50, nonce: Self.nonce)
        #expect(ledger.firstDeadline(now: 7) == 107)
        guard case .ping(let ping, next: 157) = ledger.timerFired(now: 107) else {
            Issue.record("no ping")
            return
        }
        // A timer that fires early finds out.
        #expect(ledger.timerFired(now: 108) == .again(157))
        let action = Self.pong(&ledger, Self.bytes(ping.payload), now: 120)
        #expect(action.nextDeadline == 220 && action.resumed.isEmpty && ledger.latency == 13)
        guard case .ping(_, next: 270) = ledger.timerFired(now: 220) else {
            Issue.record("no second ping")
            return
        }
        #expect(ledger.timerFired(now: 269) == .again(270))
        #expect(ledger.timerFired(now: 270) == .failed)
        #expect(ledger.timerFired(now: 1_000) == .failed)
    }

    /// A lost pong neither fails the connection nor ends the pinging.
    @Test func withoutATimeoutItPingsOn() {
        var ledger = Ledger(interval: 100, timeout: nil, nonce: Self.nonce)
        var last: Ledger.Ping?
        for now: UInt64 in [100, 200, 300, 10_000] {
            guard case .ping(let ping, let next) = ledger.timerFired(now: now) else {
                Issue.record("no ping")
                return
            }
            #expect(next == now + 100 && ping != last && ledger.pendingCount == 1)
            last = ping
        }
        #expect(Self.pong(&ledger, Self.bytes(last!.payload), now: 10_050).nextDeadline == 10_150)
        #expect(ledger.latency == 50)
    }

    @Test func withoutAKeepAliveThereIsNoTimer() async {
        await #expect(processExitsWith: .failure) {
            var ledger = PingLedger<Int>(interval: nil, timeout: nil, nonce: 1)
            _ = ledger.timerFired(now: 0)
        }
    }

    /// A user's pong answers the keepalive's earlier ping too.
    @Test func aLaterPongServesTheKeepAlive() {
        var ledger = Ledger(interval: 100, timeout: 50, nonce: Self.nonce)
        _ = ledger.timerFired(now: 100)
        let user = ledger.ping(now: 110, waiterID: 1, 1)
        let action = Self.pong(&ledger, Self.bytes(user.payload), now: 120)
        #expect(action.nextDeadline == 220 && action.resumed.map(\.0) == [1] && action.resumed.map(\.1) == [10])
        #expect(ledger.latency == 10)
    }

    /// The ledger beside a list of all pings ever sent.
    struct Pair {
        enum Kind: Equatable {
            case user(Int)
            case keepAlive, probe
        }
        var ledger: Ledger
        let interval: UInt64 = 10
        let timeout: UInt64?
        var now: UInt64 = 0
        var pings: [(payload: UInt64, sentAt: UInt64, kind: Kind, isOpen: Bool)] = []
        var latency: UInt64?
        var answeredAt: UInt64 = 0
        var awaitsProbe = false
        var lastProbe: Int?

        init(timeout: UInt64?) {
            self.timeout = timeout
            ledger = Ledger(interval: interval, timeout: timeout, nonce: PingLedgerTests.nonce)
        }

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

        mutating func timerFired() throws(Mismatch) {
            let awaited = pings.first { $0.isOpen && $0.kind == .keepAlive }
            switch ledger.timerFired(now: now) {
            case .ping(let ping, let next):
                try check(awaited == nil || timeout == nil, "a second keepalive ping while one is out")
                if let awaited = pings.firstIndex(where: { $0.isOpen && $0.kind == .keepAlive }) {
                    pings[awaited].isOpen = false
                }
                try check(next == now + (timeout ?? interval), "next is \(next)")
                try sent(ping, .keepAlive)
            case .again(let next):
                try check(awaited != nil, "no ping")
                try check(next == timeout.map { awaited!.sentAt + $0 } && next > now, "again at \(next)")
            case .failed:
                try check(awaited != nil && timeout.map { now >= awaited!.sentAt + $0 } == true, "failed too early")
            }
        }

        /// The pong of the ping at this index, answered before or not.
        mutating func pong(_ index: Int) throws(Mismatch) {
            guard pings.indices.contains(index) else { return }
            let wasOpen = pings[index].isOpen
            let action = PingLedgerTests.pong(&ledger, PingLedgerTests.bytes(pings[index].payload), now: now)
            var resumed: [(Int, UInt64)] = []
            var deadline: UInt64?
            if wasOpen || index == lastProbe { latency = now - pings[index].sentAt }
            if index == lastProbe { lastProbe = nil }
            for earlier in 0...index where pings[earlier].isOpen {
                pings[earlier].isOpen = false
                switch pings[earlier].kind {
                case .user(let waiter): resumed.append((waiter, now - pings[earlier].sentAt))
                case .keepAlive: deadline = now + interval
                case .probe: break
                }
            }
            try asksForProbe(action)
            try check(action.nextDeadline == deadline, "next deadline \(String(describing: action.nextDeadline))")
            try check(action.resumed.elementsEqual(resumed, by: ==), "resumed \(action.resumed) instead of \(resumed)")
        }

        private mutating func asksForProbe(_ action: Ledger.PongAction) throws(Mismatch) {
            answeredAt = now
            let asks = !awaitsProbe && !open.isEmpty
            let deadline = asks ? now + max(latency ?? 0, 1_000_000) : nil
            try check(action.probeDeadline == deadline, "probe at \(String(describing: action.probeDeadline))")
            awaitsProbe = awaitsProbe || asks
        }

        mutating func probe() throws(Mismatch) {
            guard awaitsProbe else { return }
            awaitsProbe = false
            let mustProbe = open.first.map { pings[$0].sentAt <= answeredAt } ?? false
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
            try check(action.resumed.isEmpty && action.nextDeadline == nil, "a foreign pong counted")
            try asksForProbe(action)
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
            case 1: try timerFired()
            case 2: if let first = open.first { try pong(first) }
            case 3: try pong(pings.count - 1)
            case 4: if let first = open.first { try cancel(first) }
            case 5: try foreign()
            case 6: try probe()
            default: now += 3
            }
            try invariants()
        }
    }

    @Test(arguments: [nil, 3, 7] as [UInt64?])
    func allShortSequences(timeout: UInt64?) throws {
        func visit(_ pair: Pair, _ trace: [Int]) throws {
            if trace.count == TestDepth.choose(5, reduced: 3) {
                var last = pair
                try last.finish()
                return
            }
            for operation in 0..<8 {
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
        try visit(Pair(timeout: timeout), [])
    }

    @Test(arguments: [71, 72, 73, 74] as [UInt64])
    func randomSequences(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<40 {
            var pair = Pair(timeout: [nil, 4, 10, 30][random.below(4)])
            for step in 0..<100 {
                do throws(Mismatch) {
                    switch random.below(11) {
                    case 0, 1: try pair.ping()
                    case 2, 3: try pair.timerFired()
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

    /// A loop's timer, a peer that answers after a delay until it falls silent, and users who ping and give up:
    /// the failure comes exactly one timeout after the first keepalive ping that stays unanswered, never otherwise.
    @Test(arguments: [81, 82, 83, 84] as [UInt64])
    func failsExactlyWhenThePeerIsSilent(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<60 {
            let interval = UInt64(5 + random.below(30))
            let timeout = UInt64(2 + random.below(30))
            let delay = UInt64(random.below(Int(timeout)))
            let silentFrom = UInt64(random.below(400))
            var ledger = Ledger(interval: interval, timeout: timeout, nonce: Self.nonce)
            var timer = ledger.firstDeadline(now: 0)!
            var underway: [(at: UInt64, payload: UInt64)] = []
            var firstUnanswered: UInt64?
            var failedAt: UInt64?
            var users: UInt64 = 0
            for now: UInt64 in 0..<600 {
                while let next = underway.first, next.at <= now {
                    underway.removeFirst()
                    if let deadline = Self.pong(&ledger, Self.bytes(next.payload), now: now).nextDeadline {
                        timer = deadline
                    }
                }
                if now < silentFrom && random.below(9) == 0 {
                    users += 1
                    let ping = ledger.ping(now: now, waiterID: users, 0)
                    underway.append((now + delay, ping.payload))
                    if random.below(2) == 0 { _ = ledger.cancel(id: users) }
                }
                guard now >= timer else { continue }
                switch ledger.timerFired(now: now) {
                case .ping(let ping, let next):
                    timer = next
                    if now < silentFrom { underway.append((now + delay, ping.payload)) } else { firstUnanswered = now }
                case .again(let next): timer = next
                case .failed: failedAt = now
                }
                if failedAt != nil { break }
            }
            let place = "seed \(seed), round \(round)"
            try check(firstUnanswered != nil, "\(place): the keepalive stopped pinging")
            try check(failedAt == firstUnanswered! + timeout, "\(place): failed at \(String(describing: failedAt))")
        }
    }

    @Test func payloadsOfTheUsersChoosing() {
        var ledger = Ledger(interval: nil, timeout: nil, nonce: Self.nonce)
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
