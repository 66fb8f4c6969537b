//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

extension WebSocketEventLoop {
    struct LocalJob {
        let job: UnownedJob
        let isSerial: Bool
    }

    /// Runs an operation on the loop: at once when called there, else in the next turn. Operations and jobs of one
    /// task keep their order. Returns `false`, and does nothing, after the loop has shut down.
    @discardableResult
    package func execute(_ operation: @escaping @Sendable () -> Void) -> Bool { mailbox.execute(operation) }

    /// Takes over what other threads left. Operations run at once.
    func takeInbox() {
        unsafe mailbox.takeEntries(&inboxBatch)
        for entry in unsafe inboxBatch { accept(entry) }
        unsafe inboxBatch.removeAll(keepingCapacity: true)
    }

    func accept(_ entry: LoopInbox.Entry) {
        switch entry {
        case .taskJob(let job): unsafe mailbox.localJobs.append(LocalJob(job: job, isSerial: false))
        case .serialJob(let job): unsafe mailbox.localJobs.append(LocalJob(job: job, isSerial: true))
        case .operation(let operation): operation()
        }
    }

    /// Runs the jobs that are ready now; those that they make ready wait for the next round.
    func runJobs() {
        unsafe swap(&mailbox.localJobs, &jobBatch)
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
