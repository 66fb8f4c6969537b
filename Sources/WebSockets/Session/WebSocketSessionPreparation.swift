//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore

/// A connection that is open and not yet the session's: what `prepare` and `resume` talk to.
///
/// Messages that they do not receive are delivered afterwards, in order. Valid until the closure returns.
public final class WebSocketSessionPreparation: Sendable {
    /// Whether the session had a connection before.
    public let isReconnect: Bool
    /// Whether the old connection still delivers (make-before-break).
    public let isRenewal: Bool
    /// The channels that are wanted, in order.
    public let subscriptions: [String]
    /// Why the last connection ended; nil before the first end.
    public let lastDisconnect: WebSocketSessionDisconnect?
    private let connection: any SessionConnection
    private let state = Mutex(State())

    private struct State {
        var accepted = 0
        var received = 0
        var bytes = 0
        /// Messages that were looked at and are somebody else's.
        var held: [WebSocketMessage] = []
    }

    init(
        connection: any SessionConnection, isReconnect: Bool, isRenewal: Bool, subscriptions: [String],
        lastDisconnect: WebSocketSessionDisconnect?
    ) {
        self.connection = connection
        self.isReconnect = isReconnect
        self.isRenewal = isRenewal
        self.subscriptions = subscriptions
        self.lastDisconnect = lastDisconnect
    }

    /// Sends on the new connection, before everything else.
    public func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        try await connection.send(message)
        state.withLock { $0.accepted += 1 }
    }

    /// Sends a text message on the new connection, before everything else.
    public func send(_ text: String) async throws(WebSocketError) { try await send(.text(text)) }

    /// The next message of the new connection. What this returns is not delivered to the session's user.
    public func receive() async throws(WebSocketError) -> WebSocketMessage {
        let message = try await connection.receive()
        state.withLock { state in
            state.received += 1
            state.bytes += message.byteCount
        }
        return message
    }

    /// Gives a message back that `receive` took: it is delivered to the session's user, in the order of these calls.
    public func deliver(_ message: WebSocketMessage) { state.withLock { $0.held.append(message) } }

    func ping() async throws(WebSocketError) { _ = try await connection.ping() }

    var heldCount: Int { state.withLock { $0.held.count } }

    /// What the session has to know at the end.
    var result: (accepted: Int, received: Int, bytes: Int, held: [WebSocketMessage]) {
        state.withLock { ($0.accepted, $0.received, $0.bytes, $0.held) }
    }
}
