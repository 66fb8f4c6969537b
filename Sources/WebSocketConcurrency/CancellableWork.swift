//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// One piece of work that can be cancelled by itself, though its group's other children go on.
package final class CancellableWork: Sendable {
    private struct State {
        var isCancelled = false
        var isOver = false
        var waiter: Waiter<Void>?
    }

    private let state = Mutex(State())

    package init() {}

    package var isCancelled: Bool { state.withLock { $0.isCancelled } }

    /// Runs `body` and waits for it, also when it is cancelled.
    package func run(_ body: @escaping @Sendable () async -> Void) async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                await body()
                self.wake { $0.isOver = true }
            }
            await self.signal()
            if self.isCancelled { group.cancelAll() }
        }
    }

    package func cancel() { wake { $0.isCancelled = true } }

    private func wake(_ change: (inout State) -> Void) {
        let waiter = state.withLock { state in
            change(&state)
            return state.waiter.take()
        }
        waiter?.resume(returning: ())
    }

    /// Returns when the work is over or cancelled. Cancelling the caller reaches the work by itself.
    private func signal() async {
        await suspend { (continuation: Waiter<Void>) in
            let isSignalled = state.withLock { state in
                if !state.isCancelled, !state.isOver { state.waiter = continuation }
                return state.isCancelled || state.isOver
            }
            if isSignalled { continuation.resume(returning: ()) }
        }
    }
}
