//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// What has arrived, and when: for waiting until nothing comes any more.
final class Arrivals: Sendable {
    private struct State {
        var count = 0
        var last = ContinuousClock.now
        /// A message is on its way to the reader of the output, who may take time.
        var isPrinting = false
    }
    private let state = Mutex(State())

    var count: Int { state.withLock { $0.count } }

    func begin() { state.withLock { $0.isPrinting = true } }

    func end() {
        state.withLock { state in
            state.isPrinting = false
            state.count += 1
            state.last = .now
        }
    }

    /// Returns when nothing has arrived for so long, from now on; `false` when cancelled before.
    func quiet(for limit: Duration) async -> Bool {
        let start = ContinuousClock.now
        while !Task.isCancelled {
            let (last, isPrinting) = state.withLock { ($0.last, $0.isPrinting) }
            let now = ContinuousClock.now
            let due = isPrinting ? now + limit : max(last, start) + limit
            if due <= now { return true }
            try? await Task.sleep(until: due)
        }
        return false
    }

    /// Does the work, unless nothing arrives for so long meanwhile.
    func whileTalking(_ limit: Duration, _ work: @escaping @Sendable () async -> Void) async {
        await withTaskGroup { group in
            group.addTask { await work() }
            group.addTask { _ = await self.quiet(for: limit) }
            await group.next()
            group.cancelAll()
        }
    }
}
