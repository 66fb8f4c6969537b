//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import Synchronization
package import WebSocketCore

/// The subscribers of one loop. Loop-confined behind `execute`, but for the counts.
package final class TopicTable: @unchecked Sendable {
    package let loop: WebSocketEventLoop
    private var topics: [String: Subscribers] = [:]
    private var memberships: [ObjectIdentifier: Set<String>] = [:]
    /// Subscribers that get nothing, or not all, until what they missed is recovered.
    private var gates: [GateKey: TopicGate] = [:]
    private let counts = Mutex<[String: Int]>([:])
    /// Told of each subscription that has ended. On the loop.
    private let ended: (@Sendable (String) -> Void)?
    /// Bytes that were posted to the loop and not taken; for a router.
    package let postedBytes = Atomic<Int>(0)
    /// How often the loop has taken what was posted; for routers, which may be several.
    package let turns = Atomic<UInt64>(0)

    private struct Lane {
        var waiting: [@Sendable () -> Void] = []
        var isPosted = false
    }
    private let lane = Mutex(Lane())

    private struct Subscribers {
        var connections: [ObjectIdentifier: Connection] = [:]
        /// What the newest message of the topic is kept under. A connection may have topics of the same name from another
        /// table.
        let key: String
    }

    private struct GateKey: Hashable {
        let connection: ObjectIdentifier
        let topic: String
    }

    package init(loop: WebSocketEventLoop, ended: (@Sendable (String) -> Void)? = nil) {
        self.loop = loop
        self.ended = ended
    }

    /// Runs operations on the loop in the order of the calls, from whichever threads they come. `execute` alone does not:
    /// on the loop it runs at once, in front of what other threads have left there before. Returns `false`, and does
    /// nothing, after the loop has shut down.
    @discardableResult
    package func post(_ operation: @escaping @Sendable () -> Void) -> Bool {
        let mustPost = lane.withLock { lane in
            lane.waiting.append(operation)
            defer { lane.isPosted = true }
            return !lane.isPosted
        }
        guard mustPost else { return true }
        let isTaken = loop.execute { self.carryOut() }
        if !isTaken { lane.withLock { $0 = Lane() } }
        return isTaken
    }

    private func carryOut() {
        while true {
            let operations = lane.withLock { lane in
                defer { lane.waiting = [] }
                if lane.waiting.isEmpty { lane.isPosted = false }
                return lane.waiting
            }
            guard !operations.isEmpty else { return }
            for operation in operations { operation() }
        }
    }

    /// From any thread.
    package func count(of topic: String) -> Int { counts.withLock { $0[topic] ?? 0 } }

    /// Returns whether it is subscribed now and was not before.
    @discardableResult
    package func subscribe(_ connection: Connection, to topic: String) -> Bool {
        guard connection.closeInfo == nil else { return false }
        let id = ObjectIdentifier(connection)
        // In place: a copy would cost as much as the topic has subscribers.
        let before = topics[topic, default: Subscribers(key: "\(ObjectIdentifier(self).hashValue) \(topic)")]
            .connections.updateValue(connection, forKey: id)
        guard before == nil else { return false }
        if memberships[id] == nil {
            // The end of the connection undoes the cycle.
            connection.addEndHandler { self.forget(id) }
        }
        memberships[id, default: []].insert(topic)
        counts.withLock { $0[topic, default: 0] += 1 }
        return true
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
        topics[topic]?.connections[id] = nil
        if topics[topic]?.connections.isEmpty == true { topics[topic] = nil }
        gates[GateKey(connection: id, topic: topic)] = nil
        counts.withLock { counts in
            counts[topic, default: 1] -= 1
            if counts[topic] == 0 { counts[topic] = nil }
        }
        ended?(topic)
    }

    /// - Parameters:
    ///   - except: The number of a connection that does not get it.
    ///   - position: Where it stands in the topic's history, for subscribers that recover.
    package func publish(
        _ message: EncodedMessage, to topic: String, _ limits: BroadcastLimits, except: UInt64?,
        at position: WebSocketTopicPosition? = nil
    ) -> BroadcastCounts {
        var counts = BroadcastCounts()
        guard let subscribers = topics[topic] else { return counts }
        for (id, connection) in subscribers.connections where connection.number != except {
            if !gates.isEmpty, !passes(message, GateKey(connection: id, topic: topic), position) { continue }
            counts.note(connection.broadcast(message, limits, key: subscribers.key))
        }
        return counts
    }

    // MARK: Recovery

    /// The connection gets nothing of the topic until `release`.
    package func hold(_ connection: Connection, _ topic: String) {
        gates[GateKey(connection: ObjectIdentifier(connection), topic: topic)] = TopicGate()
    }

    private func passes(_ message: EncodedMessage, _ key: GateKey, _ position: WebSocketTopicPosition?) -> Bool {
        switch gates[key]?.take(message, position) {
        case nil: return true
        case .held, .known: return false
        case .open:
            gates[key] = nil
            return true
        }
    }

    /// The connection gets what it missed, then what was held, then what follows.
    ///
    /// - Parameter floor: Where what it missed ends; nil when that is not known.
    /// - Returns: Nil when more came meanwhile than is held: then it gets neither.
    package func release(
        _ connection: Connection, _ topic: String, _ missed: [EncodedMessage], floor: WebSocketTopicPosition?,
        _ limits: BroadcastLimits
    ) -> BroadcastCounts? {
        let key = GateKey(connection: ObjectIdentifier(connection), topic: topic)
        var counts = BroadcastCounts()
        guard let subscribers = topics[topic], var gate = gates[key] else { return counts }
        guard let held = gate.open(at: floor) else {
            gates[key] = nil
            return nil
        }
        gates[key] = floor == nil ? nil : gate
        for message in missed + held { counts.note(connection.broadcast(message, limits, key: subscribers.key)) }
        return counts
    }
}

/// What comes for a subscriber before it has got what it missed.
private struct TopicGate {
    private static let maximumHeld = 1_000

    private var held: [(message: EncodedMessage, position: WebSocketTopicPosition?)] = []
    private var isOverflown = false
    private var floor: WebSocketTopicPosition?
    private var isReleased = false

    enum Passage { case held, known, open }

    mutating func take(_ message: EncodedMessage, _ position: WebSocketTopicPosition?) -> Passage {
        if isReleased { return isKnown(position) ? .known : .open }
        if held.count < Self.maximumHeld { held.append((message, position)) } else { isOverflown = true }
        return .held
    }

    private func isKnown(_ position: WebSocketTopicPosition?) -> Bool {
        guard let floor, let position else { return false }
        return position.epoch == floor.epoch && position.offset <= floor.offset
    }

    /// What was held and is behind the floor; nil when there was too much.
    mutating func open(at floor: WebSocketTopicPosition?) -> [EncodedMessage]? {
        guard !isOverflown else { return nil }
        self.floor = floor
        isReleased = true
        let messages = held.filter { !isKnown($0.position) }.map(\.message)
        held = []
        return messages
    }
}
