//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import WebSocketCore
import WebSockets

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_topics_create(
    _ config: UnsafePointer<wsx_topics_config>?, _ topics: UnsafeMutablePointer<wsx_topics>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(topics, "topics")
        result.pointee = wsx_topics()
        var limits = WebSocketBroadcastLimits()
        if let config = try copied(config, "wsx_topics_config") {
            guard config.maximum_buffered_bytes >= 0 else { throw .argument("maximum_buffered_bytes is too large") }
            if config.maximum_buffered_bytes > 0 { limits.maximumBufferedBytes = config.maximum_buffered_bytes }
            switch Int(config.slow_peer) {
            case WSX_SLOW_PEER_DISCONNECT: limits.slowPeer = .disconnect
            case WSX_SLOW_PEER_DROP: limits.slowPeer = .drop
            case WSX_SLOW_PEER_KEEP_LATEST: limits.slowPeer = .keepLatest
            default: throw .argument("slow_peer is \(config.slow_peer); use one of WSX_SLOW_PEER_…")
            }
        }
        result.pointee = wsx_topics(id: Handles.topics.insert(WebSocketTopics(limits: limits)))
    }
}

private func topicName(_ topic: UnsafePointer<CChar>?) throws(Failure) -> String {
    guard let name = try text(topic, "topic") else { throw .argument("topic is NULL") }
    return name
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_topics_subscribe(
    _ topics: wsx_topics, _ connection: wsx_connection, _ topic: UnsafePointer<CChar>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let topics = try Handles.topics.find(topics.id, "topics")
        let socket = try Handles.connections.find(connection.id, "connection").socket()
        topics.subscribe(socket, to: try topicName(topic))
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_topics_unsubscribe(
    _ topics: wsx_topics, _ connection: wsx_connection, _ topic: UnsafePointer<CChar>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let topics = try Handles.topics.find(topics.id, "topics")
        let socket = try Handles.connections.find(connection.id, "connection").socket()
        topics.unsubscribe(socket, from: try topicName(topic))
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_topics_publish(
    _ topics: wsx_topics, _ topic: UnsafePointer<CChar>?, _ kind: wsx_kind, _ data: UnsafeRawPointer?, _ length: Int,
    _ except: wsx_connection, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let topics = try Handles.topics.find(topics.id, "topics")
        let message = try WebSocketMessage(try .init(kind), copying: try bytes(data, length))
        let sender = except.id == 0 ? nil : try Handles.connections.find(except.id, "connection").socket()
        topics.publish(message, to: try topicName(topic), except: sender)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_topics_subscribers(
    _ topics: wsx_topics, _ topic: UnsafePointer<CChar>?, _ count: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(count, "count")
        result.pointee = 0
        result.pointee = try Handles.topics.find(topics.id, "topics").subscriberCount(of: try topicName(topic))
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_topics_get_statistics(
    _ topics: wsx_topics, _ statistics: UnsafeMutablePointer<wsx_topics_statistics>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let topics = try Handles.topics.find(topics.id, "topics")
        try fill(statistics, "wsx_topics_statistics") { () throws(Failure) in
            let now = topics.statistics
            var value = wsx_topics_statistics()
            value.sent = UInt64(clamping: now.sent)
            value.dropped = UInt64(clamping: now.dropped)
            value.replaced = UInt64(clamping: now.replaced)
            value.disconnected = UInt64(clamping: now.disconnected)
            return value
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_topics_free(_ topics: wsx_topics) -> wsx_status {
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard Handles.topics.remove(topics.id) != nil else { return wsx_status(WSX_INVALID_HANDLE) }
    return wsx_status(WSX_OK)
}
