//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct FrameEncoderTests {
    private func header(
        _ opcode: FrameEncoder.Opcode, final: Bool = true, compressed: Bool = false, _ size: Int, mask: UInt32? = nil
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: FrameEncoder.maximumHeaderBytes)
        let count = bytes.withUnsafeMutableBytes {
            FrameEncoder.writeHeader(
                opcode, final: final, compressed: compressed, payloadBytes: size, maskKey: mask, to: $0.baseAddress!)
        }
        // Nothing behind the header was touched.
        #expect(bytes[count...].allSatisfy { $0 == 0xEE })
        return Array(bytes[..<count])
    }

    /// A key whose bytes in memory are these.
    private func key(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) } }

    private func frame(_ opcode: FrameEncoder.Opcode, final: Bool = true, _ payload: [UInt8], mask: UInt32? = nil)
        -> [UInt8]
    {
        var body = payload
        body.withUnsafeMutableBytes { body in
            if let base = body.baseAddress { FrameEncoder.copy(base, count: body.count, maskKey: mask, to: base) }
        }
        return header(opcode, final: final, payload.count, mask: mask) + body
    }

    /// The examples of RFC 6455 §5.7.
    @Test func examplesOfTheRFC() {
        let hello = Array("Hello".utf8)
        let mask = key([0x37, 0xFA, 0x21, 0x3D])
        #expect(frame(.text, hello) == [0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])
        #expect(
            frame(.text, hello, mask: mask) == [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
        #expect(frame(.text, final: false, Array("Hel".utf8)) == [0x01, 0x03, 0x48, 0x65, 0x6C])
        #expect(frame(.continuation, Array("lo".utf8)) == [0x80, 0x02, 0x6C, 0x6F])
        #expect(frame(.ping, hello) == [0x89, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])
        #expect(
            frame(.pong, hello, mask: mask) == [0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
        #expect(header(.binary, 256) == [0x82, 0x7E, 0x01, 0x00])
        #expect(header(.binary, 65_536) == [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0])
        #expect(frame(.close, []) == [0x88, 0x00])
    }

    @Test func lengthsTakeTheShortestForm() {
        for (size, expected) in [
            (0, [0]), (1, [1]), (125, [125]), (126, [126, 0, 126]), (127, [126, 0, 127]), (65_535, [126, 0xFF, 0xFF]),
            (65_536, [127, 0, 0, 0, 0, 0, 1, 0, 0]), (0x0102_0304_0506_0708, [127, 1, 2, 3, 4, 5, 6, 7, 8]),
            (Int.max, [127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ] as [(Int, [UInt8])] {
            #expect(header(.binary, size) == [0x82] + expected)
            let mask: [UInt8] = [1, 2, 3, 4]
            let masked = header(.binary, size, mask: key(mask))
            #expect(masked == [0x82, expected[0] | 0x80] + expected.dropFirst() + mask)
            #expect(masked.count <= FrameEncoder.maximumHeaderBytes)
        }
        #expect(header(.binary, 65_536, mask: 0).count == FrameEncoder.maximumHeaderBytes)
    }

    @Test func firstByteOfEveryKind() {
        for opcode: FrameEncoder.Opcode in [.continuation, .text, .binary, .close, .ping, .pong] {
            for final in [false, true] {
                for compressed in [false, true] {
                    let expected = opcode.rawValue + (final ? 128 : 0) + (compressed ? 64 : 0)
                    #expect(header(opcode, final: final, compressed: compressed, 0) == [expected, 0])
                }
            }
        }
    }

    /// octet i of the result is octet i of the payload XOR octet (i mod 4) of the key (RFC 6455 §5.3), for all lengths
    /// and places in memory, and nothing outside is touched.
    @Test(arguments: [nil, 0, 0xFFFF_FFFF, 0x3D21_FA37, 0x0102_0304] as [UInt32?])
    func maskingIsTheDefinition(maskKey: UInt32?) throws {
        var random = SplitMix64(seed: 11)
        let keyBytes = withUnsafeBytes(of: maskKey ?? 0) { Array($0) }
        let margin = 16
        let payload = random.bytes(200 + 3 * margin)
        for length in 0...200 {
            for offset in 0..<8 {
                let source = offset
                let target = margin + (offset * 3) % 8
                var memory = [UInt8](repeating: 0xEE, count: 200 + 3 * margin)
                payload.withUnsafeBytes { from in
                    memory.withUnsafeMutableBytes { to in
                        FrameEncoder.copy(
                            from.baseAddress! + source, count: length, maskKey: maskKey, to: to.baseAddress! + target)
                    }
                }
                var expected = [UInt8](repeating: 0xEE, count: memory.count)
                for index in 0..<length { expected[target + index] = payload[source + index] ^ keyBytes[index & 3] }
                try check(memory == expected, "length \(length), offset \(offset)")

                var inPlace = payload
                inPlace.withUnsafeMutableBytes { bytes in
                    let start = bytes.baseAddress! + offset
                    FrameEncoder.copy(start, count: length, maskKey: maskKey, to: start)
                }
                expected = payload
                for index in 0..<length { expected[offset + index] = payload[offset + index] ^ keyBytes[index & 3] }
                try check(inPlace == expected, "in place, length \(length), offset \(offset)")
            }
        }
    }

    @Test func maskingTwiceGivesThePayload() {
        var random = SplitMix64(seed: 12)
        let payload = random.bytes(100_003)
        let maskKey = UInt32(truncatingIfNeeded: random.next())
        var bytes = payload
        for _ in 0..<2 {
            bytes.withUnsafeMutableBytes {
                FrameEncoder.copy($0.baseAddress!, count: $0.count, maskKey: maskKey, to: $0.baseAddress!)
            }
        }
        #expect(bytes == payload)
    }
}
