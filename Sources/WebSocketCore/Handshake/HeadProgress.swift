//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Says when a request head that grows is worth parsing again: at its end, and otherwise each time it has doubled.
/// A head that arrives byte by byte then costs linear time, and nonsense is still refused before the deadline.
package struct HeadProgress: Sendable {
    private var searched = 0
    private var nextLook = 1
    /// At this size the head is complete or refused.
    private let limit: Int

    package init(limit: Int) { self.limit = limit }

    /// - Parameter bytes: All that has arrived so far.
    package mutating func isWorthParsing(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let endsHead = containsBlankLine(bytes, from: max(0, searched - 3))
        searched = bytes.count
        guard endsHead || bytes.count >= nextLook || bytes.count >= limit else { return false }
        nextLook = bytes.count * 2
        return true
    }

    private func containsBlankLine(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Bool {
        var index = start
        while index + 3 < bytes.count {
            if bytes[index] == 0x0D && bytes[index + 1] == 0x0A && bytes[index + 2] == 0x0D && bytes[index + 3] == 0x0A
            {
                return true
            }
            index += 1
        }
        return false
    }
}
