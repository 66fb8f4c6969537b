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

    /// Whether one sender has the connection to itself, for a message in several frames.
    @usableFromInline package internal(set) var isReserved = false
    /// Whether messages that were accepted have to go through the waiters to keep their order.
    @usableFromInline package internal(set) var isQueueing = false

    /// More bytes than any mark. A reservation adds them, so that other senders find no room without having to ask
    /// for one more reason.
    @usableFromInline static var reservation: Int { 1 << 60 }

    @inlinable package init(marks: WebSocketOptions.OutboundBuffer) {
        let highest = Self.reservation / 2
        self.marks = .init(highBytes: min(marks.highBytes, highest), lowBytes: min(marks.lowBytes, highest - 1))
    }

    @inlinable package var waiterCount: Int { waiters.count }

    /// Whether a message may be taken now. One that would overtake a waiting sender may not.
    @inlinable package var hasRoom: Bool { bytes < marks.highBytes && waiters.isEmpty }

    /// A message of this many bytes on the wire was taken.
    @inlinable package mutating func took(_ count: Int) { bytes += count }

    /// A sender waits, after `hasRoom` said no.
    @inlinable package mutating func wait(id: UInt64, _ waiter: Waiter) { waiters.append(id: id, waiter) }

    /// The sender under this number, if it still waits.
    @inlinable package mutating func cancel(id: UInt64) -> Waiter? { waiters.remove(id: id) }

    /// One sender takes the connection for itself, after `hasRoom` said yes or `nextAdmitted` let it pass.
    @inlinable package mutating func reserve() {
        precondition(!isReserved, "a reservation is not shared")
        isReserved = true
        isQueueing = true
        bytes += Self.reservation
    }

    /// The bytes that really wait, without the reservation's.
    package var waitingBytes: Int { isReserved ? bytes - Self.reservation : bytes }

    /// Whether the sender with the reservation may send on: between the marks, as all others.
    @inlinable package var hasReservedRoom: Bool { isReserved && bytes - Self.reservation < marks.highBytes }

    /// Whether the sender with the reservation may go on after a wait.
    @inlinable package var admitsReserved: Bool { isReserved && bytes - Self.reservation <= marks.lowBytes }

    /// The message in several frames is complete. Ask `nextAdmitted` then.
    @inlinable package mutating func endReservation() {
        precondition(isReserved, "there is no reservation to end")
        isReserved = false
        bytes -= Self.reservation
        isQueueing = !waiters.isEmpty
    }

    /// The operating system took this many bytes.
    @inlinable package mutating func drained(_ count: Int) {
        bytes -= count
        assert(bytes >= 0)
    }

    /// The next sender that may go on: from the low mark on, and then until the high mark. Ask until it is `nil`.
    @inlinable package mutating func nextAdmitted() -> Waiter? {
        if bytes <= marks.lowBytes { isAdmitting = true }
        if bytes >= marks.highBytes || waiters.isEmpty { isAdmitting = false }
        guard isAdmitting else { return nil }
        defer { if waiters.isEmpty { isQueueing = isReserved } }
        return waiters.popFirst()
    }

    /// The connection ended: all waiting senders.
    @inlinable package mutating func finish() -> [Waiter] { waiters.removeAll() }
}
