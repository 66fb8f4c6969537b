//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct FrameParserTests {
    private typealias Violation = FrameParser.Violation

    /// Expects these of a client's parser, for every way of cutting the stream in two and byte by byte.
    private func expect(
        _ stream: [UInt8], is expected: [Told], role: FrameParser.Role = .client, compression: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let mode = Mode(role: role, allowsCompression: compression)
        #expect(try parse(stream, mode) == expected, sourceLocation: sourceLocation)
        try forEachCut(stream) { cuts in
            try check(try parse(stream, mode, cuts: cuts) == expected, "\(stream) cut at \(cuts)")
        }
    }

    private func expect(
        _ stream: [UInt8], breaks violation: Violation, role: FrameParser.Role = .client, compression: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        try expect(
            stream, is: [.violation(violation)], role: role, compression: compression, sourceLocation: sourceLocation)
    }

    private func text(_ string: String, starts: Bool = true, ends: Bool = true, compressed: Bool = false) -> Told {
        .frame(.text, Array(string.utf8), startsMessage: starts, endsMessage: ends, isCompressed: compressed)
    }

    private func binary(_ bytes: [UInt8], starts: Bool = true, ends: Bool = true, compressed: Bool = false) -> Told {
        .frame(.binary, bytes, startsMessage: starts, endsMessage: ends, isCompressed: compressed)
    }

    // MARK: What is legal

    /// RFC 6455 §5.7: the examples.
    @Test func examples() throws {
        let hello = Array("Hello".utf8)
        try expect([0x81, 0x05] + hello, is: [text("Hello")])
        try expect(
            [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58], is: [text("Hello")], role: .server)
        try expect(
            [0x01, 0x03, 0x48, 0x65, 0x6C, 0x80, 0x02, 0x6C, 0x6F],
            is: [text("Hel", ends: false), text("lo", starts: false)])
        try expect([0x89, 0x05] + hello, is: [.control(.ping, hello)])
        try expect(
            [0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58], is: [.control(.pong, hello)],
            role: .server)
        let small = [UInt8](repeating: 7, count: 256)
        try expect([0x82, 0x7E, 0x01, 0x00] + small, is: [binary(small)])
        let large = [UInt8](repeating: 9, count: 65_536)
        let stream = [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0] + large
        let mode = Mode(role: .client, allowsCompression: false)
        for cuts in [[], [1], [9], [10], [11], [2, 9, 40_000], Array(stride(from: 1, to: stream.count, by: 4_096))] {
            #expect(try parse(stream, mode, cuts: cuts) == [binary(large)])
        }
    }

    /// RFC 6455 §5.4: control frames stand between the frames of a message.
    @Test func controlFramesStandBetweenTheFramesOfAMessage() throws {
        try expect(
            [0x01, 1, 0x61, 0x89, 1, 0x70, 0x00, 1, 0x62, 0x8A, 0, 0x88, 2, 3, 0xE8, 0x80, 0],
            is: [
                text("a", ends: false), .control(.ping, [0x70]), text("b", starts: false, ends: false),
                .control(.pong, []), .control(.close, [3, 0xE8]), text("", starts: false),
            ])
    }

    /// RFC 6455 §5.2: frames without payload, each of them told once.
    @Test func framesWithoutPayloadEachOfThemToldOnce() throws {
        try expect([0x82, 0, 0x81, 0], is: [binary([]), text("")])
        try expect(
            [0x02, 0, 0x00, 0, 0x80, 0],
            is: [
                binary([], ends: false), binary([], starts: false, ends: false), binary([], starts: false),
            ])
        try expect([0x82, 0x80, 1, 2, 3, 4], is: [binary([])], role: .server)
    }

    /// RFC 7692 §6.1: RSV1 of the first frame says that a message is compressed.
    @Test func rsv1OfTheFirstFrameSaysThatAMessageIsCompressed() throws {
        try expect(
            [0xC1, 1, 0x61, 0x81, 1, 0x62, 0x42, 1, 3, 0x89, 0, 0x80, 1, 4],
            is: [
                text("a", compressed: true), text("b"), binary([3], ends: false, compressed: true),
                .control(.ping, []), binary([4], starts: false, compressed: true),
            ], compression: true)
    }

    /// RFC 6455 §5.5: control frames have up to 125 bytes.
    @Test func controlFramesHaveUpTo125Bytes() throws {
        let payload = Array(0..<125 as Range<UInt8>)
        try expect([0x89, 125] + payload, is: [.control(.ping, payload)])
        let masked = payload.indices.map { payload[$0] ^ [9, 8, 7, 6][$0 % 4] }
        try expect([0x88, 0xFD, 9, 8, 7, 6] + masked, is: [.control(.close, payload)], role: .server)
    }

    /// RFC 6455 §5.2: a header without its payload says nothing yet.
    @Test func aHeaderWithoutItsPayloadSaysNothingYet() throws {
        for (header, length) in [
            ([0x82, 5], 5), ([0x82, 126, 1, 0], 256), ([0x02, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
            ([0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], UInt64(Int.max)),
        ] as [([UInt8], UInt64)] {
            try expect(header, is: [])
            try expect(
                header + [1, 2],
                is: [.part(.binary, [1, 2], missing: length - 2, startsMessage: true, isCompressed: false)])
        }
        try expect([0x89, 2, 1], is: [])
    }

    // MARK: What is not

    /// RFC 6455 §5.2: reserved bits need an extension.
    @Test(arguments: [0x10, 0x20, 0x40, 0x70] as [UInt8])
    func reservedBitsNeedAnExtension(bits: UInt8) throws {
        for opcode in [0x1, 0x2, 0x8, 0x9, 0xA] as [UInt8] {
            try expect([0x80 | bits | opcode, 0], breaks: .reservedBits)
            if bits != 0x40 { try expect([0x80 | bits | opcode, 0], breaks: .reservedBits, compression: true) }
        }
        try expect([0x01, 0, 0x80 | bits, 0], is: [text("", ends: false), .violation(.reservedBits)])
    }

    /// RFC 7692 §6.1: control frames and continuations have no RSV1.
    @Test func controlFramesAndContinuationsHaveNoRSV1() throws {
        for opcode in [0x8, 0x9, 0xA] as [UInt8] {
            try expect([0xC0 | opcode, 0], breaks: .misplacedCompression, compression: true)
        }
        for first in [0x01, 0x41] as [UInt8] {
            try expect(
                [first, 0, 0xC0, 0],
                is: [text("", ends: false, compressed: first == 0x41), .violation(.misplacedCompression)],
                compression: true)
        }
    }

    /// RFC 6455 §5.2: reserved opcodes.
    @Test(arguments: [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF] as [UInt8])
    func reservedOpcodes(opcode: UInt8) throws {
        for first in [opcode, opcode | 0x80] { try expect([first, 0], breaks: .reservedOpcode) }
        try expect([0x01, 0, 0x80 | opcode, 0], is: [text("", ends: false), .violation(.reservedOpcode)])
    }

    /// RFC 6455 §5.1: a server masks nothing, a client everything.
    @Test func aServerMasksNothingAClientEverything() throws {
        for opcode in [0x1, 0x2, 0x8, 0x9, 0xA] as [UInt8] {
            try expect([0x80 | opcode, 0x80, 0, 0, 0, 0], breaks: .masked)
            try expect([0x80 | opcode, 0x80 | 3], breaks: .masked)
            try expect([0x80 | opcode, 0], breaks: .unmasked, role: .server)
        }
    }

    /// RFC 6455 §5.2: lengths have their shortest form.
    @Test func lengthsHaveTheirShortestForm() throws {
        for length in [0, 1, 125] as [UInt8] { try expect([0x82, 126, 0, length], breaks: .longLength) }
        let ofSixtyFour: [[UInt8]] = [[0, 0], [0, 125], [0, 126], [0xFF, 0xFF]]
        for tail in ofSixtyFour { try expect([0x82, 127, 0, 0, 0, 0, 0, 0] + tail, breaks: .longLength) }
        try expect([0x82, 0xFE, 0, 125, 1, 2, 3, 4], breaks: .longLength, role: .server)
    }

    /// RFC 6455 §5.2: the highest bit of a length of 64 bits is 0.
    @Test func theHighestBitOfALengthOf64BitsIs0() throws {
        try expect([0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], breaks: .hugeLength)
        try expect([0x82, 127] + [UInt8](repeating: 0xFF, count: 8), breaks: .hugeLength)
    }

    /// RFC 6455 §5.5: control frames are neither fragmented nor long.
    @Test(arguments: [0x8, 0x9, 0xA] as [UInt8])
    func controlFramesAreNeitherFragmentedNorLong(opcode: UInt8) throws {
        try expect([opcode, 0], breaks: .fragmentedControl)
        // Told by its first two bytes.
        for length in [126, 127] as [UInt8] { try expect([0x80 | opcode, length], breaks: .longControl) }
    }

    /// RFC 6455 §5.4: a continuation continues a message.
    @Test func aContinuationContinuesAMessage() throws {
        for first in [0x00, 0x80] as [UInt8] {
            try expect([first, 0], breaks: .strayContinuation)
            try expect([0x81, 1, 0x61, first, 0], is: [text("a"), .violation(.strayContinuation)])
            try expect(
                [0x01, 0, 0x80, 0, first, 0],
                is: [text("", ends: false), text("", starts: false), .violation(.strayContinuation)])
        }
    }

    /// RFC 6455 §5.4: messages do not overlap.
    @Test func messagesDoNotOverlap() throws {
        for first in [0x01, 0x81, 0x02, 0x82] as [UInt8] {
            try expect([0x01, 1, 0x61, first, 0], is: [text("a", ends: false), .violation(.unfinishedMessage)])
        }
    }

    /// RFC 6455 §7.4.1: every violation is 1002 and fits into a close frame.
    @Test func everyViolationIs1002AndFitsIntoACloseFrame() throws {
        var texts: Set<String> = []
        for violation in Violation.allCases {
            #expect(violation.closeCode == .protocolError)
            try WebSocketCloseFrame(code: violation.closeCode, reason: violation.text).validate()
            texts.insert(violation.text)
        }
        #expect(texts.count == Violation.allCases.count)
    }

    /// RFC 6455 §7.1.7: nothing is read behind a violation.
    @Test func nothingIsReadBehindAViolation() {
        var parser = FrameParser(role: .client, allowsCompression: false)
        for input in [[0x83, 0], [0x81, 0], [], [0x89]] as [[UInt8]] {
            input.withUnsafeBytes { input in
                var offset = 0
                for _ in 0..<3 { #expect(parser.next(input, &offset) == .violation(.reservedOpcode)) }
            }
        }
    }

    // MARK: Against the model

    /// Every first byte with every kind of length, in and outside a message, cut everywhere.
    @Test func everyFirstByte() throws {
        for mode in Mode.all {
            for prefix in [[], [0x01, 0]] as [[UInt8]] {
                for first in UInt8.min...UInt8.max {
                    for second in [0, 1, 125, 126, 127] as [UInt8] {
                        for mask in [0, 0x80] as [UInt8] {
                            var stream = prefix
                            if mode.role == .server, !prefix.isEmpty { stream = [0x01, 0x80, 1, 2, 3, 4] }
                            stream += [first, second | mask, 0, 126, 1, 2, 3, 4, 5, 6, 7, 8]
                            try compare(stream, mode, cuts: [])
                            try compare(stream, mode, cuts: Array(1..<stream.count))
                        }
                    }
                }
            }
        }
    }

    /// Short streams, valid and broken, cut in three at all pairs of places.
    @Test func shortStreamsCutEverywhere() throws {
        var random = SplitMix64(seed: 6_455)
        for _ in 0..<40 {
            for mode in Mode.all {
                let stream = Array(random.stream(mode, sizes: [0, 1, 3, 9]).prefix(40))
                try forEachCut(stream) { try compare(stream, mode, cuts: $0) }
                for first in stream.indices.dropFirst() {
                    for second in first..<stream.count { try compare(stream, mode, cuts: [first, second]) }
                }
            }
        }
    }

    @Test func longStreamsCutAtRandom() throws {
        var random = SplitMix64(seed: 7_692)
        for round in 0..<300 {
            for mode in Mode.all {
                let sizes = [0, 1, 7, 124, 125, 126, 127, 300] + (round % 20 == 0 ? [65_535, 65_536] : [])
                let stream = random.stream(mode, sizes: sizes)
                try compare(stream, mode, cuts: [])
                for _ in 0..<3 {
                    let count = random.below(8)
                    let cuts = (0..<count).map { _ in random.below(stream.count + 1) }.sorted()
                    try compare(stream, mode, cuts: cuts)
                }
                if stream.count < 500 { try compare(stream, mode, cuts: Array(1..<max(stream.count, 1))) }
            }
        }
    }

    private func compare(_ stream: [UInt8], _ mode: Mode, cuts: [Int]) throws {
        let told = try parse(stream, mode, cuts: cuts)
        let (expected, broken) = model(stream, mode)
        var frames = told
        if case .violation(let violation)? = told.last {
            frames.removeLast()
            try check(broken.contains(violation), "\(stream.prefix(200)) \(mode): \(violation) and not \(broken)")
        } else {
            try check(broken.isEmpty, "\(stream.prefix(200)) \(mode): no violation, and not \(broken)")
        }
        try check(frames == expected, "\(stream.prefix(200)) \(mode) cut at \(cuts): \(frames) and not \(expected)")
    }
}

private func forEachCut(_ stream: [UInt8], _ body: ([Int]) throws -> Void) rethrows {
    guard stream.count > 1 else { return }
    for cut in 1..<stream.count { try body([cut]) }
    try body(Array(1..<stream.count))
}
