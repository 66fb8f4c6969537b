//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import FoundationEssentials
import WebSocketCore
public import WebSockets

// The only target of the package that uses Foundation, and of it only what has the coders.

extension WebSocketMessage {
    /// A text message with the JSON of a value (RFC 8259).
    ///
    /// - Throws: `invalidPayload`, when the value cannot be encoded.
    public init(json value: some Encodable, encoder: JSONEncoder = JSONEncoder()) throws(WebSocketError) {
        do {
            self = .text(String(decoding: try encoder.encode(value), as: UTF8.self))
        } catch {
            throw WebSocketError(
                .invalidPayload, "the value is not JSON: \(Self.describe(error)); mend how it is encoded")
        }
    }

    /// The value whose JSON the message is, text or binary.
    ///
    /// - Throws: `invalidPayload`, naming the place in the JSON and never its content. The connection stays open.
    public func decode<Value: Decodable>(
        _ type: Value.Type = Value.self, decoder: JSONDecoder = JSONDecoder()
    ) throws(WebSocketError) -> Value {
        do {
            return try decoder.decode(type, from: Data(self.bytes))
        } catch {
            throw WebSocketError(
                .invalidPayload,
                "the \(self) cannot be decoded as \(Value.self): \(Self.describe(error)); compare the type with what the peer sends"
            )
        }
    }

    /// What is wrong, without a word of the payload: descriptions of coders' errors quote it.
    private static func describe(_ error: any Error) -> String {
        func place(_ context: [any CodingKey]) -> String {
            let path = context.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
            return path.isEmpty ? "at its top" : "at \(path.escapedForLog)"
        }
        return switch error {
        case DecodingError.keyNotFound(let key, let context):
            "there is no “\(key.stringValue.escapedForLog)” \(place(context.codingPath))"
        case DecodingError.typeMismatch(let type, let context): "no \(type) \(place(context.codingPath))"
        case DecodingError.valueNotFound(let type, let context): "null instead of \(type) \(place(context.codingPath))"
        case DecodingError.dataCorrupted(let context):
            context.codingPath.isEmpty ? "it is not valid JSON" : "an invalid value \(place(context.codingPath))"
        case EncodingError.invalidValue(_, let context): "an invalid value \(place(context.codingPath))"
        default: "a \(type(of: error)) was thrown"
        }
    }
}

extension WebSocketConnection {
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
        json type: Value.Type, decoder: JSONDecoder = JSONDecoder()
    ) async throws(WebSocketError) -> Value {
        try await receive().decode(type, decoder: decoder)
    }

    /// Sends a value and waits for the first message that is the JSON of a `Reply` for which `matches` says yes. Other
    /// messages go their usual way. See `request(_:timeout:matching:)`.
    public func request<Reply: Decodable & Sendable>(
        json value: some Encodable, timeout: Duration? = .seconds(30), reply type: Reply.Type = Reply.self,
        matching matches: @escaping @Sendable (Reply) -> Bool
    ) async throws(WebSocketError) -> Reply {
        let message = try WebSocketMessage(json: value)
        let reply = try await request(message, timeout: timeout) { message in
            guard let reply = try? message.decode(type) else { return false }
            return matches(reply)
        }
        return try reply.decode(type)
    }

    /// The messages as values. Ends as `messages` does; throws `invalidPayload` for a message that is something else,
    /// after which iteration may go on with a new iterator.
    public func messages<Value: Decodable & Sendable>(
        json type: Value.Type, decoder: JSONDecoder = JSONDecoder()
    ) -> WebSocketJSONMessages<Value> {
        WebSocketJSONMessages(base: self.messages, decoder: decoder)
    }
}

/// Messages as the values whose JSON they are.
public struct WebSocketJSONMessages<Value: Decodable & Sendable>: AsyncSequence, Sendable {
    /// One message's value.
    public typealias Element = Value
    /// How the connection ended, or what was wrong with a message.
    public typealias Failure = WebSocketError
    fileprivate let base: WebSocketConnection.Messages
    fileprivate let decoder: JSONDecoder

    /// An iterator; several share the messages.
    public func makeAsyncIterator() -> Iterator { Iterator(base: base.makeAsyncIterator(), decoder: decoder) }

    /// Takes one message after the other.
    public struct Iterator: AsyncIteratorProtocol {
        fileprivate var base: WebSocketConnection.Messages.Iterator
        fileprivate let decoder: JSONDecoder

        /// The next value; nil once the connection has ended well.
        public mutating func next() async throws(WebSocketError) -> Value? {
            try await base.next()?.decode(Value.self, decoder: decoder)
        }

        /// The next value; nil once the connection has ended well.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(WebSocketError) -> Value? {
            try await base.next(isolation: actor)?.decode(Value.self, decoder: decoder)
        }
    }
}
