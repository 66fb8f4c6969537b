//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketConcurrency

/// One place of the pool and its tenant, whose handle is beside it: without references a slot costs nothing to copy.
package struct ConnectionSlot: Sendable {
    package enum State: Sendable, Hashable {
        /// No tenant.
        /// → `connecting` when the pool wants another connection.
        case free
        /// The factory is at work. Bound to no waiter: the first in the queue when it succeeds gets it, so
        /// a cancelled acquire neither wastes nor leaks an attempt.
        /// → `leased` or `idle` on success; `closing` when it succeeds but is not wanted any more; `free` on
        /// failure or at its deadline.
        case connecting
        /// Open and not lent. Listed in its endpoint's `idle`.
        /// → `leased` when lent; `validating` for a keepalive or when lent past the bypass window; `closing` at its
        /// idle timeout, at the end of its lifetime, when evicted, reset or shut down; `free` when it dies.
        case idle
        /// A validation is under way, for a waiter or as a keepalive.
        /// → `leased` or `idle` on success; `free`, aborted, on failure or at its deadline; `closing` at shutdown;
        /// `free` when it dies.
        case validating(forBorrow: Bool)
        /// Lent.
        /// → `idle` or another `leased` on release; `draining` when released with a drain; `closing` when discarded,
        /// retired or at the end of a shutdown's grace; `free` when it dies or is detached.
        case leased
        /// What the borrower left unread is being read.
        /// → `idle` or `leased` when clean; `closing` when not, at its deadline or at shutdown; `free` when it dies.
        case draining
        /// `close()` is under way.
        /// → `free` when it has ended, when the connection reports its end, or at its deadline.
        case closing
    }

    package var state = State.free
    /// Of the tenant; 0 before the first.
    package var serial: UInt64 = 0
    package var endpoint = 0
    /// The pool's reset count when the attempt began; a connection of an older epoch is retired.
    var epoch = 0
    /// The endpoint's ejection count when the attempt began.
    var ejections = 0

    /// When the state was entered.
    package var since: Ticks = 0
    /// When the state's operation is given up, or a lease is reported as a leak.
    var deadline = Ticks.never
    var expiresAt = Ticks.never
    var idleAt = Ticks.never
    var keepaliveAt = Ticks.never
    /// How long after its return the connection is validated; drawn for each, so that they take turns.
    var keepaliveSpan = Ticks.never
    /// When the connection last proved itself: by being opened, returned or validated.
    var provenAt: Ticks = 0
    /// When the connection was last returned, or opened. Keepalives do not count as use: they change neither the idle
    /// timeout nor whose turn it is.
    var returnedAt: Ticks = 0
    package var endReason = WebSocketPoolEndReason.discarded

    package var leaseID: UInt64 = 0
    var site = WebSocketPoolSourceSite(file: "", line: 0)
    var isSuspectedLeak = false

    init() {}

    // One access to the array of slots each, instead of one for each field.

    mutating func enter(_ state: State, at now: Ticks) {
        self.state = state
        since = now
        deadline = .never
    }

    /// Begins a lease, after `leased` was entered.
    mutating func lend(id: UInt64, site: WebSocketPoolSourceSite, leakThreshold: Ticks) {
        leaseID = id
        self.site = site
        isSuspectedLeak = false
        deadline = since.after(leakThreshold)
    }

    /// The borrower has given the connection back, which also shows that it is alive.
    mutating func giveBack(at now: Ticks) {
        provenAt = now
        returnedAt = now
    }

    /// Begins to wait for the next lease, after `idle` was entered.
    mutating func rest(idleTimeout: Ticks) {
        idleAt = returnedAt.after(idleTimeout)
        keepaliveAt = since.after(keepaliveSpan)
    }

    var idleDeadline: Ticks { min(idleAt, keepaliveAt, expiresAt) }
}
