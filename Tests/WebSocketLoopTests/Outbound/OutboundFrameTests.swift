//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// What our side sends, as a strict peer reads it.
@Suite(.timeLimit(.minutes(5))) struct OutboundFrameTests {
    /// `readFrame` refuses a wrong mask bit and a length that is longer than need be.
    @Test(arguments: Side.allCases, Compression.allCases)
    func everyLengthHasItsShortestForm(side: Side, compression: Compression) async throws {
        // A high threshold: here the payload is to be seen as it is.
        var options = WebSocketOptions.quiet
        if compression == .deflate {
            var deflate = WebSocketCompression.Deflate()
            deflate.minimumSize = .max
            options.compression = .deflate(deflate)
        }
        try await withPair(side, compression, options: options) { pair in
            for size in [0, 1, 2, 3, 4, 5, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 1_000_000] {
                let payload = [UInt8](count: size) { UInt8(truncatingIfNeeded: $0 &* 13) }
                let ours = pair.ours
                async let sending: Void = ours.send(.binary(payload))
                let frame = try await pair.peer.readFrame(compression: true)
                #expect(frame == WebSocketWireFrame(WebSocketWireFrame.binary, payload, maskKey: frame.maskKey))
                try await sending
            }
            try await pair.ours.send(.text("ä€😀"))
            let text = try await pair.peer.readFrame(compression: true)
            #expect(text.opcode == WebSocketWireFrame.text && text.payload == Array("ä€😀".utf8) && text.isFinal)
        }
    }

    @Test func everyFrameOfAClientHasAFreshMask() async throws {
        try await withPair(.client) { pair in
            let count = 2_000
            let ours = pair.ours
            async let sending: Void = {
                for _ in 0..<count { try await ours.send(.binary([0, 0, 0, 0])) }
            }()
            var keys: [[UInt8]] = []
            for _ in 0..<count { keys.append(try #require(try await pair.peer.readFrame().maskKey)) }
            try await sending
            // Of random keys two are alike once in two thousand runs; ten never.
            #expect(Set(keys).count > count - 10)
            // Each bit is set in half of them: the deviation allowed is nine times the standard one.
            for bit in 0..<32 {
                let set = keys.count { $0[bit / 8] >> UInt8(bit % 8) & 1 == 1 }
                #expect(abs(set - count / 2) < 200, "bit \(bit) is set in \(set)")
            }
        }
    }

    @Test func controlFramesOfAClientAreMaskedToo() async throws {
        try await withPair(.client) { pair in
            let ours = pair.ours
            async let roundTrip = ours.ping()
            let ping = try await pair.peer.readFrame()
            #expect(ping.opcode == WebSocketWireFrame.ping && ping.payload.count == 8 && ping.maskKey != nil)
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, ping.payload))
            #expect(try await roundTrip > 0)
            async let closed = ours.close(WebSocketCloseFrame(code: .normalClosure))
            let close = try await pair.peer.readFrame()
            #expect(close.opcode == WebSocketWireFrame.close && close.maskKey != nil)
            try await pair.peer.send(.close(1000))
            #expect(try await closed.isNormal)
        }
    }

    @Test(arguments: Side.allCases)
    func pingsAreMatchedByTheirPongs(side: Side) async throws {
        try await withPair(side) { pair in
            let ours = pair.ours
            async let first = ours.ping()
            let one = try await pair.peer.readFrame()
            async let second = ours.ping()
            let two = try await pair.peer.readFrame()
            #expect(one.payload != two.payload)
            // A wrong and a foreign pong resume nobody; the second ping's pong answers the first too.
            try await pair.peer.send(
                WebSocketWireFrame(WebSocketWireFrame.pong, [1, 2, 3]),
                WebSocketWireFrame(WebSocketWireFrame.pong, two.payload.map { ~$0 }))
            try await pair.fence()
            #expect(pair.loop.diagnostics.pendingContinuations == 2)
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, two.payload))
            let (slow, fast) = try await (first, second)
            #expect(slow >= fast && fast > 0)
        }
    }

    @Test(arguments: Side.allCases)
    func rsv1MarksWhatIsCompressed(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            // The threshold is 64 bytes.
            for size in [0, 1, 63, 64, 65, 1_000, 100_000] {
                let text = String(repeating: "a", count: size)
                try await pair.ours.send(.text(text))
                let frame = try await pair.peer.readFrame(compression: true)
                #expect(frame.opcode == WebSocketWireFrame.text && frame.isFinal)
                #expect(frame.reserved == (size < 64 ? [] : .rsv1))
                let payload = size < 64 ? frame.payload : try pair.decompressor.decompress(frame.payload)
                #expect(payload == Array(text.utf8))
                #expect(size < 1_000 || frame.payload.count < size / 10)
            }
            // Control frames never.
            let ours = pair.ours
            async let roundTrip = ours.ping()
            let ping = try await pair.peer.readFrame()
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, ping.payload))
            _ = try await roundTrip
        }
    }

    @Test(arguments: Side.allCases)
    func aThresholdOfZeroCompressesEvenNothing(side: Side) async throws {
        var deflate = WebSocketCompression.Deflate()
        deflate.minimumSize = 0
        try await withPair(side, .deflate, options: .with { $0.compression = .deflate(deflate) }) { pair in
            for text in ["", "x", ""] {
                try await pair.ours.send(.text(text))
                let frame = try await pair.peer.readFrame(compression: true)
                #expect(frame.reserved == .rsv1)
                #expect(try pair.decompressor.decompress(frame.payload) == Array(text.utf8))
            }
        }
    }

    /// Data of any compressibility, so that the compressor's output needs every size of buffer.
    @Test(arguments: Side.allCases)
    func whatIsCompressedComesOutAgain(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            var random = SystemRandomNumberGenerator()
            for size in [64, 1_000, 16_383, 16_384, 65_536, 300_000] {
                for range in [0...0, 0...3, 0...255] as [ClosedRange<UInt8>] {
                    let message = (0..<size).map { _ in UInt8.random(in: range, using: &random) }
                    let ours = pair.ours
                    async let sending: Void = ours.send(.binary(message))
                    let frame = try await pair.peer.readFrame(compression: true)
                    #expect(frame.reserved == .rsv1)
                    #expect(try pair.decompressor.decompress(frame.payload) == message)
                    try await sending
                }
            }
        }
    }

    @Test(arguments: Side.allCases)
    func messagesOfATaskKeepTheirOrder(side: Side) async throws {
        try await withPair(side) { pair in
            let ours = pair.ours
            let count = 3_000
            // From the loop and from elsewhere, in numbers that meet the outbound mark.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (task, executor) in [nil, pair.loop.taskExecutor, nil].enumerated() {
                    group.addTask(executorPreference: executor) {
                        for index in 0..<count { try await ours.send(.text("\(task) \(index)")) }
                    }
                }
                var next = [0, 0, 0]
                for _ in 0..<(3 * count) {
                    let text = String(decoding: try await pair.peer.readFrame().payload, as: UTF8.self)
                    let task = try #require(Int(text.prefix(1)))
                    guard text == "\(task) \(next[task])" else {
                        Issue.record("“\(text)” came instead of number \(next[task])")
                        break
                    }
                    next[task] += 1
                }
                #expect(next == [count, count, count])
                try await group.waitForAll()
            }
        }
    }
}
