//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import FoundationEssentials
public import WebSockets

extension WebSocketManagedConnection {
    /// Sends a value as a text message with its JSON.
    ///
    /// - Throws: `invalidPayload`, when the value cannot be encoded; what `send` throws.
    public func send(json value: some Encodable, encoder: JSONEncoder = JSONEncoder()) async throws(WebSocketError) {
        try await send(try WebSocketMessage(json: value, encoder: encoder))
    }

    /// Receives a message and decodes its JSON.
    ///
    /// - Throws: `invalidPayload`, when the message is something else: it is gone then, and the connection open. What
    ///   `receive` throws.
    public func receive<Value: Decodable>(
        json type: Value.Type, timeout: Duration? = nil, decoder: JSONDecoder = JSONDecoder()
    ) async throws(WebSocketError) -> Value {
        try await receive(timeout: timeout).decode(type, decoder: decoder)
    }
}
