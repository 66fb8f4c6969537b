//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
public import CoreMetrics
public import WebSocketCore

/// Reports a session to swift-metrics. One of the ``WebSocketSessionConfiguration/observers``.
///
/// | metric | kind |
/// |---|---|
/// | `<label>_connected` | meter: sessions whose messages flow |
/// | `<label>_connected_for` | timer: how long connections were ready |
/// | `<label>_downtime` | timer: how long there was no connection, when there is one again |
/// | `<label>_connects` | counter, by `kind`: `first`, `reconnect`, `renewal` |
/// | `<label>_attempts_failed` | counter, by `code` |
/// | `<label>_disconnects` | counter, by `reason` |
/// | `<label>_alerts` | counter, by `kind`; those that were held back count when their number is told |
/// | `<label>_gaps`, `<label>_messages_lost`, `<label>_messages_dropped` | counters |
///
/// Each connection reports to ``WebSocketMetrics`` when that is one of ``WebSocketClientConfiguration/observers``.
public struct WebSocketSessionMetrics: WebSocketSessionObserver {
    private let scope: MetricsScope
    private let connected: Meter
    private let connectedFor: Timer
    private let downtime: Timer
    private let gaps: Counter
    private let lost: Counter
    private let dropped: Counter

    /// - Parameters:
    ///   - label: The beginning of every metric's name.
    ///   - dimensions: Of every metric, for example the feed's name when there are several sessions.
    ///   - factory: Where the metrics go. Default: the process's.
    public init(
        label: String = "websocket_session", dimensions: [(String, String)] = [],
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        scope = MetricsScope(label: label, dimensions: dimensions, factory: factory)
        connected = scope.meter("connected")
        connectedFor = scope.timer("connected_for")
        downtime = scope.timer("downtime")
        gaps = scope.counter("gaps")
        lost = scope.counter("messages_lost")
        dropped = scope.counter("messages_dropped")
    }

    /// Shows whether messages flow.
    public func stateChanged(from old: WebSocketSessionState, to new: WebSocketSessionState) {
        if new == .connected { connected.increment() }
        if old == .connected { connected.decrement() }
    }

    /// Counts the connection, and records how long there was none.
    public func connected(isReconnect: Bool, after downtime: Duration?) {
        scope.count("connects", ("kind", isReconnect ? "reconnect" : "first"))
        if let downtime { self.downtime.observe(downtime) }
    }

    /// Counts the renewal.
    public func renewed() { scope.count("connects", ("kind", "renewal")) }

    /// Counts the failure, by its code.
    public func attemptFailed(_ error: WebSocketError) { scope.count("attempts_failed", ("code", "\(error.code)")) }

    /// Counts the end, by its reason, and records how long the connection was ready, if it ever was.
    public func disconnected(_ end: WebSocketSessionDisconnect) {
        scope.count("disconnects", ("reason", end.reason.rawValue))
        if end.connectedFor > .zero { connectedFor.observe(end.connectedFor) }
    }

    /// Counts the gap.
    public func gapped(_ gap: WebSocketSessionGap) { gaps.increment() }
    /// Counts the alert and those that were held back, by their kind.
    public func alerted(_ alert: WebSocketSessionAlert) {
        scope.counter("alerts", [("kind", alert.kind.rawValue)]).increment(by: 1 + alert.suppressed)
    }
    /// Counts the messages.
    public func messagesLost(_ count: Int) { lost.increment(by: count) }
    /// Counts the message.
    public func messageDropped() { dropped.increment() }
}
#endif
