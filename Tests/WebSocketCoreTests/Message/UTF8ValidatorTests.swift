//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct UTF8ValidatorTests {
    private static func isValid(_ bytes: some Collection<UInt8>) -> Bool {
        String(validating: bytes, as: UTF8.self) != nil
    }

    private static func validate(_ pieces: [some Collection<UInt8>]) -> Bool {
        var validator = UTF8Validator()
        for piece in pieces {
            guard withExactBytes(piece, { validator.consume($0) }) else { return false }
        }
        return validator.isComplete
    }

    /// Whether some bytes behind these could still make valid text; knows nothing of how UTF-8 is built.
    private static func isMendable(_ bytes: [UInt8]) -> Bool {
        let completions: [[UInt8]] = [
            [], [0x80], [0x80, 0x80], [0x80, 0x80, 0x80], [0xBF], [0xBF, 0xBF], [0xBF, 0xBF, 0xBF], [0x80, 0xBF, 0xBF],
        ]
        return completions.contains { isValid(bytes + $0) }
    }

    @Test func everyScalarBoundary() {
        let boundaries: [UInt32] = [
            0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xCFFF, 0xD000, 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000,
            0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF,
        ]
        for value in boundaries {
            let bytes = Array(String(Character(UnicodeScalar(value)!)).utf8)
            #expect(Self.validate([bytes]), "U+\(String(value, radix: 16))")
            #expect(Self.validate(bytes.map { [$0] }))
            for count in 1..<max(bytes.count, 1) where count < bytes.count {
                #expect(!Self.validate([bytes.prefix(count)]), "cut short after \(count)")
            }
        }
    }

    @Test func everyScalar() throws {
        var validator = UTF8Validator()
        for value in UInt32(0)...0x10FFFF {
            guard let scalar = UnicodeScalar(value) else { continue }
            let bytes = UTF8.encode(scalar)!
            var packed: (UInt8, UInt8, UInt8, UInt8) = (0, 0, 0, 0)
            var count = 0
            for byte in bytes {
                switch count {
                case 0: packed.0 = byte
                case 1: packed.1 = byte
                case 2: packed.2 = byte
                default: packed.3 = byte
                }
                count += 1
            }
            let accepted = withUnsafeBytes(of: packed) {
                validator.consume(UnsafeRawBufferPointer(rebasing: $0[..<count]))
            }
            try check(accepted && validator.isComplete, "U+\(String(value, radix: 16))")
        }
    }

    /// UTF-16 surrogates, overlong forms and values above U+10FFFF do not exist in UTF-8.
    @Test(
        arguments: [
            [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xF0, 0x80, 0x80, 0x80],
            [0xF0, 0x8F, 0xBF, 0xBF], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80],
            [0xF5, 0x80, 0x80, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80], [0xFC], [0xFE], [0xFF],
        ] as [[UInt8]])
    func refuses(_ bytes: [UInt8]) {
        #expect(!Self.isValid(bytes))
        #expect(!Self.validate([bytes]))
        #expect(!Self.validate(bytes.map { [$0] }))
        #expect(!Self.validate([Array("12345678abc".utf8) + bytes]))
    }

    /// All sequences of two bytes: the verdict of each, and that failure comes at the first byte that cannot be mended.
    @Test func everyPairOfBytes() throws {
        let mendable = (0...255).map { Self.isMendable([UInt8($0)]) }
        for first in UInt8.min...UInt8.max {
            for second in UInt8.min...UInt8.max {
                var validator = UTF8Validator()
                let one = withUnsafeBytes(of: first) { validator.consume($0) }
                try check(one == mendable[Int(first)], "\(first)")
                guard one else { continue }
                let two = withUnsafeBytes(of: second) { validator.consume($0) }
                try check(two == Self.isMendable([first, second]), "\(first) \(second)")
                if two { try check(validator.isComplete == Self.isValid([first, second]), "\(first) \(second)") }
            }
        }
    }

    /// Longer sequences, of the bytes at which the rules change.
    @Test func everySequenceOfBoundaryBytes() throws {
        let bytes: [UInt8] = [
            0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5,
        ]
        try forEachSequence(of: bytes.count, length: 3) { choice in
            let sequence = choice.map { bytes[$0] }
            var validator = UTF8Validator()
            for end in 1...3 {
                let accepted = withUnsafeBytes(of: sequence[end - 1]) { validator.consume($0) }
                try check(accepted == Self.isMendable(Array(sequence[..<end])), "\(sequence[..<end])")
                guard accepted else { return }
            }
            try check(validator.isComplete == Self.isValid(sequence), "\(sequence)")
        }
        for lead: UInt8 in [0xF0, 0xF1, 0xF3, 0xF4, 0xF5] {
            try forEachSequence(of: 8, length: 3) { choice in
                let sequence = [lead] + choice.map { bytes[$0] }
                try check(Self.validate([sequence]) == Self.isValid(sequence), "\(sequence)")
            }
        }
    }

    /// The eight-bytes-at-a-time path: a bad byte at every place of texts of every length, from every alignment.
    @Test func badByteAmongASCII() throws {
        for length in 0...40 {
            let text = [UInt8](repeating: 0x61, count: length)
            try check(Self.validate([text]), "length \(length)")
            for place in 0..<length {
                var bad = text
                bad[place] = 0xFF
                var validator = UTF8Validator()
                try check(!withExactBytes(bad, { validator.consume($0) }), "\(length) \(place)")
                var split = UTF8Validator()
                try check(withExactBytes(bad[..<place], { split.consume($0) }), "\(length) \(place)")
                try check(!withExactBytes(bad[place...], { split.consume($0) }), "\(length) \(place)")
                // A character that is two bytes long, wherever a word ends.
                var good = text
                good.replaceSubrange(place...place, with: [0xC3, 0xA9])
                try check(Self.validate([good]), "\(length) \(place)")
                for cut in 0...good.count {
                    try check(Self.validate([good[..<cut], good[cut...]]), "\(length) \(place) \(cut)")
                }
            }
        }
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func randomTextSplitEverywhere(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let scalars: [ClosedRange<UInt32>] = [
            0...0x7F, 0x80...0x7FF, 0x800...0xD7FF, 0xE000...0xFFFF, 0x10000...0x10FFFF,
        ]
        for round in 0..<400 {
            var bytes: [UInt8] = []
            while bytes.count < random.below(30) {
                let range = scalars[random.below(scalars.count)]
                let value = UInt32.random(in: range, using: &random)
                bytes += Array(String(Character(UnicodeScalar(value)!)).utf8)
            }
            // Half of the texts are damaged: a byte changed, removed or put in.
            if !bytes.isEmpty && random.below(2) == 0 {
                let place = random.below(bytes.count)
                switch random.below(3) {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.remove(at: place)
                default: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
                }
            }
            let expected = Self.isValid(bytes)
            for cut in 0...bytes.count {
                try check(
                    Self.validate([bytes[..<cut], bytes[cut...]]) == expected,
                    "seed \(seed), round \(round), \(bytes) cut at \(cut)")
            }
            try check(Self.validate(bytes.map { [$0] }) == expected, "seed \(seed), round \(round), \(bytes)")
        }
    }

    @Test(arguments: [5, 6] as [UInt64])
    func randomBytesFailAtTheFirstBadByte(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<1_000 {
            // Leads and continuations more often than chance would have them.
            let bytes = random.bytes(1 + random.below(8)).map { random.below(3) == 0 ? $0 : $0 | 0x80 & ~0x40 }
            var validator = UTF8Validator()
            for end in 1...bytes.count {
                let accepted = withUnsafeBytes(of: bytes[end - 1]) { validator.consume($0) }
                try check(
                    accepted == Self.isMendable(Array(bytes[..<end])), "seed \(seed), round \(round), \(bytes[..<end])")
                guard accepted else { break }
            }
        }
    }

    @Test func emptyPieces() {
        #expect(Self.validate([[UInt8]]()))
        #expect(Self.validate([[], [0xE2], [], [0x82], [], [0xAC], []]))
        var validator = UTF8Validator()
        let accepted = validator.consume(UnsafeRawBufferPointer(start: nil, count: 0))
        #expect(accepted && validator.isComplete)
    }
}
