//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import HTTPTypes
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// Which protocol a TLS connection is for (RFC 7301): HTTP/1.1, of which WebSocket is made.
@Suite(.timeLimit(.minutes(5))) struct ALPNTests {
    @Test(arguments: Side.allCases, [["http/1.1"], ["h2", "http/1.1"]])
    func http1IsAgreedOn(_ ours: Side, protocols: [String]) async throws {
        for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
            try await withSecurePair(ours, version: version, protocols: protocols) { connection, tls in
                #expect(tls.negotiatedProtocol == "http/1.1")
                try await tls.write(tls.peer.bytes(of: .text("hello")))
                #expect(try await connection.receive() == .text("hello"))
            }
        }
    }

    /// A server that speaks HTTP/2 only says so in TLS, and the error says what it means.
    @Test func aServerWithoutHTTP1RefusesTheHandshake() async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(
                url: WebSocketURL("wss://127.0.0.1:\(listener.port)/"), fields: [:], subprotocols: [], options: .quiet,
                openTimeout: .seconds(60), tls: TestCertificate.client)
            async let connecting = error { _ = try await group.loops[0].connect(request) }
            let tls = TLSPeer(try await listener.accept(), server: TestCertificate.shared, protocols: ["h2"])
            await #expect(throws: TLSPeer.Failure.self) { try await tls.handshake() }
            let error = try await connecting
            #expect(error.code == .tlsFailed && error.message.contains("application protocol"), "\(error)")
            tls.peer.close()
        }
    }
}
