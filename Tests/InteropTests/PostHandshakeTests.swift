//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Servers in TLS 1.3 that ask for the client's certificate when the connection is open (ruby/openssl#237,
/// m-click/requests_pkcs12#17).
@Suite(.timeLimit(.minutes(5)))
struct PostHandshakeTests {
    @Test(arguments: [true, false])
    func aCertificateIsShownWhenItIsAskedFor(hasIdentity: Bool) async throws {
        let arguments = [
            try TestEnvironment.peer("post_handshake.py"), try TestEnvironment.certificate("valid"),
            try TestEnvironment.key("valid"), try TestEnvironment.certificate("ca"),
        ]
        try await withLoops { loops in
            var configuration = try clientConfiguration(.secure, on: loops)
            if hasIdentity {
                configuration.tls.identity = .files(
                    certificate: try TestEnvironment.certificate("client"), key: try TestEnvironment.key("client"))
            }
            let client = configuration
            try await Peer.server(try TestEnvironment.python, arguments) { peer in
                let socket = try await WebSocketClient.connect(
                    to: "wss://localhost:\(peer.port)/", configuration: client)
                #expect(try await socket.receive() == "who?")
                try await socket.send("me")
                let name = try await socket.receive().text
                // A client that has none does not say that it could show one.
                #expect(
                    hasIdentity ? name?.isEmpty == false && name != "cannot ask" : name == "cannot ask", "\(name ?? "")"
                )
                #expect(try await socket.close().isNormal)
            }
        }
    }
}
