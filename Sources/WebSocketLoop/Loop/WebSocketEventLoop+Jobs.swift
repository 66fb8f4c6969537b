//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// A job that is ready on its loop.
struct LocalJob {
    let job: UnownedJob
    let isSerial: Bool
}

/// Where jobs and operations are while they are run, so that the next ones can be collected meanwhile.
struct JobBatches {
    var jobs: [LocalJob] = []
    var inbox: [LoopInbox.Entry] = []
}

extension WebSocketEventLoop {
    /// Runs an operation on the loop: at once when called there, else in the next turn. Operations and jobs of one
    /// task keep their order. Returns `false`, and does nothing, after the loop has shut down.
    @discardableResult
    package func execute(_ operation: @escaping @Sendable () -> Void) -> Bool { mailbox.execute(operation) }

    /// Takes over what other threads left. Operations run at once.
    func takeInbox() {
        mailbox.takeEntries(&batches.inbox)
        for entry in batches.inbox { accept(entry) }
        batches.inbox.removeAll(keepingCapacity: true)
    }

    func accept(_ entry: LoopInbox.Entry) {
        switch entry {
        case .taskJob(let job): mailbox.localJobs.append(LocalJob(job: job, isSerial: false))
        case .serialJob(let job): mailbox.localJobs.append(LocalJob(job: job, isSerial: true))
        case .operation(let operation): operation()
        }
    }

    /// Runs the jobs that are ready now; those that they make ready wait for the next round.
    func runJobs() {
        swap(&mailbox.localJobs, &batches.jobs)
        let executor = unsafe taskExecutor.asUnownedTaskExecutor()
        for entry in batches.jobs {
            unsafe activity.job.store(unsafeBitCast(entry.job, to: UInt.self), ordering: .relaxed)
            if entry.isSerial {
                unsafe entry.job.runSynchronously(
                    isolatedTo: serialExecutor.asUnownedSerialExecutor(), taskExecutor: executor)
            } else {
                unsafe entry.job.runSynchronously(on: executor)
            }
        }
        batches.jobs.removeAll(keepingCapacity: true)
    }

    /// Runs jobs until none is ready.
    func drainJobs() {
        while !mailbox.localJobs.isEmpty { runJobs() }
    }
}
