//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
public import CoreMetrics
public import WebSocketCore
import WebSocketLoop

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
    private let label: String
    private let dimensions: [(String, String)]
    private let factory: any MetricsFactory
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
        self.label = label
        self.dimensions = dimensions
        self.factory = factory
        openDuration = Timer(label: "\(label)_open_duration", dimensions: dimensions, factory: factory)
        lifetime = Timer(label: "\(label)_lifetime", dimensions: dimensions, factory: factory)
        latency = Timer(label: "\(label)_latency", dimensions: dimensions, factory: factory)
        connections = Meter(label: "\(label)_connections", dimensions: dimensions, factory: factory)
    }

    private func count(_ name: String, _ more: [(String, String)]) {
        Counter(label: "\(label)_\(name)", dimensions: dimensions + more, factory: factory).increment()
    }

    /// Records how long a client's opening took, and counts the connection.
    public func opened(_ connection: WebSocketConnectionSummary, after duration: Duration) {
        if connection.url != nil { openDuration.recordNanoseconds(Int64(duration.nanoseconds)) }
        connections.increment()
    }

    /// Counts the failure, by its code.
    public func connectFailed(to url: WebSocketURL, error: WebSocketError, after duration: Duration) {
        count("connects_failed", [("code", "\(error.code)")])
    }

    /// Records the round trip.
    public func ponged(_ connection: WebSocketConnectionSummary, roundTrip: Duration) {
        latency.recordNanoseconds(Int64(roundTrip.nanoseconds))
    }

    /// Counts the end, by its cause and code.
    public func closed(_ connection: WebSocketConnectionSummary, info: WebSocketCloseInfo, after duration: Duration) {
        connections.decrement()
        lifetime.recordNanoseconds(Int64(duration.nanoseconds))
        // A peer must not be able to make up ever new series.
        let code = info.code.rawValue < 3_000 ? "\(info.code.rawValue)" : "other"
        count("closed", [("cause", "\(info.cause)"), ("code", code)])
    }
}
#endif
