//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// The open connections of one server on one loop. Loop-confined behind `execute`.
package final class OpenConnections: @unchecked Sendable {
    private let loop: EventLoop
    private var connections: [ObjectIdentifier: Connection] = [:]
    private var upgrades: [ObjectIdentifier: ServerUpgrade] = [:]
    private var isClosing = false
    private var deadline: EventLoop.TimerToken?

    package init(loop: EventLoop) { self.loop = loop }

    /// On the loop, when a socket has been accepted.
    func insert(_ upgrade: ServerUpgrade) {
        upgrades[ObjectIdentifier(upgrade)] = upgrade
        // Accepted before the listener was stopped, and taken up after it.
        if isClosing { upgrade.stop() }
    }

    /// On the loop, when the handshake is over.
    func remove(_ upgrade: ServerUpgrade) { upgrades[ObjectIdentifier(upgrade)] = nil }

    /// On the loop, when a connection is established.
    package func insert(_ connection: Connection) {
        let id = ObjectIdentifier(connection)
        connections[id] = connection
        connection.whenEnded = { [self] in
            connections[id] = nil
            guard connections.isEmpty else { return }
            loop.cancel(deadline)
            deadline = nil
        }
        // It slipped in while the server was stopping; this runs inside its callback, so a turn later.
        if isClosing { connection.close(WebSocketCloseFrame(code: .goingAway), nil) }
    }

    /// Drops handshakes that are under way and closes all connections with 1001; aborts those that are left after the
    /// timeout. From any thread.
    package func closeAll(timeout: Duration) {
        loop.execute { [self] in
            isClosing = true
            for upgrade in upgrades.values { upgrade.stop() }
            for connection in connections.values { connection.close(WebSocketCloseFrame(code: .goingAway), nil) }
            guard !connections.isEmpty, deadline == nil else { return }
            deadline = loop.schedule(after: timeout.nanoseconds) { [self] in
                deadline = nil
                for connection in connections.values { connection.abort() }
            }
        }
    }
}
