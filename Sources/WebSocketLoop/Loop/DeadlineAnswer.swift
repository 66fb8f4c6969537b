//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

/// An answer that comes from elsewhere, until a deadline on the loop's clock. It is waited for once.
package final class DeadlineAnswer<Value: Sendable>: @unchecked Sendable {
    // Everything that changes is touched on the loop only.
    private let loop: WebSocketEventLoop
    private var waiter: LoopWaiter<Value>?
    private var early: Result<Value, WebSocketError>?
    private var timer: WebSocketEventLoop.TimerToken?

    package init(loop: WebSocketEventLoop) { self.loop = loop }

    /// From any thread. One that comes too late is dropped.
    package func give(_ result: Result<Value, WebSocketError>) {
        // A loop that has been shut down has told the waiter so.
        loop.execute { [self] in
            if waiter == nil { early = result } else { finish(result) }
        }
    }

    /// - Parameter late: What is thrown when the deadline passes first.
    package func wait(
        for what: String, deadline: UInt64, late: @escaping @Sendable () -> WebSocketError
    ) async throws(WebSocketError) -> Value {
        try await loop.wait(
            for: what,
            register: { [self] waiter in
                self.waiter = waiter
                if let early { return finish(early) }
                guard !loop.isStopping else { return finish(.failure(loop.stopError)) }
                loop.onStop[ObjectIdentifier(self)] = { [self] in finish(.failure(loop.stopError)) }
                timer = loop.schedule(at: deadline) { [self] in
                    timer = nil
                    finish(.failure(late()))
                }
            },
            cancel: { [self] _ in take() })
    }

    private func finish(_ result: Result<Value, WebSocketError>) { take()?.resume(result) }

    private func take() -> LoopWaiter<Value>? {
        loop.cancel(timer)
        timer = nil
        loop.onStop[ObjectIdentifier(self)] = nil
        defer { waiter = nil }
        return waiter
    }
}

extension WebSocketEventLoop {
    /// Why nothing more can be had of a loop.
    var stopError: WebSocketError { WebSocketError(.shutDown, "the event loop \(name) was shut down; use another one") }

    /// When this duration will have passed, on this loop's clock.
    package func deadline(after duration: Duration) -> UInt64 { now &+ duration.nanoseconds }
}
