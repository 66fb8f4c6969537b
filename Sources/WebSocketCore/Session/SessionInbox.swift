//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

/// Events that wait for a taker, and takers that no event has reached yet. Some takers want messages only.
package struct SessionInbox<Waiter: Sendable>: Sendable {
    package struct Limits: Sendable {
        package var messages: Int
        package var bytes: Int
        package var policy: WebSocketOverflowPolicy

        package init(messages: Int, bytes: Int, policy: WebSocketOverflowPolicy) {
            self.messages = messages
            self.bytes = bytes
            self.policy = policy
        }
    }

    private struct Taker: Sendable {
        let wantsMessagesOnly: Bool
        let waiter: Waiter
    }

    private let limits: Limits
    /// Each with its place in the common order.
    private var messages: Deque<(place: UInt64, message: WebSocketMessage)> = []
    private var notices: Deque<(place: UInt64, event: WebSocketSessionEvent)> = []
    private var nextPlace: UInt64 = 0
    private var takers = WaiterList<Taker>()
    private var bytes = 0
    /// Messages dropped since the last gap, and the place where they would have been.
    private var hole = 0
    /// Whether the source was told to wait and not yet to go on.
    package private(set) var isSourcePaused = false
    package private(set) var droppedMessages = 0
    /// Events other than messages that no taker took in time.
    package private(set) var droppedEvents = 0
    package private(set) var overflows = 0
    /// Gap events that stand for dropped messages.
    package private(set) var holes = 0
    /// How the session ended, once it has; nil inside means well.
    package private(set) var outcome: WebSocketError??

    /// Events other than messages that are kept for a taker who may never come.
    private static var noticeLimit: Int { 1_024 }

    package init(limits: Limits) { self.limits = limits }

    package var waiterCount: Int { takers.count }
    private var isFull: Bool { messages.count >= limits.messages || bytes >= limits.bytes }

    package struct Delivery: Sendable {
        package let waiter: Waiter
        package let event: WebSocketSessionEvent
    }

    package enum PushAction: Sendable {
        case deliver(Delivery)
        case buffered
        /// Buffered, and the source must wait until `take` says that it may go on.
        case bufferedPause
        /// Something was dropped.
        case dropped
        /// The connection has to go; the message is buffered.
        case disconnect
    }

    /// A message came. `canPause` is false for a source that has ended: what it still holds is in memory anyway.
    package mutating func push(_ message: WebSocketMessage, canPause: Bool = true) -> PushAction {
        if let taker = takers.popFirst() {
            return .deliver(Delivery(waiter: taker.waiter, event: .message(message)))
        }
        guard isFull else {
            append(message)
            if isFull, limits.policy == .suspendReading, canPause {
                isSourcePaused = true
                return .bufferedPause
            }
            return .buffered
        }
        switch limits.policy {
        case .suspendReading:
            append(message)
            guard canPause else { return .buffered }
            isSourcePaused = true
            return .bufferedPause
        case .dropOldest:
            let oldest = messages.removeFirst()
            bytes -= oldest.message.byteCount
            noteDropped()
            // The hole is where the oldest message was: before everything that is left of its kind.
            putHole(at: oldest.place)
            append(message)
            return .dropped
        case .dropNewest:
            noteDropped()
            putHole(at: nextPlace)
            return .dropped
        case .disconnect:
            overflows += 1
            append(message)
            return .disconnect
        }
    }

    private mutating func append(_ message: WebSocketMessage) {
        hole = 0
        messages.append((nextPlace, message))
        nextPlace += 1
        bytes += message.byteCount
    }

    private mutating func noteDropped() {
        droppedMessages += 1
        overflows += 1
    }

    /// One gap stands for all messages that are dropped in a row.
    private mutating func putHole(at place: UInt64) {
        if limits.policy == .dropNewest {
            if hole > 0, let last = notices.popLast() {
                hole += 1
                notices.append((last.place, .gap(WebSocketSessionGap(.overflow(dropped: hole)))))
                return
            }
            hole = 1
            holes += 1
            nextPlace += 1
            appendNotice((place, .gap(WebSocketSessionGap(.overflow(dropped: 1)))))
            return
        }
        if let first = notices.first, case .gap(let gap) = first.event, case .overflow(let count) = gap.cause,
            messages.first.map({ first.place < $0.place }) ?? true
        {
            notices.removeFirst()
            notices.prepend((place, .gap(WebSocketSessionGap(.overflow(dropped: count + 1)))))
        } else {
            holes += 1
            notices.prepend((place, .gap(WebSocketSessionGap(.overflow(dropped: 1)))))
            trimNotices()
        }
    }

    /// Something other than a message happened.
    package mutating func push(_ event: WebSocketSessionEvent) -> Delivery? {
        hole = 0
        if let taker = takers.popFirst(where: { !$0.wantsMessagesOnly }) {
            return Delivery(waiter: taker.waiter, event: event)
        }
        appendNotice((nextPlace, event))
        nextPlace += 1
        return nil
    }

    private mutating func appendNotice(_ notice: (place: UInt64, event: WebSocketSessionEvent)) {
        notices.append(notice)
        trimNotices()
    }

    private mutating func trimNotices() {
        guard notices.count > Self.noticeLimit else { return }
        notices.removeFirst()
        droppedEvents += 1
    }

    package enum TakeAction: Sendable {
        /// An event; `resume` when the source may go on.
        case event(WebSocketSessionEvent, resume: Bool)
        case ended(WebSocketError?)
        case empty
    }

    /// A taker wants an event.
    package mutating func take(messagesOnly: Bool) -> TakeAction {
        let notice = messagesOnly ? nil : notices.first
        if let notice, messages.first.map({ notice.place < $0.place }) ?? true {
            notices.removeFirst()
            hole = 0
            return .event(notice.event, resume: false)
        }
        if let first = messages.popFirst() {
            bytes -= first.message.byteCount
            let resume = isSourcePaused && messages.count <= limits.messages / 4 && bytes <= limits.bytes / 2
            if resume { isSourcePaused = false }
            return .event(.message(first.message), resume: resume)
        }
        if let outcome { return .ended(outcome) }
        return .empty
    }

    /// The taker waits, after `take` found nothing.
    package mutating func wait(id: UInt64, messagesOnly: Bool, _ waiter: Waiter) {
        takers.append(id: id, Taker(wantsMessagesOnly: messagesOnly, waiter: waiter))
    }

    /// The session gave up: all who wait are to be told.
    package mutating func removeAllTakers() -> [Waiter] { takers.removeAll().map(\.waiter) }

    package mutating func cancel(id: UInt64) -> Waiter? { takers.remove(id: id)?.waiter }

    /// Those who wait for messages and will get none: there is no connection and none will come by itself.
    package mutating func removeMessageTakers() -> [Waiter] {
        var waiters: [Waiter] = []
        while let taker = takers.popFirst(where: { $0.wantsMessagesOnly }) { waiters.append(taker.waiter) }
        return waiters
    }

    package mutating func resetCounters() {
        droppedMessages = 0
        droppedEvents = 0
        overflows = 0
        holes = 0
    }

    /// The session ended. What is buffered can still be taken; the takers returned are to be told.
    package mutating func finish(_ error: WebSocketError?) -> [Waiter] {
        if outcome == nil { outcome = .some(error) }
        return takers.removeAll().map(\.waiter)
    }
}
