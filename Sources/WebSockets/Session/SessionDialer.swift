//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// Opens the connections of a session: the one place where it calls the client.
struct SessionDialer: Sendable {
    let urls: [String]
    let client: WebSocketClientConfiguration

    @Sendable func open(_ attempt: SessionAttempt) async throws(WebSocketError) -> any SessionConnection {
        WireSessionConnection(try await connect(attempt))
    }

    private func connect(_ attempt: SessionAttempt) async throws(WebSocketError) -> WebSocketConnection {
        try await WebSocketClient.connect(to: urls[attempt.endpoint], configuration: client)
    }
}
