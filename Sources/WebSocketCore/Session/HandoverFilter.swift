//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Tells which messages two connections have both brought, while a new one takes over from an old one.
///
/// What the old one brings is remembered from the moment in which the new one begins to subscribe; the new one's equal
/// message is dropped once for each. What the new one brings waits until the old one is through, and if that takes too
/// long goes on alone: from then on what the old one still brings is dropped if the new one has brought it. Identities are
/// counted, so a feed may repeat itself.
package struct HandoverFilter<Identity: Hashable & Sendable>: Sendable {
    /// What the old one brought and the new one has not.
    private var old: [Identity: Int] = [:]
    /// What the new one brought alone while the old one was still there.
    private var new: [Identity: Int] = [:]
    /// Messages of the new connection that wait until the old one has ended.
    package private(set) var held: [(WebSocketMessage, Identity?)] = []
    package private(set) var heldBytes = 0
    /// Whether the new one goes on alone.
    package private(set) var isReleased = false

    package init() {}

    package var isEmpty: Bool { old.isEmpty }

    /// The old connection brought this. Returns whether it is new.
    package mutating func admitsOld(_ identity: Identity?) -> Bool {
        guard let identity else { return true }
        if let count = new[identity] {
            new[identity] = count > 1 ? count - 1 : nil
            return false
        }
        old[identity, default: 0] += 1
        return true
    }

    /// The new connection brought this while the old one is not at its end.
    package mutating func hold(_ message: WebSocketMessage, _ identity: Identity?) {
        held.append((message, identity))
        heldBytes += message.byteCount
    }

    /// Whether the new connection's message is new. Each of the old one's answers for one.
    package mutating func admits(_ identity: Identity?, remembers: Bool = false) -> Bool {
        guard let identity else { return true }
        guard let count = old[identity] else {
            if remembers { new[identity, default: 0] += 1 }
            return true
        }
        old[identity] = count > 1 ? count - 1 : nil
        return false
    }

    /// What was held and is new, in order.
    ///
    /// - Parameter remembers: Whether the old connection may still bring the same.
    package mutating func release(remembers: Bool = false) -> [WebSocketMessage] {
        let waiting = held
        held = []
        heldBytes = 0
        isReleased = true
        return waiting.compactMap { message, identity in admits(identity, remembers: remembers) ? message : nil }
    }

    /// The old connection has ended: nothing of the new one's will come again.
    package mutating func oldEnded() { new = [:] }
}
