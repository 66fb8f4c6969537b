//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The loop as a task's preferred executor (SE-0417). A continuation resumed on the loop's own thread costs one
/// append; from any other thread one locked append and at most one wake per batch.
///
/// A task on it may outlive the loop: what is left of it runs on whichever thread resumes it.
public final class WebSocketLoopTaskExecutor: TaskExecutor {
    private let mailbox: LoopMailbox
    init(_ mailbox: LoopMailbox) { self.mailbox = mailbox }

    /// Runs the job on the loop's thread, in turn; from any thread.
    public func enqueue(_ job: consuming ExecutorJob) { mailbox.enqueue(UnownedJob(job), on: self) }
    /// Whether both are the same executor.
    public func isSameExclusiveExecutionContext(other: WebSocketLoopTaskExecutor) -> Bool { self === other }
}

/// The loop as an actor's executor. An actor on it should be called under the loop's task executor preference;
/// without one, every await crosses threads twice.
///
/// A second object, because both protocols share one `enqueue` and one object could not tell the roles apart.
public final class WebSocketLoopSerialExecutor: SerialExecutor {
    private let mailbox: LoopMailbox
    /// What the actor's tasks should prefer.
    let task: WebSocketLoopTaskExecutor
    private let name: String

    init(_ mailbox: LoopMailbox, task: WebSocketLoopTaskExecutor, name: String) {
        self.mailbox = mailbox
        self.task = task
        self.name = name
    }

    /// Runs the job on the loop's thread, in turn; from any thread.
    public func enqueue(_ job: consuming ExecutorJob) { mailbox.enqueue(UnownedJob(job), on: self) }
    /// Traps off the loop's thread.
    public func checkIsolated() {
        precondition(mailbox.isOnLoop, "this must run on \(name); use `withTaskExecutorPreference(loop.taskExecutor)`")
    }
}
