//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Tells which messages of a new connection the old one has already brought, while both are open.
///
/// What the old one brings is remembered from the moment in which the new one begins to subscribe; the new one's equal
/// message is dropped once for each. Identities are counted, so a feed may repeat itself.
package struct HandoverFilter<Identity: Hashable & Sendable>: Sendable {
    private var delivered: [Identity: Int] = [:]
    /// Messages of the new connection that wait until the old one has ended.
    package private(set) var held: [(WebSocketMessage, Identity?)] = []

    package init() {}

    package var isEmpty: Bool { delivered.isEmpty }

    /// The old connection brought this.
    package mutating func oldDelivered(_ identity: Identity?) {
        if let identity { delivered[identity, default: 0] += 1 }
    }

    /// The new connection brought this while the old one is not at its end.
    package mutating func hold(_ message: WebSocketMessage, _ identity: Identity?) { held.append((message, identity)) }

    /// Whether the new connection's message is new. Each of the old one's answers for one.
    package mutating func admits(_ identity: Identity?) -> Bool {
        guard let identity, let count = delivered[identity] else { return true }
        delivered[identity] = count > 1 ? count - 1 : nil
        return false
    }

    /// The old connection has ended: what was held and is new, in order.
    package mutating func release() -> [WebSocketMessage] {
        let waiting = held
        held = []
        return waiting.compactMap { message, identity in admits(identity) ? message : nil }
    }
}
