//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// A deadline of one call, on the loop.
package final class LoopTimer: @unchecked Sendable {
    private let loop: WebSocketEventLoop
    private var token: WebSocketEventLoop.TimerToken?

    package init(_ loop: WebSocketEventLoop) { self.loop = loop }

    /// On the loop only.
    package func start(_ delay: Duration, _ action: @escaping () -> Void) {
        loop.cancel(token)
        token = loop.schedule(after: delay.nanoseconds) { [self] in
            token = nil
            action()
        }
    }

    /// From any thread.
    package func cancel() {
        loop.execute { [self] in
            loop.cancel(token)
            token = nil
        }
    }
}

extension Connection {
    /// The next message; fails with `timedOut` when there is none in time, and has taken none then.
    package func receive(timeout: Duration) async throws(WebSocketError) -> WebSocketMessage {
        switch popMessageNow() {
        case .message(let message): return message
        case .ended(let error): throw error
        case .empty: break
        }
        guard timeout > .zero else { throw receiveTimedOut(timeout) }
        let timer = LoopTimer(loop)
        defer { timer.cancel() }
        return try await loop.wait(
            for: "receive",
            register: { waiter in
                let immediate: Result<WebSocketMessage, WebSocketError>? = self.inbound.withLock { queue in
                    defer { self.noteInbound(queue) }
                    switch queue.pop() {
                    case .message(let message, let resume):
                        if resume { self.resumeReading() }
                        return .success(message)
                    case .ended(let end): return .failure(end.error)
                    case .empty:
                        queue.wait(id: waiter.id, waiter)
                        return nil
                    }
                }
                if let immediate {
                    waiter.resume(immediate)
                    return
                }
                timer.start(timeout) {
                    self.cancelReceive(waiter.id)?.resume(.failure(self.receiveTimedOut(timeout)))
                }
            }, cancel: { self.cancelReceive($0) })
    }

    /// The receiver under this number, if no message has reached it.
    func cancelReceive(_ id: UInt64) -> LoopWaiter<WebSocketMessage>? {
        inbound.withLock { queue in
            defer { noteInbound(queue) }
            return queue.cancel(id: id)
        }
    }

    private func receiveTimedOut(_ timeout: Duration) -> WebSocketError {
        WebSocketError(
            .timedOut, "no message came within \(timeout); none was lost, and the connection is still open",
            phase: .receive)
    }
}
