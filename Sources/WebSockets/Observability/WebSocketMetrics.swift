//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
public import CoreMetrics
public import WebSocketCore

/// Reports connections to swift-metrics.
///
/// | metric | kind |
/// |---|---|
/// | `<label>_open_duration` | timer: how long a client's successful connects took |
/// | `<label>_lifetime` | timer: how long connections lived |
/// | `<label>_latency` | timer: round trips of pings |
/// | `<label>_connections` | meter: open connections |
/// | `<label>_connects_failed` | counter, by `code` |
/// | `<label>_closed` | counter, by `cause` and `code`; codes of the peer's invention are `other` |
public struct WebSocketMetrics: WebSocketObserver {
    private let scope: MetricsScope
    private let openDuration: Timer
    private let lifetime: Timer
    private let latency: Timer
    private let connections: Meter

    /// - Parameters:
    ///   - label: The beginning of every metric's name.
    ///   - dimensions: Of every metric.
    ///   - factory: Where the metrics go. Default: the process's.
    public init(
        label: String = "websocket", dimensions: [(String, String)] = [],
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        scope = MetricsScope(label: label, dimensions: dimensions, factory: factory)
        openDuration = scope.timer("open_duration")
        lifetime = scope.timer("lifetime")
        latency = scope.timer("latency")
        connections = scope.meter("connections")
    }

    /// Records how long a client's opening took, and counts the connection.
    public func opened(_ connection: WebSocketConnectionSummary, after duration: Duration) {
        if connection.url != nil { openDuration.observe(duration) }
        connections.increment()
    }

    /// Counts the failure, by its code.
    public func connectFailed(to url: WebSocketURL, error: WebSocketError, after duration: Duration) {
        scope.count("connects_failed", ("code", "\(error.code)"))
    }

    /// Records the round trip.
    public func ponged(_ connection: WebSocketConnectionSummary, roundTrip: Duration) {
        latency.observe(roundTrip)
    }

    /// Counts the end, by its cause and code.
    public func closed(_ connection: WebSocketConnectionSummary, info: WebSocketCloseInfo, after duration: Duration) {
        connections.decrement()
        lifetime.observe(duration)
        // A peer must not be able to make up ever new series.
        let code = info.code.rawValue < 3_000 ? "\(info.code.rawValue)" : "other"
        scope.count("closed", ("cause", "\(info.cause)"), ("code", code))
    }
}
#endif
