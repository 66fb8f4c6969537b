//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A consistent picture of a pool, taken under its lock.
public struct WebSocketPoolStatistics: Sendable, Hashable {
    /// What the connections and acquires are doing now.
    public var counts = WebSocketPoolCounts()
    /// What has happened since the pool was made.
    public var totals = WebSocketPoolTotals()
    /// The endpoints, in the order of their indexes.
    public var endpoints: [WebSocketPoolEndpointStatistics] = []
    /// Whether the pool lends nothing until it is resumed.
    public var isSuspended = false

    /// Nothing yet.
    public init() {}
}

/// One endpoint of a pool.
public struct WebSocketPoolEndpointStatistics: Sendable, Hashable {
    /// What it is called; see ``WebSocketPoolEndpoint/name``.
    public var name = ""
    /// Connections to it, whatever they are doing.
    public var total = 0
    /// Connections that are leased now.
    public var leased = 0
    /// Connections that are being opened now.
    public var connecting = 0
    /// Whether it gets no attempts for now.
    public var isEjected = false
    /// Whether it has not answered lately, so that others go first.
    public var isSuspect = false

    /// Nothing yet.
    public init() {}
}

/// Connections by state. Each connection is in exactly one.
public struct WebSocketPoolCounts: Sendable, Hashable {
    /// Connections that wait for a lease now.
    public var idle = 0
    /// Connections that are leased now.
    public var leased = 0
    /// Connections that are being opened now.
    public var connecting = 0
    /// Connections whose health is being checked now.
    public var validating = 0
    /// Connections that are being emptied of unread messages now.
    public var draining = 0
    /// Connections that are being closed now.
    public var closing = 0
    /// Acquires that wait for a connection.
    public var waiting = 0

    /// All connections, whatever they are doing. At most `hardMaximum`, except after `resize` made the pool smaller.
    public var total: Int {
        idle + leased + connecting + validating + draining + closing
    }

    /// Connections that are open as far as the pool knows.
    var live: Int { idle + leased + validating + draining }

    /// Nothing yet.
    public init() {}
}

extension WebSocketPoolCounts: CustomStringConvertible {
    /// All counts on one line.
    public var description: String {
        """
        total \(total), idle \(idle), leased \(leased), connecting \(connecting), \
        validating \(validating), draining \(draining), closing \(closing), waiting \(waiting)
        """
    }
}

/// Monotonic counters and accumulated times.
public struct WebSocketPoolTotals: Sendable, Hashable {
    /// Leases given out.
    public var acquired = 0
    /// Of those, leases that had to wait (puddle: `EmptyAcquireCount`).
    public var acquiredAfterWaiting = 0
    /// Acquires that ended because their time was up.
    public var acquireTimeouts = 0
    /// Acquires that ended because their task was cancelled.
    public var acquireCancellations = 0
    /// Acquires that ended with any other error.
    public var acquireFailures = 0

    /// Leases that ended by release, detach, or the death or forced closing of their connection.
    public var leasesEnded = 0
    /// Of those, leases whose connection died or was taken back while they lasted.
    public var leasesBroken = 0
    /// Releases of a lease that had ended already.
    public var releasesIgnored = 0
    /// Leases that were held longer than the leak detection threshold.
    public var leaksSuspected = 0

    /// Attempts to connect.
    public var connectsStarted = 0
    /// Attempts to connect that gave a connection.
    public var connectsSucceeded = 0
    /// Attempts to connect that failed.
    public var connectsFailed = 0
    /// Attempts to connect that a shutdown cancelled.
    public var connectsCancelled = 0
    /// Connections that the pool closed, or that closed by themselves.
    public var connectionsClosed = 0
    /// Connections that their lease took out of the pool for good.
    public var connectionsDetached = 0
    /// Health checks.
    public var validationsStarted = 0
    /// Health checks that failed; each cost the pool its connection.
    public var validationsFailed = 0
    /// Drains of unread messages at the end of a lease.
    public var drainsStarted = 0
    /// Drains that did not end well; each cost the pool its connection.
    public var drainsFailed = 0
    /// Times that an endpoint's circuit breaker opened.
    public var circuitsOpened = 0

    /// Sum over granted acquires of the time they waited (HikariCP: pool wait).
    public var waitTime = Duration.zero
    /// Sum over ended leases of the time they lasted (HikariCP: pool usage).
    public var usageTime = Duration.zero
    /// Sum over successful attempts of the time they took (HikariCP: pool creation).
    public var connectTime = Duration.zero

    /// Nothing yet.
    public init() {}
}
