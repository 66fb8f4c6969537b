//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// One way to break the protocol, and what our side must say to it.
struct Violation: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let frames: [WireFrame]
    let closeCode: UInt16
    let error: WebSocketError.Code

    init(
        _ description: String, _ frames: WireFrame..., closeCode: UInt16 = 1002,
        error: WebSocketError.Code = .protocolViolation
    ) {
        testDescription = description
        self.frames = frames
        self.closeCode = closeCode
        self.error = error
    }

    static let always = [
        Violation("RSV2", WireFrame(WireFrame.text, [0x61], reserved: .rsv2)),
        Violation("RSV3", WireFrame(WireFrame.text, [0x61], reserved: .rsv3)),
        Violation("RSV1 on a pong", WireFrame(WireFrame.pong, [0x61], reserved: .rsv1)),
        Violation("RSV3 on a pong", WireFrame(WireFrame.pong, [0x61], reserved: .rsv3)),
        Violation(
            "RSV1 on a continuation", WireFrame(WireFrame.text, [0x61], final: false),
            WireFrame(WireFrame.continuation, [0x61], reserved: .rsv1)),
        Violation(
            "RSV3 on a continuation", WireFrame(WireFrame.text, [0x61], final: false),
            WireFrame(WireFrame.continuation, [0x61], reserved: .rsv3)),
        Violation("opcode 3", WireFrame(0x3, [0x61])),
        Violation("opcode 7", WireFrame(0x7)),
        Violation("opcode 11", WireFrame(0xB)),
        Violation("opcode 15", WireFrame(0xF, [0x61])),
        Violation("a fragmented ping", WireFrame(WireFrame.ping, [1], final: false)),
        Violation("a fragmented close", WireFrame(WireFrame.close, [0x03, 0xE8], final: false)),
        Violation("a ping of 126 bytes", WireFrame(WireFrame.ping, [UInt8](repeating: 1, count: 126))),
        Violation("a continuation of nothing", WireFrame(WireFrame.continuation, [0x61])),
        Violation(
            "a new message within a fragmented one", .text("a", final: false), .text("b")),
        Violation(
            "a continuation after the end", .text("a", final: false), WireFrame(WireFrame.continuation, [0x62]),
            WireFrame(WireFrame.continuation, [0x63])),
    ]

    static let plainOnly = [
        Violation("RSV1", WireFrame(WireFrame.text, [0x61], reserved: .rsv1)),
        Violation("RSV1 on a ping", WireFrame(WireFrame.ping, reserved: .rsv1)),
        Violation("RSV2 on a ping", WireFrame(WireFrame.ping, reserved: .rsv2)),
    ]

    static let utf8 = [
        Violation("an overlong form", WireFrame(WireFrame.text, [0xC0, 0xAF]), closeCode: 1007, error: .invalidUTF8),
        Violation("a surrogate", WireFrame(WireFrame.text, [0xED, 0xA0, 0x80]), closeCode: 1007, error: .invalidUTF8),
        Violation(
            "a code point above U+10FFFF", WireFrame(WireFrame.text, [0xF4, 0x90, 0x80, 0x80]), closeCode: 1007,
            error: .invalidUTF8),
        Violation(
            "a character cut at the message's end", WireFrame(WireFrame.text, [0x61, 0xE2, 0x82]), closeCode: 1007,
            error: .invalidUTF8),
        Violation(
            "a character broken across fragments", WireFrame(WireFrame.text, [0xE2, 0x82], final: false),
            WireFrame(WireFrame.continuation, [0x61]), closeCode: 1007, error: .invalidUTF8),
        Violation(
            "a character cut at the last fragment's end", WireFrame(WireFrame.text, [0xE2], final: false),
            WireFrame(WireFrame.continuation, [0x82]), closeCode: 1007, error: .invalidUTF8),
    ]
}

@Suite(.timeLimit(.minutes(2))) struct ProtocolViolationTests {
    @Test(arguments: Side.allCases, Violation.always + Violation.utf8)
    func violationsEndAPlainConnection(side: Side, violation: Violation) async throws {
        try await expect(violation, side, .plain)
    }

    @Test(arguments: Side.allCases, Violation.plainOnly)
    func compressionThatWasNotAgreedOnEndsIt(side: Side, violation: Violation) async throws {
        try await expect(violation, side, .plain)
    }

    @Test(arguments: Side.allCases, Violation.always + Violation.utf8)
    func violationsEndADeflateConnection(side: Side, violation: Violation) async throws {
        try await expect(violation, side, .deflate)
    }

    private func expect(_ violation: Violation, _ side: Side, _ compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            try await pair.peer.send(.text("before"))
            #expect(try await pair.ours.receive() == .text("before"))
            try await pair.peer.write(violation.frames.flatMap { pair.peer.bytes(of: $0) })
            // What was whole before the violation is delivered first.
            let error = try await error { while true { _ = try await pair.ours.receive() } }
            #expect(error.code == violation.error)
            #expect(error.closeInfo?.sent?.code.rawValue == violation.closeCode)
            #expect(error.closeInfo?.cause == .peerViolation)
            let close = try await pair.peer.readFrame()
            #expect(close.opcode == WireFrame.close)
            #expect(close.closeCode == violation.closeCode)
            try await pair.peer.send(.close(violation.closeCode))
            #expect(try await pair.ours.closed().cause == .peerViolation)
        }
    }

    /// libwebsockets answers pings by itself and, with an extension active, looks at none of their reserved bits (a
    /// server at RSV2 and RSV3). Nothing breaks by it.
    @Test(arguments: Side.allCases)
    func reservedBitsOfPingsPassOnADeflateConnection(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            try await pair.peer.send(WireFrame(WireFrame.ping, [9], reserved: .rsv1))
            let pong = try await pair.peer.readFrame()
            #expect(pong.opcode == WireFrame.pong && pong.payload == [9])
            try await pair.peer.send(.text("still here"))
            #expect(try await pair.ours.receive() == .text("still here"))
        }
    }

    @Test(arguments: Side.allCases)
    func corruptDeflateDataEndsWith1007(side: Side) async throws {
        // A block of the reserved type 3; a stored block whose lengths disagree; a distance beyond the window.
        let corrupt: [[UInt8]] = [[0xFF, 0xFF], [0x00, 0x05, 0x00, 0x00, 0x00], [0x4A, 0x04, 0x80, 0x01]]
        for bytes in corrupt {
            for isFragmented in [false, true] {
                try await withPair(side, .deflate) { pair in
                    if isFragmented {
                        try await pair.peer.send(
                            WireFrame(WireFrame.binary, [bytes[0]], final: false, reserved: .rsv1),
                            WireFrame(WireFrame.continuation, Array(bytes[1...])))
                    } else {
                        try await pair.peer.send(WireFrame(WireFrame.binary, bytes, reserved: .rsv1))
                    }
                    let error = try await error { _ = try await pair.ours.receive() }
                    #expect(error.closeInfo?.sent?.code == .invalidPayloadData)
                    #expect(error.message.contains("corrupt"))
                    #expect(try await pair.peer.readFrame().closeCode == 1007)
                }
            }
        }
    }

    /// A text that is broken in the plain but not in the compressed bytes.
    @Test(arguments: Side.allCases)
    func compressedTextMustBeUTF8(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            try await pair.peer.send(pair.compressed(WireFrame.text, [0x61, 0xFF, 0x62]))
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .invalidUTF8)
            #expect(try await pair.peer.readFrame().closeCode == 1007)
        }
    }
}
