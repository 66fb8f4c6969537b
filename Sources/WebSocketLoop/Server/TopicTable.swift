//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// The subscribers of one loop. Loop-confined behind `execute`, but for the counts.
package final class TopicTable: @unchecked Sendable {
    package let loop: WebSocketEventLoop
    private var topics: [String: [ObjectIdentifier: Connection]] = [:]
    private var memberships: [ObjectIdentifier: Set<String>] = [:]
    private let counts = Mutex<[String: Int]>([:])

    package init(loop: WebSocketEventLoop) { self.loop = loop }

    /// From any thread.
    package func count(of topic: String) -> Int { counts.withLock { $0[topic] ?? 0 } }

    package func subscribe(_ connection: Connection, to topic: String) {
        guard connection.closeInfo == nil else { return }
        let id = ObjectIdentifier(connection)
        guard topics[topic, default: [:]].updateValue(connection, forKey: id) == nil else { return }
        if memberships[id] == nil {
            connection.alsoOnEnd { [weak self] in self?.forget(id) }
        }
        memberships[id, default: []].insert(topic)
        counts.withLock { $0[topic, default: 0] += 1 }
    }

    package func unsubscribe(_ connection: Connection, from topic: String) {
        let id = ObjectIdentifier(connection)
        guard memberships[id]?.remove(topic) != nil else { return }
        remove(id, from: topic)
    }

    private func forget(_ id: ObjectIdentifier) {
        for topic in memberships.removeValue(forKey: id) ?? [] { remove(id, from: topic) }
    }

    private func remove(_ id: ObjectIdentifier, from topic: String) {
        topics[topic]?[id] = nil
        if topics[topic]?.isEmpty == true { topics[topic] = nil }
        counts.withLock { counts in
            counts[topic, default: 1] -= 1
            if counts[topic] == 0 { counts[topic] = nil }
        }
    }

    package func publish(
        _ message: EncodedMessage, to topic: String, _ limits: BroadcastLimits, except: Connection?
    ) -> BroadcastCounts {
        var counts = BroadcastCounts()
        guard let subscribers = topics[topic] else { return counts }
        // A connection may have topics of the same name from somebody else.
        let key = "\(ObjectIdentifier(self).hashValue) \(topic)"
        for connection in subscribers.values where connection !== except {
            counts.note(connection.broadcast(message, limits, key: key))
        }
        return counts
    }
}
