//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct ManagedConnectionMachineTests {
    /// Connected by caller 0, who does not use it.
    private static func connected() -> ManagedConnectionMachine {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.want(.connection, for: 0) == .start)
        expectTrue(machine.attemptEnded(isConnected: true)?.waiters == [0])
        return machine
    }

    @Test func oneAttemptForAll() {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.want(.turnNow, for: 1) == .start)
        expectTrue(machine.want(.connection, for: 2) == .wait)
        expectTrue(machine.want(.turnNow, for: 3) == .refuse(.busy))
        expectTrue(machine.isBusy && !machine.isConnected)
        let end = machine.attemptEnded(isConnected: true)
        expectTrue(end?.waiters == [1, 2] && end?.next == .noCaller)
        expectTrue(machine.want(.connection, for: 4) == .ready)
        expectTrue(machine.isConnected && !machine.isIdle)
    }

    @Test func aFailedAttemptMayBeRepeated() {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.want(.turnNow, for: 1) == .start)
        let end = machine.attemptEnded(isConnected: false)
        expectTrue(end?.waiters == [1] && end?.next == .noCaller)
        expectTrue(!machine.isBusy && !machine.isConnected)
        expectTrue(machine.want(.turnNow, for: 2) == .start)
    }

    @Test func releasingOnceIsEnough() {
        var machine = Self.connected()
        expectTrue(machine.release(drains: true) == .ignore)
        expectTrue(machine.want(.turnNow, for: 1) == .ready)
        expectTrue(machine.release(drains: false) == .free(.noCaller))
        expectTrue(machine.release(drains: false) == .ignore)
        expectTrue(machine.isIdle)
    }

    @Test func aSecondReleaseLeavesTheDrainAlone() {
        var machine = Self.connected()
        expectTrue(machine.want(.turnNow, for: 1) == .ready)
        expectTrue(machine.release(drains: true) == .drain)
        expectTrue(machine.release(drains: true) == .ignore)
        expectTrue(machine.release(drains: false) == .ignore)
        expectTrue(machine.isDraining)
        expectTrue(machine.drained() == .noCaller)
        expectTrue(machine.drained() == .noCaller)
    }

    @Test func drainingIsAStateOfItsOwn() {
        var machine = Self.connected()
        expectTrue(machine.want(.turnNow, for: 1) == .ready)
        expectTrue(machine.release(drains: true) == .drain)
        expectTrue(machine.isDraining && !machine.isBusy && !machine.isIdle)
        expectTrue(machine.want(.turnNow, for: 2) == .refuse(.draining))
        expectTrue(machine.want(.connection, for: 3) == .ready)
        // A scope waits for it, but not behind others that wait for their turn.
        expectTrue(machine.want(.turnAfterDraining, for: 4) == .wait)
        expectTrue(machine.want(.turnAfterDraining, for: 5) == .refuse(.draining))
        expectTrue(machine.drained() == .ready(4))
        expectTrue(machine.want(.turnAfterDraining, for: 6) == .refuse(.busy))
        expectTrue(machine.release(drains: false) == .free(.noCaller))
        expectTrue(machine.isIdle)
        // Without a connection there is nothing to drain.
        expectTrue(machine.want(.turnNow, for: 7) == .ready)
        machine.lost()
        expectTrue(machine.release(drains: true) == .free(.noCaller))
        expectTrue(machine.want(.turnNow, for: 8) == .start)
    }

    @Test func turnsComeInTheOrderOfArrival() {
        var machine = Self.connected()
        expectTrue(machine.want(.turn, for: 1) == .ready)
        for id in 2...4 as ClosedRange<UInt64> { expectTrue(machine.want(.turn, for: id) == .wait) }
        expectTrue(machine.waitingTurns == 3)
        // One does not wait any more.
        expectTrue(machine.giveUp(3) == .noCaller)
        expectTrue(machine.release(drains: false) == .free(.ready(2)))
        // It has been served, and keeps what it has.
        expectTrue(machine.giveUp(2) == .noCaller)
        expectTrue(machine.isBusy)
        machine.lost()
        expectTrue(machine.release(drains: false) == .free(.start))
        // The connection comes too late for that one, and nobody else wants it.
        expectTrue(machine.giveUp(4) == .noCaller)
        expectTrue(!machine.isBusy)
        let end = machine.attemptEnded(isConnected: true)
        expectTrue(end?.waiters == [] && end?.next == .noCaller)
        expectTrue(machine.isIdle)
    }

    @Test func aFailureToConnectIsOneCallersOnly() {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.want(.turn, for: 1) == .start)
        expectTrue(machine.want(.turn, for: 2) == .wait)
        let end = machine.attemptEnded(isConnected: false)
        expectTrue(end?.waiters == [1] && end?.next == .start, "the next one has an attempt of its own")
        // Who gives up passes the attempt on.
        expectTrue(machine.want(.turn, for: 3) == .wait)
        expectTrue(machine.giveUp(2) == .join)
        expectTrue(machine.attemptEnded(isConnected: true)?.waiters == [3])
        expectTrue(machine.isBusy)
    }

    /// A release while the turn's owner still connects is not its own, and takes nothing from it.
    @Test func whatIsStillConnectingIsNotReleased() {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.want(.turnNow, for: 1) == .start)
        expectTrue(machine.release(drains: false) == .ignore)
        expectTrue(machine.isBusy)
    }

    @Test func idlenessClosesOnlyWhatIsIdle() {
        var machine = Self.connected()
        expectTrue(machine.want(.turnNow, for: 1) == .ready)
        expectTrue(!machine.closeIfIdle())
        expectTrue(machine.release(drains: false) == .free(.noCaller))
        expectTrue(machine.closeIfIdle())
        expectTrue(machine.end == .idleTimeout)
        expectTrue(machine.want(.turnNow, for: 2) == .refuse(.closed(.idleTimeout)))
        expectTrue(!machine.closeIfIdle())
    }

    @Test(arguments: [ManagedConnectionMachine.End.closed, .idleTimeout])
    func theEndIsFinal(_ end: ManagedConnectionMachine.End) {
        var machine = Self.connected()
        expectTrue(machine.want(.turnNow, for: 1) == .ready)
        expectTrue(machine.want(.turn, for: 2) == .wait)
        expectTrue(machine.close(end) == [2])
        expectTrue(machine.close(.closed) == nil)
        expectTrue(machine.end == end && !machine.isBusy)
        for claim in [ManagedConnectionMachine.Claim.connection, .turnNow, .turnAfterDraining, .turn] {
            expectTrue(machine.want(claim, for: 3) == .refuse(.closed(end)))
        }
        expectTrue(machine.release(drains: true) == .ignore)
        machine.lost()
        expectTrue(machine.end == end)
        var connecting = ManagedConnectionMachine()
        expectTrue(connecting.want(.connection, for: 1) == .start)
        expectTrue(connecting.close(end) == [1])
        expectTrue(connecting.attemptEnded(isConnected: true) == nil, "nobody wants it any more")
    }

    /// Any order of events: one turn at a time, each wait is answered once, and nobody waits for what is free.
    @Test(arguments: 0..<50)
    func anyOrderOfEventsServesEachCallerOnce(_ seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var machine = ManagedConnectionMachine()
        var waiting: Set<UInt64> = []
        var holder: UInt64?
        var attempts = 0
        var next: UInt64 = 1
        func follow(_ step: ManagedConnectionMachine.Next) {
            switch step {
            case .noCaller, .join: break
            case .start: attempts += 1
            case .ready(let id):
                #expect(waiting.remove(id) != nil && holder == nil)
                holder = id
            }
        }
        for _ in 0..<400 {
            switch random.next() % 8 {
            case 0, 1:
                let id = next
                next += 1
                switch machine.want([.turn, .turnNow, .turnAfterDraining][Int(random.next() % 3)], for: id) {
                case .refuse: break
                case .ready:
                    #expect(holder == nil)
                    holder = id
                case .start:
                    attempts += 1
                    waiting.insert(id)
                case .wait: waiting.insert(id)
                }
            case 2:
                guard let id = waiting.randomElement(using: &random) else { continue }
                waiting.remove(id)
                follow(machine.giveUp(id))
            case 3, 4:
                guard attempts > 0 else { continue }
                attempts -= 1
                let isConnected = random.next() % 3 > 0
                guard let end = machine.attemptEnded(isConnected: isConnected) else { continue }
                for id in end.waiters {
                    #expect(waiting.remove(id) != nil)
                    guard isConnected else { continue }
                    #expect(holder == nil)
                    holder = id
                }
                follow(end.next)
            case 5, 6:
                guard holder != nil else { continue }
                holder = nil
                switch machine.release(drains: random.next() % 2 == 0) {
                case .ignore: Issue.record("the holder could not release")
                case .free(let step): follow(step)
                case .drain: break
                }
            default:
                if machine.isDraining { follow(machine.drained()) } else { machine.lost() }
            }
            #expect(attempts <= 1)
            if !machine.isBusy && !machine.isDraining { expectTrue(machine.waitingTurns == 0) }
        }
    }
}

/// `#expect` cannot look into values that are not copied.
private func expectTrue(
    _ isTrue: Bool, _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(isTrue, comment, sourceLocation: sourceLocation)
}
