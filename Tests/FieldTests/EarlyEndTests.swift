//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Servers that say something and leave at once: answer, message and close frame in one segment.
@Suite(.timeLimit(.minutes(5)))
struct EarlyEndTests {
    @Test func aSessionLosesNoMessageOfAConnectionThatEndsAtOnce() async throws {
        let rounds = 50
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = WebSocketSessionConfiguration()
            configuration.client = try clientConfiguration(on: loops)
            configuration.reconnect.strategy = .fixed(.zero)
            configuration.reconnect.maximumAttempts = nil
            let serving = Task {
                for round in 0..<rounds {
                    let peer = try await listener.accept()
                    try await peer.acceptHandshake(
                        behind: WebSocketWireFrame.text("\(round)").bytes
                            + WebSocketWireFrame.close(1001, "restart").bytes)
                    let answer = try await peer.readFrame()
                    #expect(answer.opcode == 0x8)
                    peer.close()
                }
            }
            let url = "ws://127.0.0.1:\(listener.port)/"
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                for round in 0..<rounds {
                    let message = try await session.receive()
                    #expect(message == .text("\(round)"))
                }
            }
            try await serving.value
        }
    }
}
