//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore
import WebSocketLoop

/// A mailbox with one reader, for the work that `run()` does.
///
/// Not an `AsyncStream`: that ends when its reader's task is cancelled, and just then there is something to close.
final class SessionLane: Sendable {
    struct Work: Sendable {
        /// Where it runs; nil for anywhere.
        let executor: (any TaskExecutor)?
        let body: @Sendable () async -> Void
    }

    private struct State {
        var items: [Work] = []
        var reader: LoopContinuation<Work?>?
        var isFinished = false
    }

    private let state = Mutex(State())

    func post(on executor: (any TaskExecutor)? = nil, _ body: @escaping @Sendable () async -> Void) {
        let work = Work(executor: executor, body: body)
        let reader = state.withLock { state -> LoopContinuation<Work?>? in
            if state.isFinished { return nil }
            guard let reader = state.reader.take() else {
                state.items.append(work)
                return nil
            }
            return reader
        }
        reader?.resume(returning: work)
    }

    /// No more work is accepted; the reader gets what is there, then nil.
    func finish() {
        let reader = state.withLock { state -> LoopContinuation<Work?>? in
            state.isFinished = true
            return state.reader.take()
        }
        reader?.resume(returning: nil)
    }

    private func next() async -> Work? {
        await suspend { continuation in
            let item = state.withLock { state -> Work?? in
                if !state.items.isEmpty { return .some(state.items.removeFirst()) }
                if state.isFinished { return .some(nil) }
                state.reader = continuation
                return nil
            }
            if let item { continuation.resume(returning: item) }
        }
    }

    /// Performs each item in a child task, until the lane is finished and its children have ended.
    func drive() async {
        await withDiscardingTaskGroup { group in
            while let work = await next() {
                if let executor = work.executor {
                    group.addTask(executorPreference: executor) { await work.body() }
                } else {
                    group.addTask { await work.body() }
                }
            }
            group.cancelAll()
        }
    }
}

/// One piece of work that can be cancelled by itself, though its group's other children go on.
final class CancellableWork: Sendable {
    private struct State {
        var isCancelled = false
        var isOver = false
        var waiter: LoopContinuation<Void>?
    }

    private let state = Mutex(State())

    var isCancelled: Bool { state.withLock { $0.isCancelled } }

    /// Runs `body` and waits for it, also when it is cancelled.
    func run(_ body: @escaping @Sendable () async -> Void) async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                await body()
                self.wake { $0.isOver = true }
            }
            await self.signal()
            if self.isCancelled { group.cancelAll() }
        }
    }

    func cancel() { wake { $0.isCancelled = true } }

    private func wake(_ change: (inout State) -> Void) {
        let waiter = state.withLock { state in
            change(&state)
            return state.waiter.take()
        }
        waiter?.resume(returning: ())
    }

    /// Returns when the work is over or cancelled. Cancelling the caller reaches the work by itself.
    private func signal() async {
        await suspend { (continuation: LoopContinuation<Void>) in
            let isSignalled = state.withLock { state in
                if !state.isCancelled, !state.isOver { state.waiter = continuation }
                return state.isCancelled || state.isOver
            }
            if isSignalled { continuation.resume(returning: ()) }
        }
    }
}

/// Wakes its owner at one deadline, which may be moved.
final class SessionTimer: Sendable {
    private struct State {
        var deadline: Duration?
        var generation = 0
        var isFinished = false
        var waiter: LoopContinuation<Void>?
    }

    private let state = Mutex(State())

    /// The owner wants to be woken at this time and at no other.
    func arm(_ deadline: Duration?) {
        let waiter = state.withLock { state -> LoopContinuation<Void>? in
            guard deadline != state.deadline else { return nil }
            // A later deadline needs no new sleep: waking too early does no harm, and then the owner arms again.
            let isEarlier = deadline.map { new in state.deadline.map { new < $0 } ?? true } ?? false
            guard isEarlier else { return nil }
            state.deadline = deadline
            state.generation += 1
            return state.waiter.take()
        }
        waiter?.resume(returning: ())
    }

    func finish() {
        let waiter = state.withLock { state -> LoopContinuation<Void>? in
            state.isFinished = true
            state.generation += 1
            return state.waiter.take()
        }
        waiter?.resume(returning: ())
    }

    /// Calls `fire` at each deadline, until the timer is finished.
    func run(_ clock: SessionClock, fire: @escaping @Sendable () -> Void) async {
        while true {
            let (deadline, generation, isFinished) = state.withLock { ($0.deadline, $0.generation, $0.isFinished) }
            if isFinished { return }
            guard let deadline else {
                await changed(since: generation)
                continue
            }
            let isDue = await withTaskGroup(of: Bool.self) { group in
                group.addTask { (try? await clock.sleep(until: deadline)) != nil }
                group.addTask {
                    await withTaskCancellationHandler {
                        await self.changed(since: generation)
                    } onCancel: {
                        self.wake()
                    }
                    return false
                }
                let isDue = await group.next() ?? false
                group.cancelAll()
                return isDue
            }
            guard isDue else {
                // Cancelled with its owner: the end comes from elsewhere.
                if Task.isCancelled { await untilFinished() }
                continue
            }
            state.withLock { if $0.deadline == deadline { $0.deadline = nil } }
            fire()
        }
    }

    private func untilFinished() async {
        while true {
            let (generation, isFinished) = state.withLock { ($0.generation, $0.isFinished) }
            if isFinished { return }
            await changed(since: generation)
        }
    }

    private func wake() {
        let waiter = state.withLock { state in
            state.generation += 1
            return state.waiter.take()
        }
        waiter?.resume(returning: ())
    }

    private func changed(since generation: Int) async {
        await suspend { (continuation: LoopContinuation<Void>) in
            let isChanged = state.withLock { state in
                if state.generation == generation { state.waiter = continuation }
                return state.generation != generation
            }
            if isChanged { continuation.resume(returning: ()) }
        }
    }
}

/// What a piece of work left behind.
final class SendFailure: Sendable {
    private let state = Mutex<WebSocketError?>(nil)

    var value: WebSocketError? { state.withLock { $0 } }
    func set(_ error: WebSocketError?) { state.withLock { $0 = error } }
}
