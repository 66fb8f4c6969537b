//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore
import WebSocketLoop

extension WebSocketConnection {
    // MARK: Sending

    /// Sends a binary message, or text from bytes that are UTF-8, from any collection of bytes.
    ///
    /// - Throws: `invalidUTF8` for text that is not, before anything is sent; what ``send(_:isolation:)-(String,_)``
    ///   throws.
    public func send(
        _ bytes: some Collection<UInt8>, as kind: WebSocketMessage.Kind = .binary,
        compression: WebSocketMessageCompression = .automatic
    ) async throws(WebSocketError) {
        let bytes = Array(bytes)
        switch kind {
        case .binary: try await send(.binary(bytes), compression: compression)
        case .text: try await send(.text(try Self.text(bytes)), compression: compression)
        }
    }

    /// Sends a message from borrowed memory, without keeping it: copied once, into the frame if there is room for it.
    ///
    /// - Throws: As ``send(_:as:compression:)``.
    public func send(
        _ bytes: borrowing RawSpan, as kind: WebSocketMessage.Kind, isolation: isolated (any Actor)? = #isolation
    ) async throws(WebSocketError) {
        if wire.loop.isOnLoop, try trySend(bytes, as: kind) { return }
        let copy = bytes.withUnsafeBytes { Array($0) }
        try await wire.sendSlowly(kind == .binary ? .binary(copy) : .text(try Self.text(copy)))
    }

    /// Sends a message and says whether it is to be compressed, on a connection that agreed on compression.
    ///
    /// - Throws: What ``send(_:isolation:)-(String,_)`` throws.
    public func send(
        _ message: WebSocketMessage, compression: WebSocketMessageCompression
    ) async throws(WebSocketError) {
        try await wire.send(message, compression: compression)
    }

    static func text(_ bytes: [UInt8]) throws(WebSocketError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw WebSocketError(.invalidUTF8, "the bytes are not UTF-8; send them as binary")
        }
        return text
    }

    /// Sends one text message in parts, each of which becomes a frame as soon as it is there (RFC 6455 §5.4).
    ///
    /// From the first part to the last one the messages of others wait; pings, pongs and a close do not. The sequence
    /// may take its time, but it holds up every other sender. One without an element sends nothing.
    ///
    /// - Throws: What the sequence throws, and what ``send(_:isolation:)-(String,_)`` throws. After the first part
    ///   nothing can be taken back: the connection is then closed with 1011.
    public func send<Parts: AsyncSequence>(
        fragments: Parts, compression: WebSocketMessageCompression = .automatic
    ) async throws where Parts.Element == String {
        try await withMessageWriter(as: .text, compression: compression) { writer in
            for try await part in fragments { try await writer.write(part) }
        }
    }

    /// Sends one binary message in parts. See `send(fragments:compression:)`.
    public func send<Parts: AsyncSequence>(
        fragments: Parts, compression: WebSocketMessageCompression = .automatic
    ) async throws where Parts.Element == [UInt8] {
        try await withMessageWriter(as: .binary, compression: compression) { writer in
            for try await part in fragments { try await writer.write(part) }
        }
    }

    /// Sends one message in the parts that `body` writes. The message is complete when `body` returns; if it writes
    /// nothing, nothing is sent. Otherwise as `send(fragments:compression:)`.
    public func withMessageWriter<Result>(
        as kind: WebSocketMessage.Kind, compression: WebSocketMessageCompression = .automatic,
        _ body: (inout MessageWriter) async throws -> Result
    ) async throws -> Result {
        let message = OutgoingParts(kind, compression: compression)
        var writer = MessageWriter(wire: wire, message: message)
        let wire = wire
        do {
            let result = try await body(&writer)
            try await writer.finish()
            return result
        } catch {
            wire.loop.execute { wire.abandon(message) }
            throw error
        }
    }

    /// Writes the parts of one message.
    public struct MessageWriter {
        private let wire: Connection
        private let message: OutgoingParts
        private var validator = UTF8Validator()
        private var hasWritten = false

        fileprivate init(wire: Connection, message: OutgoingParts) {
            self.wire = wire
            self.message = message
        }

        /// Sends a part as a frame of its own, after waiting for room.
        ///
        /// - Throws: `connectionClosed`, `cancelled`.
        public mutating func write(_ text: String) async throws(WebSocketError) {
            try await write(Array(text.utf8))
        }

        /// Sends a part as a frame of its own, after waiting for room. In a text message a character may be spread
        /// over several parts.
        ///
        /// - Throws: `invalidUTF8`, `connectionClosed`, `cancelled`.
        public mutating func write(_ bytes: [UInt8]) async throws(WebSocketError) {
            if message.isText, !bytes.withUnsafeBytes({ validator.consume($0) }) { throw Self.notText }
            try await wire.send(part: bytes, isLast: false, of: message)
            hasWritten = true
        }

        fileprivate mutating func finish() async throws(WebSocketError) {
            guard hasWritten else { return }
            guard validator.isComplete else { throw Self.notText }
            try await wire.send(part: [], isLast: true, of: message)
        }

        private static var notText: WebSocketError {
            WebSocketError(.invalidUTF8, "the parts of a text message are not UTF-8; send them as binary")
        }
    }

    // MARK: Receiving

    /// The next message, or `timedOut` with phase `receive` when there is none in time; then none was taken. With
    /// `.zero` only a message that is here already is returned.
    ///
    /// - Throws: What ``receive()`` throws.
    public func receive(timeout: Duration) async throws(WebSocketError) -> WebSocketMessage {
        try await wire.receive(timeout: timeout)
    }

    /// The next message, or `nil` when there is none in time; then none was taken.
    ///
    /// - Throws: What ``receive()`` throws.
    public func receive(within timeout: Duration) async throws(WebSocketError) -> WebSocketMessage? {
        do throws(WebSocketError) {
            return try await wire.receive(timeout: timeout)
        } catch  where error.code == .timedOut && error.phase == .receive {
            return nil
        }
    }

    /// The next message, in the pieces in which it arrives. Waits until the message begins.
    ///
    /// Takes its turn with ``receive()``: each message goes to one caller. What is not read of the message when the
    /// result is let go of is thrown away as it arrives, and the next message follows as if nothing had happened.
    /// ``WebSocketOptions/maximumMessageSize`` bounds the whole message here too; of what is not read at most 256 KiB
    /// and one read are held, then the peer has to wait.
    ///
    /// - Throws: What ``receive()`` throws.
    public func receiveStream() async throws(WebSocketError) -> IncomingMessage {
        IncomingMessage(connection: self, pieces: try await wire.receivePieces())
    }

    /// One message, read in pieces. Where they begin and end means nothing: intermediaries may cut a message
    /// differently (RFC 6455 §5.4).
    public final class IncomingMessage: AsyncSequence, Sendable {
        /// Some bytes of the payload, at least one. In a text message each piece is valid UTF-8.
        public typealias Element = [UInt8]
        /// Why the message was not completed.
        public typealias Failure = WebSocketError
        /// Keeps the connection alive, which would be aborted otherwise.
        private let connection: WebSocketConnection
        private let pieces: IncomingPieces

        fileprivate init(connection: WebSocketConnection, pieces: IncomingPieces) {
            self.connection = connection
            self.pieces = pieces
            kind = pieces.kind
        }

        deinit { pieces.abandon() }

        /// Whether the message is text or binary.
        public let kind: WebSocketMessage.Kind

        /// An iterator; several share the pieces.
        public func makeAsyncIterator() -> Iterator { Iterator(message: self) }

        /// The rest of the message as a whole.
        public func collect() async throws(WebSocketError) -> WebSocketMessage {
            var bytes: [UInt8] = []
            while let piece = try await pieces.next() { bytes += piece }
            return kind == .binary ? .binary(bytes) : .text(String(decoding: bytes, as: UTF8.self))
        }

        /// Takes one piece after the other.
        public struct Iterator: AsyncIteratorProtocol {
            fileprivate let message: IncomingMessage

            /// The next piece; nil after the last one. A cancelled call takes none.
            public mutating func next() async throws(WebSocketError) -> [UInt8]? { try await message.pieces.next() }

            /// The next piece; nil after the last one. A cancelled call takes none.
            public mutating func next(
                isolation actor: isolated (any Actor)?
            ) async throws(WebSocketError) -> [UInt8]? {
                try await message.pieces.next()
            }
        }
    }

    // MARK: Requests

    /// Sends a message and waits for its reply: the first message from then on for which `matches` says yes.
    ///
    /// Several requests may be under way, together with ``receive()`` and ``messages``: a message goes to the oldest
    /// request that it matches, and if there is none its usual way. A reply that comes after the deadline does too.
    ///
    /// - Parameters:
    ///   - message: What to send.
    ///   - timeout: How long the reply may take once the message is on its way; nil for as long as the connection
    ///     lives. Default 30 s.
    ///   - matches: Recognises the reply, for example by its id. Runs inside the loop, as the handler of
    ///     ``onMessage(_:)`` does: it must not block.
    /// - Throws: `timedOut` with phase `receive`; what `send` and ``receive()`` throw.
    public func request(
        _ message: WebSocketMessage, timeout: Duration? = .seconds(30),
        matching matches: @escaping @Sendable (WebSocketMessage) -> Bool
    ) async throws(WebSocketError) -> WebSocketMessage {
        try await wire.request(message, timeout: timeout, matches: matches)
    }
}
