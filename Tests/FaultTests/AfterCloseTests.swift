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
            let listener = try BytePeerListener()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.closeTimeout = .seconds(1)
            configuration.options.inboundBuffer = .init(highMessages: 8, lowMessages: 1, highBytes: 1 << 20)
            async let connecting = WebSocketClient.connect(
                to: "ws://127.0.0.1:\(listener.port)/", configuration: configuration)
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            let socket = try await connecting
            let flooding = Task {
                let frame = peer.bytes(of: WireFrame(WireFrame.binary, [UInt8](repeating: 7, count: 1_000)))
                // Until the other end resets the connection.
                while (try? await peer.write(frame)) != nil {}
            }
            let info = try await socket.close()
            #expect(info.sent?.code == .normalClosure)
            #expect(info.received == nil && info.cause == .closeTimeout)
            #expect(info.droppedMessages > 0)
            // What is in the buffer can be received, and it is no more than the buffer holds and one read.
            var count = 0
            while (try? await socket.receive()) != nil { count += 1 }
            #expect(count <= 8 + 128)
            peer.close()
            await flooding.value
        }
    }
}
