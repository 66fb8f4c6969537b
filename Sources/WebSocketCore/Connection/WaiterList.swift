//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import DequeModule

/// Waiters in order of arrival, each removable by its number. Removal looks through the list: it is short.
@usableFromInline package struct WaiterList<Waiter: Sendable>: Sendable {
    @usableFromInline var entries: Deque<(id: UInt64, waiter: Waiter)> = []

    @inlinable package init() {}

    @inlinable package var count: Int { entries.count }
    @inlinable package var isEmpty: Bool { entries.isEmpty }

    /// The number of the one who has waited longest.
    @inlinable package var firstID: UInt64? { entries.first?.id }

    @inlinable package mutating func append(id: UInt64, _ waiter: Waiter) { entries.append((id, waiter)) }

    @inlinable package mutating func popFirst() -> Waiter? { entries.popFirst()?.waiter }

    /// The first one that fits.
    @inlinable package mutating func popFirst(where fits: (Waiter) -> Bool) -> Waiter? {
        guard let index = entries.firstIndex(where: { fits($0.waiter) }) else { return nil }
        return entries.remove(at: index).waiter
    }

    @inlinable package mutating func remove(id: UInt64) -> Waiter? {
        guard let index = entries.firstIndex(where: { $0.id == id }) else { return nil }
        return entries.remove(at: index).waiter
    }

    @inlinable package mutating func removeAll() -> [Waiter] {
        defer { entries = [] }
        return entries.map(\.waiter)
    }
}
