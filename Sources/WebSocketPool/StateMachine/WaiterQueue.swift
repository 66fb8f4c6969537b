//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import DequeModule
package import WebSocketConcurrency

/// What an acquire accepts.
package enum AcquireKind: Sendable, Hashable {
    /// Any connection.
    case any
    /// Only one that has never been lent.
    case new
    /// None: a connection is to be opened, whichever acquire gets it. Fails with the first failed attempt.
    case warmUp
}

/// Acquires in the order of their tickets.
package struct WaiterQueue<Waiter> {
    package struct Entry {
        package var ticket: UInt64
        package var waiter: Waiter
        package var kind: AcquireKind
        package var queuedAt: Ticks
        package var deadline: Ticks
        package var site: WebSocketPoolSourceSite
        /// Observers have been told that it waits.
        package var isQueued = false
    }

    package private(set) var entries: Deque<Entry> = []
    package private(set) var newCount = 0

    package var isEmpty: Bool { entries.isEmpty }
    package var count: Int { entries.count }
    package var anyCount: Int { entries.count - newCount }

    /// Puts an entry where its ticket belongs. That is the end, unless an acquire got a connection that turned out
    /// to be dead and takes up its old place.
    mutating func insert(_ entry: Entry) {
        var index = entries.count
        while index > 0, entries[index - 1].ticket > entry.ticket { index -= 1 }
        entries.insert(entry, at: index)
        count(entry.kind, 1)
    }

    /// Removes the first entry that accepts a connection which is `isNew` or not.
    mutating func popFirst(isNew: Bool) -> Entry? {
        if isNew || newCount == 0 {
            guard let entry = entries.popFirst() else { return nil }
            count(entry.kind, -1)
            return entry
        }
        guard let index = entries.firstIndex(where: { $0.kind == .any }) else { return nil }
        return remove(at: index)
    }

    mutating func markQueued(ticket: UInt64) {
        if let index = self.index(of: ticket) { entries[index].isQueued = true }
    }

    func contains(ticket: UInt64) -> Bool { index(of: ticket) != nil }

    mutating func remove(ticket: UInt64) -> Entry? { index(of: ticket).map { remove(at: $0) } }

    private func index(of ticket: UInt64) -> Int? {
        // Tickets ascend, so this is a binary search.
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].ticket < ticket { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].ticket == ticket ? low : nil
    }

    mutating func removeFirst(where matches: (Entry) -> Bool) -> Entry? {
        entries.firstIndex(where: matches).map { remove(at: $0) }
    }

    private mutating func remove(at index: Int) -> Entry {
        let entry = entries.remove(at: index)
        count(entry.kind, -1)
        return entry
    }

    private mutating func count(_ kind: AcquireKind, _ change: Int) {
        if kind == .new { newCount += change }
    }
}

extension WaiterQueue: Sendable where Waiter: Sendable {}
extension WaiterQueue.Entry: Sendable where Waiter: Sendable {}
