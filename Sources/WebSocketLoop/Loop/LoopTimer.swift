//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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
