//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct CloseFrameSearchTests {
    static func frame(_ code: UInt16, _ reason: String, mask: [UInt8]?) -> [UInt8] {
        let payload = [UInt8(code >> 8), UInt8(code & 0xFF)] + Array(reason.utf8)
        guard let mask else { return [0x88, UInt8(payload.count)] + payload }
        let masked = payload.enumerated().map { $1 ^ mask[$0 % 4] }
        return [0x88, UInt8(payload.count) | 0x80] + mask + masked
    }

    static func search(_ bytes: [UInt8], _ reason: String, isMasked: Bool) -> UInt16? {
        withExactBytes(bytes) { bytes in
            withExactBytes(Array(reason.utf8)) { CloseFrameSearch.code(in: bytes, reason: $0, isMasked: isMasked) }
        }
    }

    @Test(arguments: [nil, [1, 2, 3, 4], [0, 0, 0, 0], [0x88, 0x82, 0xFF, 0x03]] as [[UInt8]?])
    func findsTheFrameBehindOthers(mask: [UInt8]?) {
        for reason in ["", "x", "try again later", String(repeating: "r", count: 123)] {
            for code in [1002, 1005, 1012, 1013, 1014, 2999] as [UInt16] {
                let frame = Self.frame(code, reason, mask: mask)
                for before in [[], [0x81, 0x01, 0x88], [0x88]] as [[UInt8]] {
                    // Older bytes may follow, another close frame among them.
                    let bytes = before + frame + Self.frame(1001, reason, mask: mask)
                    #expect(Self.search(bytes, reason, isMasked: mask != nil) == code)
                }
            }
        }
    }

    @Test func findsNothingInPartsAndOtherReasons() {
        let frame = Self.frame(1013, "later", mask: nil)
        for count in 0..<frame.count {
            #expect(Self.search(Array(frame.prefix(count)), "later", isMasked: false) == nil)
        }
        #expect(Self.search(frame, "other", isMasked: false) == nil)
        #expect(Self.search(frame, "later", isMasked: true) == nil)
    }
}
