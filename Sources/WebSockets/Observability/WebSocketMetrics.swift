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
/// | `<label>_open_step_duration` | timer, by `step`: how long a client's name look-up, TCP, proxy, TLS and handshake took |
/// | `<label>_accepted` | counter: connections that a server took |
/// | `<label>_refused` | counter, by `status`: requests that a server refused |
/// | `<label>_messages_received`, `<label>_messages_sent` | counters |
/// | `<label>_bytes_received`, `<label>_bytes_sent` | counters, see ``WebSocketTraffic`` |
/// | `<label>_send_waits`, `<label>_send_wait_nanoseconds` | counters: sends that waited for room, and how long |
/// | `<label>_broadcasts_dropped` | counter: broadcasts that peers did not get because they read too slowly |
/// | `<label>_messages_unsent`, `<label>_messages_dropped` | counters: left behind at the end, see ``WebSocketCloseInfo`` |
///
/// What goes over a connection is counted at its end. See <doc:Observability> for all metrics and spans.
public struct WebSocketMetrics: WebSocketObserver {
    private let scope: MetricsScope
    private let openDuration: Timer
    private let lifetime: Timer
    private let latency: Timer
    private let connections: Meter
    private let steps: [WebSocketError.Phase: Timer]
    private let accepted: Counter
    private let messagesReceived: Counter
    private let messagesSent: Counter
    private let bytesReceived: Counter
    private let bytesSent: Counter
    private let sendWaits: Counter
    private let sendWaitNanoseconds: Counter
    private let broadcastsDropped: Counter
    private let messagesUnsent: Counter
    private let messagesDropped: Counter

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
        var steps: [WebSocketError.Phase: Timer] = [:]
        for step in [WebSocketError.Phase.nameResolution, .connect, .proxy, .tls, .upgrade] {
            steps[step] = scope.timer("open_step_duration", [("step", step.rawValue)])
        }
        self.steps = steps
        accepted = scope.counter("accepted")
        messagesReceived = scope.counter("messages_received")
        messagesSent = scope.counter("messages_sent")
        bytesReceived = scope.counter("bytes_received")
        bytesSent = scope.counter("bytes_sent")
        sendWaits = scope.counter("send_waits")
        sendWaitNanoseconds = scope.counter("send_wait_nanoseconds")
        broadcastsDropped = scope.counter("broadcasts_dropped")
        messagesUnsent = scope.counter("messages_unsent")
        messagesDropped = scope.counter("messages_dropped")
    }

    /// Records how long a client's opening took, and counts the connection.
    public func opened(_ connection: WebSocketConnectionSummary, after duration: Duration) {
        if connection.url != nil { openDuration.observe(duration) } else { accepted.increment() }
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
        if info.unsentMessages > 0 { messagesUnsent.increment(by: info.unsentMessages) }
        if info.droppedMessages > 0 { messagesDropped.increment(by: info.droppedMessages) }
    }

    /// Records how long the step took.
    public func passed(_ step: WebSocketError.Phase, to url: WebSocketURL, after duration: Duration) {
        steps[step]?.observe(duration)
    }

    /// Counts the refusal, by its status.
    public func refused(_ refusal: WebSocketRefusal) { scope.count("refused", ("status", "\(refusal.status)")) }

    /// Counts the messages and bytes, the waits for room and the drops.
    public func transferred(_ connection: WebSocketConnectionSummary, traffic: WebSocketTraffic) {
        messagesReceived.increment(by: traffic.messagesReceived)
        messagesSent.increment(by: traffic.messagesSent)
        bytesReceived.increment(by: traffic.bytesReceived)
        bytesSent.increment(by: traffic.bytesSent)
        sendWaits.increment(by: traffic.sendWaits)
        sendWaitNanoseconds.increment(by: traffic.sendWaitTime.nanoseconds)
        broadcastsDropped.increment(by: traffic.broadcastsDropped)
    }
}
#endif
