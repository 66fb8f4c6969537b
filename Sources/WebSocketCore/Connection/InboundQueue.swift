//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import DequeModule

/// Messages that no task has received yet, and receivers that no message has reached yet; never both.
/// Generic over what a receiver is and how a connection ends.
@usableFromInline package struct InboundQueue<Waiter: Sendable, Outcome: Sendable>: Sendable {
    @usableFromInline let marks: WebSocketOptions.InboundBuffer
    @usableFromInline var messages: Deque<WebSocketMessage> = []
    @usableFromInline var bytes = 0
    @usableFromInline var waiters = WaiterList<Waiter>()
    /// How the connection ended, once it has.
    @usableFromInline package internal(set) var outcome: Outcome?
    /// Whether the source was told to pause and not yet to resume.
    @usableFromInline package internal(set) var isPaused = false
    /// The messages with what they cost beside their bytes: from the upper mark on the source is told, and below the
    /// lower one, once.
    @usableFromInline var upperNotice = Int.max
    @usableFromInline var lowerNotice = 0
    /// What receivers may take without giving way.
    @usableFromInline var slice = TakingSlice()

    @inlinable package init(marks: WebSocketOptions.InboundBuffer) { self.marks = marks }

    @inlinable package var waiterCount: Int { waiters.count }
    @inlinable package var messageCount: Int { messages.count }

    @usableFromInline package enum PushAction {
        /// The message goes to this receiver, which has waited longest.
        case deliver(Waiter)
        case buffered
        /// Buffered, and the byte mark is reached: stop reading at once.
        case bufferedPause
    }

    /// A message arrived.
    @inlinable package mutating func push(_ message: WebSocketMessage) -> PushAction {
        if let waiter = waiters.popFirst() { return .deliver(waiter) }
        bytes += message.byteCount
        messages.append(message)
        if bytes >= marks.highBytes && !isPaused {
            isPaused = true
            return .bufferedPause
        }
        return .buffered
    }

    /// About what a message costs beside its bytes.
    @usableFromInline static var overhead: Int { 64 }
    @inlinable var heldBytes: Int { bytes &+ messages.count &* Self.overhead }

    /// Whether more is held than was settled for.
    @inlinable package var isBeyondNotice: Bool { heldBytes >= upperNotice }

    /// What is held, in whole steps. The source is told when it is a step more, or half of it.
    @inlinable package mutating func settle(step: Int) -> Int {
        let settled = heldBytes - heldBytes % step
        (upperNotice, lowerNotice) = (settled + step, settled / 2)
        return settled
    }

    /// Nothing of what waits will be received. Returns how many messages that were.
    @inlinable package mutating func removeAll() -> Int {
        defer {
            messages = []
            bytes = 0
        }
        return messages.count
    }

    /// Whether the next turn's end has to ask `shouldPause`.
    @inlinable package var isAboveMark: Bool { messages.count >= marks.highMessages && !isPaused }

    /// Once per turn of the loop: whether the source must pause now. Per turn and not per message,
    /// because a reader on the loop has emptied the queue by then, and pausing in the middle of a read
    /// makes libwebsockets copy the rest of it.
    @inlinable package mutating func shouldPause() -> Bool {
        guard isAboveMark, outcome == nil else { return false }
        isPaused = true
        return true
    }

    /// Whether a receiver that takes one message after the other may take one more now.
    @inlinable package mutating func takesOneMore(now: () -> Int64) -> Bool { slice.takesOneMore(now: now) }

    /// A receiver gives way, or has to wait.
    @inlinable package mutating func startSlice() { slice.reset() }

    @usableFromInline package enum PopAction {
        /// A message; `resume` when the source may read again, or holds so much less that it wants to know.
        case message(WebSocketMessage, resume: Bool)
        /// Nothing will come any more.
        case ended(Outcome)
        case empty
    }

    /// A receiver wants a message.
    @inlinable package mutating func pop() -> PopAction {
        if let message = messages.popFirst() {
            bytes -= message.byteCount
            let resume = isPaused && messages.count <= marks.lowMessages && bytes < marks.highBytes
            if resume { isPaused = false }
            guard heldBytes < lowerNotice else { return .message(message, resume: resume) }
            lowerNotice = 0
            return .message(message, resume: true)
        }
        if let outcome { return .ended(outcome) }
        return .empty
    }

    /// A receiver waits, after `pop` found nothing.
    @inlinable package mutating func wait(id: UInt64, _ waiter: Waiter) {
        precondition(messages.isEmpty && outcome == nil, "a receiver must not wait beside a message")
        waiters.append(id: id, waiter)
    }

    /// The number of the receiver who has waited longest.
    @inlinable package var firstWaiterID: UInt64? { waiters.firstID }

    /// The receiver who has waited longest, for a message that it gets in another way.
    @inlinable package mutating func takeFirstWaiter() -> Waiter? { waiters.popFirst() }

    /// The receiver under this number, if it still waits.
    @inlinable package mutating func cancel(id: UInt64) -> Waiter? { waiters.remove(id: id) }

    /// The connection ended. Buffered messages can still be received; the receivers returned are to be told.
    @inlinable package mutating func finish(_ outcome: Outcome) -> [Waiter] {
        if self.outcome == nil { self.outcome = outcome }
        return waiters.removeAll()
    }

    /// The connection is closing: reading need not be slow any more.
    @inlinable package mutating func resumeForClosing() -> Bool {
        defer { isPaused = false }
        return isPaused
    }
}
