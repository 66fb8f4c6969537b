//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import WebSocketCore

/// What servers and topics keep about a connection that lives on this loop.
final class ServerSide {
    private let ticket: ConnectionTicket?
    private enum Watch { case idle, lifetime }
    private var timers: [Watch: WebSocketEventLoop.TimerToken] = [:]
    /// The newest broadcast of each topic that waits until the peer has read what is before it.
    private var latest = LatestByKey<String, EncodedMessage>()

    /// Broadcasts that wait for the end of a message that goes out in parts.
    private var held: Deque<EncodedMessage> = []
    private(set) var heldBytes = 0

    init(ticket: ConnectionTicket?) { self.ticket = ticket }

    func ended(on loop: WebSocketEventLoop) {
        latest = LatestByKey()
        held = []
        heldBytes = 0
        for timer in timers.values { loop.cancel(timer) }
        timers = [:]
    }

    // MARK: Time

    /// Closes the connection with 1001 after this time, less up to a tenth, so that those that came together do not go
    /// together.
    func limitLifetime(of connection: Connection, to maximum: Duration) {
        let nanoseconds = maximum.nanoseconds
        let delay = nanoseconds - UInt64.random(in: 0...(nanoseconds / 10))
        timers[.lifetime] = connection.schedule(at: connection.loop.now &+ delay) { [self] connection in
            timers[.lifetime] = nil
            connection.close(WebSocketCloseFrame(code: .goingAway, reason: "maximum lifetime"), nil)
        }
    }

    /// Closes the connection with 1001 when no message has come or gone for this time, and at the latest a quarter of it
    /// later: it is looked at four times in between.
    func limitIdleness(of connection: Connection, to timeout: Duration) {
        watchIdleness(
            of: connection, every: max(1, timeout.nanoseconds / 4), IdleWatch(activity: connection.activity))
    }

    private func watchIdleness(of connection: Connection, every interval: UInt64, _ watch: IdleWatch) {
        timers[.idle] = connection.schedule(at: connection.loop.now &+ interval) { [self] connection in
            timers[.idle] = nil
            var watch = watch
            if watch.isIdle(activity: connection.activity) {
                connection.close(WebSocketCloseFrame(code: .goingAway, reason: "idle"), nil)
            } else {
                watchIdleness(of: connection, every: interval, watch)
            }
        }
    }

    // MARK: Coalescing

    /// Keeps the message in place of an older one of the same key, as long as all of them have no more than `room` bytes.
    func keepLatest(
        _ message: EncodedMessage, for key: String, room: Int
    ) -> LatestByKey<String, EncodedMessage>.Outcome {
        latest.keep(message, byteCount: message.frame.count, for: key, room: room)
    }

    func hasLatest(for key: String) -> Bool { latest.contains(key) }

    func hold(_ message: EncodedMessage) {
        held.append(message)
        heldBytes += message.frame.count
    }

    /// The socket has taken something, or a message in parts is complete: what waited can go on.
    func drained(_ connection: Connection) {
        while !connection.isSendingParts, let message = held.popFirst() {
            heldBytes -= message.frame.count
            connection.append(message)
        }
        while connection.hasRoomForBroadcast, let message = latest.popFirst() { connection.append(message) }
    }
}

extension Connection {
    var side: ServerSide {
        if let serverSide { return serverSide }
        let side = ServerSide(ticket: nil)
        serverSide = side
        return side
    }
}
