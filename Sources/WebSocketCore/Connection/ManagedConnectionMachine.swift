//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Decides whose turn a managed connection is, and when it has to connect. Holds no connection, clock or task; callers
/// are numbers.
package struct ManagedConnectionMachine: ~Copyable, Sendable {
    enum Link: Sendable {
        /// There is no connection.
        /// → `connecting` when a caller wants one; `closed` on `close`.
        case disconnected
        /// One attempt is under way, for all callers together.
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
        /// No caller has a turn, and none waits for one. → `busy` when it is acquired.
        case free
        /// A caller has it; it may still be connecting. → `free` or `draining` when it is released.
        case busy(UInt64)
        /// It was released, and what arrives is thrown away. → `free` when that is done.
        case draining
    }

    private var link = Link.disconnected
    private var use = Use.free
    /// Callers that wait for their turn, in order.
    private var turns: [UInt64] = []
    /// Callers that wait for the attempt; one of them may have the turn.
    private var connecting: [UInt64] = []

    package init() {}

    package var isBusy: Bool { if case .busy = use { true } else { false } }
    package var isDraining: Bool { if case .draining = use { true } else { false } }
    package var isConnected: Bool { if case .connected = link { true } else { false } }
    package var end: End? { if case .closed(let end) = link { end } else { nil } }
    /// Whether the idle timer has something to watch.
    package var isIdle: Bool {
        if case .connected = link, case .free = use { true } else { false }
    }
    /// How many callers wait for their turn.
    package var waitingTurns: Int { turns.count }

    /// What a caller wants.
    package enum Claim: Sendable, Equatable {
        /// That there is a connection, whichever caller uses it.
        case connection
        /// The connection to itself, if that is possible now.
        case turnNow
        /// The same, after the draining that may be under way.
        case turnAfterDraining
        /// The connection to itself, after those that asked before.
        case turn
    }

    package enum Answer: Equatable {
        case refuse(Refusal)
        /// The caller has to wait, and an attempt is to be started.
        case start
        /// The caller has to wait.
        case wait
        /// There is a connection, and the caller has what it wants.
        case ready
    }

    package enum Refusal: Equatable { case closed(End), busy, draining }

    /// A caller wants something. A turn is its own from here on, before anything is awaited.
    package mutating func want(_ claim: Claim, for id: UInt64) -> Answer {
        if case .closed(let end) = link { return .refuse(.closed(end)) }
        guard claim != .connection else { return connect(id) }
        switch use {
        case .free:
            use = .busy(id)
            return connect(id)
        case .busy:
            guard claim == .turn else { return .refuse(.busy) }
        case .draining:
            guard claim == .turn || (claim == .turnAfterDraining && turns.isEmpty) else { return .refuse(.draining) }
        }
        turns.append(id)
        return .wait
    }

    private mutating func connect(_ id: UInt64) -> Answer {
        switch link {
        case .closed(let end): return .refuse(.closed(end))
        case .connected: return .ready
        case .connecting:
            connecting.append(id)
            return .wait
        case .disconnected:
            link = .connecting
            connecting.append(id)
            return .start
        }
    }

    /// Whose turn it has become.
    package enum Next: Equatable {
        case noCaller
        /// This caller has a connection.
        case ready(UInt64)
        /// The next caller waits for the attempt that is to be started.
        case start
        /// The next caller waits for the attempt that is under way.
        case join
    }

    private mutating func passOn() -> Next {
        use = .free
        guard !turns.isEmpty else { return .noCaller }
        let id = turns.removeFirst()
        use = .busy(id)
        switch connect(id) {
        case .ready: return .ready(id)
        case .start: return .start
        case .wait: return .join
        case .refuse: return .noCaller
        }
    }

    /// A caller does not wait any more. One that has been served already keeps what it has.
    package mutating func giveUp(_ id: UInt64) -> Next {
        if let index = turns.firstIndex(of: id) {
            turns.remove(at: index)
            return .noCaller
        }
        guard let index = connecting.firstIndex(of: id) else { return .noCaller }
        connecting.remove(at: index)
        guard case .busy(id) = use else { return .noCaller }
        return passOn()
    }

    /// The attempt has ended. Nil when no caller wants the connection any more; otherwise who waited for it, and whose turn
    /// it is if it failed.
    package mutating func attemptEnded(isConnected: Bool) -> (waiters: [UInt64], next: Next)? {
        guard case .connecting = link else { return nil }
        let waiters = connecting
        connecting = []
        guard !isConnected else {
            link = .connected
            return (waiters, .noCaller)
        }
        link = .disconnected
        guard case .busy(let holder) = use, waiters.contains(holder) else { return (waiters, .noCaller) }
        return (waiters, passOn())
    }

    package enum ReleaseAction: Equatable { case ignore, free(Next), drain }

    /// The caller that has acquired it is done. There is nothing to release otherwise.
    package mutating func release(drains: Bool) -> ReleaseAction {
        guard case .busy(let holder) = use, !connecting.contains(holder) else { return .ignore }
        guard drains, case .connected = link else { return .free(passOn()) }
        use = .draining
        return .drain
    }

    /// Draining has ended, well or not.
    package mutating func drained() -> Next {
        guard case .draining = use else { return .noCaller }
        return passOn()
    }

    /// The connection ended by itself.
    package mutating func lost() { if case .connected = link { link = .disconnected } }

    /// Ends everything. Nil when it was closed before, otherwise who waited for something.
    package mutating func close(_ end: End) -> [UInt64]? {
        if case .closed = link { return nil }
        defer {
            turns = []
            connecting = []
        }
        link = .closed(end)
        use = .free
        return turns + connecting
    }

    /// Ends everything, unless a caller came in the meantime. Whether it did.
    package mutating func closeIfIdle() -> Bool {
        guard isIdle else { return false }
        link = .closed(.idleTimeout)
        return true
    }
}
