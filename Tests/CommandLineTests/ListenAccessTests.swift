//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Glibc
import Testing
import WebSockets

@testable import wsx

/// `wsx listen`: who is answered.
@Suite(.timeLimit(.minutes(5)))
struct ListenAccessTests {
    private static let handshake = [
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]

    /// A page whose name was made to mean 127.0.0.1 (DNS rebinding) names itself as Host, and agrees with its Origin.
    @Test func onlyKnownHostsAreAnsweredOnLoopback() async throws {
        try await Command.listen(["--host-name", "allowed.example", "--host-name", "*.test.example"]) { url in
            let port = try #require(url.split(separator: ":").last)
            for host in ["evil.example", "evil.example:\(port)", "localhost.evil.example", "test.example", "1.2.3"] {
                let headers = Self.handshake + ["Origin: http://\(host)"]
                let refused = try await answer(url, "/", headers, host: host)
                #expect(refused.hasPrefix("HTTP/1.1 421 "), "\(host): \(refused)")
                #expect(refused.contains("--host-name"))
                let hidden = try await answer(url, "/status.json", host: host)
                #expect(hidden.hasPrefix("HTTP/1.1 421 "))
            }
            for host in [
                "localhost", "LOCALHOST:\(port)", "localhost.", "app.localhost", "127.0.0.1:\(port)", "[::1]:\(port)",
                "192.0.2.1", "allowed.example:\(port)", "Allowed.Example", "a.test.example",
            ] {
                let answered = try await answer(url, "/status.json", host: host)
                #expect(answered.hasPrefix("HTTP/1.1 200 "), "\(host)")
            }
        }
        try await Command.listen(["--host-name", "*"]) { url in
            let answered = try await answer(url, "/status.json", host: "any.example")
            #expect(answered.hasPrefix("HTTP/1.1 200 "))
        }
    }
}
