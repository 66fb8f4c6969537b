//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import DequeModule
import Synchronization
import WebSocketConcurrency

/// Callbacks that wait for a thread of the program's own.
final class CallbackQueue: Sendable {
    struct Entry: Sendable {
        let run: @Sendable () -> Void
        /// Instead of `run`, when the queue goes first.
        var dropped: (@Sendable () -> Void)?
    }
    private struct State {
        var entries: Deque<Entry> = []
        var isClosed = false
        /// Those that put in more than is taken out.
        var waiters: [Waiter<Bool>] = []
    }

    let descriptor: CInt
    /// The thread that has dispatched last; 0 before.
    private let dispatcher = Atomic<UInt>(0)
    private let state = Mutex(State())
    /// Waiting callbacks above which connections are not read, and at or below which they are again.
    private static let highMark = 256
    private static let lowMark = 64

    init() throws(Failure) {
        descriptor = wsxc_event_create()
        guard descriptor >= 0 else {
            throw Failure(WSX_RESOURCE_EXHAUSTED, "there is no descriptor left for the queue")
        }
    }

    deinit { wsxc_event_close(descriptor) }

    /// Whether the caller should wait for room before it puts in more.
    @discardableResult
    func push(_ entry: Entry) -> Bool {
        let (isAccepted, isFirst, isFull) = state.withLock { state in
            guard !state.isClosed else { return (false, false, false) }
            state.entries.append(entry)
            return (true, state.entries.count == 1, state.entries.count >= Self.highMark)
        }
        if isFirst { wsxc_event_set(descriptor) }
        if !isAccepted { entry.dropped?() }
        return isFull
    }

    @discardableResult
    func push(_ run: @escaping @Sendable () -> Void) -> Bool { push(Entry(run: run)) }

    /// Whether there is room; false when `wakeAll` ended the wait.
    func waitForRoom() async -> Bool {
        await suspend { continuation in
            let mayGoOn = state.withLock { state in
                if state.isClosed || state.entries.count <= Self.lowMark { return true }
                state.waiters.append(continuation)
                return false
            }
            if mayGoOn { continuation.resume(returning: true) }
        }
    }

    /// Lets all waiters look whether there is still something to wait for.
    func wakeAll() {
        var woken: [Waiter<Bool>] = []
        state.withLock { swap(&woken, &$0.waiters) }
        for waiter in woken { waiter.resume(returning: false) }
    }

    /// Whether the calling thread is the one that dispatches, as far as can be seen.
    var isDispatchedHere: Bool { dispatcher.load(ordering: .relaxed) == wsxc_thread() }

    func dispatch(_ maximum: Int) -> Int {
        dispatcher.store(wsxc_thread(), ordering: .relaxed)
        wsxc_event_clear(descriptor)
        var left = maximum > 0 ? maximum : state.withLock { $0.entries.count }
        var count = 0
        // One by one: a callback may dispatch, or free the queue.
        while left > 0 {
            var resumed: [Waiter<Bool>] = []
            let entry = state.withLock { state in
                let entry = state.entries.popFirst()
                if state.entries.count <= Self.lowMark { swap(&resumed, &state.waiters) }
                return entry
            }
            for waiter in resumed { waiter.resume(returning: true) }
            guard let entry else { break }
            entry.run()
            count += 1
            left -= 1
        }
        if state.withLock({ !$0.entries.isEmpty || $0.isClosed }) { wsxc_event_set(descriptor) }
        return count
    }

    func close() {
        var dropped: Deque<Entry> = []
        var resumed: [Waiter<Bool>] = []
        state.withLock { state in
            state.isClosed = true
            swap(&dropped, &state.entries)
            swap(&resumed, &state.waiters)
        }
        for waiter in resumed { waiter.resume(returning: true) }
        for entry in dropped { entry.dropped?() }
        // A thread that waits for callbacks waits for nothing now.
        wsxc_event_set(descriptor)
    }

    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// The queue that a configuration names; nil for zero.
    static func named(_ queue: wsx_queue) throws(Failure) -> CallbackQueue? {
        queue.id == 0 ? nil : try Handles.queues.find(queue.id, "queue")
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_queue_create(
    _ queue: UnsafeMutablePointer<wsx_queue>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let queue = try required(queue, "queue")
        queue.pointee = wsx_queue(id: Handles.queues.insert(try CallbackQueue()))
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_queue_descriptor(
    _ queue: wsx_queue, _ descriptor: UnsafeMutablePointer<CInt>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try required(descriptor, "descriptor").pointee = try Handles.queues.find(queue.id, "queue").descriptor
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_queue_dispatch(
    _ queue: wsx_queue, _ maximum: Int, _ count: UnsafeMutablePointer<Int>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        count?.pointee = 0
        let ran = try Handles.queues.find(queue.id, "queue").dispatch(maximum)
        count?.pointee = ran
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_queue_wait(
    _ queue: wsx_queue, _ timeout_ms: Int64, _ count: UnsafeMutablePointer<Int>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        count?.pointee = 0
        let object = try Handles.queues.find(queue.id, "queue")
        try checkMayWait()
        guard wsxc_event_wait(object.descriptor, timeout_ms) else {
            throw Failure(WSX_TIMED_OUT, "no callback came within \(timeout_ms) ms")
        }
        guard !object.isClosed else { throw .freed("queue") }
        let ran = object.dispatch(0)
        count?.pointee = ran
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_queue_free(_ queue: wsx_queue) -> wsx_status {
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard let object = Handles.queues.remove(queue.id) else { return wsx_status(WSX_INVALID_HANDLE) }
    object.close()
    return wsx_status(WSX_OK)
}
