//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Checks UTF-8 that arrives in pieces, and fails at the first byte that cannot be mended
/// (RFC 3629; RFC 6455 §8.1 wants the connection failed then, not at the end of the message).
package struct UTF8Validator: Sendable {
    /// Continuation bytes still wanted by the character under way.
    private var wanted = 0
    /// The range of the next continuation byte: narrower than 80...BF after E0, ED, F0 and F4.
    private var lower: UInt8 = 0x80
    private var upper: UInt8 = 0xBF

    package init() {}

    /// Whether no character is left open.
    package var isComplete: Bool { wanted == 0 }

    /// Takes the next bytes. `false` means that the text is invalid, for good.
    package mutating func consume(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        let count = bytes.count
        while index < count {
            if wanted == 0 {
                // Most text is ASCII: eight bytes at a time.
                while index + 8 <= count,
                    bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
                {
                    index += 8
                }
                if index == count { return true }
            }
            let byte = bytes[index]
            index += 1
            if wanted > 0 {
                guard byte >= lower && byte <= upper else { return false }
                wanted -= 1
                lower = 0x80
                upper = 0xBF
                continue
            }
            switch byte {
            case 0x00...0x7F: break
            case 0xC2...0xDF: wanted = 1
            case 0xE0: (wanted, lower) = (2, 0xA0)
            case 0xED: (wanted, upper) = (2, 0x9F)
            case 0xE1...0xEF: wanted = 2
            case 0xF0: (wanted, lower) = (3, 0x90)
            case 0xF1...0xF3: wanted = 3
            case 0xF4: (wanted, upper) = (3, 0x8F)
            default: return false
            }
        }
        return true
    }
}
