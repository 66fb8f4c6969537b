//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

@Suite struct LivenessTests {
    typealias Machine = Liveness<Int>

    /// A connection with a keepalive of 10/10 beside a peer and its kernel. Time goes by in steps of 1.
    struct World {
        static let interval: UInt64 = 10
        static let timeout: UInt64 = 10

        var machine: Machine
        var now: UInt64 = 100
        var timer: UInt64?
        var isPaused = false
        private var hasUnread = false
        var hasFailed = false
        var pings: [UInt64] = []
        var lastPing: [UInt8] = []
        // What the socket would show.
        var signs: SocketSigns
        let isTCP: Bool
        // What may excuse the peer.
        var lifeAt: UInt64 = 100
        var movedAt: UInt64 = 100
        var pingOutAt: UInt64?
        var pingDeliveredAt: UInt64?
        private var pingMark: UInt64 = 0
        private var toBeTaken = 0
        private var unacknowledged = 0

        init(isTCP: Bool = true) {
            self.isTCP = isTCP
            machine = Machine(interval: Self.interval, timeout: Self.timeout, nonce: 7)
            signs = SocketSigns(heard: 0, taken: 0, received: isTCP ? 0 : nil, acknowledged: isTCP ? 0 : nil)
            timer = machine.begin(now: now)
        }

        mutating func step() throws(Mismatch) {
            now += 1
            guard let due = timer, due <= now, !hasFailed else { return }
            signs.waiting = unacknowledged
            switch machine.timerFired(now: now, signs: signs, isReadingPaused: isPaused) {
            case .ping(let ping, let next):
                try check(next > now, "a deadline in the past")
                pings.append(now)
                lastPing = withUnsafeBytes(of: ping.payload.bigEndian) { Array($0) }
                (pingOutAt, pingDeliveredAt) = (nil, nil)
                toBeTaken += 10
                timer = next
            case .again(let next):
                try check(next > now, "a deadline in the past")
                timer = next
            case .failed:
                timer = nil
                hasFailed = true
                try isJust()
            case .rest: timer = nil
            }
        }

        /// What the peer can be blamed for.
        private func isJust() throws(Mismatch) {
            let patience = Self.timeout
            try check(!pings.isEmpty, "judged without a ping")
            try check(lifeAt + patience <= now, "a byte came \(now - lifeAt) ago")
            if pingDeliveredAt == nil {
                try check(!isPaused || signs.isInDoubt, "this side does not read, and the kernel has no doubt")
            }
            if let pingOutAt {
                try check(pingOutAt + patience <= now, "the ping is out for \(now - pingOutAt)")
                if let pingDeliveredAt {
                    try check(!isPaused, "this side does not read")
                    try check(pingDeliveredAt + patience <= now, "delivered \(now - pingDeliveredAt) ago")
                }
            }
            if pingDeliveredAt == nil { try check(movedAt + patience <= now, "the peer took something") }
        }

        /// Bytes arrive, and are read unless reading is paused.
        mutating func hear() {
            // Without the kernel's count it is seen when it is read.
            if isTCP || !isPaused { lifeAt = now }
            if isTCP { signs.received! += 1 }
            if isPaused { hasUnread = true } else { signs.heard &+= 1 }
        }

        mutating func pause() {
            isPaused.toggle()
            guard !isPaused, hasUnread else { return }
            hasUnread = false
            signs.heard &+= 1
            lifeAt = now
        }

        /// The socket takes everything.
        mutating func burst(data: Int = 0) {
            toBeTaken += data
            guard toBeTaken > 0 else { return }
            if machine.awaitsBurst { machine.burstBegins() }
            unacknowledged += toBeTaken
            toBeTaken = 0
            signs.taken &+= 1
            movedAt = now
            guard machine.awaitsBurst else { return }
            if pingOutAt == nil, !pings.isEmpty { pingOutAt = now }
            signs.waiting = unacknowledged
            pingMark = (signs.acknowledged ?? 0) + UInt64(unacknowledged)
            if machine.burstIsOut(now: now).asksForSigns { machine.keepAliveIsOut(now: now, signs: signs) }
        }

        /// The peer's kernel has taken this much.
        mutating func acknowledge(_ count: Int) {
            let count = min(count, unacknowledged)
            guard count > 0 else { return }
            unacknowledged -= count
            movedAt = now
            guard isTCP else {
                if unacknowledged == 0, pingOutAt != nil, pingDeliveredAt == nil { pingDeliveredAt = now }
                return
            }
            signs.acknowledged! += UInt64(count)
            signs.acknowledgedAt = now
            if signs.acknowledged! >= pingMark, pingOutAt != nil, pingDeliveredAt == nil { pingDeliveredAt = now }
        }

        mutating func pong() {
            guard pingDeliveredAt != nil, !isPaused else { return }
            hear()
            if let deadline = pong(lastPing) { timer = deadline }
        }

        @discardableResult
        mutating func pong(_ bytes: [UInt8]) -> UInt64? {
            let now = now
            let action = withExactBytes(bytes) { machine.pong($0, now: now) }
            return action.nextDeadline
        }

        mutating func perform(_ event: Int) throws(Mismatch) {
            switch event {
            case 0: for _ in 0..<4 { try step() }
            case 1: hear()
            case 2: burst(data: 20)
            case 3: acknowledge(.max)
            case 4: acknowledge(7)
            case 5: pong()
            case 6: pause()
            // A Unix domain socket's kernel asks no other.
            case 7: if isTCP { signs.isInDoubt.toggle() }
            default:
                let before = machine.pings.pendingCount
                try check(pong([1, 2, 3]) == nil && machine.pings.pendingCount == before, "a foreign pong counts")
                hear()
            }
        }

        /// From here on the peer is gone.
        mutating func dies() throws(Mismatch) {
            if isPaused { pause() }
            let bound = now + Self.interval + 2 * Self.timeout + 2
            while !hasFailed {
                burst()
                try step()
                try check(now <= bound, "a dead peer is taken for alive")
            }
        }
    }

    /// Whatever happens, a peer is not condemned without need, and one that is gone is found out.
    @Test(arguments: [true, false])
    func everyShortSequenceIsJudgedFairly(isTCP: Bool) throws {
        let events = 9
        let length = TestDepth.choose(5, reduced: 3)
        var total = 1
        for _ in 0..<length { total *= events }
        for number in 0..<total {
            var world = World(isTCP: isTCP)
            // Where the first ping is out.
            for _ in 0..<11 { try world.step() }
            var rest = number
            do throws(Mismatch) {
                for _ in 0..<length {
                    try world.perform(rest % events)
                    rest /= events
                }
                try world.dies()
            } catch {
                throw Mismatch(description: "sequence \(number): \(error)")
            }
        }
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func longRandomSequencesAreJudgedFairly(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<300 {
            var world = World(isTCP: round % 4 != 0)
            do throws(Mismatch) {
                for _ in 0..<60 where !world.hasFailed { try world.perform(random.below(2) == 0 ? 0 : random.below(9)) }
                try world.dies()
            } catch {
                throw Mismatch(description: "seed \(seed), round \(round): \(error)")
            }
        }
    }

    /// A peer that always answers lives for ever, and is pinged once in an interval.
    @Test func aPeerThatAnswersIsPingedOnceInAnInterval() throws {
        var world = World()
        for _ in 0..<1_000 {
            try world.step()
            world.burst()
            world.acknowledge(.max)
            world.pong()
        }
        #expect(!world.hasFailed && world.pings.count == 100)
    }

    /// `wire.md` 2: a pong cannot come inside a long frame. 22: a peer that answers with other pongs.
    @Test(arguments: [[], [9], Array("heartbeat".utf8)] as [[UInt8]])
    func bytesThatArriveAreLife(foreign: [UInt8]) throws {
        var world = World()
        for tick in 0..<1_000 {
            try world.step()
            world.burst()
            world.acknowledge(.max)
            if tick % 4 == 0 {
                world.hear()
                world.pong(foreign)
            }
        }
        #expect(!world.hasFailed)
        #expect(world.pings.count <= 101, "\(world.pings.count) pings in 100 intervals")
    }

    /// `wire.md` 3: the ping waits in this side's buffers, and then in the kernel's, while the peer takes what is before it.
    @Test(arguments: [true, false])
    func aPingBehindDataIsNotLateWhileThePeerTakesIt(isTCP: Bool) throws {
        var world = World(isTCP: isTCP)
        for _ in 0..<10 { try world.step() }
        #expect(world.pings.count == 1)
        // For ten timeouts the socket takes a part of what is in front of the ping now and then.
        for tick in 0..<100 {
            try world.step()
            if tick % 8 == 0 { world.signs.taken &+= 1 }
        }
        #expect(!world.hasFailed)
        world.burst(data: 1_000)
        for tick in 0..<100 {
            try world.step()
            if tick % 8 == 0 { world.acknowledge(50) }
        }
        #expect(!world.hasFailed && world.pings.count == 1)
        world.acknowledge(.max)
        let delivered = world.now
        while !world.hasFailed { try world.step() }
        #expect(world.now - delivered <= 2 * World.timeout)
    }

    /// `wire.md` 4: while this side does not read, the peer's kernel has to do, and when that falls silent the peer is gone.
    @Test func whileReadingIsPausedTheKernelIsAsked() throws {
        var world = World()
        world.isPaused = true
        for _ in 0..<200 {
            try world.step()
            world.burst()
            world.acknowledge(.max)
        }
        #expect(!world.hasFailed && world.pings.count > 15)
        // The peer cannot read while it waits for this side: its kernel answers probes.
        for _ in 0..<200 {
            try world.step()
            world.burst()
        }
        #expect(!world.hasFailed)
        world.signs.isInDoubt = true
        let silent = world.now
        while !world.hasFailed { try world.step() }
        #expect(world.now - silent <= World.interval + 2 * World.timeout)
    }

    @Test func aSilentPeerFailsOneTimeoutAfterItsPing() throws {
        var world = World()
        while !world.hasFailed {
            try world.step()
            world.burst()
            world.acknowledge(.max)
        }
        #expect(world.now == 100 + World.interval + World.timeout)
    }

    /// A lost pong neither fails the connection nor ends the pinging.
    @Test func withoutATimeoutItPingsOn() {
        var machine = Machine(interval: 100, timeout: nil, nonce: 1)
        let signs = SocketSigns(heard: 0, taken: 0)
        #expect(machine.begin(now: 0) == 100)
        var last: PingLedger<Int>.Ping?
        for now: UInt64 in [100, 200, 300, 10_000] {
            guard case .ping(let ping, let next) = machine.timerFired(now: now, signs: signs, isReadingPaused: false)
            else {
                Issue.record("no ping")
                return
            }
            #expect(next == now + 100 && ping != last && machine.pings.pendingCount == 1)
            machine.burstBegins()
            let action = machine.burstIsOut(now: now)
            #expect(!action.asksForSigns)
            last = ping
        }
        let bytes = withUnsafeBytes(of: last!.payload.bigEndian) { Array($0) }
        #expect(withExactBytes(bytes) { machine.pong($0, now: 10_050) }.nextDeadline == 10_150)
        #expect(machine.pings.latency == 50)
    }

    @Test func withoutAKeepAliveNothingIsWatched() {
        var machine = Machine(interval: nil, timeout: nil, nonce: 1)
        #expect(machine.begin(now: 0) == nil)
        let action = machine.timerFired(now: 1, signs: SocketSigns(heard: 0, taken: 0), isReadingPaused: false)
        #expect(action == .rest && !machine.awaitsBurst)
    }

    /// A caller's pong answers the keepalive's earlier ping too.
    @Test func aLaterPongServesTheKeepAlive() {
        var machine = Machine(interval: 100, timeout: 50, nonce: 1)
        _ = machine.begin(now: 0)
        _ = machine.timerFired(now: 100, signs: SocketSigns(heard: 0, taken: 0), isReadingPaused: false)
        let ping = machine.ping(now: 110, waiterID: 1, 1)
        machine.burstBegins()
        let burst = machine.burstIsOut(now: 112)
        #expect(burst.asksForSigns)
        let bytes = withUnsafeBytes(of: ping.payload.bigEndian) { Array($0) }
        let action = withExactBytes(bytes) { machine.pong($0, now: 120) }
        #expect(action.nextDeadline == 220 && action.answer.resumed.map(\.0) == [1] && action.answer.roundTrip == 8)
    }

    /// The peer's time to answer a close frame begins when it is written, not when it is queued.
    @Test func theClosesPatienceBeginsWhenItIsWritten() {
        var machine = Machine(interval: 10, timeout: 10, nonce: 1)
        _ = machine.begin(now: 0)
        #expect(!machine.isCloseWaiting && !machine.isCloseWritten)
        // A burst is under way when the close comes.
        _ = machine.ping(now: 1, waiterID: 1, 1)
        machine.burstBegins()
        machine.closeIsQueued(patience: 100)
        #expect(machine.isCloseWaiting)
        let first = machine.burstIsOut(now: 5)
        #expect(first.closeDeadline == nil && machine.awaitsBurst && !machine.isCloseWritten)
        machine.burstBegins()
        #expect(machine.isCloseWaiting)
        let second = machine.burstIsOut(now: 50)
        #expect(second.closeDeadline == 150 && !second.asksForSigns)
        #expect(machine.isCloseWritten && !machine.isCloseWaiting && !machine.awaitsBurst)
        let signs = SocketSigns(heard: 0, taken: 0)
        #expect(machine.timerFired(now: 60, signs: signs, isReadingPaused: false) == .rest)
        #expect(machine.finish() == [1])
    }

    @Test func idlenessIsFoundWithinAQuarter() {
        var watch = IdleWatch(activity: 3)
        for activity: UInt32 in [4, 4, 4, 4] { #expect(watch.isIdle(activity: activity) == false) }
        #expect(watch.isIdle(activity: 4) == true)
        #expect(watch.isIdle(activity: 5) == false)
        var wrapped = IdleWatch(activity: .max)
        #expect(wrapped.isIdle(activity: 0) == false)
    }
}
