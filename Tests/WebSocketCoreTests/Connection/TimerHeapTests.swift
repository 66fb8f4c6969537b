//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct TimerHeapTests {
    /// The heap beside a list that is searched for its earliest entry.
    struct Pair {
        var heap = TimerHeap<Int>()
        var live: [(deadline: UInt64, number: Int, token: TimerHeap<Int>.Token)] = []
        var dead: [TimerHeap<Int>.Token] = []
        var tokens: Set<TimerHeap<Int>.Token> = []
        var scheduled = 0

        mutating func schedule(at deadline: UInt64) throws(Mismatch) {
            scheduled += 1
            let token = heap.schedule(at: deadline, scheduled)
            try check(tokens.insert(token).inserted, "a token came twice")
            live.append((deadline, scheduled, token))
            try invariants()
        }

        mutating func cancel(at index: Int) throws(Mismatch) {
            let entry = live.remove(at: index)
            try check(heap.cancel(entry.token) == entry.number, "cancelled another timer")
            dead.append(entry.token)
            try check(heap.cancel(entry.token) == nil, "cancelled twice")
            try invariants()
        }

        mutating func cancelDead(at index: Int) throws(Mismatch) {
            try check(heap.cancel(dead[index]) == nil, "a dead token cancelled somebody's timer")
            try invariants()
        }

        /// Index of the earliest deadline; among equal ones, of the one scheduled first.
        private var first: Int? {
            live.indices.min { (live[$0].deadline, live[$0].number) < (live[$1].deadline, live[$1].number) }
        }

        mutating func popDue(now: UInt64) throws(Mismatch) {
            let payload = heap.popDue(now: now)
            if let first, live[first].deadline <= now {
                let entry = live.remove(at: first)
                try check(payload == entry.number, "\(String(describing: payload)) instead of \(entry.number)")
                dead.append(entry.token)
            } else {
                try check(payload == nil, "\(payload!) is not due")
            }
            try invariants()
        }

        func invariants() throws(Mismatch) {
            try check(heap.count == live.count, "\(heap.count) timers instead of \(live.count)")
            try check(heap.nextDeadline == first.map { live[$0].deadline }, "nextDeadline")
        }
    }

    @Test func empty() {
        var heap = TimerHeap<String>()
        #expect(heap.count == 0 && heap.nextDeadline == nil && heap.popDue(now: .max) == nil)
    }

    /// All deadlines of 0, 1 and 2 for six timers, with each one cancelled or none: what is left fires in the order of
    /// a stable sort.
    @Test func allSmallHeaps() throws {
        for count in 1...6 {
            try forEachSequence(of: 3, length: count) { deadlines in
                for cancelled in 0...count {
                    var pair = Pair()
                    for deadline in deadlines { try pair.schedule(at: UInt64(deadline)) }
                    if cancelled < count { try pair.cancel(at: cancelled) }
                    for now: UInt64 in 0...3 {
                        while pair.heap.nextDeadline.map({ $0 <= now }) == true { try pair.popDue(now: now) }
                        try pair.popDue(now: now)
                    }
                    try check(pair.heap.count == 0, "\(deadlines)")
                }
            }
        }
    }

    @Test(arguments: [61, 62, 63, 64] as [UInt64])
    func randomSequences(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var pair = Pair()
        var now: UInt64 = 0
        for step in 0..<4_000 {
            let growing = step / 250 % 2 == 0
            do throws(Mismatch) {
                switch random.below(10) {
                case 0..<(growing ? 6 : 2): try pair.schedule(at: now + UInt64(random.below(20)))
                case 6, 7: if !pair.live.isEmpty { try pair.cancel(at: random.below(pair.live.count)) }
                case 8: if !pair.dead.isEmpty { try pair.cancelDead(at: random.below(pair.dead.count)) }
                default:
                    now += UInt64(random.below(3))
                    try pair.popDue(now: now)
                }
            } catch {
                throw Mismatch(description: "seed \(seed), step \(step): \(error)")
            }
        }
        while !pair.live.isEmpty { try pair.popDue(now: .max) }
        for index in pair.dead.indices { try pair.cancelDead(at: index) }
    }

    /// A thousand equal deadlines among others: first in, first out, also when the heap is rebuilt by cancellations.
    @Test func equalDeadlinesFireInOrder() {
        var random = SplitMix64(seed: 65)
        var heap = TimerHeap<Int>()
        var tokens: [TimerHeap<Int>.Token] = []
        for number in 0..<1_000 { tokens.append(heap.schedule(at: number % 3 == 0 ? 5 : 4, number)) }
        var expected = (0..<1_000).filter { $0 % 3 != 0 } + (0..<1_000).filter { $0 % 3 == 0 }
        for _ in 0..<300 {
            let number = random.below(1_000)
            if heap.cancel(tokens[number]) != nil { expected.removeAll { $0 == number } }
        }
        var fired: [Int] = []
        while let number = heap.popDue(now: 5) { fired.append(number) }
        #expect(fired == expected)
    }

    @Test func extremesOfTime() {
        var heap = TimerHeap<Int>()
        let last = heap.schedule(at: .max, 1)
        _ = heap.schedule(at: 0, 2)
        #expect(heap.nextDeadline == 0)
        #expect(heap.popDue(now: 0) == 2)
        #expect(heap.popDue(now: .max - 1) == nil)
        #expect(heap.cancel(last) == 1)
        #expect(heap.nextDeadline == nil)
    }

    /// The slots of used timers are used again, and what they held is let go at once.
    @Test func payloadsAreReleased() {
        final class Payload {}
        var heap = TimerHeap<Payload>()
        weak var fired: Payload?
        weak var cancelled: Payload?
        do {
            let first = Payload()
            let second = Payload()
            fired = first
            cancelled = second
            _ = heap.schedule(at: 1, first)
            let token = heap.schedule(at: 2, second)
            heap.cancel(token)
            _ = heap.popDue(now: 1)
        }
        #expect(fired == nil && cancelled == nil)
    }
}
