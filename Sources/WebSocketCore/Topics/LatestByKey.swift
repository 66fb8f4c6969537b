//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

/// The newest message of each key that waits for a peer, in the order in which the keys came. Each step costs the same,
/// whatever the number of keys.
package struct LatestByKey<Key: Hashable, Message> {
    private struct Entry {
        let key: Key
        var message: Message
        var byteCount: Int
    }

    private var entries: Deque<Entry> = []
    /// Where the message of a key is, counted from the first message ever. Entries leave at the front only.
    private var places: [Key: Int] = [:]
    private var left = 0
    /// The bytes of all that waits.
    package private(set) var bytes = 0

    package enum Outcome { case kept, replaced, full }

    package init() {}

    package var count: Int { entries.count }
    package var isEmpty: Bool { entries.isEmpty }

    package func contains(_ key: Key) -> Bool { places[key] != nil }

    /// Keeps a message, at the place of an older one of its key if there is one.
    ///
    /// - Parameter room: The bytes that all may have together. A first message is kept whatever its size.
    /// - Returns: `.full`, with nothing changed, when there is no room.
    package mutating func keep(_ message: Message, byteCount: Int, for key: Key, room: Int) -> Outcome {
        if let place = places[key] {
            let index = place - left
            let others = bytes - entries[index].byteCount
            guard entries.count == 1 || others + byteCount <= room else { return .full }
            bytes = others + byteCount
            entries[index].message = message
            entries[index].byteCount = byteCount
            return .replaced
        }
        guard entries.isEmpty || bytes + byteCount <= room else { return .full }
        places[key] = left + entries.count
        entries.append(Entry(key: key, message: message, byteCount: byteCount))
        bytes += byteCount
        return .kept
    }

    /// The message whose key came first.
    package mutating func popFirst() -> Message? {
        guard let entry = entries.popFirst() else { return nil }
        guard !entries.isEmpty else {
            // A peer that has caught up holds no memory.
            self = LatestByKey()
            return entry.message
        }
        places[entry.key] = nil
        left += 1
        bytes -= entry.byteCount
        return entry.message
    }
}
