//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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
