//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore
import WebSocketLoop

/// What a connection can do, for the caller that has acquired it. Every call throws `notAcquired` when it is no caller's
/// turn, and `connectionUnavailable` when there is no connection.
extension WebSocketManagedConnection {
    /// The connection beneath, for as long as the turn lasts: for what this class does not repeat. One that is kept
    /// throws `leaseEnded` after the release. What it is told for good (`onMessage`, `closeReading`) outlives the turn.
    ///
    /// - Throws: `notAcquired`; `connectionUnavailable` when there is no connection.
    public var connection: WebSocketConnection {
        get throws(WebSocketError) {
            let result: Result<WebSocketConnection, WebSocketError> = state.withLock { state in
                state.touch(clock.now())
                if let end = state.machine.end { return .failure(.refused(.closed(end))) }
                guard state.machine.isBusy else {
                    return .failure(
                        WebSocketError(
                            .notAcquired,
                            "the connection must be acquired before it is used; call acquire() or withConnection"))
                }
                guard let socket = state.socket else { return .failure(.unavailable(nil)) }
                if let turn = state.turn { return .success(turn) }
                let turn = WebSocketConnection(socket.wire)
                state.turn = turn
                return .success(turn)
            }
            return try result.get()
        }
    }

    private func use<Value>(
        _ body: (WebSocketConnection) async throws(WebSocketError) -> Value
    ) async throws(WebSocketError) -> Value {
        let connection = try connection
        defer { touch() }
        do throws(WebSocketError) { return try await body(connection) } catch { throw error.ofManaged }
    }

    // MARK: Sending

    /// Sends a message. Waits while the outbound buffer is full.
    ///
    /// - Throws: `notAcquired`; `connectionUnavailable` when there is no connection; `connectionClosed` when it ends
    ///   meanwhile; `cancelled`, then nothing was sent.
    public func send(
        _ message: WebSocketMessage, compression: WebSocketMessageCompression = .automatic
    ) async throws(WebSocketError) {
        try await use { (socket) throws(WebSocketError) in
            guard compression == .automatic else { return try await socket.send(message, compression: compression) }
            try await socket.send(message)
        }
    }

    /// Sends a text message. See ``send(_:compression:)``.
    public func send(_ text: String) async throws(WebSocketError) { try await send(.text(text)) }

    /// Sends a binary message, or text from bytes that are UTF-8, from any collection of bytes.
    ///
    /// - Throws: `invalidUTF8` for text that is not, before anything is sent; what ``send(_:compression:)`` throws.
    public func send(
        _ bytes: some Collection<UInt8>, as kind: WebSocketMessage.Kind = .binary,
        compression: WebSocketMessageCompression = .automatic
    ) async throws(WebSocketError) {
        let bytes = Array(bytes)
        try await use { (socket) throws(WebSocketError) in
            try await socket.send(bytes, as: kind, compression: compression)
        }
    }

    /// Sends one message in the parts that `body` writes. See
    /// ``WebSocketConnection/withMessageWriter(as:compression:_:)``.
    public func withMessageWriter<Result>(
        as kind: WebSocketMessage.Kind, compression: WebSocketMessageCompression = .automatic,
        _ body: (inout WebSocketConnection.MessageWriter) async throws -> Result
    ) async throws -> Result {
        let connection = try connection
        defer { touch() }
        return try await connection.withMessageWriter(as: kind, compression: compression, body)
    }

    // MARK: Receiving

    /// Receives a message.
    ///
    /// - Parameter timeout: How long to wait for one; nil, the default, for as long as the connection lives. With
    ///   `.zero` only a message that is here already is returned.
    /// - Throws: `timedOut` with phase `receive`; what ``send(_:compression:)`` throws. A cancelled call takes no
    ///   message.
    public func receive(timeout: Duration? = nil) async throws(WebSocketError) -> WebSocketMessage {
        try await use { (socket) throws(WebSocketError) in
            guard let timeout else { return try await socket.receive() }
            return try await socket.receive(timeout: timeout)
        }
    }

    /// The next message, or `nil` when there is none in time; then none was taken.
    ///
    /// - Throws: What ``receive(timeout:)`` throws.
    public func receive(within timeout: Duration) async throws(WebSocketError) -> WebSocketMessage? {
        try await use { (socket) throws(WebSocketError) in try await socket.receive(within: timeout) }
    }

    /// The next message, in the pieces in which it arrives. See ``WebSocketConnection/receiveStream()``.
    ///
    /// - Throws: What ``receive(timeout:)`` throws.
    public func receiveStream() async throws(WebSocketError) -> WebSocketConnection.IncomingMessage {
        try await use { (socket) throws(WebSocketError) in try await socket.receiveStream() }
    }

    /// The messages of the turn as a sequence. It must not be kept beyond the turn: a release closes a connection whose
    /// messages are still waited for. See ``WebSocketConnection/messages``.
    ///
    /// - Throws: What ``connection`` throws.
    public var messages: WebSocketConnection.Messages {
        get throws(WebSocketError) { try connection.messages }
    }

    /// Sends a message and waits for its reply: the first message from then on for which `matches` says yes. See
    /// ``WebSocketConnection/request(_:timeout:matching:)``.
    ///
    /// - Throws: `timedOut` with phase `receive`; what ``send(_:compression:)`` throws.
    public func request(
        _ message: WebSocketMessage, timeout: Duration? = .seconds(30),
        matching matches: @escaping @Sendable (WebSocketMessage) -> Bool
    ) async throws(WebSocketError) -> WebSocketMessage {
        try await use { (socket) throws(WebSocketError) in
            try await socket.request(message, timeout: timeout, matching: matches)
        }
    }

    func touch() { state.withLock { $0.touch(clock.now()) } }
}
