//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSockets

/// Both ends of one open connection, for code that takes a `WebSocketConnection`.
public struct WebSocketPair: Sendable {
    /// The end that connected.
    public let client: WebSocketConnection
    /// The end that accepted.
    public let server: WebSocketConnection
}

/// Runs the body with the two ends of a connection, then ends them. They are real connections over the loopback
/// interface, each on an event loop of its own, so that what is tested meets the real handshake, frames and limits.
///
/// - Parameters:
///   - options: Of both ends. Without keepalive by default, so that only what the test does ends the connection.
///   - body: Uses both ends, where the caller runs.
/// - Throws: What opening throws, and what the body throws.
public func withWebSocketPair<Result: Sendable>(
    options: WebSocketOptions? = nil, _ body: (WebSocketPair) async throws -> Result
) async throws -> Result {
    var shared = WebSocketOptions()
    shared.keepAlive = nil
    if let options { shared = options }
    let loops = try WebSocketEventLoopGroup(count: 2)
    var configuration = WebSocketServerConfiguration()
    configuration.eventLoopGroup = loops
    configuration.options = shared
    var client = WebSocketClientConfiguration()
    client.options = shared
    client.eventLoop = loops.loops[1]
    do {
        let server = try WebSocketServer(configuration: configuration)
        let (accepted, continuation) = AsyncStream.makeStream(of: WebSocketConnection.self)
        let running = Task {
            try await server.run { socket in
                continuation.yield(socket)
                _ = try await socket.closed()
            }
        }
        do {
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(server.port)/", configuration: client)
            var iterator = accepted.makeAsyncIterator()
            guard let other = await iterator.next() else { throw CancellationError() }
            let result = try await body(WebSocketPair(client: socket, server: other))
            socket.abort()
            await server.shutDown()
            try await running.value
            await loops.shutDown()
            return result
        } catch {
            await server.shutDown()
            throw error
        }
    } catch {
        await loops.shutDown()
        throw error
    }
}
