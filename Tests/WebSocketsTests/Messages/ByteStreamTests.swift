//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// Messages as a stream of bytes: coder/websocket's NetConn.
@Suite(.timeLimit(.minutes(5)))
struct ByteStreamTests {
    @Test func boundariesOfMessagesMeanNothing() async throws {
        try await withScripted { scripted in
            let stream = scripted.socket.byteStream()
            for payload in [[1, 2, 3], [], [4], [5, 6]] as [[UInt8]] {
                try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.binary, payload))
            }
            #expect(try await stream.read(upTo: 2) == [1, 2])
            #expect(try await stream.read(upTo: 1) == [3])
            #expect(try await stream.read() == [4])
            #expect(try await stream.read(upTo: 100) == [5, 6])
            try await scripted.peer.send(.close(1001))
            #expect(try await scripted.peer.readFrame().closeCode == 1001)
            scripted.peer.close()
            #expect(try await stream.read() == nil)
            #expect(try await stream.read() == nil)
        }
    }

    @Test(arguments: Transport.all)
    func bytesComeBackInOrder(_ transport: Transport) async throws {
        try await withLoopback(
            transport,
            handler: { socket in
                let stream = socket.byteStream()
                for try await bytes in stream { try await stream.write(bytes) }
            }
        ) { loopback in
            let socket = try await loopback.connect()
            let stream = socket.byteStream()
            let noise = Payload.noise(100_000)
            async let writing: Void = stream.write(noise)
            var received: [UInt8] = []
            while received.count < noise.count { received += try #require(try await stream.read(upTo: 1_000)) }
            try await writing
            #expect(received == noise)
            try await stream.close()
            try await stream.close()
            #expect(try await socket.closed().isNormal)
            #expect(try await stream.read() == nil)
        }
    }

    @Test func whatIsWrittenFitsIntoSmallMessages() async throws {
        try await withScripted { scripted in
            let stream = scripted.socket.byteStream()
            try await stream.write([])
            let bytes = Payload.noise(40_000)
            async let writing: Void = stream.write(bytes[...])
            var sizes: [Int] = []
            var received: [UInt8] = []
            while received.count < bytes.count {
                let message = try await scripted.readMessage(compressed: false)
                #expect(message.frames[0].opcode == WebSocketWireFrame.binary)
                sizes.append(message.payload.count)
                received += message.payload
            }
            try await writing
            #expect(sizes == [16_384, 16_384, 7_232])
            #expect(received == bytes)
        }
    }

    @Test func textIsRefusedWith1003() async throws {
        try await withScripted { scripted in
            let stream = scripted.socket.byteStream()
            async let reading = failure { try await stream.read() }
            try await scripted.peer.send(.text("no"))
            #expect(try await scripted.peer.readFrame().closeCode == 1003)
            try await scripted.peer.send(.close(1003))
            scripted.peer.close()
            let error = try await reading
            #expect(error.code == .protocolViolation)
            #expect(error.message.contains("text"))
        }
    }

    @Test func anEndThatIsNoneThrows() async throws {
        try await withScripted { scripted in
            let stream = scripted.socket.byteStream()
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.binary, [1]))
            scripted.peer.close()
            #expect(try await stream.read() == [1])
            let error = try await failure { try await stream.read() }
            #expect(error.code == .connectionClosed)
            #expect(error.closeInfo?.cause == .connectionLost)
        }
    }
}
