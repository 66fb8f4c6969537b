//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

/// How a connection ended, and how far its messages came.
package struct ConnectionLedger: Sendable {
    package let info: WebSocketCloseInfo?
    /// Messages that the operating system took whole.
    package let written: Int
    /// The next this many may have been sent or not.
    package let inDoubt: Int

    package init(info: WebSocketCloseInfo?, written: Int, inDoubt: Int) {
        self.info = info
        self.written = written
        self.inDoubt = inDoubt
    }
}

// What a session needs of its connections. From any thread.
extension Connection {
    /// Tells how many messages the operating system has taken in all, as often as that changes, and the end. On the
    /// loop; at once when the connection has ended.
    package func observe(
        written: @escaping @Sendable (Int) -> Void, ended: @escaping @Sendable (ConnectionLedger) -> Void
    ) {
        loop.execute { [self] in
            guard closeInfo == nil else { return }
            outbound.whenWritten = written
            if outbound.messagesWritten > 0 { written(outbound.messagesWritten) }
        }
        onEnd { [self] in
            ended(
                ConnectionLedger(
                    info: closeInfo, written: outbound.messagesWritten, inDoubt: outbound.messagesInDoubt))
        }
    }

    /// Starts the closing handshake, without waiting for it.
    package func beginClosing(_ frame: WebSocketCloseFrame) {
        loop.execute { [self] in close(frame, nil) }
    }
}
