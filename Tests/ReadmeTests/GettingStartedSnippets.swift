//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The programs of the article “Getting started”, compiled. `ReadmeTests` compares the two: change both.
// `GettingStartedTests` runs them.
import WebSockets

/// Takes what a program prints.
typealias Print = @Sendable (Any...) -> Void

func echoServer(port: Int, certificate: String, key: String, print: Print) async throws {
    var configuration = WebSocketServerConfiguration(port: port)
    configuration.tls = .init(certificateChain: .file(certificate), privateKey: .file(key))
    let server = try WebSocketServer(configuration: configuration)
    print("listening on port", server.port)
    try await server.run { socket in
        for try await message in socket.messages { try await socket.send(message) }
    }
}

func echoClient(port: String, certificate: String, print: Print) async throws {
    var configuration = WebSocketClientConfiguration()
    configuration.tls.trust = .certificates(.file(certificate))
    try await WebSocketClient.withConnection(to: "wss://localhost:\(port)", configuration: configuration) { socket in
        try await socket.send("hello")
        let reply = try await socket.receive()
        print(reply.text ?? "not text", "over", socket.tls?.version ?? "nothing")
    }
}
