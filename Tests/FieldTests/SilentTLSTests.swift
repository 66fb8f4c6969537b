//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Servers that accept and say nothing, more of them than a loop shakes hands with at a time.
@Suite(.timeLimit(.minutes(5)))
struct SilentTLSTests {
    @Test func whatTimedOutInItsHandshakeGivesItsPlaceBack() async throws {
        try await withLoopback(.secure, handler: { try await $0.send("here") }) { loopback in
            var impatient = loopback.client
            impatient.openTimeout = .milliseconds(500)
            for _ in 0..<3 {
                let silent = try (0..<3).map { _ in try WebSocketBytePeerListener() }
                await withTaskGroup(of: WebSocketError.Code?.self) { group in
                    for index in 0..<330 {
                        let url = "wss://127.0.0.1:\(silent[index % 3].port)/"
                        group.addTask { [impatient] in
                            do throws(WebSocketError) {
                                _ = try await WebSocketClient.connect(to: url, configuration: impatient)
                                return nil
                            } catch {
                                return error.code
                            }
                        }
                    }
                    for await code in group { #expect(code == .timedOut) }
                }
            }
            let socket = try await WebSocketClient.connect(to: loopback.url, configuration: loopback.client)
            #expect(try await socket.receive() == .text("here"))
            socket.abort()
        }
    }
}
