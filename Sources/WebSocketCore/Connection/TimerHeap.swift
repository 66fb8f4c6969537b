//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Deadlines in a binary heap, each with the number of its owner's slot, so that one is cancelled or moved in
/// O(log n). The times are whatever unit the owner uses.
@usableFromInline package struct TimerHeap<Payload> {
    /// Names one scheduled deadline. A used or cancelled token names nothing.
    @usableFromInline package struct Token: Hashable, Sendable {
        @usableFromInline let slot: Int
        @usableFromInline let generation: UInt32

        @inlinable init(slot: Int, generation: UInt32) {
            self.slot = slot
            self.generation = generation
        }
    }

    @usableFromInline struct Entry {
        @usableFromInline var deadline: UInt64
        @usableFromInline var sequence: UInt64
        @usableFromInline var slot: Int

        @inlinable init(deadline: UInt64, sequence: UInt64, slot: Int) {
            self.deadline = deadline
            self.sequence = sequence
            self.slot = slot
        }
    }

    @usableFromInline struct Slot {
        @usableFromInline var position: Int
        @usableFromInline var generation: UInt32
        @usableFromInline var payload: Payload?

        @inlinable init(position: Int, generation: UInt32, payload: Payload?) {
            self.position = position
            self.generation = generation
            self.payload = payload
        }
    }

    @usableFromInline var heap: [Entry] = []
    @usableFromInline var slots: [Slot] = []
    @usableFromInline var freeSlots: [Int] = []
    @usableFromInline var sequence: UInt64 = 0

    @inlinable package init() {}

    @inlinable package var count: Int { heap.count }
    @inlinable package var nextDeadline: UInt64? { heap.first?.deadline }

    @inlinable package mutating func schedule(at deadline: UInt64, _ payload: Payload) -> Token {
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            slots[slot].payload = payload
        } else {
            slot = slots.count
            slots.append(Slot(position: 0, generation: 0, payload: payload))
        }
        sequence &+= 1
        heap.append(Entry(deadline: deadline, sequence: sequence, slot: slot))
        slots[slot].position = heap.count - 1
        siftUp(heap.count - 1)
        return Token(slot: slot, generation: slots[slot].generation)
    }

    /// Returns the payload, or `nil` when the token's deadline has fired or was cancelled before.
    @discardableResult
    @inlinable package mutating func cancel(_ token: Token) -> Payload? {
        guard slots[token.slot].generation == token.generation, slots[token.slot].payload != nil else { return nil }
        return remove(at: slots[token.slot].position)
    }

    /// The earliest deadline that is not after `now`. Equal deadlines fire in the order they were scheduled.
    @inlinable package mutating func popDue(now: UInt64) -> Payload? {
        guard let first = heap.first, first.deadline <= now else { return nil }
        return remove(at: 0)
    }

    @inlinable mutating func remove(at position: Int) -> Payload? {
        let slot = heap[position].slot
        let last = heap.removeLast()
        if position < heap.count {
            heap[position] = last
            slots[last.slot].position = position
            siftDown(position)
            siftUp(slots[last.slot].position)
        }
        slots[slot].generation &+= 1
        freeSlots.append(slot)
        return slots[slot].payload.take()
    }

    @inlinable func precedes(_ a: Entry, _ b: Entry) -> Bool {
        a.deadline < b.deadline || (a.deadline == b.deadline && a.sequence < b.sequence)
    }

    @inlinable mutating func swapEntries(_ a: Int, _ b: Int) {
        heap.swapAt(a, b)
        slots[heap[a].slot].position = a
        slots[heap[b].slot].position = b
    }

    @inlinable mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard precedes(heap[child], heap[parent]) else { return }
            swapEntries(child, parent)
            child = parent
        }
    }

    @inlinable mutating func siftDown(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && precedes(heap[child], heap[least])
            {
                least = child
            }
            guard least != parent else { return }
            swapEntries(parent, least)
            parent = least
        }
    }
}
