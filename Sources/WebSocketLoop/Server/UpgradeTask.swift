//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

extension WebSocketEventLoop {
    /// Starts a task that the loop's registry counts until it ends.
    ///
    /// - Parameter isOnLoop: Whether it prefers the loop, and else the global executor.
    package func startTask(
        isOnLoop: Bool, _ operation: @escaping @Sendable @concurrent () async -> Void
    ) -> Task<Void, Never> {
        counters.tasks.add(1)
        let counters = counters
        if isOnLoop {
            return Task(executorPreference: taskExecutor) {
                await operation()
                counters.tasks.subtract(1)
            }
        }
        return Task(executorPreference: globalConcurrentExecutor) {
            await operation()
            counters.tasks.subtract(1)
        }
    }
}
