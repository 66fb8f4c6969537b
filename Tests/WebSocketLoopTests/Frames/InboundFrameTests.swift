//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// What arrives at our side in frames that are right.
@Suite(.timeLimit(.minutes(5))) struct InboundFrameTests {
    @Test(arguments: Side.allCases, Compression.allCases)
    func uncompressedMessagesArrive(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            let sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]
            for size in sizes {
                let payload = [UInt8](count: size) { UInt8(truncatingIfNeeded: $0 &* 31) }
                try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.binary, payload))
                #expect(try await pair.ours.receive() == .binary(payload))
            }
            try await pair.peer.send(.text(""), .text("ä€😀"))
            #expect(try await pair.ours.receive() == .text(""))
            #expect(try await pair.ours.receive() == .text("ä€😀"))
        }
    }

    @Test(arguments: Side.allCases)
    func compressedAndUncompressedMessagesMix(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            let peer = pair.peer
            for round in 0..<20 {
                let text = String(repeating: "message \(round) ", count: 1 + round * 40)
                switch round % 4 {
                case 0: try await peer.send(pair.compressed(WebSocketWireFrame.text, Array(text.utf8)))
                case 1: try await peer.send(.text(text))
                case 2:
                    let bytes = pair.compressor.compress(Array(text.utf8))
                    let cut = bytes.count / 2
                    try await peer.send(
                        WebSocketWireFrame(
                            WebSocketWireFrame.text, Array(bytes[..<cut]), final: false, reserved: .rsv1),
                        WebSocketWireFrame(WebSocketWireFrame.continuation, Array(bytes[cut...])))
                default:
                    let bytes = Array(text.utf8)
                    let cut = bytes.count / 3
                    try await peer.send(
                        WebSocketWireFrame(WebSocketWireFrame.text, Array(bytes[..<cut]), final: false),
                        WebSocketWireFrame(
                            WebSocketWireFrame.continuation, Array(bytes[cut..<(2 * cut)]), final: false),
                        WebSocketWireFrame(WebSocketWireFrame.continuation, Array(bytes[(2 * cut)...])))
                }
                #expect(try await pair.ours.receive() == .text(text))
            }
        }
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func fragmentsOfAnySizeMakeOneMessage(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            let text = String(repeating: "ä€😀", count: 50)
            let whole = Array(text.utf8)
            let bytes = compression == .deflate ? pair.compressor.compress(whole) : whole
            let reserved: WebSocketWireFrame.Reserved = compression == .deflate ? .rsv1 : []
            var burst: [UInt8] = []
            for (index, byte) in bytes.enumerated() {
                let frame = WebSocketWireFrame(
                    index == 0 ? WebSocketWireFrame.text : WebSocketWireFrame.continuation, [byte], final: false,
                    reserved: index == 0 ? reserved : [])
                burst += pair.peer.bytes(of: frame)
                if index % 7 == 0 {
                    burst += pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.continuation, final: false))
                }
            }
            burst += pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.continuation))
            try await pair.peer.write(burst)
            #expect(try await pair.ours.receive() == .text(text))
        }
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func bytesMayArriveOneByOne(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            let long = String(repeating: "long enough for sixteen bits. ", count: 10)
            var bytes = pair.peer.bytes(of: .text("first"))
            if compression == .deflate {
                bytes += pair.peer.bytes(of: pair.compressed(WebSocketWireFrame.text, Array(long.utf8)))
            } else {
                bytes += pair.peer.bytes(of: .text(long))
            }
            bytes += pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.ping, [1, 2, 3]))
            for byte in bytes {
                try await pair.peer.write([byte])
                // Each byte is read before the next is sent.
                await pair.loop.run {}
            }
            #expect(try await pair.ours.receive() == .text("first"))
            #expect(try await pair.ours.receive() == .text(long))
            let pong = try await pair.peer.readFrame()
            #expect(pong.opcode == WebSocketWireFrame.pong && pong.payload == [1, 2, 3])
        }
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func pongsThatNobodyAskedForChangeNothing(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            for payload in [[], [0x2A], Array(repeating: 0x55, count: 125), Array(0..<8)] as [[UInt8]] {
                try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, payload), .text("after a pong"))
                #expect(try await pair.ours.receive() == .text("after a pong"))
            }
            try await pair.fence()
        }
    }

    /// A pong waits for its turn behind what the peer does not read yet, and is not dropped. The message is whole.
    @Test(arguments: Side.allCases)
    func aPingIsAnsweredThoughTheSocketIsFull(side: Side) async throws {
        try await withPair(side, receiveBuffer: 32 << 10) { pair in
            let (ours, count) = (pair.ours, 16 << 20)
            async let sending: Void = ours.send(.binary([UInt8](repeating: 7, count: count)))
            // The first bytes are there, and the rest is more than any socket takes.
            _ = try await pair.peer.read(1)
            try await pair.peer.send(
                WebSocketWireFrame(WebSocketWireFrame.ping, [1, 2, 3]), .text("behind the ping"))
            #expect(try await ours.receive() == .text("behind the ping"))
            var pongs: [[UInt8]] = []
            // The first byte of the message's frame is read already: its length, a client's mask, and the bytes.
            _ = try await pair.peer.read(1 + 8 + (side == .client ? 4 : 0) + count)
            while pongs.isEmpty {
                let frame = try await pair.peer.readFrame()
                if frame.opcode == WebSocketWireFrame.pong { pongs.append(frame.payload) }
            }
            #expect(pongs == [[1, 2, 3]])
            try await sending
        }
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func controlFramesComeBetweenFragments(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            let text = String(repeating: "between the fragments ", count: 100)
            let bytes = compression == .deflate ? pair.compressor.compress(Array(text.utf8)) : Array(text.utf8)
            let reserved: WebSocketWireFrame.Reserved = compression == .deflate ? .rsv1 : []
            let step = max(1, bytes.count / 5)
            var start = 0
            while start < bytes.count {
                let end = min(start + step, bytes.count)
                try await pair.peer.send(
                    WebSocketWireFrame(
                        start == 0 ? WebSocketWireFrame.text : WebSocketWireFrame.continuation,
                        Array(bytes[start..<end]),
                        final: end == bytes.count, reserved: start == 0 ? reserved : []))
                if end < bytes.count {
                    try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [7]))
                    try await pair.fence()
                }
                start = end
            }
            #expect(try await pair.ours.receive() == .text(text))
        }
    }

    /// A client answers each ping (RFC 6455 §5.5.2). For a server libwebsockets 4.1.6 keeps one pong and sends it in a
    /// later turn: of several pings in one segment it answers the first, where §5.5.3 allows to answer only the latest.
    @Test(arguments: Side.allCases, Compression.allCases)
    func manyPingsInOneSegmentDisturbNothing(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            var burst = pair.peer.bytes(of: .text("before"))
            for number in 0..<10 {
                burst += pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.ping, [UInt8(number)]))
            }
            burst += pair.peer.bytes(of: .text("after"))
            try await pair.peer.write(burst)
            #expect(try await pair.ours.receive() == .text("before"))
            #expect(try await pair.ours.receive() == .text("after"))
            for number in 0..<(side == .client ? 10 : 1) {
                let pong = try await pair.peer.readFrame()
                #expect(pong.opcode == WebSocketWireFrame.pong)
                #expect(pong.payload == [UInt8(number)])
            }
            try await pair.fence()
        }
    }

    /// What Autobahn's 5.6 and 5.19 demand: the pong does not wait behind the answer to the message.
    @Test(arguments: Side.allCases, Compression.allCases)
    func aPongGoesOutBeforeTheAnswerToWhatFollowsItsPing(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            let ours = pair.ours
            let echo = Task(executorPreference: pair.loop.taskExecutor) {
                while let message = try? await ours.receive() { try? await ours.send(message) }
            }
            for round in 0..<20 as Range<UInt8> {
                try await pair.peer.send(
                    .text("a", final: false), WebSocketWireFrame(WebSocketWireFrame.ping, [round]),
                    WebSocketWireFrame(WebSocketWireFrame.continuation, [0x62]), .text("c"))
                let pong = try await pair.peer.readFrame()
                #expect(pong.opcode == WebSocketWireFrame.pong && pong.payload == [round])
                for text in ["ab", "c"] {
                    let frame = try await pair.peer.readFrame(compression: compression == .deflate)
                    #expect(frame.opcode == WebSocketWireFrame.text)
                    let payload =
                        frame.reserved.contains(.rsv1) ? try pair.decompressor.decompress(frame.payload) : frame.payload
                    #expect(payload == Array(text.utf8))
                }
            }
            try await pair.peer.send(.close(1000))
            await echo.value
        }
    }

    @Test(arguments: Side.allCases)
    func aWholePingIsAnswered(side: Side) async throws {
        try await withPair(side) { pair in
            for count in [0, 1, 124, 125] {
                let payload = [UInt8](repeating: 0xA5, count: count)
                try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.ping, payload))
                let pong = try await pair.peer.readFrame()
                #expect(pong.opcode == WebSocketWireFrame.pong && pong.payload == payload)
            }
        }
    }

    @Test(arguments: Side.allCases)
    func messagesBeforeACloseInTheSameSegmentArrive(side: Side) async throws {
        try await withPair(side) { pair in
            try await pair.peer.send(.text("one"), .text("two"), .text("three"), .close(1000, "done"))
            #expect(try await pair.ours.receive() == .text("one"))
            #expect(try await pair.ours.receive() == .text("two"))
            #expect(try await pair.ours.receive() == .text("three"))
            let closed = try await pair.ours.closed()
            #expect(closed.received == WebSocketCloseFrame(code: .normalClosure, reason: "done"))
            #expect(closed.receivedFirst == true && closed.isNormal)
        }
    }

    /// Messages and the answer to them, when a handler answers each while the CLOSE is already behind it.
    @Test(arguments: Side.allCases)
    func repliesToMessagesInFrontOfACloseAreSent(side: Side) async throws {
        try await withPair(side) { pair in
            let ours = pair.ours
            let echo = Task(executorPreference: pair.loop.taskExecutor) {
                var count = 0
                while let message = try? await ours.receive() {
                    do { try await ours.send(message) } catch { break }
                    count += 1
                }
                return count
            }
            try await pair.peer.send(.text("one"), .text("two"), .close(1000))
            #expect(try await pair.peer.readFrame().payload == Array("one".utf8))
            #expect(try await pair.peer.readFrame().payload == Array("two".utf8))
            #expect(try await pair.peer.readFrame().closeCode == 1000)
            #expect(await echo.value == 2)
        }
    }

    @Test(arguments: Side.allCases)
    func theEndWithoutACloseIsTold(side: Side) async throws {
        for isReset in [false, true] {
            try await withPair(side) { pair in
                try await pair.peer.send(.text("last"))
                #expect(try await pair.ours.receive() == .text("last"))
                if isReset { pair.peer.reset() } else { pair.peer.close() }
                let error = try await error { _ = try await pair.ours.receive() }
                #expect(error.code == .connectionClosed)
                #expect(error.closeInfo?.cause == .connectionLost)
                #expect(error.closeInfo?.code == .abnormalClosure)
                #expect(try await pair.ours.closed().cause == .connectionLost)
            }
        }
    }
}
