//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Debian's node-ws as the server.
@Suite(.timeLimit(.minutes(5)))
struct NodeServerTests {
    @Test(arguments: Transport.all)
    func nodesServerSendsEverythingBackAndClosesAsItSays(_ transport: Transport) async throws {
        var arguments = [try TestEnvironment.peer("node_server.js")]
        if transport.isSecure {
            arguments += [try TestEnvironment.certificate("valid"), try TestEnvironment.key("valid")]
        }
        try await withLoops { loops in
            var configuration = try clientConfiguration(transport, on: loops)
            configuration.subprotocols = ["other", "chat"]
            let client = configuration
            try await Peer.server("node", arguments) { peer in
                let url = "\(transport.isSecure ? "wss" : "ws")://localhost:\(peer.port)/path"
                let socket = try await WebSocketClient.connect(to: url, configuration: client)
                #expect(socket.subprotocol == "chat")
                #expect((socket.deflate != nil) == (transport.compression != .disabled))
                #expect((socket.tls != nil) == transport.isSecure)
                let messages = Payload.mixed + [.binary(Payload.noise(1 << 20))]
                for message in messages {
                    try await socket.send(message)
                    let received = try await socket.receive()
                    #expect(received.isIdentical(to: message), "\(message) became \(received)")
                }
                #expect(try await socket.ping() > .zero)
                // Two at once: the second's pong is sent, at the latest (RFC 6455 §5.5.3).
                try await socket.send("ping")
                #expect(try await socket.receive().text?.hasPrefix("ponged ") == true)
                try await socket.send("close")
                let bye = WebSocketCloseFrame(code: .init(rawValue: 4_001), reason: "bye")
                #expect(try await socket.closed().received == bye)
                let other = try await WebSocketClient.connect(to: url, configuration: client)
                let info = try await other.close(code: .init(rawValue: 4_002), reason: "enough")
                #expect(info.cause == .closingHandshake && info.sent?.code.rawValue == 4_002)
            }
        }
    }
}
