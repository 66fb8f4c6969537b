//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore
import WebSocketLoop

/// What a broadcast may leave waiting for a peer that reads slowly.
public struct WebSocketBroadcastLimits: Sendable, Hashable {
    /// Bytes on the wire that may wait for one peer, `send`'s included. One message is always taken. Default 1 MiB.
    public var maximumBufferedBytes: Int
    /// What happens beyond that. Default ``SlowPeer/disconnect``.
    public var slowPeer: SlowPeer

    /// What happens to a peer that does not keep up.
    public enum SlowPeer: Sendable, Hashable {
        /// It misses the message.
        case drop
        /// Of each topic only the newest message waits for it; what it replaces is missed. For prices and positions.
        /// Begins at half of `maximumBufferedBytes` and has the other half to keep the newest in. A peer whose topics need
        /// more is closed with 1008, because what it has of them would be stale without its knowing.
        case keepLatest
        /// It is closed with 1008, and gets nothing more.
        case disconnect
    }

    /// Limits.
    public init(maximumBufferedBytes: Int = 1 << 20, slowPeer: SlowPeer = .disconnect) {
        self.maximumBufferedBytes = maximumBufferedBytes
        self.slowPeer = slowPeer
    }

    var wire: BroadcastLimits {
        let policy: BroadcastLimits.SlowPeer =
            switch slowPeer {
            case .drop: .drop
            case .keepLatest: .keepLatest
            case .disconnect: .disconnect
            }
        return BroadcastLimits(bytes: maximumBufferedBytes, slowPeer: policy)
    }
}

/// What has become of broadcasts, one count for each message and each peer.
public struct WebSocketBroadcastStatistics: Sendable, Hashable {
    /// Taken for sending.
    public let sent: Int
    /// Missed by a slow peer.
    public let dropped: Int
    /// Missed by a slow peer that got a newer one instead.
    public let replaced: Int
    /// Not sent, because the slow peer was closed.
    public let disconnected: Int
}

/// Topics that connections subscribe to. What is published reaches every subscriber, whichever server or client it
/// belongs to, and a slow one holds up no other. With a broker it reaches those of other processes too: <doc:Topics>.
///
/// From one task, subscribing, publishing and unsubscribing take effect in order. A connection that ends is unsubscribed.
public final class WebSocketTopics: Sendable {
    let limits: WebSocketBroadcastLimits
    let totals = BroadcastTotals()
    /// Each loop's subscribers.
    private let tables = Mutex<[ObjectIdentifier: TopicTable]>([:])
    /// What shares them with other processes; empty without a broker.
    let routers: TopicRouters
    let listeners: TopicListeners

    /// Topics of this process, without subscribers.
    public init(limits: WebSocketBroadcastLimits = .init()) {
        self.limits = limits
        listeners = TopicListeners()
        routers = TopicRouters(all: [])
    }

    /// Topics that are shared with other processes while ``run()`` runs, without subscribers.
    ///
    /// - Throws: `invalidConfiguration`, which names the setting.
    public convenience init(
        broker: any WebSocketTopicBroker, configuration: WebSocketTopicConfiguration = .init(),
        limits: WebSocketBroadcastLimits = .init()
    ) throws(WebSocketError) {
        try self.init(brokers: [broker], configuration: configuration, limits: limits)
    }

    /// Topics that are shared over several brokers, each of which has its part of them, without subscribers. One that is
    /// away concerns its own topics only.
    ///
    /// Which broker a topic has follows from its name and the number of brokers: all processes need the same brokers in the
    /// same order, and one more at the end moves as few topics as possible.
    ///
    /// - Parameters:
    ///   - brokers: 1 to 64, none of them twice.
    ///   - configuration: For each of them. Limits of what waits are one broker's.
    ///   - limits: What may wait for a peer that reads slowly.
    /// - Throws: `invalidConfiguration`, which names the setting.
    public init(
        brokers: [any WebSocketTopicBroker], configuration: WebSocketTopicConfiguration = .init(),
        limits: WebSocketBroadcastLimits = .init()
    ) throws(WebSocketError) {
        guard (1...64).contains(brokers.count) else {
            throw WebSocketError(.invalidConfiguration, "there are \(brokers.count) brokers; there must be 1 to 64")
        }
        let objects = brokers.filter { type(of: $0) is AnyObject.Type }.map { ObjectIdentifier($0 as AnyObject) }
        guard Set(objects).count == objects.count else {
            throw WebSocketError(
                .invalidConfiguration, "a broker is among the brokers twice; make one for each place in the list")
        }
        for broker in brokers { try configuration.validate(broker.features) }
        self.limits = limits
        let listeners = TopicListeners()
        self.listeners = listeners
        let totals = totals
        routers = TopicRouters(
            all: brokers.map { broker in
                TopicRouter(
                    broker: broker, configuration: configuration, limits: limits.wire, totals: totals,
                    listeners: listeners)
            })
    }

    deinit { listeners.finish() }

    /// The connection gets what is published to the topic from now on. Twice is once.
    public func subscribe(_ socket: WebSocketConnection, to topic: String) {
        let wire = socket.wire
        let table = table(of: wire.loop)
        guard let router = routers[topic] else {
            wire.loop.execute { table.subscribe(wire, to: topic) }
            return
        }
        // Before the loop hears of it, so that a message that is published next finds the subscription on its way.
        router.retain(topic, table)
        let isTaken = table.post { if !table.subscribe(wire, to: topic) { router.release(topic, table) } }
        if !isTaken { router.release(topic, table) }
    }

    func table(of loop: WebSocketEventLoop) -> TopicTable {
        let id = ObjectIdentifier(loop)
        return tables.withLock { tables -> TopicTable in
            if let known = tables[id] { return known }
            var ended: (@Sendable (String) -> Void)?
            if !routers.all.isEmpty { ended = { [routers] topic in routers[topic]?.release(topic, loop: id) } }
            let table = TopicTable(loop: loop, ended: ended)
            tables[id] = table
            return table
        }
    }

    /// The connection gets nothing more from the topic.
    public func unsubscribe(_ socket: WebSocketConnection, from topic: String) {
        let wire = socket.wire
        guard let table = tables.withLock({ $0[ObjectIdentifier(wire.loop)] }) else { return }
        if routers.all.isEmpty {
            wire.loop.execute { table.unsubscribe(wire, from: topic) }
        } else {
            table.post { table.unsubscribe(wire, from: topic) }
        }
    }

    /// Sends a message to the topic's subscribers. The frame is built once for all.
    ///
    /// With a broker it also goes to other processes. What does not reach the broker is counted in ``brokerStatistics``;
    /// ``publishConfirmed(_:to:except:)`` says it.
    ///
    /// - Parameters:
    ///   - message: What they get.
    ///   - topic: Which subscribers.
    ///   - sender: A subscriber that does not get it.
    public func publish(_ message: WebSocketMessage, to topic: String, except sender: WebSocketConnection? = nil) {
        if let router = routers[topic] {
            guard router.publish(message, to: topic, except: sender?.wire.number, waiter: nil) == .now else { return }
            return router.deliverHere(message, to: topic, except: sender?.wire.number)
        }
        let encoded = EncodedMessage(message)
        let limits = limits.wire
        let except = sender?.wire.number
        let totals = totals
        for table in tables.withLock({ Array($0.values) }) {
            table.loop.execute { totals.note(table.publish(encoded, to: topic, limits, except: except)) }
        }
    }

    /// How many connections of this process are subscribed to a topic now.
    public func subscriberCount(of topic: String) -> Int {
        tables.withLock { Array($0.values) }.reduce(0) { $0 + $1.count(of: topic) }
    }

    /// What has become of everything that was sent to connections of this process.
    public var statistics: WebSocketBroadcastStatistics { totals.snapshot }
}
