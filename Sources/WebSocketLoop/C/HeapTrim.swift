//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import Synchronization

/// Gives memory that is free back to the system. glibc keeps what lies between pieces in use, which after a crowd of
/// connections is nearly all that they took (measured: 605 MiB, of which 41 MiB were in use).
enum HeapTrim {
    private static let isUnderWay = Atomic<Bool>(false)
    private static let last = Atomic<UInt64>(0)
    private static let count = Atomic<Int>(0)

    /// How long to wait for what goes together with the last connection.
    private static let delay: UInt64 = 1_000_000_000
    private static let interval: UInt64 = 30_000_000_000

    /// How often it was done.
    static var timesDone: Int { count.load(ordering: .relaxed) }

    /// Does so in a second, or as soon as half a minute has passed since the last time, on a thread of its own: it may
    /// take some milliseconds. From any thread.
    static func soon() {
        guard !isUnderWay.exchange(true, ordering: .acquiringAndReleasing) else { return }
        let failure = DetachedThread.start("wsx-trim", blocksSignals: true) {
            let now = Host.nanoseconds
            let earliest = last.load(ordering: .relaxed) + interval
            let wait = last.load(ordering: .relaxed) == 0 || earliest <= now ? delay : max(delay, earliest - now)
            DetachedThread.sleep(nanoseconds: wait)
            wsx_trim_heap()
            last.store(Host.nanoseconds, ordering: .relaxed)
            count.wrappingAdd(1, ordering: .relaxed)
            isUnderWay.store(false, ordering: .releasing)
        }
        // Without a thread it is done another time.
        if failure != nil { isUnderWay.store(false, ordering: .releasing) }
    }
}
