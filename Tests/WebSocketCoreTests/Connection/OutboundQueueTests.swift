//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

@Suite struct OutboundQueueTests {
    /// The queue beside a naive model. A sender's number says in which order it came.
    struct Pair {
        var queue: OutboundQueue<Int>
        let marks: WebSocketOptions.OutboundBuffer
        var frames: [Int] = []
        var waiters: [(id: UInt64, size: Int)] = []
        var nextID: UInt64 = 0

        init(_ marks: WebSocketOptions.OutboundBuffer) {
            self.marks = marks
            queue = OutboundQueue(marks: marks)
        }

        private var bytes: Int { frames.reduce(0, +) }

        mutating func send(_ size: Int) throws(Mismatch) {
            let hasRoom = bytes < marks.highBytes && waiters.isEmpty
            try check(
                queue.hasRoom == hasRoom, "hasRoom is \(!hasRoom) at \(bytes) bytes with \(waiters.count) senders")
            if hasRoom {
                queue.took(size)
                frames.append(size)
            } else {
                nextID += 1
                queue.wait(id: nextID, size)
                waiters.append((nextID, size))
            }
            try invariants()
        }

        /// Control frames ignore the marks.
        mutating func control() throws(Mismatch) {
            queue.took(2)
            frames.append(2)
            try invariants()
        }

        /// The operating system takes the oldest `count` frames.
        mutating func drain(_ count: Int) throws(Mismatch) {
            let count = min(count, frames.count)
            let taken = frames[..<count].reduce(0, +)
            frames.removeFirst(count)
            queue.drained(taken)
            var admitting = bytes <= marks.lowBytes
            while let size = queue.nextAdmitted() {
                try check(admitting, "a sender goes on at \(bytes) bytes")
                try check(!waiters.isEmpty && size == waiters.removeFirst().size, "not the sender that waited longest")
                queue.took(size)
                frames.append(size)
                admitting = bytes < marks.highBytes
            }
            try check(!admitting || waiters.isEmpty, "senders wait although there are only \(bytes) bytes")
            try check(queue.nextAdmitted() == nil, "one more sender, after the last")
            try invariants()
        }

        mutating func cancel(at index: Int) throws(Mismatch) {
            if index < waiters.count {
                let (id, size) = waiters.remove(at: index)
                try check(queue.cancel(id: id) == size, "cancelled another sender")
                try check(queue.cancel(id: id) == nil, "cancelled twice")
            } else {
                try check(queue.cancel(id: nextID + 1) == nil, "cancelled nobody")
            }
            try invariants()
        }

        mutating func finish() throws(Mismatch) {
            try check(queue.finish() == waiters.map(\.size), "not all senders were told")
            waiters = []
            try invariants()
        }

        func invariants() throws(Mismatch) {
            try check(queue.bytes == bytes && bytes >= 0, "\(queue.bytes) bytes instead of \(bytes)")
            try check(queue.waiterCount == waiters.count, "\(queue.waiterCount) senders instead of \(waiters.count)")
            try check(queue.hasRoom == (bytes < marks.highBytes && waiters.isEmpty), "hasRoom")
        }

        mutating func perform(_ operation: Int) throws(Mismatch) {
            switch operation {
            case 0: try send(1)
            case 1: try send(4)
            case 2: try control()
            case 3: try drain(1)
            case 4: try drain(.max)
            case 5: try cancel(at: 0)
            default: try finish()
            }
        }
    }

    @Test(arguments: [
        WebSocketOptions.OutboundBuffer(highBytes: 1, lowBytes: 0), .init(highBytes: 4, lowBytes: 1),
        .init(highBytes: 5, lowBytes: 4), .init(highBytes: 8, lowBytes: 0),
    ])
    func allShortSequences(_ marks: WebSocketOptions.OutboundBuffer) throws {
        func visit(_ pair: Pair, _ trace: [Int]) throws {
            if trace.count == TestDepth.choose(5, reduced: 3) { return }
            for operation in 0..<7 {
                var next = pair
                do throws(Mismatch) {
                    try next.perform(operation)
                } catch {
                    throw Mismatch(description: "\(trace + [operation]): \(error)")
                }
                try visit(next, trace + [operation])
            }
        }
        try visit(Pair(marks), [])
    }

    @Test(arguments: [51, 52, 53, 54] as [UInt64])
    func randomSequences(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<15 {
            let high = 1 + random.below(60)
            var pair = Pair(.init(highBytes: high, lowBytes: random.below(high)))
            for step in 0..<300 {
                do throws(Mismatch) {
                    switch random.below(10) {
                    case 0..<5: try pair.send(2 + random.below(20))
                    case 5: try pair.control()
                    case 6, 7: try pair.drain(1 + random.below(6))
                    case 8: try pair.cancel(at: random.below(4))
                    default: if random.below(20) == 0 { try pair.finish() }
                    }
                } catch {
                    throw Mismatch(description: "seed \(seed), round \(round), step \(step): \(error)")
                }
            }
            // Whatever happened before: a peer that reads lets everybody through.
            for _ in 0..<1_000 where !pair.frames.isEmpty { try pair.drain(1) }
            try check(pair.frames.isEmpty && pair.waiters.isEmpty, "seed \(seed), round \(round): senders starve")
        }
    }

    /// Below the low mark the waiting senders fill the buffer up to the high mark, not only to the low one.
    @Test func sendersRefillTheBuffer() {
        var queue = OutboundQueue<Int>(marks: .init(highBytes: 10, lowBytes: 2))
        queue.took(10)
        for id in 1...8 { queue.wait(id: UInt64(id), id) }
        queue.drained(7)
        #expect(queue.nextAdmitted() == nil)
        queue.drained(1)
        var admitted: [Int] = []
        while let next = queue.nextAdmitted() {
            admitted.append(next)
            queue.took(3)
        }
        #expect(admitted == [1, 2, 3])
        #expect(queue.bytes == 11)
        // Between the marks again: the next ones wait for the low mark.
        queue.drained(6)
        #expect(queue.nextAdmitted() == nil && !queue.hasRoom)
    }

    @Test(arguments: [100, Int.max])
    func aReservationShutsOthersOutAndNotItsOwner(highBytes: Int) {
        var queue = OutboundQueue<Int>(marks: .init(highBytes: highBytes, lowBytes: 10))
        queue.took(20)
        queue.reserve()
        #expect(!queue.hasRoom && queue.hasReservedRoom && queue.isQueueing)
        #expect(!queue.admitsReserved)
        queue.wait(id: 1, 1)
        queue.wait(id: 2, 2)
        queue.drained(15)
        #expect(queue.admitsReserved)
        #expect(queue.nextAdmitted() == nil, "the others wait for the end of the message")
        queue.endReservation()
        #expect(!queue.hasRoom && queue.isQueueing)
        #expect(queue.nextAdmitted() == 1)
        #expect(queue.isQueueing)
        #expect(queue.nextAdmitted() == 2)
        #expect(!queue.isQueueing && queue.hasRoom && queue.bytes == 5)
    }

    @Test func aReservationMayBeHandedOn() {
        var queue = OutboundQueue<Int>(marks: .init(highBytes: 100, lowBytes: 10))
        queue.reserve()
        queue.took(100)
        #expect(!queue.hasReservedRoom)
        queue.wait(id: 1, 1)
        queue.wait(id: 2, 2)
        queue.drained(100)
        queue.endReservation()
        #expect(queue.nextAdmitted() == 1)
        queue.reserve()
        #expect(queue.nextAdmitted() == nil)
        #expect(queue.finish() == [2])
    }
}
