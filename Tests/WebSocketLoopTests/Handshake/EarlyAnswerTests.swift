//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// Servers answer a request that is too long before they have read it all (RFC 9112 §9.5).
@Suite(.timeLimit(.minutes(5))) struct EarlyAnswerTests {
    private static let refusal = Array(
        "HTTP/1.1 431 Too Large\r\nContent-Length: 4\r\nX-Limit: 8192\r\n\r\nlong".utf8)
    private static let cookie = String(repeating: "c", count: 64_000)

    enum Then: CaseIterable { case stays, closes }

    @Test(arguments: Then.allCases, [false, true])
    func anAnswerIsHeardWhileTheRequestIsWritten(then: Then, isSecure: Bool) async throws {
        let (error, read) = try await failure(isSecure: isSecure) { peer, read, write in
            // Without TLS a reset in front of the request looks like a connection that never stood.
            if !isSecure { _ = try await read(1) }
            try await write(Self.refusal)
            if then == .closes { peer.reset() }
        }
        #expect(error.code == .handshakeRejected, "\(error)")
        #expect(error.response?.status == 431)
        #expect(error.response?.headers[HTTPField.Name("X-Limit")!] == "8192")
        #expect(error.response?.body == Array("long".utf8))
        if then == .stays { #expect(read < Self.cookie.utf8.count) }
    }

    @Test func aSwitchOfProtocolsInFrontOfTheRequestsEndIsRefused() async throws {
        let (error, read) = try await failure(isSecure: false) { _, read, write in
            let beginning = String(decoding: try await read(400), as: UTF8.self)
            let name = "Sec-WebSocket-Key: "
            let line = beginning.split(separator: "\r\n").first { $0.hasPrefix(name) }
            let key = String(try #require(line).dropFirst(name.count))
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(AcceptKey.of(key))\r\n\r\n"
            try await write(Array(answer.utf8))
        }
        #expect(error.code == .handshakeInvalid, "\(error)")
        #expect(error.message.contains("before it had the whole request"))
        #expect(read < Self.cookie.utf8.count)
    }

    private typealias Script = (
        WebSocketBytePeer, _ read: (Int) async throws -> [UInt8], _ write: ([UInt8]) async throws -> Void
    ) async throws -> Void

    /// Why a request fails that is not read whole, and how much of it can be read afterwards.
    private func failure(isSecure: Bool, _ script: Script) async throws -> (WebSocketError, Int) {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener(receiveBuffer: 1, segment: 1_460)
            let request = try ClientRequest(
                url: WebSocketURL("\(isSecure ? "wss" : "ws")://127.0.0.1:\(listener.port)/"),
                fields: [.cookie: Self.cookie], subprotocols: [], options: .quiet, openTimeout: .seconds(60),
                tls: TestCertificate.client)
            async let connecting = error { await (try group.loops[0].connect(request)).end() }
            let peer = try await listener.accept()
            if isSecure {
                let tls = TLSPeer(peer, server: TestCertificate.shared)
                try await tls.handshake()
                try await script(peer, tls.read) { try await tls.write($0) }
            } else {
                try await script(peer, peer.read, peer.write)
            }
            let error = try await connecting
            // What was there already when the attempt ended; there is none of it where the peer has closed.
            let read = (try? await peer.readToEnd().count) ?? 0
            peer.close()
            return (error, read)
        }
    }
}
