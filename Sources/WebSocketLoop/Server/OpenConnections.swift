//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

/// The open connections of one server on one loop. Loop-confined behind `execute`.
package final class OpenConnections: @unchecked Sendable {
    /// When a server ends connections by itself.
    package struct Lifetimes: Sendable {
        package var idleTimeout: Duration?
        package var maximumLifetime: Duration?

        package init(idleTimeout: Duration? = nil, maximumLifetime: Duration? = nil) {
            self.idleTimeout = idleTimeout
            self.maximumLifetime = maximumLifetime
        }
    }

    private let loop: EventLoop
    private let lifetimes: Lifetimes
    private var connections: [ObjectIdentifier: Connection] = [:]
    private var upgrades: [ObjectIdentifier: ServerUpgrade] = [:]
    private var closing: WebSocketCloseFrame?
    private var deadline: EventLoop.TimerToken?

    package init(loop: EventLoop, lifetimes: Lifetimes = Lifetimes()) {
        self.loop = loop
        self.lifetimes = lifetimes
    }

    /// On the loop, when a socket has been accepted.
    func insert(_ upgrade: ServerUpgrade) {
        upgrades[ObjectIdentifier(upgrade)] = upgrade
        // Accepted before the listener was stopped, and taken up after it.
        if closing != nil { upgrade.stop() }
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
        if let maximum = lifetimes.maximumLifetime { connection.side.limitLifetime(of: connection, to: maximum) }
        if let timeout = lifetimes.idleTimeout { connection.side.limitIdleness(of: connection, to: timeout) }
        // It slipped in while the server was stopping; this runs inside its callback, so a turn later.
        if let closing { connection.close(closing, nil) }
    }

    /// Hands a message to every open connection. On the loop.
    package func broadcast(
        _ message: EncodedMessage, _ limits: BroadcastLimits, except: Connection?
    ) -> BroadcastCounts {
        var counts = BroadcastCounts()
        for connection in connections.values where connection !== except {
            counts.note(connection.broadcast(message, limits, key: "server"))
        }
        return counts
    }

    /// Drops handshakes that are under way and closes all connections with this frame; aborts those that are left after
    /// the timeout. From any thread.
    package func closeAll(
        _ frame: WebSocketCloseFrame = WebSocketCloseFrame(code: .goingAway), timeout: Duration
    ) {
        loop.execute { [self] in
            closing = frame
            for upgrade in upgrades.values { upgrade.stop() }
            for connection in connections.values { connection.close(frame, nil) }
            guard !connections.isEmpty, deadline == nil else { return }
            deadline = loop.schedule(after: timeout.nanoseconds) { [self] in
                deadline = nil
                for connection in connections.values { connection.abort() }
            }
        }
    }
}
