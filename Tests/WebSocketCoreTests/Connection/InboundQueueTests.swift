//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

@Suite struct InboundQueueTests {
    typealias Queue = InboundQueue<Int, String>

    /// The queue beside a naive model of it and of the source that it pauses. Messages carry their number.
    struct Pair {
        var queue: Queue
        let marks: WebSocketOptions.InboundBuffer
        var messages: [(number: Int, size: Int)] = []
        var waiters: [(id: UInt64, value: Int)] = []
        var outcome: String?
        var sourceIsPaused = false
        var pushed = 0
        var lastDelivered = 0
        var nextID: UInt64 = 0

        init(_ marks: WebSocketOptions.InboundBuffer) {
            self.marks = marks
            queue = Queue(marks: marks)
        }

        private var bytes: Int { messages.reduce(0) { $0 + $1.size } }

        private static func message(_ number: Int, _ size: Int) -> WebSocketMessage {
            .binary([UInt8](repeating: UInt8(truncatingIfNeeded: number), count: size))
        }

        private mutating func delivered(_ number: Int) throws(Mismatch) {
            try check(number == lastDelivered + 1, "message \(number) came after \(lastDelivered)")
            lastDelivered = number
        }

        mutating func push(_ size: Int) throws(Mismatch) {
            pushed += 1
            switch queue.push(Self.message(pushed, size)) {
            case .deliver(let waiter):
                try check(!waiters.isEmpty && messages.isEmpty, "delivered past a buffered message")
                try check(waiter == waiters.removeFirst().value, "not the receiver that waited longest")
                try delivered(pushed)
            case .buffered:
                try check(waiters.isEmpty, "buffered beside a receiver")
                messages.append((pushed, size))
                try check(bytes < marks.highBytes || sourceIsPaused, "no pause at \(bytes) bytes")
            case .bufferedPause:
                try check(waiters.isEmpty, "buffered beside a receiver")
                messages.append((pushed, size))
                try check(bytes >= marks.highBytes && !sourceIsPaused, "a pause at \(bytes) bytes")
                sourceIsPaused = true
            }
            try invariants()
        }

        /// Receives; waits when there is nothing.
        mutating func receive() throws(Mismatch) {
            switch queue.pop() {
            case .message(let message, let resume):
                try check(!messages.isEmpty, "a message out of nothing")
                let (number, size) = messages.removeFirst()
                try check(message == Self.message(number, size), "not the oldest message")
                try delivered(number)
                let expected = sourceIsPaused && messages.count <= marks.lowMessages && bytes < marks.highBytes
                try check(
                    resume == expected, "resume \(resume) with \(messages.count) messages and \(bytes) bytes left")
                if resume { sourceIsPaused = false }
            case .ended(let text):
                try check(messages.isEmpty && text == outcome, "ended with \(text)")
            case .empty:
                try check(messages.isEmpty && outcome == nil, "empty")
                nextID += 1
                queue.wait(id: nextID, Int(nextID) * 3)
                waiters.append((nextID, Int(nextID) * 3))
            }
            try invariants()
        }

        mutating func cancel(at index: Int) throws(Mismatch) {
            if index < waiters.count {
                let (id, value) = waiters.remove(at: index)
                try check(queue.cancel(id: id) == value, "cancelled another receiver")
                try check(queue.cancel(id: id) == nil, "cancelled twice")
            } else {
                try check(queue.cancel(id: nextID + 1) == nil, "cancelled nobody")
            }
            try invariants()
        }

        mutating func endTurn() throws(Mismatch) {
            let expected = messages.count >= marks.highMessages && !sourceIsPaused && outcome == nil
            try check(queue.shouldPause() == expected, "pause \(!expected) with \(messages.count) messages")
            if expected { sourceIsPaused = true }
            try check(!queue.shouldPause(), "a second pause")
            try invariants()
        }

        mutating func finish(_ text: String) throws(Mismatch) {
            try check(queue.finish(text) == waiters.map(\.value), "not all receivers were told")
            waiters = []
            if outcome == nil { outcome = text }
            try invariants()
        }

        mutating func resumeForClosing() throws(Mismatch) {
            try check(queue.resumeForClosing() == sourceIsPaused, "resumed a source that was not paused")
            sourceIsPaused = false
            try invariants()
        }

        func invariants() throws(Mismatch) {
            try check(queue.messageCount == messages.count && queue.waiterCount == waiters.count, "counts")
            try check(messages.isEmpty || waiters.isEmpty, "a receiver waits beside a message")
            try check(queue.isPaused == sourceIsPaused, "pauses and resumes do not alternate")
            try check(!queue.isPaused || !messages.isEmpty, "paused with nothing to receive: nobody would ever resume")
            try check(
                queue.isAboveMark == (messages.count >= marks.highMessages && !sourceIsPaused), "isAboveMark")
        }

        mutating func perform(_ operation: Int) throws(Mismatch) {
            switch operation {
            case 0: try push(1)
            case 1: try push(3)
            case 2: try receive()
            case 3: try cancel(at: 0)
            case 4: try endTurn()
            case 5: try finish(outcome == nil ? "first" : "second")
            default: try resumeForClosing()
            }
        }
    }

    /// Every sequence of seven operations, for marks that are met at once.
    @Test(arguments: [
        WebSocketOptions.InboundBuffer(highMessages: 1, lowMessages: 0, highBytes: 100),
        .init(highMessages: 2, lowMessages: 1, highBytes: 100), .init(highMessages: 2, lowMessages: 0, highBytes: 4),
        .init(highMessages: 100, lowMessages: 0, highBytes: 3), .init(highMessages: 3, lowMessages: 2, highBytes: 1),
    ])
    func allShortSequences(_ marks: WebSocketOptions.InboundBuffer) throws {
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

    @Test(arguments: [41, 42, 43, 44] as [UInt64])
    func randomSequences(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<20 {
            let high = 1 + random.below(6)
            var pair = Pair(
                .init(highMessages: high, lowMessages: random.below(high), highBytes: 1 + random.below(40)))
            // Phases in which receivers, then the source, are in the majority.
            for step in 0..<400 {
                let receiving = step / 50 % 2 == 0 ? 3 : 7
                do throws(Mismatch) {
                    switch random.below(12) {
                    case 0..<receiving: try pair.receive()
                    case receiving..<9: try pair.push(random.below(12))
                    case 9: try pair.cancel(at: random.below(4))
                    case 10: try pair.endTurn()
                    default: if random.below(10) == 0 { try pair.resumeForClosing() }
                    }
                } catch {
                    throw Mismatch(description: "seed \(seed), round \(round), step \(step): \(error)")
                }
            }
            try pair.finish("end")
            // What was buffered is still there, in order, and then the outcome, as often as one asks.
            for _ in 0...(pair.messages.count + 1) { try pair.receive() }
            try check(pair.messages.isEmpty && pair.waiters.isEmpty, "seed \(seed), round \(round)")
        }
    }

    @Test func theFirstOutcomeStays() {
        var queue = Queue(marks: .init())
        #expect(queue.finish("first").isEmpty)
        #expect(queue.finish("second").isEmpty)
        guard case .ended("first") = queue.pop() else {
            Issue.record("not the first outcome")
            return
        }
    }

    @Test func textCountsItsUTF8() {
        var queue = Queue(marks: .init(highMessages: 100, lowMessages: 1, highBytes: 6))
        guard case .buffered = queue.push(.text("€")) else {
            Issue.record("3 bytes are below the mark")
            return
        }
        guard case .bufferedPause = queue.push(.text("€")) else {
            Issue.record("6 bytes are at the mark")
            return
        }
        #expect(queue.isPaused)
    }

    @Test func aReceiverMayNotWaitBesideAMessage() async {
        await #expect(processExitsWith: .failure) {
            var queue = InboundQueue<Int, String>(marks: .init())
            _ = queue.push("message")
            queue.wait(id: 1, 1)
        }
        await #expect(processExitsWith: .failure) {
            var queue = InboundQueue<Int, String>(marks: .init())
            _ = queue.finish("end")
            queue.wait(id: 1, 1)
        }
    }
}
