//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Counts the bytes that wait for the operating system, and holds the senders that wait for room.
@usableFromInline package struct OutboundQueue<Waiter: Sendable>: Sendable {
    @usableFromInline let marks: WebSocketOptions.OutboundBuffer
    @usableFromInline package internal(set) var bytes = 0
    @usableFromInline var waiters = WaiterList<Waiter>()
    /// Whether the low mark was reached and waiting senders are going on.
    @usableFromInline var isAdmitting = false

    @inlinable package init(marks: WebSocketOptions.OutboundBuffer) { self.marks = marks }

    @inlinable package var waiterCount: Int { waiters.count }

    /// Whether a message may be taken now. One that would overtake a waiting sender may not.
    @inlinable package var hasRoom: Bool { bytes < marks.highBytes && waiters.isEmpty }

    /// A message of so many bytes on the wire was taken.
    @inlinable package mutating func took(_ count: Int) { bytes += count }

    /// A sender waits, after `hasRoom` said no.
    @inlinable package mutating func wait(id: UInt64, _ waiter: Waiter) { waiters.append(id: id, waiter) }

    /// The sender under this number, if it still waits.
    @inlinable package mutating func cancel(id: UInt64) -> Waiter? { waiters.remove(id: id) }

    /// The operating system took so many bytes.
    @inlinable package mutating func drained(_ count: Int) {
        bytes -= count
        assert(bytes >= 0)
    }

    /// The next sender that may go on: from the low mark on, and then until the high mark. Ask until it is `nil`.
    @inlinable package mutating func nextAdmitted() -> Waiter? {
        if bytes <= marks.lowBytes { isAdmitting = true }
        if bytes >= marks.highBytes || waiters.isEmpty { isAdmitting = false }
        return isAdmitting ? waiters.popFirst() : nil
    }

    /// The connection ended: all waiting senders.
    @inlinable package mutating func finish() -> [Waiter] { waiters.removeAll() }
}
