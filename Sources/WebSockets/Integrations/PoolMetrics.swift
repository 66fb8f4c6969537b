//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
public import CoreMetrics
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
/// | `<label>_pending` | meter: acquires that wait | `pool.PendingConnections` |
/// | `<label>_acquires_failed` | counter, by `code` | `pool.ConnectionTimeoutRate` |
/// | `<label>_connects_failed` | counter, by `endpoint` | |
/// | `<label>_connections_closed` | counter, by `reason` | |
/// | `<label>_validations_failed`, `<label>_leaks_suspected`, `<label>_circuits_opened` | counters | |
public struct WebSocketPoolMetrics: WebSocketPoolObserver {
    private let scope: MetricsScope
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
        scope = MetricsScope(label: label, dimensions: dimensions, factory: factory)
        wait = scope.timer("wait")
        usage = scope.timer("usage")
        creation = scope.timer("creation")
        connections = scope.meter("connections")
        active = scope.meter("active")
        pending = scope.meter("pending")
        validationsFailed = scope.counter("validations_failed")
        leaksSuspected = scope.counter("leaks_suspected")
        circuitsOpened = scope.counter("circuits_opened")
    }

    /// Records how long the opening took.
    public func connectionOpened(endpoint: WebSocketPoolEndpoint, after duration: Duration) {
        creation.observe(duration)
        connections.increment()
    }

    /// Counts the end, by its reason.
    public func connectionClosed(endpoint: WebSocketPoolEndpoint, reason: WebSocketPoolEndReason) {
        connections.decrement()
        scope.count("connections_closed", ("reason", reason.rawValue))
    }

    /// Records how long the acquire waited.
    public func leaseGranted(waited: Duration) {
        wait.observe(waited)
        active.increment()
    }

    /// Records how long the lease was held.
    public func leaseEnded(after usage: Duration) {
        self.usage.observe(usage)
        active.decrement()
    }

    // Steps instead of depths: those of two threads may come in the wrong order, and the last would stay.
    /// Shows one more that waits.
    public func acquireQueued(depth: Int) { pending.increment() }
    /// Shows one less that waits.
    public func acquireLeftQueue(depth: Int) { pending.decrement() }
    /// Counts the failure, by its code.
    public func acquireFailed(_ error: WebSocketPoolError) { scope.count("acquires_failed", ("code", "\(error.code)")) }
    /// Counts the failure, by its endpoint.
    public func connectFailed(endpoint: WebSocketPoolEndpoint, error: any Error) {
        scope.count("connects_failed", ("endpoint", "\(endpoint)"))
    }
    /// Counts the failed health check.
    public func validationFailed(endpoint: WebSocketPoolEndpoint) { validationsFailed.increment() }
    /// Counts the suspected leak.
    public func leakSuspected(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {
        leaksSuspected.increment()
    }
    /// Counts the opening.
    public func circuitOpened(endpoint: WebSocketPoolEndpoint, for duration: Duration) { circuitsOpened.increment() }
}
#endif
