//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSockets

/// A server in this process.
func withServer(
    _ configuration: WebSocketServerConfiguration,
    _ handler: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void,
    _ body: (_ url: String) async throws -> Void
) async throws {
    let server = try WebSocketServer(configuration: configuration)
    let running = Task { try await server.run(handler) }
    do {
        try await body("ws://127.0.0.1:\(server.port)")
    } catch {
        await server.shutDown()
        throw error
    }
    await server.shutDown()
    try await running.value
}
