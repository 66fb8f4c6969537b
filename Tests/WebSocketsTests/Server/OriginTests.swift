//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import LoopbackSupport
import Testing
import WebSockets

/// A page that opens a connection, and whether it may.
struct OriginCase: Sendable, CustomTestStringConvertible {
    let policy: WebSocketServerConfiguration.OriginPolicy
    let origin: String?
    var host = "example.com"
    var allowsMissing = true
    let isAllowed: Bool

    var testDescription: String { "\(origin ?? "none") at \(host), \(policy): \(isAllowed ? "allowed" : "forbidden")" }

    private static let listed = WebSocketServerConfiguration.OriginPolicy.only([
        "https://example.com", "https://*.example.org", "http://localhost:*",
    ])

    static let all = [
        // The same host, which is the default.
        OriginCase(policy: .sameHost, origin: "http://example.com", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "https://example.com", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "http://example.com:80", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "http://EXAMPLE.com", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "http://example.com:8080", host: "example.com:8080", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "http://example.com:8080", isAllowed: false),
        // The default port is that of the origin's scheme (RFC 6454 §4): a proxy may have ended TLS.
        OriginCase(policy: .sameHost, origin: "https://example.com", host: "example.com:443", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "https://example.com:443", host: "example.com:443", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "https://example.com", host: "EXAMPLE.com:443", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "https://[::1]", host: "[::1]:443", isAllowed: true),
        OriginCase(policy: .sameHost, origin: "http://example.com", host: "example.com:443", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "https://example.com", host: "example.com:80", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "https://example.com:8443", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "http://evil-example.com", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "http://example.com.evil.net", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "http://www.example.com", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "null", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "file://example.com", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "http://evil@example.com", isAllowed: false),
        OriginCase(policy: .sameHost, origin: "", isAllowed: false),
        OriginCase(policy: .sameHost, origin: nil, isAllowed: true),
        OriginCase(policy: .sameHost, origin: nil, allowsMissing: false, isAllowed: false),
        // A list with patterns.
        OriginCase(policy: listed, origin: "https://example.com:443", isAllowed: true),
        OriginCase(policy: listed, origin: "http://example.com", isAllowed: false),
        OriginCase(policy: listed, origin: "https://a.b.example.org", isAllowed: true),
        OriginCase(policy: listed, origin: "https://example.org", isAllowed: false),
        OriginCase(policy: listed, origin: "https://evil-example.org", isAllowed: false),
        OriginCase(policy: listed, origin: "https://a.example.org.evil.net", isAllowed: false),
        OriginCase(policy: listed, origin: "http://localhost:3000", isAllowed: true),
        OriginCase(policy: listed, origin: "http://localhost.evil.net:3000", isAllowed: false),
        OriginCase(policy: listed, origin: "null", isAllowed: false),
        OriginCase(policy: listed, origin: nil, isAllowed: true),
        OriginCase(policy: .only(["null"]), origin: "null", isAllowed: true),
        OriginCase(policy: .only([]), origin: "http://example.com", isAllowed: false),
        // No rule at all.
        OriginCase(policy: .any, origin: "http://evil.net", isAllowed: true),
        OriginCase(policy: .any, origin: nil, allowsMissing: false, isAllowed: false),
    ]
}

@Suite(.timeLimit(.minutes(5)))
struct OriginTests {
    @Test(arguments: OriginCase.all)
    func thePageDecidesWhetherItsScriptMayConnect(row: OriginCase) async throws {
        try await withLoopback(
            server: {
                $0.origins = row.policy
                $0.allowsMissingOrigin = row.allowsMissing
            }, handler: echo
        ) { loopback in
            let request = RawRequest.upgrade(host: row.host, row.origin.map { ["Origin: \($0)"] } ?? [])
            let found1 = try await loopback.status(request)
            #expect(found1 == (row.isAllowed ? 101 : 403))
        }
    }

    @Test func theDefaultIsTheSameHost() {
        #expect(WebSocketServerConfiguration().origins == .sameHost)
        #expect(WebSocketServerConfiguration().allowsMissingOrigin)
    }

    /// The two values that were compared are what tells a wrong proxy from a foreign page.
    @Test func everyRefusalIsLoggedWithItsReason() async throws {
        let entries = Events<LogEntry>()
        try await withLoopback(
            server: {
                $0.logger = LogEntry.logger(entries)
                $0.hosts = ["example.com", "*.example.org"]
            }, handler: echo
        ) { loopback in
            let rows: [(String, Int, String, String, String)] = [
                (
                    RawRequest.upgrade("/a", host: "example.com", ["Origin: https://evil.example"]), 403,
                    "the origin is not allowed", "https://evil.example", "example.com"
                ),
                (
                    RawRequest.upgrade("/a", host: "other.example", ["Origin: http://other.example"]), 421,
                    "this server does not answer for this host", "http://other.example", "other.example"
                ),
                (
                    RawRequest.upgrade("/a", host: "example.com").replacing("Version: 13", with: "Version: 8"), 426,
                    "this is a WebSocket server; send Upgrade: websocket and Sec-WebSocket-Version: 13", "",
                    "example.com"
                ),
                (
                    RawRequest.upgrade("/a", host: "example.com").replacing("Key: dGh", with: "Key: d"), 400,
                    "Sec-WebSocket-Key must be 16 bytes in base64", "", "example.com"
                ),
                (
                    "GET /a HTTP/1.1\r\nHost: a,b\r\nOrigin: x\r\n\r\n", 400,
                    "the Host header is not a host with or without a port", "x", "a,b"
                ),
            ]
            for (request, status, reason, origin, host) in rows {
                let answer = try await loopback.answer(request)
                #expect(answer.status == status)
                let entry = try await entries.next()
                #expect(entry.level == .info && entry.message == "a request was refused")
                #expect(entry.metadata["status"] == "\(status)" && entry.metadata["reason"] == reason)
                #expect(entry.metadata["origin"] == origin && entry.metadata["host"] == host)
                #expect(entry.metadata["target"] == "/a")
                #expect(entry.metadata["peer"]?.hasPrefix("127.0.0.1:") == true)
            }
            // What was not even a request has only its reason.
            let nonsense = try await loopback.answer("nonsense\r\n\r\n")
            #expect(nonsense.status == 400)
            let entry = try await entries.next()
            #expect(entry.metadata["reason"] == "the request line is malformed" && entry.metadata["host"] == nil)
            // Whatever a client writes, it writes one line.
            _ = try await loopback.answer(
                RawRequest.upgrade(host: "example.com", ["Origin: \u{9B}2J\t\(String(repeating: "x", count: 5_000))"]))
            let escaped = try #require(try await entries.next().metadata["origin"])
            #expect(escaped.utf8.count < 400 && !escaped.utf8.contains { $0 < 0x20 })
        }
    }

    /// Rule 34: a page whose name points to this machine has that name as its host and as its origin (DNS rebinding).
    @Test func onlyKnownHostsAreAnswered() async throws {
        try await withLoopback(
            server: {
                $0.hosts = WebSocketServerConfiguration.addressesAndLocalhost.union(["app.test:8080"])
                $0.onRequest = { $0.isWebSocket ? .accept() : .respond(status: 200) }
            }, handler: echo
        ) { loopback in
            for host in [
                "localhost", "LOCALHOST:9", "a.localhost", "127.0.0.1:9", "[::1]:9", "192.0.2.1", "app.test:8080",
            ] {
                let found = try await loopback.status(RawRequest.upgrade(host: host, ["Origin: http://\(host)"]))
                #expect(found == 101, "\(host)")
                let plain = try await loopback.answer(RawRequest.plain("/status", host: host))
                #expect(plain.status == 200, "\(host)")
            }
            for host in [
                "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "app.test", "app.test:8081",
            ] {
                let found = try await loopback.status(RawRequest.upgrade(host: host, ["Origin: http://\(host)"]))
                #expect(found == 421, "\(host)")
                let plain = try await loopback.answer(RawRequest.plain("/status", host: host))
                #expect(plain.status == 421, "\(host)")
                let absolute = try await loopback.answer(RawRequest.plain("http://\(host)/", host: "localhost"))
                #expect(absolute.status == 421, "\(host)")
            }
            // No browser sends a request without a host.
            let old = try await loopback.answer("GET /status HTTP/1.0\r\n\r\n")
            #expect(old.status == 200)
        }
        #expect(WebSocketServerConfiguration().hosts == nil)
    }

    @Test func whatIsNoOriginCannotBeListed() async throws {
        try await withLoops { loops in
            for text in ["example.com", "https://", "https://example.com/", "https://*", "*", "https://a b"] {
                let error = try await failure(text) {
                    var configuration = WebSocketServerConfiguration()
                    configuration.eventLoopGroup = loops
                    configuration.origins = .only([text])
                    _ = try WebSocketServer(configuration: configuration)
                }
                #expect(error.code == .invalidConfiguration)
                #expect(error.isSentence)
            }
        }
    }
}
