//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency

/// Something that happens once and that tasks wait for.
final class Latch: Sendable {
    private struct State {
        var isOpen = false
        var waiters: [Waiter<Void>] = []
    }

    private let state = Mutex(State())

    /// Opening it again does nothing.
    func open() {
        let waiters = self.state.withLock { state in
            state.isOpen = true
            let waiters = state.waiters
            state.waiters = []
            return waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns once it is open. Cancellation does not end the wait.
    func wait() async {
        await suspend { continuation in
            let isOpen = self.state.withLock { state in
                if !state.isOpen { state.waiters.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}
