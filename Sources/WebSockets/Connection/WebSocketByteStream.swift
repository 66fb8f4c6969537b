//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore

extension WebSocketConnection {
    /// The connection as one stream of bytes over binary messages, for protocols that bring framing of their own:
    /// coder/websocket's NetConn. Do not receive in another way beside it.
    public func byteStream() -> WebSocketByteStream { WebSocketByteStream(self) }
}

/// A connection's binary messages as one stream of bytes. Where a message ends means nothing.
///
/// As an `AsyncSequence` it yields the bytes as they arrive; ``read(upTo:)`` takes what a parser can use. One task reads,
/// any number of them write.
public final class WebSocketByteStream: AsyncSequence, Sendable {
    /// Some bytes, at least one.
    public typealias Element = [UInt8]
    /// How a stream ends that did not end well.
    public typealias Failure = WebSocketError

    /// The connection beneath.
    public let connection: WebSocketConnection
    /// What was received and not read.
    private let rest = Mutex<ArraySlice<UInt8>>([])

    /// No message that is written has more bytes: what widespread peers accept without being asked.
    private static let messageBytes = 16 << 10

    init(_ connection: WebSocketConnection) { self.connection = connection }

    /// The next bytes: what is there, at most `maximum`, or the next that arrive. Nil at the end of the stream, which is
    /// a normal close of the connection.
    ///
    /// - Parameter maximum: At least 1. Default: whatever there is.
    /// - Throws: What ``WebSocketConnection/receive()`` throws after another end; `protocolViolation` for a text message,
    ///   after which the connection is closed with 1003. A cancelled call takes nothing.
    /// - Precondition: `maximum` is positive.
    public func read(upTo maximum: Int = .max) async throws(WebSocketError) -> [UInt8]? {
        precondition(maximum > 0, "a read takes at least one byte")
        while true {
            if let bytes = take(maximum) { return bytes }
            let message: WebSocketMessage
            do throws(WebSocketError) {
                message = try await connection.receive()
            } catch {
                if error.isNormalEnd { return nil }
                throw error
            }
            guard message.kind == .binary else {
                let error = WebSocketError(
                    .protocolViolation,
                    "the peer sent text where a stream of bytes was expected; the connection was closed with 1003")
                _ = try? await connection.close(code: .unsupportedData, reason: "binary messages only")
                throw error
            }
            rest.withLock { $0 += message.bytes }
        }
    }

    private func take(_ maximum: Int) -> [UInt8]? {
        rest.withLock { rest in
            guard !rest.isEmpty else { return nil }
            let bytes = Array(rest.prefix(maximum))
            rest.removeFirst(bytes.count)
            return bytes
        }
    }

    /// Sends bytes, in as many messages as they need; none for none. Waits while the outbound buffer is full.
    ///
    /// - Throws: What ``WebSocketConnection/send(_:isolation:)-(String,_)`` throws; some of the bytes may have been sent
    ///   then.
    public func write(_ bytes: some Collection<UInt8>) async throws(WebSocketError) {
        var left = Array(bytes)[...]
        while !left.isEmpty {
            try await connection.send(Array(left.prefix(Self.messageBytes)))
            left = left.dropFirst(Self.messageBytes)
        }
    }

    /// Ends the stream, in both directions, by closing the connection with 1000. Harmless when it is closed.
    ///
    /// - Throws: `cancelled`, while the close itself goes on.
    public func close() async throws(WebSocketError) { try await connection.close() }

    /// An iterator; several share the bytes.
    public func makeAsyncIterator() -> Iterator { Iterator(stream: self) }

    /// Takes the bytes as they arrive.
    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let stream: WebSocketByteStream

        /// The next bytes; nil at the end of the stream.
        public mutating func next() async throws(WebSocketError) -> [UInt8]? { try await stream.read() }

        /// The next bytes; nil at the end of the stream.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(WebSocketError) -> [UInt8]? {
            try await stream.read()
        }
    }
}
