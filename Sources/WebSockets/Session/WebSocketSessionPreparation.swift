//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore

/// A new connection, before the session uses it: what `prepare` and `resume` work with.
///
/// The session reads the connection meanwhile: `answer` answers, answers to subscriptions are recognised, and the rest
/// waits for ``receive()`` or is delivered afterwards, in order.
public final class WebSocketSessionPreparation: Sendable {
    /// Whether the session had a connection before.
    public let isReconnect: Bool
    /// Whether the old connection still delivers (make-before-break).
    public let isRenewal: Bool
    /// The channels that are wanted, in order.
    public let subscriptions: [String]
    /// Why the last connection ended; nil before the first end.
    public let lastDisconnect: WebSocketSessionDisconnect?
    private let core: SessionCore
    private let epoch: Int
    private let connection: any SessionConnection

    init(_ core: SessionCore, _ epoch: Int, _ connection: any SessionConnection, _ facts: SessionPreparationFacts) {
        self.core = core
        self.epoch = epoch
        self.connection = connection
        isReconnect = facts.isReconnect
        isRenewal = facts.isRenewal
        subscriptions = facts.subscriptions
        lastDisconnect = facts.lastDisconnect
    }

    /// The new connection's answer to the handshake, with all its headers.
    public var response: WebSocketError.Response? { connection.underlying?.response }
    /// The subprotocol that was agreed on for the new connection.
    public var subprotocol: String? { connection.underlying?.subprotocol }
    /// The URL that the new connection was opened to.
    public var connectedURL: WebSocketURL? { connection.underlying?.url }

    /// Sends on the new connection, before everything else.
    ///
    /// - Throws: What a connection's `send` throws.
    public func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        try await connection.send(message)
        core.perform { coordinator, _ in coordinator.noteSentWhilePreparing(epoch) }
    }

    /// Sends a text message on the new connection, before everything else.
    ///
    /// - Throws: What a connection's `send` throws.
    public func send(_ text: String) async throws(WebSocketError) { try await send(.text(text)) }

    /// The next message of the new connection. What this returns is not delivered to the session's user.
    ///
    /// - Throws: `connectionClosed` when the connection has ended and everything that it brought was taken; `cancelled`.
    public func receive() async throws(WebSocketError) -> WebSocketMessage { try await core.read(epoch) }

    /// Gives a message back that `receive` took: it is delivered to the session's user, in the order of these calls.
    public func deliver(_ message: WebSocketMessage) {
        var arrival = SessionArrival(message)
        if isRenewal { arrival.identify(core.configuration.messageIdentity) }
        core.perform { coordinator, _ in coordinator.deliverLater(epoch, arrival) }
    }
}
