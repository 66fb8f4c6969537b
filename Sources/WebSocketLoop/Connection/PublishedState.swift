//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

/// What a connection's loop tells other threads. Written on the loop, but for `promisedBytes`.
struct PublishedState: ~Copyable {
    /// Whether messages can be sent, as far as the loop has seen.
    let isOpen = Atomic<Bool>(true)
    /// A message has begun to arrive and is not complete.
    let isInboundPartial = Atomic<Bool>(false)
    /// Messages go to a handler.
    let isInboundHandled = Atomic<Bool>(false)
    /// Messages sent, less those that have arrived whole.
    let balance = Atomic<Int>(0)
    /// Bytes that wait to be sent, for senders on other threads.
    let outboundBytes = Atomic<Int>(0)
    /// Bytes of messages that are on their way to the loop.
    let promisedBytes = Atomic<Int>(0)
    /// The last round trip in nanoseconds; 0 before the first pong.
    let lastRoundTrip = Atomic<UInt64>(0)
    /// How the connection ended.
    let finalInfo = Mutex(Boxed<WebSocketCloseInfo>(wrappedValue: nil))

    // One thread writes the balance, so these need no atomic addition.

    @inline(__always)
    borrowing func countSent() { balance.store(balance.load(ordering: .relaxed) &+ 1, ordering: .releasing) }

    @inline(__always)
    borrowing func countArrived() { balance.store(balance.load(ordering: .relaxed) &- 1, ordering: .releasing) }
}
