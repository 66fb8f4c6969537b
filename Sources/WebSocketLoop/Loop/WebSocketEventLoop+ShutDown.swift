//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketConcurrency

/// What waits for the end of a loop, and how far that is.
struct LoopEnding {
    var isStopping = false
    /// Run before the context goes: they end whatever still lives on the loop. Like the actions of timers and polls they
    /// own what they call, and the end of that takes them back: one that is forgotten then finds something that has ended,
    /// and nothing that is gone.
    var actions: [ObjectIdentifier: () -> Void] = [:]
    /// Who waits for the thread's last step.
    fileprivate var waiters: [Waiter<Void>] = []
    /// The context of a loop that did not begin could not be destroyed; it and everything that it points to stay.
    fileprivate var isLeaked = false
}

extension WebSocketEventLoop {
    var isStopping: Bool { ending.isStopping }

    /// What ends the things that live on the loop; see `LoopEnding.actions`.
    var onStop: [ObjectIdentifier: () -> Void] {
        get { ending.actions }
        _modify { yield &ending.actions }
    }

    /// Ends the loop and its thread, after which nothing runs on it any more. Connections that still live on it are
    /// aborted. The shared group's loops cannot be shut down.
    func shutDown() async {
        await suspend { (continuation: Waiter<Void>) in
            let accepted = execute {
                self.ending.waiters.append(continuation)
                self.stop()
            }
            if !accepted { continuation.resume(returning: ()) }
        }
    }

    /// Waits for the end, whatever brings it about.
    func stopped() async {
        await suspend { (continuation: Waiter<Void>) in
            if !execute({ self.ending.waiters.append(continuation) }) { continuation.resume(returning: ()) }
        }
    }

    func stop() {
        guard !isStopping else { return }
        ending.isStopping = true
        for action in ending.actions.values { action() }
        ending.actions = [:]
        // The turn that this happens in goes on to detach.
        if attachment == nil { uvLoop.stop() }
    }

    /// The end of a loop of its own, on its thread.
    func tearDown() {
        LoopWatchdog.shared.forget(activity)
        let began = now
        var isTold = false
        destroyContext {
            // What waits for the end waits no longer than that; the thread stays until the context can go.
            if now - began > Self.destructionTime {
                if !isTold { logger.notice("a loop that has ended waits for a number of a descriptor") }
                isTold = true
                resumeWaiters()
            }
            takeInbox()
            drainJobs()
            DetachedThread.sleep(nanoseconds: isTold ? 20_000_000 : 1_000_000)
            return true
        }
        finish()
    }

    /// How long the destruction of a context may keep the caller that ends the loop waiting, in nanoseconds.
    private static let destructionTime: UInt64 = 1_000_000_000

    private func resumeWaiters() {
        for continuation in ending.waiters { continuation.resume(returning: ()) }
        ending.waiters = []
    }

    /// Does what is left to do at the end on a thread of its own: the context's may be in the midst of destroying it.
    func endElsewhere() {
        resources.vhosts.removeAll()
        lwsContext = nil
        if DetachedThread.start(name, blocksSignals: false, { self.endOnThisThread() }) != nil { endOnThisThread() }
    }

    /// The end of a loop on a program's context. Nothing of it is left there.
    private func endOnThisThread() {
        LoopWatchdog.shared.forget(activity)
        mailbox.thread.store(DetachedThread.current, ordering: .releasing)
        finish()
    }

    /// What is left to do without a context.
    private func finish() {
        // The last words of connections that ended with the context.
        takeInbox()
        drainJobs()
        for entry in mailbox.close() { accept(entry) }
        drainJobs()
        killQueue = []
        dirty = []
        turnWork.removeAll()
        closeUV()
        // The handles' last callbacks may have resumed a task.
        drainJobs()
        mailbox.thread.store(0, ordering: .releasing)
        mailbox.drainLateJobs()
        resumeWaiters()
    }

    /// For a loop that does not begin: nothing waits for long.
    func destroyContext() {
        var tries = 0
        destroyContext {
            DetachedThread.sleep(nanoseconds: 1_000_000)
            tries += 1
            return tries < 100
        }
    }

    private func destroyContext(waitsOn: () -> Bool) {
        resources.vhosts.removeAll()
        guard let context = lwsContext.take() else { return }
        guard !context.destroy(uvLoop, waitsOn: waitsOn) else { return }
        logger.error("another file took a descriptor's number while a loop ended; its context stays")
        ending.isLeaked = true
        _ = unsafe Unmanaged.passRetained(resources)
        _ = unsafe Unmanaged.passRetained(uvLoop)
    }

    func closeUV() {
        // One more turn would let libwebsockets close a descriptor that is another file's by now.
        guard !ending.isLeaked else { return }
        let status = uvLoop.close()
        if status != 0 { logger.error("uv_loop_close failed", metadata: ["loop": "\(name)", "status": "\(status)"]) }
    }
}
