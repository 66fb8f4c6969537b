//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSocketLoop

/// What a session needs of a connection, so that tests can play the server without sockets.
package protocol SessionConnection: AnyObject, Sendable {
    /// Where its messages are handled without a thread crossing.
    var executor: (any TaskExecutor)? { get }
    /// What it is on the network; nil for a test's.
    var underlying: WebSocketConnection? { get }
    /// Takes the message if there is room. Never calls back.
    func trySend(_ message: WebSocketMessage) -> Bool
    /// Waits for room.
    func send(_ message: WebSocketMessage) async throws(WebSocketError)
    func receive() async throws(WebSocketError) -> WebSocketMessage
    func ping() async throws(WebSocketError) -> Duration
    /// The round trip of the last ping that was answered.
    var latency: Duration? { get }
    func beginClosing(_ frame: WebSocketCloseFrame)
    func abort()
    /// Tells how many messages are written in all, as often as that changes, and the end, once.
    func observe(
        written: @escaping @Sendable (Int) -> Void, ended: @escaping @Sendable (ConnectionLedger) -> Void)
}

extension SessionConnection {
    package var underlying: WebSocketConnection? { nil }
}

/// A real one.
final class WireSessionConnection: SessionConnection {
    let socket: WebSocketConnection

    init(_ socket: WebSocketConnection) { self.socket = socket }

    var executor: (any TaskExecutor)? { socket.wire.loop.taskExecutor }
    var underlying: WebSocketConnection? { socket }
    func trySend(_ message: WebSocketMessage) -> Bool { socket.wire.sendNow(message) }
    func send(_ message: WebSocketMessage) async throws(WebSocketError) { try await socket.send(message) }
    func receive() async throws(WebSocketError) -> WebSocketMessage { try await socket.receive() }
    func ping() async throws(WebSocketError) -> Duration { try await socket.ping() }
    var latency: Duration? { socket.latency }
    func beginClosing(_ frame: WebSocketCloseFrame) { socket.wire.beginClosing(frame) }
    func abort() { socket.abort() }
    func observe(
        written: @escaping @Sendable (Int) -> Void, ended: @escaping @Sendable (ConnectionLedger) -> Void
    ) {
        socket.wire.observe(written: written, ended: ended)
    }
}
