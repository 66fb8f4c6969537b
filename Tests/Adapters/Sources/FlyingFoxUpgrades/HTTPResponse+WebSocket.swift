//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import FlyingFox
public import WebSockets

extension FlyingFox.HTTPResponse {
    /// What a route returns so that the connection goes on as a WebSocket of `server`, whose rules apply. FlyingFox's
    /// configuration needs a ``DescriptorPool``.
    ///
    /// - Parameters:
    ///   - request: The request of the route.
    ///   - server: It need not listen.
    ///   - conversation: The connection is closed when it returns, with 1000, or throws, with 1011. FlyingFox cancels it
    ///     when it stops; then the connection is closed with 1001.
    public static func webSocket(
        _ request: FlyingFox.HTTPRequest, on server: WebSocketServer,
        conversation: @escaping @Sendable (WebSocketConnection) async throws -> Void
    ) -> FlyingFox.HTTPResponse {
        FlyingFox.HTTPResponse(webSocket: TakenOver(request: request, server: server, conversation: conversation))
    }
}

/// FlyingFox asks for a WebSocket's frames before it writes the answer to the handshake, and without the time limit that
/// it has for routes. The whole conversation takes place meanwhile; then an error makes FlyingFox write nothing and close
/// its descriptor.
private struct TakenOver: WSHandler {
    struct End: Error {}

    let request: FlyingFox.HTTPRequest
    let server: WebSocketServer
    let conversation: @Sendable (WebSocketConnection) async throws -> Void

    func makeFrames(for client: AsyncThrowingStream<WSFrame, any Error>) async throws -> AsyncStream<WSFrame> {
        let descriptor = try await DescriptorPool.descriptor(of: client)
        let socket = try await server.accept(Upgrade(request: request, descriptor: descriptor))
        do {
            try await conversation(socket)
        } catch {
            _ = try? await socket.close(code: Task.isCancelled ? .goingAway : .internalError)
            throw error
        }
        try await socket.close()
        throw End()
    }
}
