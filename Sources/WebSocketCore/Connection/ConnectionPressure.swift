//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a peer that reads slowly has cost its connection: counted where senders wait anyway, for those who ask at the end.
package struct ConnectionPressure: Sendable, Hashable {
    /// Sends that had to wait for room in the outbound buffer.
    package private(set) var waits = 0
    /// Broadcasts that the peer did not get.
    package var broadcastsDropped = 0
    /// The ends of all waits less their beginnings, which needs no memory for each. Wraps while some are under way.
    private var sum: UInt64 = 0

    package init() {}

    /// How long all of them have waited, in nanoseconds, when none waits any more.
    package var waitedNanoseconds: UInt64 { sum }

    /// A sender waits from now on.
    package mutating func beginWait(at now: UInt64) {
        waits += 1
        sum &-= now
    }

    /// A sender waits no longer, whatever became of its message.
    package mutating func endWait(at now: UInt64) { sum &+= now }
}
