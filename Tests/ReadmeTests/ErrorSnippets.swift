//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The code of the article on closing and errors, compiled. `ReadmeTests` compares the two: change both.
import WebSockets

/// In a closure too, which is where a plain `catch` would not know the type.
let greeting: @Sendable (String) async -> String? = { url in
    do throws(WebSocketError) {
        let socket = try await WebSocketClient.connect(to: url)
        try await socket.send("hello")
        return try await socket.receive().text
    } catch {
        switch error.code {
        case .handshakeRejected: print("status", error.response?.status ?? 0)
        case .timedOut: print("too slow:", error.phase?.rawValue ?? "")
        case .connectionClosed where error.closeInfo?.isNormal == true: print("the server is done")
        default: print(error)
        }
        return nil
    }
}

func scopedErrors(_ url: String, decode: (WebSocketMessage) throws -> Void) async throws {
    do {
        try await WebSocketClient.withConnection(to: url) { socket in
            try decode(try await socket.receive())
        }
    } catch let error as WebSocketError where error.code == .connectionClosed {
        print("ended by", error.closeInfo?.receivedFirst == true ? "the server" : "this side")
    }
}
