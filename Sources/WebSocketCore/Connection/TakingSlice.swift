//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How many messages a receiver may take one after the other before it gives way to whatever else waits for its thread.
/// One read can hold thousands of small messages, and taking one that is there suspends nothing.
@usableFromInline package struct TakingSlice: Sendable {
    /// Many small messages with little to do for each.
    @usableFromInline package static let maximumMessages: UInt32 = 32
    /// Few messages with much to do: in nanoseconds.
    @usableFromInline package static let maximumTime: Int64 = 2_000_000

    @usableFromInline var taken: UInt32 = 0
    @usableFromInline var began: Int64 = 0

    @inlinable package init() {}

    /// Whether one more may be taken. The time is looked at where the count is a power of two, because asking for it is
    /// a part of a small message's price.
    @inlinable @inline(__always)
    package mutating func takesOneMore(now: () -> Int64) -> Bool {
        if taken == 0 {
            began = now()
        } else if taken & (taken &- 1) == 0 {
            guard taken < Self.maximumMessages, now() &- began < Self.maximumTime else { return false }
        }
        taken &+= 1
        return true
    }

    /// The receiver has given way.
    @inlinable @inline(__always)
    package mutating func reset() { taken = 0 }
}
