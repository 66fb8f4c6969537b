//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
public import Synchronization
public import WebSocketCore
public import WebSocketLoop

/// An open WebSocket connection.
///
/// Every method may be called from any thread or task. On the connection's loop, which is where a server's handler and
/// the bodies of scopes with `on: .loop` run, calls cost no thread crossing.
///
/// Close a connection when you are done. One that is dropped without `close` is aborted, and its peer sees 1006.
public final class WebSocketConnection: Sendable {
    @usableFromInline let connection: Connection
    /// Set when a pool has taken the connection back.
    @usableFromInline let isRevoked = Atomic<Bool>(false)

    /// What every call goes to; after ``revoke()`` a connection that has ended. In line, because every message asks.
    @inlinable package var wire: Connection {
        isRevoked.load(ordering: .acquiring) ? endedTwin() : connection
    }

    @usableFromInline @inline(never)
    func endedTwin() -> Connection {
        connection.endedTwin(
            WebSocketError(.leaseEnded, "the lease of this connection has ended; acquire a new one"))
    }

    package init(_ wire: Connection) { connection = wire }

    deinit {
        guard !isRevoked.load(ordering: .acquiring) else { return }
        let connection = connection
        connection.loop.execute { connection.forget() }
    }

    /// The connection is another's from now on: every call fails with `leaseEnded`, and nothing reaches the peer.
    package func revoke() { isRevoked.store(true, ordering: .releasing) }

    /// A number that no other connection of the process has; the same as in logs and observers' summaries.
    public var id: UInt64 { connection.number }
    /// The loop that the connection lives on.
    public var eventLoop: WebSocketEventLoop { connection.loop }
    /// The subprotocol agreed on, if any (RFC 6455 §1.9).
    public var subprotocol: String? { wire.details.subprotocol }
    /// permessage-deflate's parameters, if it was agreed on.
    public var deflate: WebSocketNegotiatedDeflate? { wire.details.deflate }
    /// What TLS negotiated; `nil` without TLS.
    public var tls: WebSocketTLSInfo? { wire.details.tls }
    /// This end's address; nil for sockets without one.
    public var localAddress: WebSocketAddress? { wire.details.localAddress }
    /// The peer's address; nil for sockets without one. A proxy's, if there is one.
    public var remoteAddress: WebSocketAddress? { wire.details.remoteAddress }
    /// On a client: the URL that is connected to, which is another than was asked for after redirects.
    public var url: WebSocketURL? { wire.details.url }
    /// On a client: the server's answer to the handshake, with all its headers.
    public var response: WebSocketError.Response? { wire.details.response }
    /// The path and query of the handshake's request, byte for byte: what the client asked a server for.
    /// Like the headers, it is taken out of the request at each call; keep what you need often.
    public var requestTarget: String? { wire.details.requestTarget }
    /// The headers of the handshake's request: on a server all that came, on a client all that were sent, those of the
    /// handshake itself and credentials included.
    public var requestHeaders: HTTPFields { wire.details.requestHead?.fields ?? [:] }

    // MARK: Sending

    // What a call does without waiting is inlinable, here and below: a call that does not suspend then costs no hop
    // between executors, which would be a tenth to a third of a small message's price.

    /// Sends a text message.
    ///
    /// Returns when the message is in the connection's outbound buffer, which is flushed at the end of the loop's turn.
    /// While the buffer holds `outboundBuffer.highBytes` or more, suspends first. Messages of one task go out in order.
    ///
    /// - Parameters:
    ///   - text: The message.
    ///   - isolation: The caller's actor, which is the default. Leave it out.
    /// - Throws: `connectionClosed`, `cancelled` (then nothing was sent), `shutDown`.
    @inlinable
    public func send(
        _ text: String, isolation: isolated (any Actor)? = #isolation
    ) async throws(WebSocketError) {
        if wire.sendNow(text) { return }
        try await wire.sendSlowly(.text(text))
        wire.returnToCallerExecutor()
    }

    /// Sends a binary message. See ``send(_:isolation:)-(String,_)``.
    @inlinable
    public func send(
        _ bytes: [UInt8], isolation: isolated (any Actor)? = #isolation
    ) async throws(WebSocketError) {
        if wire.sendNow(bytes) { return }
        try await wire.sendSlowly(.binary(bytes))
        wire.returnToCallerExecutor()
    }

    /// Sends a message as it is. See ``send(_:isolation:)-(String,_)``.
    @inlinable
    public func send(
        _ message: WebSocketMessage, isolation: isolated (any Actor)? = #isolation
    ) async throws(WebSocketError) {
        if wire.sendNow(message) { return }
        try await wire.sendSlowly(message)
        wire.returnToCallerExecutor()
    }

    /// Sends without suspending, from the loop: from `onMessage`, or code under the loop's task executor.
    ///
    /// - Parameters:
    ///   - bytes: Copied before the call returns. For `.text` they must be UTF-8.
    ///   - kind: Whether the message is text or binary.
    /// - Returns: `false` when the outbound buffer is full and nothing was sent.
    /// - Throws: `connectionClosed`; `invalidUTF8` for text that is not.
    /// - Precondition: Called on `eventLoop`.
    public func trySend(
        _ bytes: borrowing RawSpan, as kind: WebSocketMessage.Kind = .binary
    ) throws(WebSocketError) -> Bool {
        wire.loop.preconditionOnLoop()
        let isValid =
            kind == .binary
            || bytes.withUnsafeBytes { buffer in
                var validator = UTF8Validator()
                return validator.consume(buffer) && validator.isComplete
            }
        guard isValid else {
            throw WebSocketError(.invalidUTF8, "the bytes are not UTF-8; send them as binary")
        }
        switch bytes.withUnsafeBytes({ wire.send(kind, $0) }) {
        case .sent: return true
        case .full: return false
        case .closed: throw wire.closedSendError()
        }
    }

    // MARK: Receiving

    /// The next message; suspends until there is one. Several callers are served in the order they called.
    ///
    /// Messages that arrived before the end are delivered before it is reported. A cancelled call takes no message.
    ///
    /// - Throws: `connectionClosed` at the end, also at a normal one; the reason for a failed connection
    ///   (`messageTooBig`, `invalidUTF8`, `protocolViolation`, `timedOut` for a missing pong); `cancelled`.
    @inlinable
    public func receive() async throws(WebSocketError) -> WebSocketMessage {
        switch wire.popMessage() {
        case .message(let message): return message
        case .ended(let error): throw error
        case .empty: return try await wire.receive()
        }
    }

    /// The messages as a sequence. It ends after a normal close (both sides sent 1000, 1001 or no code) and throws
    /// after any other end. Several iterators share the messages.
    @inlinable public var messages: Messages { Messages(wire: wire) }

    /// Hands every message to `handler`, synchronously, on the loop, as it arrives, without a copy. Messages that were
    /// waiting go first. `receive` and `messages` get none any more. There is no backpressure but the handler's time.
    ///
    /// - Important: The handler runs inside the loop. It must not block, and must not keep the bytes: they are valid
    ///   for the call only. It may call ``trySend(_:as:)`` and ``abort()``.
    public func onMessage(_ handler: @escaping @Sendable (borrowing RawSpan, WebSocketMessage.Kind) -> Void) {
        let wire = wire
        // At once, for a pool that looks whether the connection has a user left.
        wire.claimInbound()
        wire.loop.execute { wire.setMessageHandler(handler) }
    }

    /// Declares that no task reads from the connection any more, which is then for writing only: coder/websocket's
    /// CloseRead.
    ///
    /// Pings, pongs and the peer's close are dealt with as before. A message, also one that is here already and that
    /// no task has received or reads in pieces, closes the connection with 1008 (RFC 6455 §7.4.1); ``closed()`` waits for the end. Replies
    /// to a ``request(_:timeout:matching:)`` still arrive. It cannot be taken back.
    public func closeReading() {
        let wire = wire
        wire.loop.execute { wire.closeReading() }
    }

    /// See ``WebSocketConnection/messages``.
    public struct Messages: AsyncSequence, Sendable {
        /// One whole message.
        public typealias Element = WebSocketMessage
        /// How a connection ends that did not end well.
        public typealias Failure = WebSocketError
        @usableFromInline let wire: Connection

        @inlinable init(wire: Connection) { self.wire = wire }

        /// An iterator; several share the messages, each message goes to one of them.
        @inlinable public func makeAsyncIterator() -> Iterator { Iterator(wire: wire) }

        /// Takes one message after the other.
        public struct Iterator: AsyncIteratorProtocol {
            @usableFromInline let wire: Connection

            @inlinable init(wire: Connection) { self.wire = wire }

            /// The next message; nil once the connection has ended well. Throws ``WebSocketError`` otherwise.
            @inlinable
            public mutating func next() async throws(WebSocketError) -> WebSocketMessage? {
                if case .message(let message) = wire.popMessage() { return message }
                return try await slowNext()
            }

            /// The next message; nil once the connection has ended well. Throws ``WebSocketError`` otherwise.
            @inlinable
            public mutating func next(
                isolation actor: isolated (any Actor)?
            ) async throws(WebSocketError) -> WebSocketMessage? {
                if case .message(let message) = wire.popMessage() { return message }
                return try await slowNext()
            }

            // Without this step in between, the compiler crashes at some loops over messages (Swift 6.3.1 -O, "splitting
            // coroutines").
            @usableFromInline @inline(never)
            func slowNext() async throws(WebSocketError) -> WebSocketMessage? { try await wire.receiveUntilEnd() }
        }
    }

    // MARK: Closing

    /// Closes with the handshake of RFC 6455 §7.1.2 and waits for its end, at most `flushTimeout` and
    /// `closeTimeout`.
    ///
    /// What was sent before goes out first. Messages that arrive meanwhile can still be received. Closing a closed
    /// connection returns how it ended.
    ///
    /// - Parameters:
    ///   - code: 1000–1003, 1007–1014, 3000–4999, or `noStatusReceived` for a close frame without a code.
    ///   - reason: At most 123 bytes of UTF-8.
    /// - Throws: `invalidCloseCode` or `closeReasonTooLong`, before anything is sent; `cancelled`, while the close
    ///   itself goes on.
    @discardableResult
    public func close(
        code: WebSocketCloseCode = .normalClosure, reason: String = ""
    ) async throws(WebSocketError) -> WebSocketCloseInfo {
        try await wire.close(WebSocketCloseFrame(code: code, reason: reason))
    }

    /// Ends the connection at once, without a closing handshake. Calls that wait fail with `connectionClosed`.
    public func abort() {
        let wire = wire
        wire.loop.execute { wire.abort() }
    }

    /// Waits until the connection has ended, from either side, and says how.
    public func closed() async throws(WebSocketError) -> WebSocketCloseInfo { try await wire.closed() }
}

/// Where the body of a scoped call with `on:` runs, and a server's handler. A scope without `on:` runs its body where
/// its caller runs.
public enum WebSocketBodyExecutor: Sendable {
    /// On the connection's loop: no thread crossing between the socket and the code, which must not block.
    case loop
    /// On Swift's global executor, for code that computes for long or blocks. About half as fast.
    case global

    /// The global one is said out loud, because the caller may prefer a loop.
    func taskExecutor(on loop: WebSocketEventLoop?) -> any TaskExecutor {
        switch self {
        case .loop: loop?.taskExecutor ?? globalConcurrentExecutor
        case .global: globalConcurrentExecutor
        }
    }
}
