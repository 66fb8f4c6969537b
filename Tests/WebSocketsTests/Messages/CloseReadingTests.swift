//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// Peers that only write: coder/websocket's CloseRead.
@Suite(.timeLimit(.minutes(5)))
struct CloseReadingTests {
    @Test func controlFramesAreDealtWithAndMessagesStillGoOut() async throws {
        try await withScripted { scripted in
            scripted.socket.closeReading()
            try await scripted.fence()
            try await scripted.socket.send("out")
            #expect(try await scripted.readMessage(compressed: false).payload == Array("out".utf8))
            async let roundTrip = scripted.socket.ping([7])
            let ping = try await scripted.peer.readFrame()
            #expect(ping.opcode == WebSocketWireFrame.ping && ping.payload == [7])
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [7]))
            #expect(try await roundTrip > .zero)
            try await scripted.peer.send(.close(1000, "done"))
            #expect(try await scripted.peer.readFrame().closeCode == 1000)
            scripted.peer.close()
            let info = try await scripted.socket.closed()
            #expect(info.isNormal && info.reason == "done")
        }
    }

    /// The frames that arrive.
    static let messages: [[WebSocketWireFrame]] = [
        [.text("no")], [WebSocketWireFrame(WebSocketWireFrame.binary, [1])],
        [WebSocketWireFrame(WebSocketWireFrame.text, [])],
        // The first part of a message is enough.
        [.text("begin", final: false)],
    ]

    @Test(arguments: messages, [false, true])
    func aMessageClosesWith1008(_ frames: [WebSocketWireFrame], isEarly: Bool) async throws {
        try await withScripted { scripted in
            // Early: it is here already, and nobody has received it.
            if !isEarly { scripted.socket.closeReading() }
            for frame in frames { try await scripted.peer.send(frame) }
            if isEarly {
                try await until("it is here", on: scripted.socket.eventLoop) { [wire = scripted.socket.wire] in
                    wire.hasInboundResidue
                }
                scripted.socket.closeReading()
            }
            let close = try await scripted.peer.readFrame()
            #expect(close.closeCode == 1008)
            scripted.peer.close()
            let info = try await scripted.socket.closed()
            #expect(info.cause == .peerViolation && info.sent?.code == .policyViolation)
            let error = try await failure { try await scripted.socket.receive() }
            #expect(error.code == .protocolViolation)
            #expect(error.message.contains("closeReading"))
        }
    }

    @Test func whoeverWaitsIsTold() async throws {
        try await withScripted { scripted in
            async let waiting = failure { try await scripted.socket.receive() }
            try await scripted.socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 }
            scripted.socket.closeReading()
            try await scripted.fence()
            try await scripted.peer.send(.text("no"))
            #expect(try await waiting.code == .protocolViolation)
        }
    }

    @Test func repliesStillArrive() async throws {
        try await withScripted { scripted in
            scripted.socket.closeReading()
            async let reply = scripted.socket.request("question") { $0 == "answer" }
            #expect(try await scripted.readMessage(compressed: false).payload == Array("question".utf8))
            try await scripted.peer.send(.text("answer"))
            #expect(try await reply == "answer")
            try await scripted.peer.send(.text("answer"))
            #expect(try await scripted.peer.readFrame().closeCode == 1008)
        }
    }
}
