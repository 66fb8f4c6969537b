//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop

/// What is kept of the body of an answer that is no upgrade.
@Suite(.timeLimit(.minutes(5))) struct RefusalBodyTests {
    private func response(_ parts: [String]) async throws -> WebSocketError.Response? {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(port: listener.port)
            async let connecting = error { await (try group.loops[0].connect(request)).end() }
            let peer = try await listener.accept()
            _ = try await peer.readHead()
            for part in parts { try await peer.write(Array(part.utf8)) }
            let error = try await connecting
            peer.close()
            #expect(error.code == .handshakeRejected)
            return error.response
        }
    }

    @Test(arguments: [
        ("Content-Length: 5", "hello", "hello"), ("Content-Length: 3", "hello", "hel"),
        ("Content-Length: 9", "hello", "hello"), ("Content-Length: 0", "", ""),
        ("Content-Length: -7", "hello", "hello"), ("Content-Length: 99999999999999999999", "hello", "hello"),
        ("Content-Length: many", "hello", "hello"), ("Connection: close", "hello", "hello"),
    ])
    func aBodyIsKept(_ field: String, _ body: String, _ kept: String) async throws {
        let response = try await response(["HTTP/1.1 403 No\r\nX-Why: rules\r\n\(field)\r\n\r\n\(body)"])
        #expect(response?.status == 403)
        #expect(response?.headers.contains { $0.name.rawName == "X-Why" && $0.value == "rules" } == true)
        #expect(response.map { String(decoding: $0.body, as: UTF8.self) } == kept)
    }

    @Test func itsFirst64KiBAreKept() async throws {
        let body = (0..<9_000).map { "line \($0)\n" }.joined()
        let response = try await response(
            ["HTTP/1.1 500 No\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"])
        let isBeginning = response?.body == Array(body.utf8.prefix(64 << 10))
        #expect(isBeginning, "\(response?.body.count ?? -1) bytes")
    }

    /// RFC 9112 §7.1; sizes that would overflow are among them.
    @Test(arguments: [
        ("5\r\nhello\r\n0\r\n\r\n", "hello"), ("2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n", "hello"),
        ("80000000\r\nhello", "hello"), ("fffffff0\r\nhello\r\n", "hello\r\n"), ("ffffffffffffffff\r\nx", "x"),
        ("zz\r\n", ""), ("5\r\nhelloX", "hello"), ("0\r\nTrailer: x\r\n\r\n", ""), ("", ""),
    ])
    func chunksAreDecoded(_ body: String, _ kept: String) async throws {
        for coding in ["chunked", "Chunked"] {
            let response = try await response(["HTTP/1.1 503 No\r\nTransfer-Encoding: \(coding)\r\n\r\n\(body)"])
            #expect(response?.status == 503)
            #expect(response.map { String(decoding: $0.body, as: UTF8.self) } == kept)
        }
    }

    /// A body that drips does not put off the error until the whole attempt runs out of time.
    @Test func aDrippingBodyIsNotWaitedFor() async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(port: listener.port)
            async let connecting = error { await (try group.loops[0].connect(request)).end() }
            let peer = try await listener.accept()
            _ = try await peer.readHead()
            let dripping = Task {
                try await peer.write(Array("HTTP/1.1 403 No\r\n\r\n".utf8))
                // Until the client has left.
                while !Task.isCancelled {
                    try await peer.write([0x78])
                    await group.loops[0].pause()
                }
            }
            let error = try await connecting
            dripping.cancel()
            _ = try? await dripping.value
            peer.close()
            #expect(error.code == .handshakeRejected && error.response?.status == 403)
            #expect(error.response?.body.allSatisfy { $0 == 0x78 } == true)
        }
    }
}
