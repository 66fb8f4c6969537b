//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// F6: a peer that ignores our close and goes on sending.
@Suite(.timeLimit(.minutes(5))) struct AfterCloseTests {
    @Test func dataWithoutEndIsBoundedAndCounted() async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.closeTimeout = .seconds(1)
            configuration.options.inboundBuffer = .init(highMessages: 8, lowMessages: 1, highBytes: 1 << 20)
            async let connecting = WebSocketClient.connect(
                to: "ws://127.0.0.1:\(listener.port)/", configuration: configuration)
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            let socket = try await connecting
            let flooding = Task {
                // Until the other end resets the connection.
                var number = 0
                while (try? await peer.send(.text("\(number)"))) != nil { number += 1 }
            }
            async let closing = socket.close()
            // Somebody takes messages, and not as fast as they come. What there is has no hole.
            var received: [WebSocketMessage] = []
            while let message = try? await socket.receive() {
                if received.count < 1_000 { received.append(message) }
                await Task.yield()
            }
            #expect(received == (0..<received.count).map { .text("\($0)") })
            let info = try await closing
            #expect(info.sent?.code == .normalClosure)
            #expect(info.received == nil && info.cause == .closeTimeout)
            #expect(info.droppedMessages > 0)
            peer.close()
            await flooding.value
        }
    }
}
