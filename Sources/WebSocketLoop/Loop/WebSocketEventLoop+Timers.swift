//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketConcurrency
import WebSocketCore

/// The deadlines of a loop, and the one that libuv's timer is set to.
struct LoopTimers {
    fileprivate var heap = TimerHeap<() -> Void>()
    fileprivate var armedDeadline: UInt64?
    /// When the loop last went to read its sockets, and when it did so before.
    fileprivate var readingBegan: (last: UInt64, previous: UInt64) = (0, 0)
}

extension WebSocketEventLoop {
    typealias TimerToken = TimerHeap<() -> Void>.Token

    /// Runs `action` on the loop after a delay in nanoseconds, rounded up to milliseconds.
    func schedule(after nanoseconds: UInt64, _ action: @escaping () -> Void) -> TimerToken {
        schedule(at: now &+ nanoseconds, action)
    }

    func schedule(at deadline: UInt64, _ action: @escaping () -> Void) -> TimerToken {
        counters.timers.add(1)
        return timers.heap.schedule(at: deadline, action)
    }

    func cancel(_ token: TimerToken?) {
        if let token, timers.heap.cancel(token) != nil { counters.timers.subtract(1) }
    }

    /// Whether libuv waits for another deadline than the first.
    var isTimerStale: Bool { timers.heap.nextDeadline != timers.armedDeadline }

    /// Lets libuv wake the loop at the first deadline.
    func armTimer() {
        let next = timers.heap.nextDeadline
        guard next != timers.armedDeadline else { return }
        timers.armedDeadline = next
        guard let next else { return uvLoop.arm(nil) }
        let now = now
        uvLoop.arm(next > now ? (next - now + 999_999) / 1_000_000 : 0)
    }

    /// The turn is over: the loop goes to read its sockets.
    func noteReading() { timers.readingBegan = (now, timers.readingBegan.last) }

    /// libuv's timer is due. A deadline is judged when the sockets have been read since it came: a loop that was held, or a
    /// process that was stopped, finds there what its peers sent in time.
    func fireTimers() {
        timers.armedDeadline = nil
        // On another backend libuv's own wait is not the one for the sockets, which comes between two of them.
        let judged = backend == .libuv ? timers.readingBegan.last : timers.readingBegan.previous
        while let action = timers.heap.popDue(now: judged) {
            counters.timers.subtract(1)
            action()
        }
    }
}

extension Duration {
    /// Whole nanoseconds, at least 0, at most about 292 years.
    package var nanoseconds: UInt64 { UInt64(ticks) }
}
