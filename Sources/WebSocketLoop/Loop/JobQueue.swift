//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import Synchronization

/// What other threads hand to a loop: executor jobs and operations, in order.
struct LoopInbox {
    enum Entry {
        case taskJob(UnownedJob)
        case serialJob(UnownedJob)
        case operation(@Sendable () -> Void)
    }
    var entries: [Entry] = []
    /// No more turns will come: operations are refused, jobs go to `overflow`.
    var isClosed = false
}

/// Jobs that came after a loop's end.
struct LateJobs {
    var entries: [LoopInbox.Entry] = []
    /// Somebody runs them.
    var isRunning = false
}

/// The loop as a task's preferred executor (SE-0417). A continuation resumed on the loop's own thread costs one
/// append; from any other thread one locked append and at most one wake per batch.
public final class LoopTaskExecutor: TaskExecutor {
    unowned let loop: EventLoop
    init(loop: EventLoop) { self.loop = loop }

    /// Runs the job on the loop's thread, in turn; from any thread.
    public func enqueue(_ job: consuming ExecutorJob) { loop.enqueue(task: UnownedJob(job)) }
    /// Whether both are the same executor.
    public func isSameExclusiveExecutionContext(other: LoopTaskExecutor) -> Bool { self === other }
}

/// The loop as an actor's executor. An actor on it should be called under the loop's task executor preference;
/// without one, every await crosses threads twice.
///
/// A second object, because both protocols share one `enqueue` and one object could not tell the roles apart.
public final class LoopSerialExecutor: SerialExecutor {
    unowned let loop: EventLoop
    init(loop: EventLoop) { self.loop = loop }

    /// Runs the job on the loop's thread, in turn; from any thread.
    public func enqueue(_ job: consuming ExecutorJob) { loop.enqueue(serial: UnownedJob(job)) }
    /// Traps off the loop's thread.
    public func checkIsolated() { loop.preconditionOnLoop() }
}

extension EventLoop {
    struct LocalJob {
        let job: UnownedJob
        let isSerial: Bool
    }

    func enqueue(task job: UnownedJob) {
        if isOnLoop {
            unsafe localJobs.append(LocalJob(job: job, isSerial: false))
        } else {
            enqueueRemotely(.taskJob(job))
        }
    }

    func enqueue(serial job: UnownedJob) {
        if isOnLoop {
            unsafe localJobs.append(LocalJob(job: job, isSerial: true))
        } else {
            enqueueRemotely(.serialJob(job))
        }
    }

    private func enqueueRemotely(_ entry: LoopInbox.Entry) {
        let accepted = inbox.withLock { inbox in
            if inbox.isClosed { return false }
            inbox.entries.append(entry)
            return true
        }
        if accepted {
            wake()
        } else {
            runLate(entry)
        }
    }

    /// Runs an operation on the loop: at once when called there, else in the next turn. Operations and jobs of one
    /// task keep their order. Returns `false`, and does nothing, after the loop has shut down.
    @discardableResult
    package func execute(_ operation: @escaping @Sendable () -> Void) -> Bool {
        if isOnLoop {
            operation()
            return true
        }
        let accepted = inbox.withLock { inbox in
            if inbox.isClosed { return false }
            inbox.entries.append(.operation(operation))
            return true
        }
        if accepted { wake() }
        return accepted
    }

    private func wake() {
        guard !wakePending.exchange(true, ordering: .acquiringAndReleasing) else { return }
        if let attachment {
            attachment.wake()
        } else {
            unsafe uv_async_send(wakeHandle)
        }
    }

    /// Jobs that reach a loop after its end still have to run: a task must never be stranded. They run one after the
    /// other on the thread that found none running, so that those of an actor never overlap.
    private func runLate(_ entry: LoopInbox.Entry) {
        let isFirst = lateJobs.withLock { late in
            late.entries.append(entry)
            defer { late.isRunning = true }
            return !late.isRunning
        }
        if isFirst { drainLateJobs() }
    }

    /// Runs late jobs, and those that they bring about, until there are none. For whoever has set `isRunning`.
    func drainLateJobs() {
        while true {
            var batch: [LoopInbox.Entry] = []
            lateJobs.withLock { late in
                swap(&batch, &late.entries)
                if batch.isEmpty { late.isRunning = false }
            }
            guard !batch.isEmpty else { return }
            for entry in batch {
                switch entry {
                case .taskJob(let job): unsafe job.runSynchronously(on: taskExecutor.asUnownedTaskExecutor())
                case .serialJob(let job):
                    unsafe job.runSynchronously(
                        isolatedTo: serialExecutor.asUnownedSerialExecutor(),
                        taskExecutor: taskExecutor.asUnownedTaskExecutor())
                case .operation(let operation): operation()
                }
            }
        }
    }

    /// Takes over what other threads left. Operations run at once.
    func takeInbox() {
        guard wakePending.load(ordering: .relaxed), wakePending.exchange(false, ordering: .acquiringAndReleasing) else {
            return
        }
        inbox.withLock { inbox in unsafe swap(&inbox.entries, &inboxBatch) }
        for entry in unsafe inboxBatch {
            switch entry {
            case .taskJob(let job): unsafe localJobs.append(LocalJob(job: job, isSerial: false))
            case .serialJob(let job): unsafe localJobs.append(LocalJob(job: job, isSerial: true))
            case .operation(let operation): operation()
            }
        }
        unsafe inboxBatch.removeAll(keepingCapacity: true)
    }

    /// Runs the jobs that are ready now; those that they make ready wait for the next round.
    func runJobs() {
        unsafe swap(&localJobs, &jobBatch)
        let executor = unsafe taskExecutor.asUnownedTaskExecutor()
        for entry in unsafe jobBatch {
            unsafe activity.job.store(unsafeBitCast(entry.job, to: UInt.self), ordering: .relaxed)
            if entry.isSerial {
                unsafe entry.job.runSynchronously(
                    isolatedTo: serialExecutor.asUnownedSerialExecutor(), taskExecutor: executor)
            } else {
                unsafe entry.job.runSynchronously(on: executor)
            }
        }
        unsafe jobBatch.removeAll(keepingCapacity: true)
    }
}
