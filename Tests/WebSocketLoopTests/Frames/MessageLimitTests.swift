//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// What our side does about messages beyond its limits.
@Suite(.timeLimit(.minutes(5))) struct MessageLimitTests {
    private static let limit = 10_000
    private static let limited = WebSocketOptions.with { $0.maximumMessageSize = limit }

    private func expectTooBig(_ pair: Pair, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let error = try await error(sourceLocation: sourceLocation) { _ = try await pair.ours.receive() }
        #expect(error.code == .messageTooBig, sourceLocation: sourceLocation)
        #expect(error.message.contains("maximumMessageSize"), sourceLocation: sourceLocation)
        #expect(error.closeInfo?.sent?.code == .messageTooBig, sourceLocation: sourceLocation)
        #expect(error.closeInfo?.cause == .peerViolation, sourceLocation: sourceLocation)
        #expect(try await pair.peer.readFrame().closeCode == 1009, sourceLocation: sourceLocation)
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func aMessageAtTheLimitArrives(side: Side, compression: Compression) async throws {
        try await withPair(side, compression, options: Self.limited) { pair in
            let message = [UInt8](count: Self.limit) { UInt8(truncatingIfNeeded: $0 &* 7) }
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.binary, message))
            #expect(try await pair.ours.receive() == .binary(message))
            try await pair.peer.send(
                WebSocketWireFrame(WebSocketWireFrame.binary, Array(message[..<5_000]), final: false),
                WebSocketWireFrame(WebSocketWireFrame.continuation, Array(message[5_000...])))
            #expect(try await pair.ours.receive() == .binary(message))
            if compression == .deflate {
                try await pair.peer.send(pair.compressed(WebSocketWireFrame.binary, message))
                #expect(try await pair.ours.receive() == .binary(message))
            }
        }
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func oneByteMoreIsTooMuch(side: Side, compression: Compression) async throws {
        let message = [UInt8](repeating: 7, count: Self.limit + 1)
        try await withPair(side, compression, options: Self.limited) { pair in
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.binary, message))
            try await expectTooBig(pair)
        }
        // The last fragment need not come.
        try await withPair(side, compression, options: Self.limited) { pair in
            try await pair.peer.send(
                WebSocketWireFrame(WebSocketWireFrame.binary, Array(message[..<9_000]), final: false),
                WebSocketWireFrame(WebSocketWireFrame.continuation, Array(message[9_000...]), final: false))
            try await expectTooBig(pair)
        }
        guard compression == .deflate else { return }
        try await withPair(side, compression, options: Self.limited) { pair in
            try await pair.peer.send(pair.compressed(WebSocketWireFrame.binary, message))
            try await expectTooBig(pair)
        }
    }

    /// A frame is refused by what its header announces, not by what has come of it. libwebsockets hands a client the
    /// first piece of a frame once a whole read of it is there.
    @Test(arguments: Side.allCases, Compression.allCases)
    func anAnnouncementIsEnough(side: Side, compression: Compression) async throws {
        for announced in [Self.limit + 1, 1 << 32, 1 << 62] {
            try await withPair(side, compression, options: .with { $0.maximumMessageSize = 9_999 }) { pair in
                var frame = WebSocketWireFrame(WebSocketWireFrame.binary)
                if side == .server { frame.maskKey = [0, 0, 0, 0] }
                let start = min(announced, 64 << 10)
                try await pair.peer.write(
                    frame.header(announcing: UInt64(announced)) + [UInt8](repeating: 0, count: start))
                try await expectTooBig(pair)
            }
        }
    }

    /// 64 MiB in 64 KiB: refused at the limit, long before its end.
    @Test(arguments: Side.allCases)
    func aDeflateBombIsStoppedAtTheLimit(side: Side) async throws {
        let bomb = WebSocketRawDeflate.compressor().compress([UInt8](repeating: 0, count: 64 << 20))
        #expect(bomb.count < 80_000)
        try await withPair(side, .deflate, options: Self.limited) { pair in
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.binary, bomb, reserved: .rsv1))
            try await expectTooBig(pair)
        }
        // Its first 100 bytes, a hundred thousand when inflated, are enough, as the beginning of a fragment.
        try await withPair(side, .deflate, options: Self.limited) { pair in
            try await pair.peer.send(
                WebSocketWireFrame(WebSocketWireFrame.binary, Array(bomb[..<100]), final: false, reserved: .rsv1))
            try await expectTooBig(pair)
        }
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func tooManyFragmentsEndWith1009(side: Side, compression: Compression) async throws {
        try await withPair(side, compression, options: .with { $0.maximumFragments = 10 }) { pair in
            let rest = WebSocketWireFrame(WebSocketWireFrame.continuation, final: false)
            var burst = pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.binary, [1], final: false))
            for _ in 0..<8 { burst += pair.peer.bytes(of: rest) }
            try await pair.peer.write(
                burst + pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.continuation, [2])))
            #expect(try await pair.ours.receive() == .binary([1, 2]))
            for _ in 0..<2 { burst += pair.peer.bytes(of: rest) }
            try await pair.peer.write(burst)
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .tooManyFragments)
            #expect(error.message.contains("10 frames") && error.message.contains("maximumFragments"))
            #expect(error.closeInfo?.sent?.code == .messageTooBig)
            #expect(try await pair.peer.readFrame().closeCode == 1009)
        }
    }

    /// The end of a message that was refused must not come to life as a message of its own.
    @Test(arguments: Side.allCases)
    func whatFollowsARefusedMessageIsIgnored(side: Side) async throws {
        try await withPair(side, .deflate, options: Self.limited) { pair in
            var burst = pair.peer.bytes(
                of: WebSocketWireFrame(
                    WebSocketWireFrame.binary, [UInt8](repeating: 1, count: Self.limit + 1), final: false))
            burst += pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.continuation, [1]))
            burst += pair.peer.bytes(of: .text("later"))
            burst += pair.peer.bytes(of: .close(1000))
            try await pair.peer.write(burst)
            try await expectTooBig(pair)
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .messageTooBig)
            #expect(try await pair.ours.closed().cause == .peerViolation)
        }
    }
}
