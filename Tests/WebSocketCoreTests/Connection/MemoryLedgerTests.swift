//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

@Suite struct MemoryLedgerTests {
    private typealias Charge = MemoryLedger.Charge
    private static let step = MemoryLedger.step
    private static let limit = 32 * step

    @Test func theMarksAreInOrder() {
        for limit in [MemoryLedger.range.lowerBound, Self.limit, 12_345_678, MemoryLedger.range.upperBound] {
            let marks = [
                MemoryLedger.low(of: limit), MemoryLedger.high(of: limit), MemoryLedger.full(of: limit), limit,
            ]
            #expect(marks == marks.sorted() && Set(marks).count == 4)
        }
    }

    /// One connection on its way up and down again, step by step.
    @Test func aConnectionIsSlowedDownThenSentAway() {
        var ledger = MemoryLedger(limit: Self.limit)
        var charge = Charge()
        func moved(to steps: Int) -> MemoryLedger.Outcome {
            let old = charge
            charge.buffers = steps * Self.step
            return ledger.change(from: old, to: charge)
        }
        for steps in 1...40 {
            let outcome = moved(to: steps)
            switch outcome.verdict {
            case .goOn: #expect(steps < 24)
            case .slowDown: #expect(24...32 ~= steps)
            case .leave: #expect(steps > 32)
            case .makeRoom: Issue.record("there are no others")
            }
            #expect(outcome.becameTight == (steps == 24) && !outcome.relaxed)
            #expect(outcome.maySpeedUp == (steps < 24))
        }
        let admitted = ledger.admits()
        #expect(!admitted && ledger.refused == 1 && ledger.peak == 40 * Self.step)
        for steps in (0..<40).reversed() {
            let outcome = moved(to: steps)
            #expect(outcome.verdict == .goOn)
            #expect(outcome.relaxed == (steps == 16) && !outcome.becameTight)
            // Half of its share will do, before there is room for all.
            #expect(outcome.maySpeedUp == (steps <= 16))
            let isAdmitted = ledger.admits()
            #expect(isAdmitted == (steps < 28))
        }
        #expect(ledger.used == 0 && ledger.holders == 0 && !ledger.isTight)
    }

    /// One that holds little goes on whatever the others hold; those that hold much make room.
    @Test func theSmallDoNotPayForTheLarge() {
        var ledger = MemoryLedger(limit: Self.limit)
        let large = Charge(buffers: 16 * Self.step)
        for _ in 0..<2 { _ = ledger.change(from: Charge(), to: large) }
        let small = Charge(buffers: 2 * Self.step)
        let outcome = ledger.change(from: Charge(), to: small)
        #expect(outcome.verdict == .makeRoom && outcome.maySpeedUp)
        #expect(ledger.mustLeave(large) && !ledger.mustLeave(small))
        let relieved = ledger.change(from: large, to: Charge())
        #expect(relieved.verdict == .goOn && !ledger.mustLeave(large) && ledger.isTight)
    }

    /// Where only zlib's streams are left there is nothing to wait for.
    @Test func whatStaysIsNoReasonToSlowDown() {
        var ledger = MemoryLedger(limit: Self.limit)
        let fixed = Charge(fixed: 4 * Self.step)
        for count in 1...8 {
            let outcome = ledger.change(from: Charge(), to: fixed)
            #expect(outcome.verdict == .goOn && outcome.becameTight == (count == 6))
        }
        let last = ledger.change(from: Charge(), to: fixed)
        #expect(last.verdict == .leave && ledger.holders == 0 && ledger.fixed == ledger.used)
        // A step is always a connection's own.
        #expect(ledger.share == Self.step)
    }

    @Test func withoutALimitItOnlyCounts() {
        var ledger = MemoryLedger(limit: nil)
        let much = Charge(buffers: 1 << 45, fixed: 1 << 40)
        let outcome = ledger.change(from: Charge(), to: much)
        let isAdmitted = ledger.admits()
        #expect(outcome.verdict == .goOn && outcome.maySpeedUp && isAdmitted && ledger.used == much.total)
        // One that comes later holds for what is there already.
        let set = ledger.set(limit: Self.limit)
        #expect(set.verdict == .makeRoom && set.becameTight && ledger.mustLeave(much))
        let unset = ledger.set(limit: nil)
        #expect(unset.relaxed && !ledger.mustLeave(much) && !ledger.isTight)
    }

    /// Connections that come, grow, shrink and go at random, and do what they are told.
    @Test(arguments: 0..<TestDepth.choose(40, reduced: 4) as Range<UInt64>)
    func theTotalHoldsWhateverConnectionsDo(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let limit = Int.random(in: MemoryLedger.range.lowerBound...(64 * Self.step), using: &random)
        var ledger = MemoryLedger(limit: limit)
        var charges = Array(repeating: Charge(), count: Int.random(in: 1...40, using: &random))
        let largest = limit / Self.step / 2
        for _ in 0..<2_000 {
            let index = charges.indices.randomElement(using: &random)!
            let old = charges[index]
            var new = old
            if Bool.random(using: &random) {
                new.buffers = max(0, old.buffers + Int.random(in: -largest...largest, using: &random) * Self.step)
            } else if Int.random(in: 0..<20, using: &random) == 0 {
                new.fixed = old.fixed > 0 ? 0 : Int.random(in: 1...(limit / 30), using: &random)
            } else {
                new.buffers = old.buffers + Self.step
            }
            let wasTight = ledger.isTight
            charges[index] = new
            let outcome = ledger.change(from: old, to: new)
            let (share, used) = (ledger.share, charges.reduce(0) { $0 + $1.total })
            #expect(ledger.used == used && ledger.peak >= used)
            #expect(ledger.fixed == charges.reduce(0) { $0 + $1.fixed })
            #expect(ledger.holders == charges.count { $0.buffers > 0 })
            #expect(outcome.becameTight == (ledger.isTight && !wasTight))
            #expect(outcome.relaxed == (!ledger.isTight && wasTight))
            if used >= MemoryLedger.high(of: limit) { #expect(ledger.isTight) }
            if used <= MemoryLedger.low(of: limit) { #expect(!ledger.isTight && outcome.maySpeedUp) }
            switch outcome.verdict {
            case .goOn: #expect(new.total <= old.total || !ledger.isTight || used <= limit && new.buffers < share)
            case .slowDown: #expect(ledger.isTight && new.buffers >= share && used <= limit)
            case .makeRoom: #expect(used > limit && new.buffers < share)
            case .leave: #expect(used > limit && (new.buffers >= share || ledger.holders == 0))
            }
            // Some connection has to be able to give something back whenever others are kept waiting.
            if used >= MemoryLedger.high(of: limit), ledger.holders > 0 {
                #expect(charges.contains { $0.buffers >= share })
            }
            if outcome.verdict == .leave {
                _ = ledger.change(from: new, to: Charge())
                charges[index] = Charge()
            }
            // Afterwards there is room, or only zlib's streams are left.
            while let index = charges.indices.max(by: { charges[$0].buffers < charges[$1].buffers }),
                ledger.mustLeave(charges[index])
            {
                _ = ledger.change(from: charges[index], to: Charge())
                charges[index] = Charge()
            }
            #expect(ledger.used <= limit || ledger.holders == 0)
        }
        for index in charges.indices { _ = ledger.change(from: charges[index], to: Charge()) }
        #expect(ledger.used == 0 && ledger.holders == 0 && ledger.fixed == 0 && !ledger.isTight)
    }
}
