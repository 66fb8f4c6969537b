//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Our client against Debian's libwebsockets-test-server, whose ways `run_test_server.sh` describes.
@Suite(.timeLimit(.minutes(5)))
struct LibwebsocketsServerTests {
    @Test(arguments: Transport.all)
    func theMirrorSendsEverythingBack(_ transport: Transport) async throws {
        let tls =
            transport.isSecure ? [try TestEnvironment.certificate("valid"), try TestEnvironment.key("valid")] : []
        try await withLoops { loops in
            var configuration = try clientConfiguration(transport, on: loops)
            configuration.subprotocols = ["lws-mirror-protocol"]
            try await Peer.server(try TestEnvironment.peer("run_test_server.sh"), tls) { [configuration] peer in
                let url = "\(transport.isSecure ? "wss" : "ws")://localhost:\(peer.port)/?mirror=private"
                try await WebSocketClient.withConnection(to: url, configuration: configuration) { socket in
                    #expect(socket.subprotocol == "lws-mirror-protocol")
                    // Offered or not, it does not speak it.
                    #expect(socket.deflate == nil)
                    for size in [1, 125, 126, 127, 1_000, 4_000] {
                        let text = String(String(repeating: "0123456789é", count: size / 12 + 1).prefix(size / 2 + 1))
                        try await socket.send(text)
                        #expect(try await socket.receive() == .text(text))
                    }
                    #expect(try await socket.ping() > .zero)
                }
            }
        }
    }

    @Test func itsCloseIsUnderstood() async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(on: loops)
            configuration.subprotocols = ["dumb-increment-protocol"]
            try await Peer.server(try TestEnvironment.peer("run_test_server.sh"), []) { [configuration] peer in
                let socket = try await WebSocketClient.connect(
                    to: "ws://localhost:\(peer.port)", configuration: configuration)
                #expect(try await socket.receive() == "0")
                #expect(try await socket.receive() == "1")
                try await socket.send("closeme\n")
                await drain(socket)
                let info = try await socket.closed()
                #expect(info.received == WebSocketCloseFrame(code: .goingAway, reason: "seeya"))
                #expect(info.isNormal)
            }
        }
    }
}
