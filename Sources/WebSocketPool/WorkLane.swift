//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import Synchronization

/// A mailbox with one reader, for the work that `run()` does.
///
/// Not an `AsyncStream`: that ends when its reader's task is cancelled, and just then there are connections to close.
final class WorkLane<Work: Sendable>: Sendable {
    enum Item: Sendable {
        case work(Work)
        /// Cancel the work that was started before.
        case cancelAll
    }

    private struct State {
        var items: Deque<Item> = []
        var reader: CheckedContinuation<Item?, Never>?
        var isFinished = false
    }

    private let state = Mutex(State())

    func post(_ item: Item) {
        let reader = state.withLock { state -> CheckedContinuation<Item?, Never>? in
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
    func finish() {
        let reader = state.withLock { state -> CheckedContinuation<Item?, Never>? in
            state.isFinished = true
            return state.reader.take()
        }
        reader?.resume(returning: nil)
    }

    func next() async -> Item? {
        await withCheckedContinuation { continuation in
            let item = self.state.withLock { state -> Item?? in
                if let item = state.items.popFirst() { return .some(item) }
                if state.isFinished { return .some(nil) }
                state.reader = continuation
                return nil
            }
            if let item { continuation.resume(returning: item) }
        }
    }

    /// Performs each item in a child task, until the lane is finished and its children have ended.
    func drive(_ perform: @escaping @Sendable (Work) async -> Void) async {
        await withDiscardingTaskGroup { group in
            while let item = await next() {
                switch item {
                case .work(let work): group.addTask { await perform(work) }
                case .cancelAll: group.cancelAll()
                }
            }
            group.cancelAll()
        }
    }
}
