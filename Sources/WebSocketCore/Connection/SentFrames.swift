//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How far the messages of a burst of this side's own frames have come, of which the operating system has taken a part.
package struct SentFrames: Equatable, Sendable {
    /// Messages of which the operating system has everything.
    package private(set) var wholeMessages = 0
    /// Whether it has a part of the next one.
    package private(set) var isInsideMessage = false

    /// - Parameter taken: How many of the bytes the operating system has.
    package init(of burst: UnsafeRawBufferPointer, taken: Int) {
        var offset = 0
        while offset + 2 <= burst.count {
            let (first, second) = (burst[offset], burst[offset + 1])
            let header = Self.headerBytes(second)
            guard offset + header <= burst.count else { return }
            let end = offset + header + Self.payloadBytes(burst, offset, second)
            let isData = first & 0x08 == 0
            // A continuation's message has begun in an earlier frame.
            if isData, taken > offset || first & 0x0F == 0 { isInsideMessage = true }
            guard taken >= end else { return }
            if isData, first & 0x80 != 0 {
                wholeMessages += 1
                isInsideMessage = false
            }
            offset = end
        }
    }

    private static func headerBytes(_ second: UInt8) -> Int {
        let length = second & 0x7F
        return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (second & 0x80 == 0 ? 0 : 4)
    }

    private static func payloadBytes(_ burst: UnsafeRawBufferPointer, _ offset: Int, _ second: UInt8) -> Int {
        let extra = second & 0x7F == 126 ? 2 : second & 0x7F == 127 ? 8 : 0
        guard extra > 0 else { return Int(second & 0x7F) }
        return burst[(offset + 2)..<(offset + 2 + extra)].reduce(0) { $0 << 8 | Int($1) }
    }
}
