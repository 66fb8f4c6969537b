//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore
import WebSocketLoop

extension WebSocketManagedConnection {
    /// The connection, for its user.
    func acquired() throws(WebSocketError) -> WebSocketConnection {
        let (isBusy, end, socket) = state.withLock { state in
            state.touch(clock.now())
            return (state.machine.isBusy, state.machine.end, state.socket)
        }
        if let end { throw .refused(.closed(end)) }
        guard isBusy else {
            throw WebSocketError(
                .notAcquired, "the connection must be acquired before it is used; call acquire() or withSession")
        }
        guard let socket else { throw .unavailable(nil) }
        return socket
    }

    /// Sends a message.
    ///
    /// - Throws: `notAcquired`; `connectionUnavailable` when there is no connection; `connectionClosed` when it ends
    ///   meanwhile.
    public func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        try await acquired().send(message)
        touch()
    }

    /// Sends a text message. See ``send(_:)-(WebSocketMessage)``.
    public func send(_ text: String) async throws(WebSocketError) { try await send(.text(text)) }

    /// Sends a binary message. See ``send(_:)-(WebSocketMessage)``.
    public func send(_ bytes: [UInt8]) async throws(WebSocketError) { try await send(.binary(bytes)) }

    /// Receives a message.
    ///
    /// - Parameter timeout: How long to wait for one; nil, the default, for as long as the connection lives.
    /// - Throws: `timedOut` with phase `receive`; what ``send(_:)-(WebSocketMessage)`` throws. A cancelled call takes no message.
    public func receive(timeout: Duration? = nil) async throws(WebSocketError) -> WebSocketMessage {
        let socket = try acquired()
        defer { touch() }
        guard let timeout else { return try await socket.receive() }
        return try await socket.receive(timeout: timeout)
    }

    /// Asks the peer for a sign of life, and waits for it. The connection need not be acquired.
    ///
    /// - Parameter timeout: How long the pong may take. A connection without one is aborted. Default 10 s.
    /// - Returns: The round trip.
    /// - Throws: `timedOut` with phase `ping`, `connectionUnavailable`, `connectionClosed`, `cancelled`.
    @discardableResult
    public func ping(timeout: Duration = .seconds(10)) async throws(WebSocketError) -> Duration {
        guard let socket = state.withLock({ $0.socket }) else { throw .unavailable(nil) }
        touch()
        let timer = LoopTimer(loop)
        let isLate = Mutex(false)
        loop.execute {
            timer.start(timeout) {
                isLate.withLock { $0 = true }
                socket.abort()
            }
        }
        defer { timer.cancel() }
        do throws(WebSocketError) {
            return try await socket.ping()
        } catch {
            guard isLate.withLock({ $0 }) else { throw error }
            throw WebSocketError(
                .timedOut, "no pong came within \(timeout); the connection was aborted, the next use opens a new one",
                phase: .ping, closeInfo: error.closeInfo)
        }
    }

    func touch() { state.withLock { $0.touch(clock.now()) } }
}
