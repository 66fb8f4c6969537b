//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How the giver of a socket says that it is not wanted any more, before or after the handshake has begun.
package final class UpgradeCancellation: @unchecked Sendable {
    // Sendable because everything mutable is loop-confined.
    private let loop: WebSocketEventLoop
    private var upgrade: ServerUpgrade?
    private var isCancelled = false

    package init(loop: WebSocketEventLoop) { self.loop = loop }

    /// From any thread.
    package func cancel() {
        loop.execute { [self] in
            isCancelled = true
            upgrade.take()?.cancel()
        }
    }

    /// On the loop.
    func begun(_ upgrade: ServerUpgrade) {
        if isCancelled { upgrade.cancel() } else { self.upgrade = upgrade }
    }
}
