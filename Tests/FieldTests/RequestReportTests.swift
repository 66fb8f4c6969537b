//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// Reports of other libraries on what stands in a request.
@Suite(.timeLimit(.minutes(5)))
struct RequestReportTests {
    /// RFC 3986 §3.2.1, RFC 7617 §2: what has a colon is a user and a password, in percent signs or not; a user alone is
    /// most likely a token that belongs elsewhere, and is refused before anything is sent.
    @Test func aUserOfAURLHasAPasswordIfOnlyAnEmptyOne() async throws {
        let seen = Mutex<[String]>([])
        try await withLoopback(
            server: { configuration in
                configuration.onRequest = { request in
                    seen.withLock { $0.append(request.headers[.authorization] ?? "none") }
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            func connect(_ user: String) async throws {
                let url = "ws://\(user)127.0.0.1:\(loopback.server.port)/"
                try await WebSocketClient.connect(to: url, configuration: loopback.client).close()
            }
            for user in ["token:@", ":pw@", "us%20er:p%40w@", ""] { try await connect(user) }
            #expect(seen.withLock { $0 } == ["Basic dG9rZW46", "Basic OnB3", "Basic dXMgZXI6cEB3", "none"])
            let error = try await failure { try await connect("token@") }
            #expect(error.code == .invalidURL && error.message.contains("; "), "\(error)")
            #expect(!error.message.contains("token"), "\(error)")
            #expect(seen.withLock { $0.count } == 4)
        }
    }

    /// RFC 9110 §10.1.1: a request without content needs no 100, and an expectation that is not known may be ignored.
    @Test(arguments: ["Expect: 100-continue", "expect: 100-CONTINUE", "Expect: other", "Expect:"])
    func anExpectationIsNoReasonToRefuse(_ line: String) async throws {
        try await withLoopback(handler: echo) { loopback in
            for fields in [[line], [line, "Content-Length: 0"]] {
                let peer = try await WebSocketBytePeer.connect(port: loopback.server.port)
                let answer = try await peer.openHandshake(fields: fields)
                #expect(answer.status == 101, "\(fields)")
                peer.close()
            }
        }
    }
}
