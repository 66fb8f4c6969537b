//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The code of README.md, compiled. `ReadmeTests` compares the two: change both.
import WebSockets

func client() async throws {
    try await WebSocketClient.withConnection(to: "wss://example.com/feed") { socket in
        try await socket.send("hello")
        for try await message in socket.messages {
            switch message {
            case .text(let text): print(text)
            case .binary(let bytes): print("\(bytes.count) bytes")
            }
        }
    }
}

func server() async throws {
    let server = try WebSocketServer(configuration: .init(port: 8080))
    try await server.run { socket in
        for try await message in socket.messages {
            try await socket.send(message)
        }
    }
}

func pool() async throws {
    try await WebSocketConnectionPool.withPool(to: "wss://example.com/rpc") { pool in
        let reply = try await pool.withConnection { socket in
            try await socket.send("request")
            return try await socket.receive()
        }
        print(reply.text ?? "not text")
    }
}

func session() async throws {
    try await WebSocketSession.withSession(to: "wss://example.com/feed", configuration: .trading) { session in
        try await session.subscribe("btcusdt@trade")
        for try await event in session.events {
            switch event {
            case .message(let message): print(message.text ?? "binary")
            case .gap(let gap): print("messages may be missing: \(gap.cause)")
            default: break
            }
        }
    }
}
