//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketConcurrency
package import WebSocketCore

/// The name of a waiter in the folders that do not have the new one yet.
package typealias LoopContinuation<Value> = Waiter<Value>

/// A suspended call that the loop will resume, and the means to cancel it. It is made where it is registered, so that
/// a call that counts as waiting has its place in the order of those that wait.
package struct LoopWaiter<Value: Sendable>: Sendable {
    package let id: UInt64
    fileprivate let continuation: Waiter<Result<Value, WebSocketError>>
    private let counter: LoopCounter

    fileprivate init(
        id: UInt64, continuation: Waiter<Result<Value, WebSocketError>>, counter: LoopCounter
    ) {
        self.id = id
        self.continuation = continuation
        self.counter = counter
        counter.add(1)
    }

    package func resume(_ result: Result<Value, WebSocketError>) {
        counter.subtract(1)
        continuation.resume(returning: result)
    }
}

private let waiterIDs = Atomic<UInt64>(1)

/// A number that no other waiter of the process has.
func nextWaiterID() -> UInt64 { waiterIDs.wrappingAdd(1, ordering: .relaxed).oldValue }

extension WebSocketEventLoop {
    /// Suspends the caller, from any executor, until `register` or whatever it leaves the waiter with resumes it.
    ///
    /// - Parameters:
    ///   - register: Runs on the loop and takes over the waiter.
    ///   - cancel: Runs on the loop when the task is cancelled and gives the waiter back, if it still has it.
    package func wait<Value>(
        for what: String, isolation: isolated (any Actor)? = #isolation,
        register: @escaping @Sendable (LoopWaiter<Value>) -> Void,
        cancel: @escaping @Sendable (UInt64) -> LoopWaiter<Value>?
    ) async throws(WebSocketError) -> Value {
        let id = nextWaiterID()
        // Set before the cancel operation is queued: whichever of the two operations the loop sees first, the
        // waiter is resumed.
        let isCancelled = CancellationFlag()
        let result: Result<Value, WebSocketError> = await withTaskCancellationHandler(
            operation: {
                await suspend { continuation in
                    let accepted = execute {
                        if isCancelled.flag.load(ordering: .acquiring) {
                            continuation.resume(returning: .failure(.cancelled(what)))
                        } else {
                            register(self.makeWaiter(id: id, continuation))
                        }
                    }
                    if !accepted {
                        continuation.resume(
                            returning: .failure(
                                WebSocketError(
                                    .shutDown, "the event loop \(name) has been shut down; use one that runs")))
                    }
                }
            },
            onCancel: {
                isCancelled.flag.store(true, ordering: .releasing)
                execute { cancel(id)?.resume(.failure(.cancelled(what))) }
            }, isolation: isolation)
        return try result.get()
    }

    /// The caller registers it at once: on the loop, or under the lock of what it waits for.
    func makeWaiter<Value>(
        id: UInt64, _ continuation: Waiter<Result<Value, WebSocketError>>
    ) -> LoopWaiter<Value> {
        LoopWaiter(id: id, continuation: continuation, counter: counters.continuations)
    }
}

private final class CancellationFlag: Sendable {
    let flag = Atomic<Bool>(false)
}
