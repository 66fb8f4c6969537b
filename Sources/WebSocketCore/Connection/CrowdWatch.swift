//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Finds out that a crowd of connections has gone, whose memory the allocator keeps as long as it is not asked.
package struct CrowdWatch: Sendable {
    /// Fewer are not worth the walk through the heap.
    package static let crowd = 1_000

    private var gone = 0

    package init() {}

    /// A connection has ended.
    ///
    /// - Parameter open: How many are left.
    /// - Returns: Whether most of a crowd is gone. Then the count begins again.
    package mutating func left(open: Int) -> Bool {
        gone += 1
        guard gone >= Self.crowd, open <= gone / 4 else { return false }
        gone = 0
        return true
    }
}
