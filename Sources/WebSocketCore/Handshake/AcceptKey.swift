//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// `Sec-WebSocket-Accept`, with which a server answers a key (RFC 6455 §4.2.2 item 5.4). It proves nothing but that the
/// server speaks WebSocket.
///
/// The SHA-1 is written out here, because OpenSSL tears its own down when a process exits, while loops still connect and
/// accept.
package enum AcceptKey {
    package static func of(_ key: String) -> String {
        HandshakeText.base64(sha1(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)))
    }

    /// FIPS 180-4 §6.1.2.
    static func sha1(_ message: [UInt8]) -> [UInt8] {
        var bytes = message
        bytes.append(0x80)
        while bytes.count & 63 != 56 { bytes.append(0) }
        let bits = UInt64(message.count) &* 8
        for shift in stride(from: UInt64(56), through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: bits >> shift))
        }
        var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
        var block = 0
        while block < bytes.count {
            add(bytes, at: block, to: &state)
            block += 64
        }
        var digest: [UInt8] = []
        for word in state {
            for shift in stride(from: UInt32(24), through: 0, by: -8) {
                digest.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return digest
    }

    private static func add(_ bytes: [UInt8], at start: Int, to state: inout [UInt32]) {
        func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
        var words = [UInt32](repeating: 0, count: 80)
        var index = 0
        while index < 80 {
            if index < 16 {
                let at = start + 4 * index
                words[index] =
                    UInt32(bytes[at]) << 24 | UInt32(bytes[at + 1]) << 16 | UInt32(bytes[at + 2]) << 8
                    | UInt32(bytes[at + 3])
            } else {
                words[index] = rotate(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1)
            }
            index += 1
        }
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        index = 0
        while index < 80 {
            let mix: UInt32
            let constant: UInt32
            if index < 20 {
                (mix, constant) = (b & c | ~b & d, 0x5A82_7999)
            } else if index < 40 {
                (mix, constant) = (b ^ c ^ d, 0x6ED9_EBA1)
            } else if index < 60 {
                (mix, constant) = (b & c | b & d | c & d, 0x8F1B_BCDC)
            } else {
                (mix, constant) = (b ^ c ^ d, 0xCA62_C1D6)
            }
            (a, b, c, d, e) = (rotate(a, 5) &+ mix &+ e &+ constant &+ words[index], a, rotate(b, 30), c, d)
            index += 1
        }
        state[0] &+= a
        state[1] &+= b
        state[2] &+= c
        state[3] &+= d
        state[4] &+= e
    }
}
