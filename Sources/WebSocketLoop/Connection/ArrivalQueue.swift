//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

/// Where the loop leaves messages and receivers take them, on any thread.
struct ArrivalQueue: ~Copyable {
    typealias Waiter = LoopWaiter<WebSocketMessage>
    private typealias Queue = InboundQueue<Waiter, ConnectionEnd>

    private let queue: Mutex<Queue>
    /// Messages that are not received yet, and receivers that still wait. Follows the queue, under its lock.
    private let count = Atomic<Int>(0)
    /// A receiver has taken as many messages as it may without giving way.
    private let mustGiveWay = Atomic<Bool>(false)

    init(marks: WebSocketOptions.InboundBuffer) {
        var first = Queue(marks: marks)
        _ = first.settle(step: MemoryLedger.step)
        queue = Mutex(first)
    }

    @inline(__always)
    private borrowing func note(_ queue: borrowing Queue) {
        count.store(queue.messageCount + queue.waiterCount, ordering: .releasing)
    }

    /// Whether messages or receivers wait. Without the lock.
    @inline(__always)
    var isEmpty: Bool { count.load(ordering: .acquiring) == 0 }

    var messageCount: Int { queue.withLock { $0.messageCount } }
    var hasReceivers: Bool { queue.withLock { $0.waiterCount > 0 } }
    /// Whether reading was paused because no receiver takes what has come.
    var isPaused: Bool { queue.withLock { $0.isPaused } }
    /// How the connection ended, once it has.
    var end: ConnectionEnd? { queue.withLock { $0.outcome } }

    // MARK: The loop

    enum Push {
        case deliver(Waiter)
        case buffered
        /// Buffered, and the byte mark is reached: stop reading at once.
        case bufferedPause
        /// Buffered, and there may be too many at the end of the turn.
        case bufferedCheck
        /// Buffered, and at the end of the turn there may be more than was settled for.
        case bufferedSettle
        case dropped
    }

    /// A message has arrived.
    ///
    /// - Parameter isFull: Whether the message is dropped when this many wait already, and no receiver does.
    @inline(__always)
    borrowing func push(_ message: WebSocketMessage, isFull: (_ waiting: Int) -> Bool) -> Push {
        queue.withLock { queue in
            defer { note(queue) }
            if isFull(queue.waiterCount == 0 ? queue.messageCount : -1) { return .dropped }
            switch queue.push(message) {
            case .deliver(let waiter): return .deliver(waiter)
            case .buffered where queue.isBeyondNotice: return .bufferedSettle
            case .buffered: return queue.isAboveMark ? .bufferedCheck : .buffered
            case .bufferedPause: return .bufferedPause
            }
        }
    }

    /// What is held, in whole steps; receivers tell when it is half of that.
    borrowing func settle() -> Int { queue.withLock { $0.settle(step: MemoryLedger.step) } }

    /// Nothing of what waits will be received. Returns how many messages that were.
    borrowing func removeAll() -> Int {
        queue.withLock { queue in
            defer { note(queue) }
            return queue.removeAll()
        }
    }

    /// The turn is over: whether the source must pause.
    borrowing func shouldPause() -> Bool { queue.withLock { $0.shouldPause() } }

    /// The connection is closing: whether the source must resume.
    borrowing func resumeForClosing() -> Bool { queue.withLock { $0.resumeForClosing() } }

    /// The receiver that has waited longest, for a message that it gets in another way: if it is one of these.
    borrowing func claim<Reader: Sendable>(_ readers: [UInt64: Reader]) -> (Reader, Waiter)? {
        queue.withLock { queue in
            defer { note(queue) }
            guard let first = queue.firstWaiterID, let reader = readers[first], let waiter = queue.takeFirstWaiter()
            else { return nil }
            return (reader, waiter)
        }
    }

    /// Nothing will come any more. Returns the receivers that are to be told. The first end counts.
    borrowing func finish(_ end: ConnectionEnd) -> [Waiter] { queue.withLock { $0.finish(end) } }

    // MARK: Receivers

    /// Whether the caller has taken so many messages that it must give way, which it then does.
    @inline(__always)
    borrowing func givesWay() -> Bool {
        guard mustGiveWay.load(ordering: .relaxed) else { return false }
        mustGiveWay.store(false, ordering: .relaxed)
        queue.withLock { $0.startSlice() }
        return true
    }

    enum Pop {
        /// A message; `resume` when the source may read again, or holds so much less that it wants to know.
        case message(WebSocketMessage, resume: Bool)
        case ended(ConnectionEnd)
        case empty
    }

    /// A message that has already arrived.
    ///
    /// - Parameter inSlice: None also when the caller has taken this many that it must give way.
    @inline(__always)
    borrowing func pop(inSlice: Bool = false) -> Pop {
        queue.withLock { queue in
            guard !inSlice || queue.takesOneMore(now: WebSocketEventLoop.coarseNanoseconds) else {
                mustGiveWay.store(true, ordering: .relaxed)
                return .empty
            }
            defer { note(queue) }
            return switch queue.pop() {
            case .message(let message, let resume): .message(message, resume: resume)
            case .ended(let end): .ended(end)
            case .empty: .empty
            }
        }
    }

    enum PopOrWait {
        /// A message; `resume` as of `Pop`.
        case message(WebSocketMessage, resume: Bool)
        case ended(ConnectionEnd)
        /// The waiter is in the queue.
        case waits
        /// Nothing waits: what comes next is arriving already, and the caller takes it in pieces.
        case underWay
        case cancelled
    }

    /// The next message, or a place among those that wait for one.
    ///
    /// - Parameters:
    ///   - isCancelled: Asked under the lock: a cancellation that comes later finds the waiter in the queue.
    ///   - takesPieces: A message is arriving that no receiver has claimed.
    @inline(__always)
    borrowing func popOrWait(
        id: UInt64, takesPieces: Bool, isCancelled: () -> Bool, _ waiter: () -> Waiter
    ) -> PopOrWait {
        queue.withLock { queue in
            if isCancelled() { return .cancelled }
            defer { note(queue) }
            switch queue.pop() {
            case .message(let message, let resume): return .message(message, resume: resume)
            case .ended(let end): return .ended(end)
            case .empty:
                if takesPieces && queue.waiterCount == 0 { return .underWay }
                queue.startSlice()
                queue.wait(id: id, waiter())
                return .waits
            }
        }
    }

    /// The receiver under this number, if no message has reached it.
    borrowing func cancel(id: UInt64) -> Waiter? {
        queue.withLock { queue in
            defer { note(queue) }
            return queue.cancel(id: id)
        }
    }
}
