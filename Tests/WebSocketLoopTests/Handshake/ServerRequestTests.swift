//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// A request and the status that our server must answer it with.
struct RequestCase: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let bytes: [UInt8]
    let status: Int

    /// The right request, with lines that begin with `prefix` replaced by `line`, or removed.
    init(_ description: String, _ prefix: String, _ line: String?, _ status: Int) {
        testDescription = description
        self.status = status
        let lines = String(decoding: WebSocketBytePeer.request(), as: UTF8.self).split(separator: "\r\n")
            .compactMap { $0.hasPrefix(prefix) ? line : String($0) }
        bytes = Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
    }

    /// The right request with more lines.
    init(_ description: String, adding lines: [String], _ status: Int) {
        testDescription = description
        self.status = status
        bytes = WebSocketBytePeer.request(fields: lines)
    }

    init(_ description: String, raw: String, _ status: Int) {
        testDescription = description
        self.status = status
        bytes = Array(raw.utf8)
    }

    private static let right = String(decoding: WebSocketBytePeer.request(), as: UTF8.self)

    static let all: [RequestCase] = [
        // The request line.
        RequestCase("POST", "GET", "POST / HTTP/1.1", 405), RequestCase("HEAD", "GET", "HEAD / HTTP/1.1", 405),
        RequestCase("a method in lower case", "GET", "get / HTTP/1.1", 405),
        RequestCase("a handshake in HTTP/1.0 (RFC 9110 §7.8)", "GET", "GET / HTTP/1.0", 426),
        RequestCase("HTTP/2.0", "GET", "GET / HTTP/2.0", 505), RequestCase("HTTP/0.9", "GET", "GET / HTTP/0.9", 505),
        RequestCase("no version", "GET", "GET /", 400),
        RequestCase("a lower-case version", "GET", "GET / http/1.1", 400),
        RequestCase("two spaces", "GET", "GET  / HTTP/1.1", 400),
        RequestCase("a space at the end", "GET", "GET / HTTP/1.1 ", 400),
        RequestCase("a space in the target", "GET", "GET /a b HTTP/1.1", 400),
        RequestCase("a control character in the target", "GET", "GET /\u{1} HTTP/1.1", 400),
        RequestCase("a target outside ASCII", "GET", "GET /ä HTTP/1.1", 400),
        RequestCase("an absolute target of another scheme", "GET", "GET ftp://127.0.0.1/ HTTP/1.1", 400),
        RequestCase("an absolute target with a user", "GET", "GET http://u@127.0.0.1/ HTTP/1.1", 400),
        RequestCase("an authority", "GET", "GET 127.0.0.1:80 HTTP/1.1", 400),
        RequestCase("a fragment", "GET", "GET /#a HTTP/1.1", 400),
        RequestCase("an asterisk", "GET", "GET * HTTP/1.1", 400),
        RequestCase("a target of 9,000 bytes", "GET", "GET /\(String(repeating: "a", count: 9_000)) HTTP/1.1", 414),
        RequestCase("a flood of empty lines first", raw: String(repeating: "\r\n", count: 100) + right, 400),
        // Host.
        RequestCase("no Host", "Host", nil, 400), RequestCase("an empty Host", "Host", "Host:", 400),
        RequestCase("two Hosts", adding: ["Host: 127.0.0.1"], 400),
        RequestCase("a Host with a space", "Host", "Host: a b", 400),
        RequestCase("a Host with a path", "Host", "Host: a/b", 400),
        RequestCase("a Host with a user", "Host", "Host: a@b", 400),
        RequestCase("a Host of two", "Host", "Host: a,b", 400),
        // Upgrade and Connection.
        RequestCase("no Upgrade", "Upgrade", nil, 426), RequestCase("another Upgrade", "Upgrade", "Upgrade: h2c", 426),
        RequestCase("no Connection", "Connection", nil, 426),
        RequestCase("another Connection", "Connection", "Connection: keep-alive", 426),
        RequestCase("a broken Connection", "Connection", "Connection: \"Upgrade\"", 400),
        // Version and key.
        RequestCase("no version header", "Sec-WebSocket-Version", nil, 426),
        RequestCase("version 8", "Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", 426),
        RequestCase("version 013", "Sec-WebSocket-Version", "Sec-WebSocket-Version: 013", 426),
        RequestCase("two versions", adding: ["Sec-WebSocket-Version: 13"], 400),
        RequestCase("no key", "Sec-WebSocket-Key", nil, 400),
        RequestCase("a short key", "Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ=", 400),
        RequestCase("a long key", "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSB0b28gbG9uZw==", 400),
        RequestCase("a key that is not base64", "Sec-WebSocket-Key", "Sec-WebSocket-Key: ################ ######", 400),
        RequestCase("two keys", adding: ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], 400),
        // Other headers of the handshake.
        RequestCase("a broken subprotocol list", adding: ["Sec-WebSocket-Protocol: a b"], 400),
        RequestCase("a subprotocol twice", adding: ["Sec-WebSocket-Protocol: a, a"], 400),
        RequestCase("a broken extension list", adding: ["Sec-WebSocket-Extensions: =,;"], 400),
        RequestCase("two Origins", adding: ["Origin: http://a", "Origin: http://b"], 400),
        // How requests are smuggled.
        RequestCase("chunks", adding: ["Transfer-Encoding: chunked"], 400),
        RequestCase("a body", adding: ["Content-Length: 5"], 400),
        RequestCase("two lengths", adding: ["Content-Length: 0", "Content-Length: 0"], 400),
        RequestCase("bare LFs", raw: right.split(separator: "\r\n").joined(separator: "\n") + "\n\n", 400),
        RequestCase("one bare LF", adding: ["X-A: 1\nX-B: 2"], 400),
        RequestCase("a bare CR", adding: ["X-A: 1\rX-B: 2"], 400),
        RequestCase("a NUL", adding: ["X-A: 1\u{0}2"], 400),
        RequestCase("a folded line", adding: ["X-A: 1", " 2"], 400),
        RequestCase("a space in front of a colon", adding: ["X-A : 1"], 400),
        RequestCase("no name", adding: [": 1"], 400), RequestCase("no colon", adding: ["X-A"], 400),
        RequestCase("a name that is no token", adding: ["X(A): 1"], 400),
        // Sizes.
        RequestCase("a header of 9,000 bytes", adding: ["X-A: " + String(repeating: "a", count: 9_000)], 431),
        RequestCase("200 headers", adding: (0..<200).map { "X-\($0): 1" }, 431),
        RequestCase(
            "100 kB of headers", adding: (0..<100).map { _ in "X: " + String(repeating: "x", count: 1_000) }, 431),
        RequestCase("an endless target", raw: "GET /" + String(repeating: "a", count: 20_000), 414),
        RequestCase("an endless header", raw: right.dropLast(2) + "X: " + String(repeating: "a", count: 20_000), 431),
        // Other protocols.
        RequestCase("TLS", raw: "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", 400),
        RequestCase("SSH", raw: "SSH-2.0-OpenSSH_9.2p1\r\n", 400),
    ]
}

@Suite(.timeLimit(.minutes(5))) struct ServerRequestTests {
    @Test(arguments: RequestCase.all)
    func wrongRequestsAreRefused(request: RequestCase) async throws {
        try await withLoops { group in
            try await withServer(on: group.loops[0]) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                try await peer.write(request.bytes)
                try await expectRefusal(
                    peer.readToEnd(), request.status, isHead: request.bytes.starts(with: Array("HEAD ".utf8)))
                peer.close()
            }
        }
    }

    @Test(arguments: RequestCase.all)
    func wrongRequestsAreRefusedOverTLS(request: RequestCase) async throws {
        try await withLoops { group in
            try await withServer(on: group.loops[0], tls: TestCertificate.server()) { server in
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                try await tls.handshake()
                try await tls.write(request.bytes)
                try await expectRefusal(
                    tls.readToEnd(), request.status, isHead: request.bytes.starts(with: Array("HEAD ".utf8)))
                tls.peer.close()
            }
        }
    }

    private func expectRefusal(_ bytes: [UInt8], _ status: Int, isHead: Bool = false) throws {
        let end = try #require(bytes.firstRange(of: Array("\r\n\r\n".utf8))).upperBound
        let head = try WebSocketWireHead(Array(bytes[..<end]))
        #expect(head.status == status)
        // The answer to a HEAD has only the length of a body (RFC 9110 §9.3.2).
        let length = try #require(head["Content-Length"].flatMap(Int.init))
        #expect(length > 0)
        #expect(bytes.count - end == (isHead ? 0 : length))
        switch status {
        case 405: #expect(head["Allow"] == "GET")
        case 426:
            #expect(head["Sec-WebSocket-Version"] == "13")
            #expect(head["Upgrade"]?.lowercased() == "websocket")
            #expect(head["Connection"]?.lowercased() == "upgrade")
        default: #expect(head["Connection"] == "close")
        }
    }

    /// A peer that is still sending reads the refusal too, instead of a reset.
    @Test func aRefusalArrivesThoughABodyFollows() async throws {
        try await withLoops { group in
            try await withServer(on: group.loops[0]) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                try await peer.write(Array("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n".utf8))
                try await peer.write([UInt8](repeating: 1, count: 1_000_000))
                try await expectRefusal(peer.readToEnd(), 405)
                peer.close()
            }
        }
    }

    @Test(arguments: [
        ["Connection: keep-alive, Upgrade"], ["Upgrade: foo/1, WebSocket"], ["Content-Length: 0"], ["Origin: null"],
        ["X-Latin: \u{E4}"], ["Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c"],
        ["X-Tab:\tvalue\t"], ["Cookie: a=1", "Cookie: b=2"],
    ])
    func unusualRequestsAreAccepted(lines: [String]) async throws {
        try await withLoops { group in
            try await withServer(on: group.loops[0]) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                let head = try await peer.openHandshake(target: "/a%20b?c=d&e=//..", fields: lines)
                #expect(head["Sec-WebSocket-Protocol"] == nil)
                let connection = try await server.next()
                #expect(connection.details.requestHead?.target == "/a%20b?c=d&e=//..")
                #expect(connection.details.requestTarget == "/a%20b?c=d&e=//..")
                #expect(connection.details.requestHead?.method == "GET")
                peer.close()
            }
        }
    }

    /// What is unusual about the start of a request, and what the server makes of it.
    @Test(arguments: [
        ("a higher minor version (RFC 9110 §2.5)", "GET /a HTTP/1.2\r\nHost: h", "/a", "h"),
        ("empty lines first (RFC 9112 §2.2)", "\r\n\r\nGET /a HTTP/1.1\r\nHost: h", "/a", "h"),
        ("an absolute target (RFC 9112 §3.2.2)", "GET http://h:81/a?b HTTP/1.1\r\nHost: other", "/a?b", "h:81"),
        ("one without a path", "GET WSS://H HTTP/1.1\r\nHost: other", "/", "H"),
    ])
    func unusualStartsAreAccepted(_ what: String, _ start: String, _ target: String, _ host: String) async throws {
        for isSecure in [false, true] {
            try await withLoops { group in
                try await withServer(on: group.loops[0], tls: isSecure ? TestCertificate.server() : nil) { server in
                    let bytes =
                        Array(
                            "\(start)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                .utf8)
                        // The last character carries bits that mean nothing (RFC 6455 §4.2.1: 16 bytes when decoded).
                        + Array("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n\r\n".utf8)
                    let peer = try await WebSocketBytePeer.connect(port: server.port)
                    let head: WebSocketWireHead
                    if isSecure {
                        let tls = TLSPeer(peer)
                        try await tls.handshake()
                        try await tls.write(bytes)
                        head = try await tls.readHead()
                    } else {
                        try await peer.write(bytes)
                        head = try WebSocketWireHead(try await peer.read(through: Array("\r\n\r\n".utf8)))
                    }
                    #expect(head.status == 101, "\(what)")
                    #expect(head["Sec-WebSocket-Accept"] == "OfS0wDaT5NoxF2gqm7Zj2YtetzM=")
                    let connection = try await server.next()
                    #expect(connection.details.requestTarget == target)
                    #expect(connection.details.requestHead?.target == target)
                    #expect(connection.details.requestHead?.fields[values: .hostField] == [host])
                    peer.close()
                }
            }
        }
    }

    @Test func theServersDecisionIsAnswered() async throws {
        try await withLoops { group in
            try await withServer(
                on: group.loops[0],
                decide: { request in
                    switch request.head.target {
                    case "/forbidden": .failure(.forbiddenOrigin)
                    case "/full": .failure(.unavailable)
                    default:
                        .success(
                            UpgradeResponse(
                                subprotocol: request.subprotocols.last,
                                fields: [.setCookie: "a=1; Path=/", .server: "test"]))
                    }
                }
            ) { server in
                for (target, status) in [("/forbidden", 403), ("/full", 503)] {
                    let peer = try await WebSocketBytePeer.connect(port: server.port)
                    try await peer.write(WebSocketBytePeer.request(target: target))
                    try await expectRefusal(peer.readToEnd(), status)
                    peer.close()
                }
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                let head = try await peer.openHandshake(fields: ["Sec-WebSocket-Protocol: one, two"])
                #expect(head["Sec-WebSocket-Protocol"] == "two")
                #expect(head["Set-Cookie"] == "a=1; Path=/" && head["Server"] == "test")
                #expect(try await server.next().details.subprotocol == "two")
                peer.close()
            }
        }
    }
}
