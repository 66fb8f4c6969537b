//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct HeadProgressTests {
    static let head = Array(
        "GET / HTTP/1.1\r\nHost: example.com\r\nX: \(String(repeating: "y", count: 500))\r\n\r\n".utf8)

    /// How often the head is parsed when it arrives in pieces of this size, and whether the last look saw the end.
    static func looks(_ bytes: [UInt8], piece: Int, limit: Int = 1 << 16) -> (count: Int, sawEnd: Bool) {
        var progress = HeadProgress(limit: limit)
        var count = 0
        var sawEnd = false
        for end in stride(from: piece, to: bytes.count + piece, by: piece) {
            let arrived = Array(bytes.prefix(end))
            guard withExactBytes(arrived, { progress.isWorthParsing($0) }) else { continue }
            count += 1
            sawEnd = arrived.count == bytes.count
        }
        return (count, sawEnd)
    }

    @Test(arguments: 1...40) func theEndIsNeverMissed(piece: Int) {
        let (count, sawEnd) = Self.looks(Self.head, piece: piece)
        #expect(sawEnd)
        // Once for each doubling of 550 bytes, and once for the end.
        #expect(count <= 11)
    }

    @Test func theFirstBytesAndTheLimitAreLookedAt() {
        let endless = [UInt8](repeating: 0x61, count: 4_000)
        #expect(Self.looks(endless, piece: 4_000).count == 1)
        // 1, 2, 4 … 2,048, then at and above the limit.
        #expect(Self.looks(endless, piece: 1, limit: 3_999).count == 12 + 2)
    }
}
