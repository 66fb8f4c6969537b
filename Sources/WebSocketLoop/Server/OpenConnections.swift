//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import WebSocketConcurrency
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

    private let loop: WebSocketEventLoop
    private let lifetimes: Lifetimes
    private var connections: [ObjectIdentifier: Connection] = [:]
    /// By their arrival, which is counted from 1 on.
    private var upgrades: [UInt64: ServerUpgrade] = [:]
    private var arrivals: UInt64 = 0
    /// No handshake that came before this is under way.
    private var oldest: UInt64 = 1
    private var lastWarning: UInt64?
    private var closing: WebSocketCloseFrame?
    private var deadline: WebSocketEventLoop.TimerToken?
    /// Those that are still to be closed, in their order, and when.
    private var leaving: [ObjectIdentifier] = []
    private var nextToLeave: WebSocketEventLoop.TimerToken?
    private var waiters: [Waiter<Void>] = []

    /// Between two looks at who is to leave, so that a timer is not needed for each of thousands.
    private static let leaveInterval: UInt64 = 5_000_000
    /// Between two warnings that there are too many handshakes.
    private static let warningInterval: UInt64 = 10_000_000_000
    /// The longest time over which close frames are spread.
    private static let maximumSpread: UInt64 = 86_400_000_000_000

    package init(loop: WebSocketEventLoop, lifetimes: Lifetimes = Lifetimes()) {
        self.loop = loop
        self.lifetimes = lifetimes
    }

    /// On the loop, when a socket has been accepted.
    func insert(_ upgrade: ServerUpgrade) {
        arrivals += 1
        upgrade.arrival = arrivals
        upgrades[arrivals] = upgrade
        // Accepted before the listener was stopped, and taken up after it.
        if closing != nil { upgrade.stop() }
    }

    /// On the loop, when the handshake is over.
    func remove(_ upgrade: ServerUpgrade) { upgrades[upgrade.arrival] = nil }

    /// Ends the handshake whose client has been silent or slow for the longest time, to make room for another. `false` when
    /// there is none here. On the loop.
    func dropOldest() -> Bool {
        if upgrades.isEmpty { oldest = arrivals + 1 }
        var next = oldest
        var isFirst = true
        while next <= arrivals {
            defer { next += 1 }
            guard let upgrade = upgrades[next] else {
                if isFirst { oldest = next + 1 }
                continue
            }
            isFirst = false
            guard upgrade.isHandshaking else { continue }
            warn()
            upgrade.drop(.crowded)
            return true
        }
        return false
    }

    private func warn() {
        guard lastWarning.map({ loop.now - $0 > Self.warningInterval }) ?? true else { return }
        lastWarning = loop.now
        loop.logger.warning(
            "as many handshakes are under way as may be; the slowest give way to new clients",
            metadata: ["loop": "\(loop.name)"])
    }

    /// On the loop, when a connection is established.
    package func insert(_ connection: Connection) {
        let id = ObjectIdentifier(connection)
        connections[id] = connection
        connection.addEndHandler { [self] in
            connections[id] = nil
            guard connections.isEmpty else { return }
            loop.cancel(deadline)
            deadline = nil
            loop.cancel(nextToLeave)
            nextToLeave = nil
            for waiter in waiters { waiter.resume() }
            waiters = []
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
    ///
    /// - Parameter spread: The time over which the frames go out. The timeout begins at its end.
    package func closeAll(
        _ frame: WebSocketCloseFrame = WebSocketCloseFrame(code: .goingAway), timeout: Duration,
        spread: Duration = .zero
    ) {
        loop.execute { [self] in
            closing = frame
            for upgrade in upgrades.values { upgrade.stop() }
            guard !connections.isEmpty, deadline == nil else { return }
            let span = min(spread.nanoseconds, Self.maximumSpread)
            let (end, overflow) = span.addingReportingOverflow(timeout.nanoseconds)
            deadline = loop.schedule(after: overflow ? .max : end) { [self] in
                deadline = nil
                for connection in connections.values { connection.abort() }
            }
            leaving = Array(connections.keys)
            letLeave(CloseSchedule(count: leaving.count, span: span), frame, since: loop.now)
        }
    }

    private func letLeave(_ schedule: CloseSchedule, _ frame: WebSocketCloseFrame, since start: UInt64) {
        var schedule = schedule
        let due = schedule.due(at: loop.now - start)
        let ids = leaving.prefix(due)
        leaving.removeFirst(due)
        for id in ids { connections[id]?.close(frame, nil) }
        guard !connections.isEmpty, let next = schedule.next else { return }
        let elapsed = loop.now - start
        let delay = max(next > elapsed ? next - elapsed : 0, Self.leaveInterval)
        nextToLeave = loop.schedule(after: delay) { [self, schedule] in
            nextToLeave = nil
            letLeave(schedule, frame, since: start)
        }
    }

    /// Returns when no connection is open, which ``closeAll(_:timeout:spread:)`` brings about. From any thread.
    package func waitUntilEmpty() async {
        await suspend { continuation in
            let begun = loop.execute { [self] in
                if connections.isEmpty { continuation.resume() } else { waiters.append(continuation) }
            }
            // A loop that has ended has no connections.
            if !begun { continuation.resume() }
        }
    }
}
