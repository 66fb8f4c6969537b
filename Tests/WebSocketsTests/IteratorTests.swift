//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// `async for … in connect(…)` of websockets, where it goes wrong there.
@Suite(.timeLimit(.minutes(5)))
struct IteratorTests {
    /// There, a redirect rewrites the address, and takes the credentials, of all later connections.
    @Test func everyConnectionBeginsAtItsOwnURL() async throws {
        try await withLoops { loops in
            let (front, back) = (try WebSocketBytePeerListener(), try WebSocketBytePeerListener())
            var client = try clientConfiguration(on: loops)
            client.maximumRedirects = 1
            client.headers[.authorization] = "Bearer t"
            let redirect =
                "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:\(back.port)/\r\nContent-Length: 0\r\n\r\n"
            let serving = Task {
                for _ in 0..<2 {
                    let first = try await front.accept()
                    let head = try await first.readHead()
                    #expect(head["Authorization"] == "Bearer t")
                    try await first.write(Array(redirect.utf8))
                    let second = try await back.accept()
                    #expect(try await second.acceptHandshake()["Authorization"] == nil)
                    try await second.send(.close(1001))
                    #expect(try await second.readFrame().closeCode == 1001)
                    first.close()
                    second.close()
                }
            }
            var policy = WebSocketReconnectPolicy()
            policy.strategy = .immediate
            var count = 0
            for try await socket in WebSocketClient.connections(
                to: "ws://127.0.0.1:\(front.port)/", configuration: client, reconnect: policy)
            {
                #expect(try await socket.closed().received?.code == .goingAway)
                count += 1
                if count == 2 { break }
            }
            try await serving.value
        }
    }
}
