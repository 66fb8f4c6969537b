//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketCore

/// One thread, one libuv loop, one `lws_context`. A connection lives its whole life on one loop.
///
/// Everything public here may be used from any thread. Code that runs on the loop (under `taskExecutor`) must not
/// block: it would stall every connection of the loop. A loop that was held longer than `blockedLoopThreshold` logs
/// a warning.
@safe public final class WebSocketEventLoop: @unchecked Sendable {
    // What makes it Sendable: immutable properties; `Mutex` and `Atomic`; and loop-confined state, which only code on
    // the loop's thread touches (`preconditionOnLoop` checks where it is entered).

    /// How libwebsockets is driven.
    public enum Backend: String, Sendable {
        /// libwebsockets' libuv plugin: a wake costs the same with any number of idle connections.
        case libuv
        /// libwebsockets' `poll()` loop, because the plugin is missing at run time: each wake costs about 0.1 µs for
        /// every idle connection. Install Debian's `libwebsockets-evlib-uv`.
        case poll
        /// The context belongs to the program, which services it; see ``WebSocketEventLoop/init(attachedTo:name:logger:blockedLoopThreshold:memoryBudget:)``.
        case attached
    }

    /// Prefer `taskExecutor` in `withTaskExecutorPreference(_:operation:)` to run a task on the loop.
    public let taskExecutor: WebSocketLoopTaskExecutor
    /// For actors that live on the loop.
    public let serialExecutor: WebSocketLoopSerialExecutor
    /// How this loop is driven.
    public private(set) var backend: Backend = .libuv
    /// A name for logs and debuggers, such as `wsx-loop-0`.
    public let name: String

    // Shared with other threads.
    let mailbox: LoopMailbox
    /// What ties it to a program's context.
    let attachment: ContextAttachment?
    let counters = LoopCounters()
    let activity = LoopActivity()
    let logger: Logger
    let blockedLoopThreshold: UInt64

    // Loop-confined.
    let uvLoop: UvLoop
    /// Set once it is there, until it is gone.
    var lwsContext: LoopContext?
    let resources: LoopResources
    var timers = LoopTimers()
    var ending = LoopEnding()
    @safe @exclusivity(unchecked) var batches = JobBatches()
    /// Connections with something to do at the end of the turn.
    @safe @exclusivity(unchecked) var dirty: [Connection] = []
    @safe @exclusivity(unchecked) private var dirtyBatch: [Connection] = []
    /// Whose connections end with this turn.
    var killQueue: [WireOwner] = []

    /// Everything but the context.
    init(
        name: String, logger: Logger, blockedLoopThreshold: Duration, memoryBudget: WebSocketMemoryBudget,
        attachment: ContextAttachment?
    ) throws(WebSocketError) {
        self.name = name
        resources = LoopResources(memoryBudget: memoryBudget)
        self.logger = logger
        self.attachment = attachment
        self.blockedLoopThreshold = blockedLoopThreshold.nanoseconds
        do throws(UvLoop.Failure) {
            uvLoop = try UvLoop()
        } catch {
            throw Self.exhausted(
                error == .loop ? "libuv could not create a loop" : "libuv could not create a wake descriptor")
        }
        mailbox = LoopMailbox(wake: uvLoop.wake, attachment: attachment)
        taskExecutor = WebSocketLoopTaskExecutor(mailbox)
        serialExecutor = WebSocketLoopSerialExecutor(mailbox, task: taskExecutor, name: name)
        uvLoop.serve(self)
    }

    /// Creates a loop and starts its thread.
    convenience init(
        name: String, logger: Logger, backend: Backend?, blockedLoopThreshold: Duration,
        memoryBudget: WebSocketMemoryBudget, blocksSignals: Bool = false
    ) throws(WebSocketError) {
        try self.init(
            name: name, logger: logger, blockedLoopThreshold: blockedLoopThreshold, memoryBudget: memoryBudget,
            attachment: nil)
        guard let context = LoopContext(of: self, uv: uvLoop, backend: backend) else {
            closeUV()
            throw Self.exhausted("libwebsockets could not create a context")
        }
        lwsContext = context
        self.backend = context.backend
        if context.backend == .poll {
            logger.warning(
                "libwebsockets' libuv plugin is missing; falling back to poll(), which slows down with every idle connection. Install libwebsockets-evlib-uv."
            )
        }
        guard context.nest(in: self) else {
            destroyContext()
            closeUV()
            throw Self.exhausted("libwebsockets could not adopt libuv's descriptor")
        }
        guard startThread(blocksSignals: blocksSignals) else {
            destroyContext()
            closeUV()
            throw Self.exhausted("the system could not create a thread")
        }
    }

    /// Moves into a program's context.
    func attach(_ attachment: ContextAttachment) throws(WebSocketError) {
        backend = .attached
        lwsContext = unsafe LoopContext(attached: attachment.context)
        do throws(WebSocketError) {
            try attachment.start(self)
        } catch {
            lwsContext = nil
            closeUV()
            throw error
        }
        LoopWatchdog.shared.watch(activity, name: name, logger: logger, threshold: blockedLoopThreshold)
    }

    private static func exhausted(_ what: String) -> WebSocketError {
        WebSocketError(
            .resourceExhausted, "\(what); check the limits of descriptors and threads and run `wsx doctor`",
            systemError: SystemError.last.code)
    }

    /// What the loop's connections are charged to.
    public var memoryBudget: WebSocketMemoryBudget { resources.memory.budget }

    /// Whether the caller runs on the loop's thread.
    @inline(__always)
    public var isOnLoop: Bool { mailbox.isOnLoop }

    /// Traps unless called on the loop's thread.
    package func preconditionOnLoop() {
        precondition(isOnLoop, "this must run on \(name); use `withTaskExecutorPreference(loop.taskExecutor)`")
    }

    /// Monotonic nanoseconds, some milliseconds late, for a fifth of the price.
    package static func coarseNanoseconds() -> Int64 { Host.coarseNanoseconds }

    /// Monotonic nanoseconds.
    @inline(__always)
    var now: UInt64 { Host.nanoseconds }

    // MARK: A turn

    /// How long jobs may go on before the loop looks at its sockets again, in nanoseconds.
    private static let turnTime: UInt64 = 2_000_000

    /// Jobs, then one flush per connection with something to send, until both are done; then the loop may block.
    func turn() {
        var began = now
        var rounds = 0
        memory.startTurn()
        turnWork.startTurn()
        repeat {
            takeInbox()
            // Bounded in number and time, so that tasks that keep themselves busy do not keep sockets waiting.
            while !mailbox.localJobs.isEmpty && rounds < 64 {
                if rounds == 0 { activity.busySince.store(began, ordering: .releasing) }
                runJobs()
                takeInbox()
                rounds += 1
                if now &- began > Self.turnTime { rounds = 64 }
            }
            if rounds > 0 { checkBlocked(since: &began) }
            flushDirty()
            killQueued()
        } while hasLocalWork && rounds < 64
        if rounds > 0 { activity.busySince.store(0, ordering: .releasing) }
        // With work left over the loop must poll without blocking.
        uvLoop.setIdle(hasLocalWork || turnWork.isWaiting)
        armTimer()
        noteReading()
    }

    /// A task is anonymous; the connections that it used in this turn are not.
    private func checkBlocked(since began: inout UInt64) {
        let held = now &- began
        guard held > blockedLoopThreshold else { return }
        began = now
        let peers = dirty.prefix(3).map { $0.details.remoteAddress?.description ?? "unknown" }
        logger.warning(
            "a task held the loop; move blocking work to the global executor",
            metadata: [
                "loop": "\(name)", "milliseconds": "\(held / 1_000_000)",
                "connections": "\(peers.joined(separator: ", "))",
            ])
    }

    private func flushDirty() {
        guard !dirty.isEmpty else { return }
        swap(&dirty, &dirtyBatch)
        for connection in dirtyBatch { connection.endTurn() }
        dirtyBatch.removeAll(keepingCapacity: true)
    }

    /// Ends a connection from inside a callback of libwebsockets, where it cannot be ended: at the end of the turn.
    /// (libwebsockets' own way to do so, `LWS_TO_KILL_ASYNC`, is seen under libuv only when some socket of the
    /// context becomes ready, which on an idle loop is never.)
    func killAtTurnEnd(_ owner: WireOwner) { killQueue.append(owner) }

    private func killQueued() {
        while let owner = killQueue.popLast() { owner.wire?.kill() }
    }

    private var hasLocalWork: Bool { !mailbox.localJobs.isEmpty || !dirty.isEmpty || !killQueue.isEmpty }
    var hasReadyWork: Bool { hasLocalWork || mailbox.hasMail }
    /// Whether what drives libuv's loop from outside must let it run before it waits: a deadline or a descriptor that
    /// came with the last callbacks is not libuv's yet.
    var wantsTurn: Bool { hasReadyWork || turnWork.isWaiting || isTimerStale || uvLoop.watchesMore }
}
