//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import Synchronization

/// A mailbox with one reader, for the work that a `run()` does.
///
/// Not an `AsyncStream`: that ends when its reader's task is cancelled, and just then there is something to close.
package final class WorkLane<Work: Sendable>: Sendable {
    package enum Item: Sendable {
        /// With where it runs; `nil` for anywhere.
        case work(Work, on: (any TaskExecutor)? = nil)
        /// Cancel the work that was started before.
        case cancelAll
    }

    private struct State {
        var items: Deque<Item> = []
        var reader: Waiter<Item?>?
        var isFinished = false
    }

    private let state = Mutex(State())

    package init() {}

    /// Nothing happens after `finish()`.
    package func post(_ item: Item) {
        let reader = state.withLock { state -> Waiter<Item?>? in
            if state.isFinished { return nil }
            guard let reader = state.reader.take() else {
                state.items.append(item)
                return nil
            }
            return reader
        }
        reader?.resume(returning: item)
    }

    /// No more items are accepted; the reader gets those that are there, then `nil`.
    package func finish() {
        let reader = state.withLock { state -> Waiter<Item?>? in
            state.isFinished = true
            return state.reader.take()
        }
        reader?.resume(returning: nil)
    }

    private func next() async -> Item? {
        await suspend { waiter in
            let item = state.withLock { state -> Item?? in
                if let item = state.items.popFirst() { return .some(item) }
                if state.isFinished { return .some(nil) }
                state.reader = waiter
                return nil
            }
            if let item { waiter.resume(returning: item) }
        }
    }

    /// Performs each item in a child task, until the lane is finished and its children have ended. To be called once.
    package func drive(_ perform: @escaping @Sendable (Work) async -> Void) async {
        await withDiscardingTaskGroup { group in
            while let item = await next() {
                switch item {
                case .work(let work, let executor):
                    if let executor {
                        group.addTask(executorPreference: executor) { await perform(work) }
                    } else {
                        group.addTask { await perform(work) }
                    }
                case .cancelAll: group.cancelAll()
                }
            }
            group.cancelAll()
        }
    }
}

extension WorkLane where Work == @Sendable () async -> Void {
    /// - Parameter executor: Where it runs; `nil` for anywhere.
    package func post(on executor: (any TaskExecutor)? = nil, _ body: @escaping @Sendable () async -> Void) {
        post(.work(body, on: executor))
    }

    /// Performs each piece of work in a child task, until the lane is finished and its children have ended.
    package func drive() async { await drive { await $0() } }
}
