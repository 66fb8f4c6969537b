//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct MessageAssemblerTests {
    typealias Violation = MessageAssembler.Violation

    private func append(_ bytes: some Collection<UInt8>, to assembler: inout MessageAssembler) throws(Violation) {
        try withExactBytes(bytes) { (piece) throws(Violation) in try assembler.append(piece) }
    }

    private func whole(
        _ kind: WebSocketMessage.Kind, _ bytes: [UInt8], limit: Int = 8
    ) throws(Violation) -> WebSocketMessage {
        try withExactBytes(bytes) { (piece) throws(Violation) in
            try MessageAssembler.whole(kind, piece, maximumSize: limit)
        }
    }

    @Test func anEmptyMessageGoesThroughTheAssembler() throws {
        var assembler = MessageAssembler(maximumSize: 8, maximumFragments: 1)
        #expect(assembler.isIdle && assembler.remainingBytes == 8)
        assembler.begin(.binary)
        #expect(!assembler.isIdle)
        #expect(try assembler.finish() == .binary([]))
        #expect(assembler.isIdle)
    }

    @Test func wholeMessages() throws {
        #expect(try whole(.binary, []) == .binary([]))
        #expect(try whole(.text, []) == .text(""))
        #expect(try whole(.binary, [0xFF, 0]) == .binary([0xFF, 0]))
        #expect(try whole(.text, Array("a€".utf8)) == .text("a€"))
        #expect(try whole(.text, Array("12345678".utf8)) == .text("12345678"))
        for kind: WebSocketMessage.Kind in [.text, .binary] {
            #expect(throws: Violation.messageTooBig(limit: 8)) { try whole(kind, Array("123456789".utf8)) }
        }
        #expect(throws: Violation.invalidUTF8) { try whole(.text, [0x61, 0xC3]) }
        #expect(throws: Violation.invalidUTF8) { try whole(.text, [0xED, 0xA0, 0x80]) }
    }

    @Test func theSizeLimitIsExact() throws {
        for limit in [1, 2, 125, 126, 1_000] {
            var assembler = MessageAssembler(maximumSize: limit, maximumFragments: 10_000)
            assembler.begin(.binary)
            try assembler.beginFrame(announced: UInt64(limit), compressed: false)
            for count in 1...limit {
                try append([UInt8(truncatingIfNeeded: count)], to: &assembler)
                #expect(assembler.remainingBytes == limit - count)
            }
            #expect(throws: Violation.messageTooBig(limit: limit)) { try append([0], to: &assembler) }
            #expect(try assembler.finish().byteCount == limit)
            #expect(assembler.remainingBytes == limit)
        }
    }

    /// A frame that announces too much is refused before a byte of it is kept; the announcement may be any number.
    @Test func announcementsAreBelievedOnlyToRefuse() throws {
        for announced: UInt64 in [9, 1 << 32, UInt64(Int.max), .max] {
            var assembler = MessageAssembler(maximumSize: 8, maximumFragments: 4)
            assembler.begin(.text)
            #expect(throws: Violation.messageTooBig(limit: 8)) {
                try assembler.beginFrame(announced: announced, compressed: false)
            }
        }
        var assembler = MessageAssembler(maximumSize: 8, maximumFragments: 4)
        assembler.begin(.binary)
        try assembler.beginFrame(announced: 5, compressed: false)
        try append([1, 2, 3, 4, 5], to: &assembler)
        try assembler.beginFrame(announced: 3, compressed: false)
        #expect(throws: Violation.messageTooBig(limit: 8)) { try assembler.beginFrame(announced: 4, compressed: false) }
    }

    /// What a compressed frame announces says nothing about the message's size; what comes out of it does.
    @Test func compressedFramesCountTheirOutput() throws {
        var assembler = MessageAssembler(maximumSize: 8, maximumFragments: 4)
        assembler.begin(.binary)
        try assembler.beginFrame(announced: .max, compressed: true)
        try append([1, 2, 3, 4, 5, 6, 7, 8], to: &assembler)
        try assembler.beginFrame(announced: 100, compressed: true)
        try append([], to: &assembler)
        #expect(throws: Violation.messageTooBig(limit: 8)) { try append([9], to: &assembler) }
    }

    @Test func theFragmentLimitIsExact() throws {
        for limit in [1, 2, 100] {
            var assembler = MessageAssembler(maximumSize: 8, maximumFragments: limit)
            // The count starts again with every message.
            for _ in 0..<3 {
                assembler.begin(.text)
                for _ in 0..<limit { try assembler.beginFrame(announced: 0, compressed: false) }
                #expect(try assembler.finish() == .text(""))
            }
            assembler.begin(.binary)
            for _ in 0..<limit { try assembler.beginFrame(announced: 0, compressed: true) }
            #expect(throws: Violation.tooManyFragments(limit: limit)) {
                try assembler.beginFrame(announced: 0, compressed: true)
            }
        }
    }

    @Test func piecesOfOneFrameAreNotFragments() throws {
        var assembler = MessageAssembler(maximumSize: 1_000, maximumFragments: 1)
        assembler.begin(.text)
        try assembler.beginFrame(announced: 600, compressed: false)
        for _ in 0..<200 { try append(Array("€".utf8), to: &assembler) }
        #expect(try assembler.finish() == .text(String(repeating: "€", count: 200)))
    }

    @Test func charactersMayBeCutAnywhere() throws {
        let text = "aé€😀z"
        for piece in 1...4 {
            var assembler = MessageAssembler(maximumSize: 100, maximumFragments: 100)
            assembler.begin(.text)
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                try assembler.beginFrame(announced: UInt64(min(piece, rest.count)), compressed: false)
                try append(rest.prefix(piece), to: &assembler)
                try append([], to: &assembler)
                rest = rest.dropFirst(piece)
            }
            #expect(try assembler.finish() == .text(text))
        }
    }

    @Test func invalidTextFailsWithItsFirstBadByte() throws {
        var assembler = MessageAssembler(maximumSize: 100, maximumFragments: 100)
        assembler.begin(.text)
        try append([0x61, 0xED], to: &assembler)
        #expect(throws: Violation.invalidUTF8) { try append([0xA0], to: &assembler) }

        var binary = MessageAssembler(maximumSize: 100, maximumFragments: 100)
        binary.begin(.binary)
        try append([0x61, 0xED], to: &binary)
        try append([0xA0], to: &binary)
        #expect(try binary.finish() == .binary([0x61, 0xED, 0xA0]))
    }

    @Test func textThatEndsInsideACharacterIsInvalid() throws {
        for bytes in [[0xC3], [0x61, 0xE2, 0x82], [0xF0, 0x9F, 0x98]] as [[UInt8]] {
            var assembler = MessageAssembler(maximumSize: 100, maximumFragments: 100)
            assembler.begin(.text)
            try append(bytes, to: &assembler)
            #expect(throws: Violation.invalidUTF8) { try assembler.finish() }
            #expect(assembler.isIdle)
        }
    }

    /// The size comes first: what does not fit is not looked at.
    @Test func tooBigBeforeInvalid() throws {
        var assembler = MessageAssembler(maximumSize: 2, maximumFragments: 100)
        assembler.begin(.text)
        #expect(throws: Violation.messageTooBig(limit: 2)) { try append([0xFF, 0xFF, 0xFF], to: &assembler) }
    }

    /// Nothing of a message that was refused reaches the next one.
    @Test func beginStartsAfresh() throws {
        for damage in 0..<4 {
            var assembler = MessageAssembler(maximumSize: 4, maximumFragments: 2)
            assembler.begin(.text)
            try assembler.beginFrame(announced: 2, compressed: false)
            try append([0x61, 0xC3], to: &assembler)
            switch damage {
            case 0: #expect(throws: Violation.invalidUTF8) { try assembler.finish() }
            case 1: #expect(throws: Violation.invalidUTF8) { try append([0x61], to: &assembler) }
            case 2: #expect(throws: Violation.messageTooBig(limit: 4)) { try append([0xA9, 1, 1], to: &assembler) }
            default:
                try assembler.beginFrame(announced: 0, compressed: false)
                #expect(throws: Violation.tooManyFragments(limit: 2)) {
                    try assembler.beginFrame(announced: 0, compressed: false)
                }
            }
            assembler.begin(.text)
            #expect(assembler.remainingBytes == 4, "damage \(damage)")
            try assembler.beginFrame(announced: 4, compressed: false)
            try append(Array("good".utf8), to: &assembler)
            #expect(try assembler.finish() == .text("good"), "damage \(damage)")
        }
    }

    @Test(arguments: [21, 22, 23, 24] as [UInt64])
    func randomMessages(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let limit = 24
        let maximumFragments = 6
        var assembler = MessageAssembler(maximumSize: limit, maximumFragments: maximumFragments)
        for round in 0..<3_000 {
            let kind: WebSocketMessage.Kind = random.below(2) == 0 ? .text : .binary
            assembler.begin(kind)
            var all: [UInt8] = []
            var problem: Violation?
            do throws(Violation) {
                for frame in 1...(1 + random.below(maximumFragments + 1)) {
                    let pieces = (0..<random.below(3)).map { _ in randomPiece(&random) }
                    let size = pieces.reduce(0) { $0 + $1.count }
                    let compressed = random.below(2) == 0
                    if frame > maximumFragments {
                        problem = .tooManyFragments(limit: maximumFragments)
                    } else if !compressed && all.count + size > limit {
                        problem = .messageTooBig(limit: limit)
                    }
                    try assembler.beginFrame(announced: UInt64(size), compressed: compressed)
                    for piece in pieces {
                        if all.count + piece.count > limit { problem = .messageTooBig(limit: limit) }
                        all += piece
                        // Broken beyond what three more bytes could mend.
                        if problem == nil && kind == .text && !isPrefixOfText(all) { problem = .invalidUTF8 }
                        try append(piece, to: &assembler)
                    }
                }
                if kind == .text && String(validating: all, as: UTF8.self) == nil { problem = .invalidUTF8 }
                let message = try assembler.finish()
                let expected: WebSocketMessage =
                    kind == .text ? .text(String(decoding: all, as: UTF8.self)) : .binary(all)
                if message != expected || problem != nil {
                    Issue.record(
                        "seed \(seed), round \(round): \(all) gave \(message), expected \(String(describing: problem))")
                    return
                }
            } catch {
                try check(
                    error == problem, "seed \(seed), round \(round): \(error) instead of \(String(describing: problem))"
                )
            }
        }
    }

    private func randomPiece(_ random: inout SplitMix64) -> [UInt8] {
        switch random.below(12) {
        case 0: []
        case 1: random.bytes(random.below(4))
        case 2: [0xE2]
        case 3: [0x82]
        case 4: [0xAC]
        case 5: Array("€".utf8)
        default: Array("abc".utf8.prefix(random.below(4)))
        }
    }

    private func isPrefixOfText(_ bytes: [UInt8]) -> Bool {
        [[], [0x80], [0x80, 0x80], [0x80, 0x80, 0x80], [0xBF], [0xBF, 0xBF], [0xBF, 0xBF, 0xBF]].contains {
            String(validating: bytes + $0, as: UTF8.self) != nil
        }
    }

    @Test func onlyWhatHasBegunCanFinish() async {
        await #expect(processExitsWith: .failure) {
            var assembler = MessageAssembler(maximumSize: 1, maximumFragments: 1)
            _ = try assembler.finish()
        }
    }

    @Test func piecesTakenOutStillCount() throws {
        var assembler = MessageAssembler(maximumSize: 6, maximumFragments: 10)
        for _ in 0..<2 {
            #expect(assembler.kind == nil)
            assembler.begin(.text)
            #expect(assembler.kind == .text)
            try assembler.beginFrame(announced: 3, compressed: false)
            try withExactBytes([0x61, 0xC3]) { try assembler.append($0) }
            #expect(assembler.takePieces() == [0x61, 0xC3])
            #expect(assembler.takePieces().isEmpty && assembler.remainingBytes == 4)
            try withExactBytes([0xA9]) { try assembler.append($0) }
            #expect(throws: MessageAssembler.Violation.messageTooBig(limit: 6)) {
                try assembler.beginFrame(announced: 4, compressed: false)
            }
            #expect(try assembler.finishPieces() == [0xA9])
            #expect(assembler.isIdle)
        }
        assembler.begin(.text)
        try withExactBytes([0xC3]) { try assembler.append($0) }
        _ = assembler.takePieces()
        #expect(throws: MessageAssembler.Violation.invalidUTF8) { try assembler.finishPieces() }
    }
}
