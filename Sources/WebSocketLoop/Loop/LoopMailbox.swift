//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// What other threads hand to a loop: executor jobs and operations, in order.
struct LoopInbox {
    enum Entry {
        case taskJob(UnownedJob)
        case serialJob(UnownedJob)
        case operation(@Sendable () -> Void)
    }
    var entries: [Entry] = []
    /// No more turns will come: operations are refused, jobs are run late.
    var isClosed = false
}

/// Jobs that came after a loop's end, each with what it runs on.
struct LateJobs {
    struct Entry {
        let job: UnownedJob
        let task: WebSocketLoopTaskExecutor
        /// For an actor's.
        let serial: WebSocketLoopSerialExecutor?
    }
    var entries: [Entry] = []
    /// A thread runs them.
    var isRunning = false
}

/// Where a loop's work comes in. It knows nothing of the loop, and its executors know only this: a task or an actor on
/// them may outlive the loop, and still has to run.
@safe final class LoopMailbox: @unchecked Sendable {
    // What makes it Sendable: atomics, locks, immutable properties; and `localJobs`, which only the loop's thread touches.

    /// The loop's thread; on a program's context the program's, while it is in the loop's hands. 0 after the end.
    let thread = Atomic<UInt>(0)
    /// Jobs that are ready. Loop-confined.
    @safe @exclusivity(unchecked) var localJobs: [LocalJob] = []
    private let inbox = Mutex(LoopInbox())
    private let wakePending = Atomic<Bool>(false)
    private let lateJobs = Mutex(LateJobs())
    /// Threads that have left something and are about to wake the loop, which must not go meanwhile.
    private let wakers = Atomic<Int>(0)
    private let wake: UvWake
    private let attachment: ContextAttachment?

    init(wake: UvWake, attachment: ContextAttachment?) {
        self.wake = wake
        self.attachment = attachment
    }

    @inline(__always)
    var isOnLoop: Bool { thread.load(ordering: .relaxed) == DetachedThread.current }
    /// Whether something may have come that was not taken out.
    var hasMail: Bool { wakePending.load(ordering: .relaxed) }

    // MARK: From any thread

    func enqueue(_ job: UnownedJob, on executor: WebSocketLoopTaskExecutor) {
        if isOnLoop {
            localJobs.append(LocalJob(job: job, isSerial: false))
        } else if !post(.taskJob(job)) {
            runLate(LateJobs.Entry(job: job, task: executor, serial: nil))
        }
    }

    func enqueue(_ job: UnownedJob, on executor: WebSocketLoopSerialExecutor) {
        if isOnLoop {
            localJobs.append(LocalJob(job: job, isSerial: true))
        } else if !post(.serialJob(job)) {
            runLate(LateJobs.Entry(job: job, task: executor.task, serial: executor))
        }
    }

    func execute(_ operation: @escaping @Sendable () -> Void) -> Bool {
        if isOnLoop {
            operation()
            return true
        }
        return post(.operation(operation))
    }

    private func post(_ entry: LoopInbox.Entry) -> Bool {
        enum Reception { case refused, alreadyWoken, wakes }
        let reception: Reception = inbox.withLock { inbox in
            if inbox.isClosed { return .refused }
            inbox.entries.append(entry)
            if wakePending.exchange(true, ordering: .acquiringAndReleasing) { return .alreadyWoken }
            wakers.wrappingAdd(1, ordering: .relaxed)
            return .wakes
        }
        guard reception == .wakes else { return reception == .alreadyWoken }
        if let attachment { attachment.wake() } else { wake.send() }
        wakers.wrappingSubtract(1, ordering: .releasing)
        return true
    }

    // MARK: On the loop

    /// Takes over what other threads left, in exchange for an empty array.
    func takeEntries(_ batch: inout [LoopInbox.Entry]) {
        guard hasMail, wakePending.exchange(false, ordering: .acquiringAndReleasing) else { return }
        inbox.withLock { swap(&$0.entries, &batch) }
    }

    /// The last that was left. From now on nothing is taken, and nothing wakes the loop any more; jobs wait for
    /// `drainLateJobs`, because until this thread is done with the loop's no other may run any: an actor's must not
    /// overlap.
    func close() -> [LoopInbox.Entry] {
        lateJobs.withLock { $0.isRunning = true }
        let last = inbox.withLock { inbox in
            inbox.isClosed = true
            defer { inbox.entries = [] }
            return inbox.entries
        }
        // Each is between two instructions and a write to an eventfd.
        while wakers.load(ordering: .acquiring) != 0 { DetachedThread.yield() }
        return last
    }

    // MARK: After the loop's end

    /// Jobs that reach a loop after its end still have to run: a task must never be stranded. They run one after the
    /// other on the thread that found none running, so that those of an actor never overlap.
    private func runLate(_ entry: LateJobs.Entry) {
        let isFirst = lateJobs.withLock { late in
            late.entries.append(entry)
            defer { late.isRunning = true }
            return !late.isRunning
        }
        if isFirst { drainLateJobs() }
    }

    /// Runs late jobs, and those that they bring about, until there are none. For the thread that has set `isRunning`.
    func drainLateJobs() {
        while true {
            var batch: [LateJobs.Entry] = []
            lateJobs.withLock { late in
                swap(&batch, &late.entries)
                if batch.isEmpty { late.isRunning = false }
            }
            guard !batch.isEmpty else { return }
            for entry in batch {
                let task = unsafe entry.task.asUnownedTaskExecutor()
                if let serial = entry.serial {
                    unsafe entry.job.runSynchronously(
                        isolatedTo: serial.asUnownedSerialExecutor(), taskExecutor: task)
                } else {
                    unsafe entry.job.runSynchronously(on: task)
                }
            }
        }
    }
}
