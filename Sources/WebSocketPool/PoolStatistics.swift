//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A consistent picture of a pool, taken under its lock.
public struct PoolStatistics: Sendable, Hashable {
    /// What the connections and acquires are doing now.
    public var counts = PoolCounts()
    /// What has happened since the pool was made.
    public var totals = PoolTotals()
    /// The endpoints, in the order of their indexes.
    public var endpoints: [EndpointStatistics] = []

    public init() {}
}

/// One endpoint of a pool.
public struct EndpointStatistics: Sendable, Hashable {
    /// Connections to it, whatever they are doing.
    public var total = 0
    public var leased = 0
    public var connecting = 0
    /// Whether it gets no attempts for now.
    public var isEjected = false

    public init() {}
}

/// Connections by state. Each connection is in exactly one.
public struct PoolCounts: Sendable, Hashable {
    public var idle = 0
    public var leased = 0
    public var connecting = 0
    public var validating = 0
    public var draining = 0
    public var closing = 0
    /// Acquires that wait for a connection.
    public var waiting = 0

    /// All connections, whatever they are doing. At most `hardMaximum`, except after `resize` made the pool smaller.
    public var total: Int {
        self.idle + self.leased + self.connecting + self.validating + self.draining + self.closing
    }

    /// Connections that are open as far as the pool knows.
    var live: Int { self.idle + self.leased + self.validating + self.draining }

    public init() {}
}

extension PoolCounts: CustomStringConvertible {
    public var description: String {
        """
        total \(self.total), idle \(self.idle), leased \(self.leased), connecting \(self.connecting), \
        validating \(self.validating), draining \(self.draining), closing \(self.closing), waiting \(self.waiting)
        """
    }
}

/// Monotonic counters and accumulated times.
public struct PoolTotals: Sendable, Hashable {
    /// Leases given out.
    public var acquired = 0
    /// Of those, leases that had to wait (puddle: `EmptyAcquireCount`).
    public var acquiredAfterWaiting = 0
    public var acquireTimeouts = 0
    public var acquireCancellations = 0
    /// Acquires that ended with any other error.
    public var acquireFailures = 0

    /// Leases that ended by release, detach, or the death or forced closing of their connection.
    public var leasesEnded = 0
    /// Of those, leases whose connection died or was taken back while they lasted.
    public var leasesBroken = 0
    /// Releases of a lease that had ended already.
    public var releasesIgnored = 0
    public var leaksSuspected = 0

    public var connectsStarted = 0
    public var connectsSucceeded = 0
    public var connectsFailed = 0
    public var connectionsClosed = 0
    public var connectionsDetached = 0
    public var validationsStarted = 0
    public var validationsFailed = 0
    public var drainsStarted = 0
    public var drainsFailed = 0
    public var circuitsOpened = 0

    /// Sum over granted acquires of the time they waited (HikariCP: pool wait).
    public var waitTime = Duration.zero
    /// Sum over ended leases of the time they lasted (HikariCP: pool usage).
    public var usageTime = Duration.zero
    /// Sum over successful attempts of the time they took (HikariCP: pool creation).
    public var connectTime = Duration.zero

    public init() {}
}
