//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// Wakes its owner at one deadline, which may be moved.
package final class DeadlineTimer: Sendable {
    private struct State {
        var deadline: Duration?
        var generation = 0
        var isFinished = false
        var waiter: Waiter<Void>?
    }

    private let state = Mutex(State())

    package init() {}

    /// The owner wants to be woken at this time of the clock. One that was armed before and is earlier stays.
    package func arm(_ deadline: Duration?) {
        let waiter = state.withLock { state -> Waiter<Void>? in
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

    /// Ends `run`.
    package func finish() {
        let waiter = state.withLock { state -> Waiter<Void>? in
            state.isFinished = true
            state.generation += 1
            return state.waiter.take()
        }
        waiter?.resume(returning: ())
    }

    /// Calls `fire` at each deadline, until the timer is finished.
    package func run(_ clock: AnyClock, fire: @escaping @Sendable () -> Void) async {
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
        await suspend { (continuation: Waiter<Void>) in
            let isChanged = state.withLock { state in
                if state.generation == generation { state.waiter = continuation }
                return state.generation != generation
            }
            if isChanged { continuation.resume(returning: ()) }
        }
    }
}
