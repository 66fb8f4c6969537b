//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// The thread of a loop that has one.
extension WebSocketEventLoop {
    /// Starts the thread and waits until it runs. `false` when there is none to be had.
    func startThread(blocksSignals: Bool) -> Bool {
        let ready = LoopSemaphore()
        let failure = DetachedThread.start(name, blocksSignals: blocksSignals) { self.runThread(ready) }
        guard failure == nil else { return false }
        ready.wait()
        return true
    }

    private func runThread(_ ready: LoopSemaphore) {
        mailbox.thread.store(DetachedThread.current, ordering: .releasing)
        ready.signal()
        LoopWatchdog.shared.watch(activity, name: name, logger: logger, threshold: blockedLoopThreshold)
        lwsContext?.run(uvLoop, until: { self.isStopping })
        tearDown()
    }

    /// From here to `leave` the calling thread is the loop's, for one that has none. Gives back whose it was: turns and
    /// callbacks nest.
    func enter() -> UInt { mailbox.thread.exchange(DetachedThread.current, ordering: .acquiringAndReleasing) }

    func leave(_ before: UInt) { mailbox.thread.store(before, ordering: .releasing) }
}
