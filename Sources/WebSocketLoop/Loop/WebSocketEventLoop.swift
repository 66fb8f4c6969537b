//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import Glibc
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
        /// The context belongs to somebody else, who services it; see ``WebSocketEventLoop/init(attachedTo:name:logger:blockedLoopThreshold:)``.
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
    /// What ties it to a context of somebody else's.
    let attachment: ContextAttachment?
    let counters = LoopCounters()
    let activity = LoopActivity()
    let logger: Logger

    // Loop-confined.
    let uv: UnsafeMutablePointer<uv_loop_t>
    let wakeHandle: UnsafeMutablePointer<uv_async_t>
    private let prepareHandle: UnsafeMutablePointer<uv_prepare_t>
    private let idleHandle: UnsafeMutablePointer<uv_idle_t>
    private let timerHandle: UnsafeMutablePointer<uv_timer_t>
    var context: OpaquePointer! = nil
    /// libwebsockets' own wake eventfd; its teardown needs to know (see `LibWebSockets.destroyContext`).
    private(set) var wakeDescriptor: CInt = -1
    @exclusivity(unchecked) var jobBatch: [LocalJob] = []
    @exclusivity(unchecked) var inboxBatch: [LoopInbox.Entry] = []
    private var timers = TimerHeap<() -> Void>()
    private var armedDeadline: UInt64?
    private var isIdleRunning = false
    /// Connections with something to do at the end of the turn.
    @exclusivity(unchecked) var dirty: [Connection] = []
    @exclusivity(unchecked) private var dirtyBatch: [Connection] = []
    /// Whose connections end with this turn.
    private var doomed: [WireOwner] = []
    private(set) var isStopping = false
    private var nestedPoll: NestedPoll?
    /// The context could not be destroyed; it and everything that it points to stay.
    private var isLeaked = false
    @exclusivity(unchecked) var maskKeys = MaskKeys()
    @exclusivity(unchecked) var scratch = ScratchBuffer()
    @exclusivity(unchecked) var frameMemory = FrameMemory()
    var vhosts = VhostTable()
    var handshakePlaces = TLSHandshakePlaces()
    /// Those of servers' connections, once there are any.
    var handshakes: ServerHandshakes?
    /// Where names are looked up.
    package var names = NameService.shared
    /// To which libwebsockets keeps pointers.
    var vhostNames: [UnsafeMutablePointer<CChar>] = unsafe []
    /// Whose socket libwebsockets is being given, until it shows the wsi it made for it.
    var adopting: WireOwner?
    /// Where libwebsockets reads into, once a handshake has shown it.
    var serviceBuffer: UnsafeRawPointer?
    var serviceBufferSize = LibWebSockets.serviceBufferSize
    /// A descriptor that libuv learns of only when it runs.
    var watchesMore = false
    /// What an SSL_CTX gets that libwebsockets is about to hand out, in a callback that names no vhost of ours.
    var fillTLSContext: ((OpaquePointer) -> Bool)?
    private let blockedLoopThreshold: UInt64

    /// Everything but the context.
    init(
        name: String, logger: Logger, blockedLoopThreshold: Duration, attachment: ContextAttachment?
    ) throws(WebSocketError) {
        self.name = name
        self.logger = logger
        self.attachment = attachment
        self.blockedLoopThreshold = blockedLoopThreshold.nanoseconds
        unsafe uv = .allocate(capacity: 1)
        unsafe wakeHandle = .allocate(capacity: 1)
        unsafe prepareHandle = .allocate(capacity: 1)
        unsafe idleHandle = .allocate(capacity: 1)
        unsafe timerHandle = .allocate(capacity: 1)
        unsafe mailbox = LoopMailbox(wakeHandle: wakeHandle, attachment: attachment)
        taskExecutor = WebSocketLoopTaskExecutor(mailbox)
        serialExecutor = WebSocketLoopSerialExecutor(mailbox, task: taskExecutor, name: name)

        guard unsafe uv_loop_init(uv) == 0 else { throw Self.exhausted("libuv could not create a loop") }
        guard unsafe uv_async_init(uv, wakeHandle, { _ in }) == 0 else {
            unsafe uv_loop_close(uv)
            throw Self.exhausted("libuv could not create a wake descriptor")
        }
        unsafe uv_prepare_init(uv, prepareHandle)
        unsafe uv_idle_init(uv, idleHandle)
        unsafe uv_timer_init(uv, timerHandle)
        let me = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe prepareHandle.pointee.data = unsafe me
        unsafe timerHandle.pointee.data = unsafe me
        unsafe uv_prepare_start(prepareHandle) { handle in
            unsafe Unmanaged<WebSocketEventLoop>.fromOpaque(handle!.pointee.data).takeUnretainedValue().turn()
        }
    }

    /// Creates a loop and starts its thread.
    convenience init(
        name: String, logger: Logger, backend: Backend?, blockedLoopThreshold: Duration
    ) throws(WebSocketError) {
        try self.init(name: name, logger: logger, blockedLoopThreshold: blockedLoopThreshold, attachment: nil)
        guard let (context, backend) = unsafe LibWebSockets.makeContext(loop: self, uv: uv, backend: backend) else {
            closeUV()
            throw Self.exhausted("libwebsockets could not create a context")
        }
        unsafe self.context = unsafe context
        self.backend = backend
        switch backend {
        case .libuv: wakeDescriptor = unsafe wsx_uv_only_poll_descriptor(uv)
        case .poll:
            logger.warning(
                "libwebsockets' libuv plugin is missing; falling back to poll(), which slows down with every idle connection. Install libwebsockets-evlib-uv."
            )
            nestedPoll = NestedPoll(loop: self)
        case .attached: preconditionFailure("a loop of our own has a context of its own")
        }
        guard backend == .libuv || nestedPoll != nil else {
            destroyContext()
            closeUV()
            throw Self.exhausted("libwebsockets could not adopt libuv's descriptor")
        }
        guard startThread() else {
            destroyContext()
            closeUV()
            throw Self.exhausted("the system could not create a thread")
        }
    }

    /// Moves into somebody else's context.
    func attach(_ attachment: ContextAttachment) throws(WebSocketError) {
        backend = .attached
        unsafe context = unsafe attachment.context
        do throws(WebSocketError) {
            try attachment.start(self)
        } catch {
            unsafe context = nil
            closeUV()
            throw error
        }
        LoopWatchdog.shared.watch(activity, name: name, logger: logger, threshold: blockedLoopThreshold)
    }

    private static func exhausted(_ what: String) -> WebSocketError {
        WebSocketError(
            .resourceExhausted, "\(what); check the limits of descriptors and threads and run `wsx doctor`",
            systemError: errno)
    }

    private func startThread() -> Bool {
        let ready = LoopSemaphore()
        let start = unsafe Unmanaged.passRetained(ThreadStart(loop: self, ready: ready))
        var handle = pthread_t()
        let status = unsafe pthread_create(
            &handle, nil,
            { argument in
                let start = unsafe Unmanaged<ThreadStart>.fromOpaque(argument!).takeRetainedValue()
                start.loop.runThread(start.ready)
                return nil
            }, start.toOpaque())
        guard status == 0 else {
            unsafe start.release()
            return false
        }
        pthread_detach(handle)
        ready.wait()
        return true
    }

    private func runThread(_ ready: LoopSemaphore) {
        unsafe wsx_set_thread_name(name)
        mailbox.thread.store(UInt(pthread_self()), ordering: .releasing)
        ready.signal()
        LoopWatchdog.shared.watch(activity, name: name, logger: logger, threshold: blockedLoopThreshold)
        if let nestedPoll {
            nestedPoll.run(until: { self.isStopping })
        } else {
            unsafe uv_run(uv, UV_RUN_DEFAULT)
        }
        tearDown()
    }

    /// Whether the caller runs on the loop's thread.
    @inline(__always)
    public var isOnLoop: Bool { mailbox.isOnLoop }

    /// Traps unless called on the loop's thread.
    package func preconditionOnLoop() {
        precondition(isOnLoop, "this must run on \(name); use `withTaskExecutorPreference(loop.taskExecutor)`")
    }

    /// Monotonic nanoseconds, some milliseconds late, for a fifth of the price.
    package static func coarseNanoseconds() -> Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// Monotonic nanoseconds.
    @inline(__always)
    var now: UInt64 { uv_hrtime() }

    /// How long jobs may go on before the loop looks at its sockets again, in nanoseconds.
    private static let turnTime: UInt64 = 2_000_000

    /// Jobs, then one flush per connection with something to send, until both are done; then the loop may block.
    func turn() {
        var began = now
        var rounds = 0
        repeat {
            takeInbox()
            // Bounded in number and time, so that tasks that keep themselves busy do not keep sockets waiting.
            while unsafe !mailbox.localJobs.isEmpty && rounds < 64 {
                if rounds == 0 { activity.busySince.store(began, ordering: .releasing) }
                runJobs()
                takeInbox()
                rounds += 1
                if now &- began > Self.turnTime { rounds = 64 }
            }
            if rounds > 0 { checkBlocked(since: &began) }
            flushDirty()
            killDoomed()
        } while hasLocalWork && rounds < 64
        if rounds > 0 { activity.busySince.store(0, ordering: .releasing) }
        // With work left over the loop must poll without blocking.
        setIdleRunning(hasLocalWork)
        armTimer()
    }

    /// A task is anonymous; the connections that it used in this turn are not.
    private func checkBlocked(since began: inout UInt64) {
        let held = now &- began
        guard held > blockedLoopThreshold else { return }
        began = now
        let peers = unsafe dirty.prefix(3).map { $0.details.remoteAddress?.description ?? "unknown" }
        logger.warning(
            "a task held the loop; move blocking work to the global executor",
            metadata: [
                "loop": "\(name)", "milliseconds": "\(held / 1_000_000)",
                "connections": "\(peers.joined(separator: ", "))",
            ])
    }

    private func flushDirty() {
        guard unsafe !dirty.isEmpty else { return }
        unsafe swap(&dirty, &dirtyBatch)
        for connection in unsafe dirtyBatch { connection.endTurn() }
        unsafe dirtyBatch.removeAll(keepingCapacity: true)
    }

    /// Ends a connection from inside a callback of libwebsockets, where it cannot be ended: at the end of the turn.
    /// (libwebsockets' own way to do so, `LWS_TO_KILL_ASYNC`, is seen under libuv only when some socket of the
    /// context becomes ready, which on an idle loop is never.)
    func killSoon(_ owner: WireOwner) { doomed.append(owner) }

    private func killDoomed() {
        while let owner = doomed.popLast() {
            if let wsi = unsafe owner.wsi { unsafe wsx_lws_kill(wsi) }
        }
    }

    private var hasLocalWork: Bool { unsafe !mailbox.localJobs.isEmpty || !dirty.isEmpty || !doomed.isEmpty }
    var hasReadyWork: Bool { hasLocalWork || mailbox.hasMail }

    /// Our handles do not keep the loop running meanwhile.
    func withoutOwnHandles(_ body: () -> Void) {
        unsafe ownHandles.forEach { unsafe uv_unref($0) }
        setIdleRunning(false)
        body()
        unsafe ownHandles.forEach { unsafe uv_ref($0) }
    }

    private var ownHandles: [UnsafeMutablePointer<uv_handle_t>?] {
        unsafe [
            wsx_uv_handle(wakeHandle), wsx_uv_handle(prepareHandle), wsx_uv_handle(idleHandle),
            wsx_uv_handle(timerHandle),
        ]
    }

    private func setIdleRunning(_ wanted: Bool) {
        guard wanted != isIdleRunning else { return }
        isIdleRunning = wanted
        if wanted {
            unsafe uv_idle_start(idleHandle) { _ in }
        } else {
            unsafe uv_idle_stop(idleHandle)
        }
    }

    // MARK: Timers

    typealias TimerToken = TimerHeap<() -> Void>.Token

    /// Runs `action` on the loop after a delay in nanoseconds, rounded up to milliseconds.
    func schedule(after nanoseconds: UInt64, _ action: @escaping () -> Void) -> TimerToken {
        schedule(at: now &+ nanoseconds, action)
    }

    func schedule(at deadline: UInt64, _ action: @escaping () -> Void) -> TimerToken {
        counters.timers.add(1)
        return timers.schedule(at: deadline, action)
    }

    func cancel(_ token: TimerToken?) {
        if let token, timers.cancel(token) != nil { counters.timers.subtract(1) }
    }

    private func armTimer() {
        let next = timers.nextDeadline
        guard next != armedDeadline else { return }
        armedDeadline = next
        guard let next else {
            unsafe uv_timer_stop(timerHandle)
            return
        }
        unsafe uv_update_time(uv)
        let now = now
        let delay = next > now ? (next - now + 999_999) / 1_000_000 : 0
        unsafe uv_timer_start(
            timerHandle,
            { handle in
                unsafe Unmanaged<WebSocketEventLoop>.fromOpaque(handle!.pointee.data).takeUnretainedValue().fireTimers()
            },
            delay, 0)
    }

    private func fireTimers() {
        armedDeadline = nil
        let now = now
        while let action = timers.popDue(now: now) {
            counters.timers.subtract(1)
            action()
        }
    }

    // MARK: Shutdown

    /// Ends the loop and its thread, after which nothing runs on it any more. Connections that still live on it are
    /// aborted. The shared group's loops cannot be shut down.
    func shutDown() async {
        await suspend { (continuation: LoopContinuation<Void>) in
            let accepted = execute {
                self.whenStopped.append(continuation)
                self.stop()
            }
            if !accepted { continuation.resume(returning: ()) }
        }
    }

    /// Waits for the end, whoever brings it about.
    func stopped() async {
        await suspend { (continuation: LoopContinuation<Void>) in
            if !execute({ self.whenStopped.append(continuation) }) { continuation.resume(returning: ()) }
        }
    }

    private var whenStopped: [LoopContinuation<Void>] = []
    /// Run before the context goes: they end whatever still lives on the loop. Like the actions of timers and polls they
    /// own what they call, and the end of that takes them back: one that is forgotten then finds something that has ended,
    /// and nothing that is gone.
    var onStop: [ObjectIdentifier: () -> Void] = [:]

    func stop() {
        guard !isStopping else { return }
        isStopping = true
        for action in onStop.values { action() }
        onStop = [:]
        // The turn that this happens in goes on to detach.
        guard attachment == nil else { return }
        unsafe uv_stop(uv)
        // `uv_stop` counts for the next check only: make sure there is one.
        setIdleRunning(true)
    }

    private func tearDown() {
        LoopWatchdog.shared.forget(activity)
        destroyContext()
        finish()
    }

    /// The end of a loop whose context is somebody else's. Nothing of it is left there.
    func endOnThisThread() {
        LoopWatchdog.shared.forget(activity)
        mailbox.thread.store(UInt(pthread_self()), ordering: .releasing)
        finish()
    }

    /// What is left to do without a context.
    private func finish() {
        // The last words of connections that ended with the context.
        takeInbox()
        while unsafe !mailbox.localJobs.isEmpty { runJobs() }
        for entry in mailbox.close() { accept(entry) }
        while unsafe !mailbox.localJobs.isEmpty { runJobs() }
        doomed = []
        unsafe dirty = []
        closeUV()
        // The handles' last callbacks may have resumed somebody.
        while unsafe !mailbox.localJobs.isEmpty { runJobs() }
        mailbox.thread.store(0, ordering: .releasing)
        mailbox.drainLateJobs()
        for continuation in whenStopped { continuation.resume(returning: ()) }
        whenStopped = []
    }

    private func destroyContext() {
        vhosts.removeAll()
        isLeaked = unsafe !LibWebSockets.destroyContext(of: self, uv: uv, backend: backend, nested: nestedPoll)
        nestedPoll = nil
        unsafe context = nil
    }

    private func closeUV() {
        // One more turn would let libwebsockets close a descriptor that is somebody else's by now.
        guard !isLeaked else { return }
        unsafe ownHandles.forEach { unsafe uv_close($0, nil) }
        unsafe uv_run(uv, UV_RUN_DEFAULT)
        let status = unsafe uv_loop_close(uv)
        if status != 0 { logger.error("uv_loop_close failed", metadata: ["loop": "\(name)", "status": "\(status)"]) }
    }

    deinit {
        guard !isLeaked else { return }
        unsafe vhostNames.forEach { unsafe free($0) }
        unsafe wakeHandle.deallocate()
        unsafe prepareHandle.deallocate()
        unsafe idleHandle.deallocate()
        unsafe timerHandle.deallocate()
        unsafe uv.deallocate()
    }
}

private final class ThreadStart: Sendable {
    let loop: WebSocketEventLoop
    let ready: LoopSemaphore
    init(loop: WebSocketEventLoop, ready: LoopSemaphore) {
        self.loop = loop
        self.ready = ready
    }
}

/// Lets the creator of a thread wait until it runs.
@safe final class LoopSemaphore: @unchecked Sendable {
    // The semaphore is its own synchronisation.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { unsafe sem_init(semaphore, 0, 0) }
    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }
    func signal() { unsafe sem_post(semaphore) }
    func wait() { while unsafe sem_wait(semaphore) != 0 {} }
}

extension Duration {
    /// Whole nanoseconds, at least 0, at most about 292 years.
    package var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? UInt64(Int64.max) : min(product &+ UInt64(attoseconds / 1_000_000_000), UInt64(Int64.max))
    }
}
