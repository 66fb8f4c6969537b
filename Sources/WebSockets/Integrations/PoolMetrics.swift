//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
public import CoreMetrics
import WebSocketLoop
public import WebSocketPool

/// Reports a pool to swift-metrics. One of the ``WebSocketConnectionPoolConfiguration/observers``.
///
/// | metric | kind | HikariCP |
/// |---|---|---|
/// | `<label>_wait` | timer: how long granted acquires waited | `pool.Wait` |
/// | `<label>_usage` | timer: how long leases lasted | `pool.Usage` |
/// | `<label>_creation` | timer: how long successful connects took | `pool.ConnectionCreation` |
/// | `<label>_connections` | meter: open connections | `pool.TotalConnections` |
/// | `<label>_active` | meter: leases | `pool.ActiveConnections` |
/// | `<label>_pending` | meter: acquires that waited when one more began to | `pool.PendingConnections` |
/// | `<label>_acquires_failed` | counter, by `code` | `pool.ConnectionTimeoutRate` |
/// | `<label>_connects_failed` | counter, by `endpoint` | |
/// | `<label>_connections_closed` | counter, by `reason` | |
/// | `<label>_validations_failed`, `<label>_leaks_suspected`, `<label>_circuits_opened` | counters | |
public struct WebSocketPoolMetrics: PoolObserver {
    private let label: String
    private let dimensions: [(String, String)]
    private let factory: any MetricsFactory
    private let wait: Timer
    private let usage: Timer
    private let creation: Timer
    private let connections: Meter
    private let active: Meter
    private let pending: Meter
    private let validationsFailed: Counter
    private let leaksSuspected: Counter
    private let circuitsOpened: Counter

    /// - Parameters:
    ///   - label: The beginning of every metric's name.
    ///   - dimensions: Of every metric, for example the pool's name when there are several.
    ///   - factory: Where the metrics go. Default: the process's.
    public init(
        label: String = "websocket_pool", dimensions: [(String, String)] = [],
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        self.label = label
        self.dimensions = dimensions
        self.factory = factory
        wait = Timer(label: "\(label)_wait", dimensions: dimensions, factory: factory)
        usage = Timer(label: "\(label)_usage", dimensions: dimensions, factory: factory)
        creation = Timer(label: "\(label)_creation", dimensions: dimensions, factory: factory)
        connections = Meter(label: "\(label)_connections", dimensions: dimensions, factory: factory)
        active = Meter(label: "\(label)_active", dimensions: dimensions, factory: factory)
        pending = Meter(label: "\(label)_pending", dimensions: dimensions, factory: factory)
        validationsFailed = Counter(label: "\(label)_validations_failed", dimensions: dimensions, factory: factory)
        leaksSuspected = Counter(label: "\(label)_leaks_suspected", dimensions: dimensions, factory: factory)
        circuitsOpened = Counter(label: "\(label)_circuits_opened", dimensions: dimensions, factory: factory)
    }

    private func count(_ name: String, _ dimension: (String, String)) {
        Counter(label: "\(label)_\(name)", dimensions: dimensions + [dimension], factory: factory).increment()
    }

    /// Records how long the opening took.
    public func connectionOpened(endpoint: Int, after duration: Duration) {
        creation.recordNanoseconds(Int64(duration.nanoseconds))
        connections.increment()
    }

    /// Counts the end, by its reason.
    public func connectionClosed(endpoint: Int, reason: ConnectionEndReason) {
        connections.decrement()
        count("connections_closed", ("reason", reason.rawValue))
    }

    /// Records how long the acquire waited.
    public func leaseGranted(waited: Duration) {
        wait.recordNanoseconds(Int64(waited.nanoseconds))
        active.increment()
    }

    /// Records how long the lease was held.
    public func leaseEnded(after usage: Duration) {
        self.usage.recordNanoseconds(Int64(usage.nanoseconds))
        active.decrement()
    }

    /// Shows how many wait.
    public func acquireQueued(depth: Int) { pending.set(depth) }
    /// Counts the failure, by its code.
    public func acquireFailed(_ error: PoolError) { count("acquires_failed", ("code", "\(error.code)")) }
    /// Counts the failure, by its endpoint.
    public func connectFailed(endpoint: Int, error: any Error) { count("connects_failed", ("endpoint", "\(endpoint)")) }
    /// Counts the failed health check.
    public func validationFailed(endpoint: Int) { validationsFailed.increment() }
    /// Counts the suspected leak.
    public func leakSuspected(takenAt site: SourceSite, after duration: Duration) { leaksSuspected.increment() }
    /// Counts the opening.
    public func circuitOpened(endpoint: Int, for duration: Duration) { circuitsOpened.increment() }
}
#endif
