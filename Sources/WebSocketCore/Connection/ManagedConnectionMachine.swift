//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Decides who may use a managed connection, and when it has to connect. Holds no connection, clock or task.
package struct ManagedConnectionMachine: ~Copyable, Sendable {
    enum Link: Sendable {
        /// There is no connection.
        /// → `connecting` when somebody wants one; `closed` on `close`.
        case disconnected
        /// One attempt is under way, whoever wants it.
        /// → `connected` or `disconnected` by its outcome; `closed` on `close`.
        case connecting
        /// The connection is open, as far as is known.
        /// → `disconnected` when it ends by itself; `closed` on `close` and when it was idle for too long.
        case connected
        /// Final.
        case closed(End)
    }

    /// Why there will be no connection any more.
    package enum End: Sendable, Equatable { case closed, idleTimeout }

    enum Use: Sendable {
        /// Nobody has it. → `busy` when it is acquired.
        case free
        /// Somebody has acquired it; it may still be connecting. → `free` or `draining` when it is released.
        case busy
        /// It was released, and what arrives is thrown away. → `free` when that is done.
        case draining
    }

    private var link = Link.disconnected
    private var use = Use.free

    package init() {}

    package var isBusy: Bool { if case .busy = use { true } else { false } }
    package var isDraining: Bool { if case .draining = use { true } else { false } }
    package var isConnected: Bool { if case .connected = link { true } else { false } }
    package var end: End? { if case .closed(let end) = link { end } else { nil } }
    /// Whether the idle timer has something to watch.
    package var isIdle: Bool {
        if case .connected = link, case .free = use { true } else { false }
    }

    package enum ConnectAction: Equatable {
        case refuse(Refusal)
        /// Start an attempt and wait for it.
        case start
        /// Wait for the attempt that is under way.
        case join
        /// There is a connection.
        case ready
    }

    package enum Refusal: Equatable { case closed(End), busy, draining }

    /// Somebody wants a connection, but not for himself.
    package mutating func connect() -> ConnectAction {
        switch link {
        case .closed(let end): return .refuse(.closed(end))
        case .connected: return .ready
        case .connecting: return .join
        case .disconnected:
            link = .connecting
            return .start
        }
    }

    /// Somebody wants the connection for himself. It is his from here on, before anything is awaited.
    package mutating func acquire() -> ConnectAction {
        if case .closed(let end) = link { return .refuse(.closed(end)) }
        switch use {
        case .busy: return .refuse(.busy)
        case .draining: return .refuse(.draining)
        case .free: use = .busy
        }
        return connect()
    }

    /// The one who acquired it could not get a connection, or gave up waiting for it.
    package mutating func acquireFailed() { if case .busy = use { use = .free } }

    /// The attempt has ended. `false` when nobody wants the connection any more.
    package mutating func attemptEnded(isConnected: Bool) -> Bool {
        guard case .connecting = link else { return false }
        link = isConnected ? .connected : .disconnected
        return true
    }

    package enum ReleaseAction: Equatable { case ignore, free, drain }

    /// The one who acquired it is done.
    package mutating func release(drains: Bool) -> ReleaseAction {
        guard case .busy = use else { return .ignore }
        guard drains, case .connected = link else {
            use = .free
            return .free
        }
        use = .draining
        return .drain
    }

    /// Draining has ended, well or not.
    package mutating func drained() { if case .draining = use { use = .free } }

    /// The connection ended by itself.
    package mutating func lost() { if case .connected = link { link = .disconnected } }

    /// `false` when it was closed before.
    package mutating func close(_ end: End) -> Bool {
        if case .closed = link { return false }
        link = .closed(end)
        use = .free
        return true
    }
}
