//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Finds the code that a close frame really had. libwebsockets 4.1.6 hands 1012, 1013 and 1014, which were registered
/// after RFC 6455, and every code that must not be sent, to its user as 1002.
package enum CloseFrameSearch {
    /// - Parameters:
    ///   - bytes: What was read last, and perhaps older bytes behind it.
    ///   - reason: The reason that came with the code.
    ///   - isMasked: Whether the frame came from a client.
    /// - Returns: The code of the first close frame with this reason; `nil` when there is none, as when the frame came
    ///   in two reads.
    package static func code(
        in bytes: UnsafeRawBufferPointer, reason: UnsafeRawBufferPointer, isMasked: Bool
    ) -> UInt16? {
        let length = UInt8(reason.count + 2) | (isMasked ? 0x80 : 0)
        let payloadStart = isMasked ? 6 : 2
        let frameSize = payloadStart + 2 + reason.count
        guard bytes.count >= frameSize else { return nil }
        for start in 0...(bytes.count - frameSize) where bytes[start] == 0x88 && bytes[start + 1] == length {
            let payload = UnsafeRawBufferPointer(rebasing: bytes[(start + payloadStart)..<(start + frameSize)])
            func byte(_ index: Int) -> UInt8 {
                isMasked ? payload[index] ^ bytes[start + 2 + index % 4] : payload[index]
            }
            guard (0..<reason.count).allSatisfy({ byte($0 + 2) == reason[$0] }) else { continue }
            return UInt16(byte(0)) << 8 | UInt16(byte(1))
        }
        return nil
    }
}
