//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
public import CoreMetrics
public import WebSocketCore

/// Reports topics that have a broker to swift-metrics. One of the ``WebSocketTopicConfiguration/observers``.
///
/// | metric | kind |
/// |---|---|
/// | `<label>_connected` | meter: brokers that can be reached |
/// | `<label>_connects` | counter: connections to the broker |
/// | `<label>_disconnects` | counter, by `code` |
/// | `<label>_alerts` | counter, by `code` |
/// | `<label>_gaps` | counter, by `cause` |
/// | `<label>_topics` | meter: topics that have subscribers here and are shared |
/// | `<label>_waiting`, `<label>_waiting_bytes` | meters: publications that the broker has not answered |
/// | `<label>_published` | counter |
/// | `<label>_settled` | counter, by `outcome`: `accepted`, `dropped`, `unknown` |
/// | `<label>_received` | counter: messages from the broker |
/// | `<label>_left_out` | counter, by `reason`: those that no subscriber got: `own`, `invalid`, `duplicate`, `unwanted`, `overflow` |
/// | `<label>_foreign` | counter: messages that other programs published |
/// | `<label>_recoveries`, `<label>_messages_recovered` | counters: holes that a history closed |
///
/// The first five are told at once, the others at each ``WebSocketTopicConfiguration/observationInterval``. What slow
/// subscribers miss is counted by ``WebSocketMetrics``, connection by connection.
public struct WebSocketTopicMetrics: WebSocketTopicObserver {
    private let scope: MetricsScope
    private let connected: Meter
    private let connects: Counter
    private let topics: Meter
    private let waiting: Meter
    private let waitingBytes: Meter
    /// In the order of `figures`.
    private let counters: [Counter]

    /// - Parameters:
    ///   - label: The beginning of every metric's name.
    ///   - dimensions: Of every metric, for example the broker's name when there are several.
    ///   - factory: Where the metrics go. Default: the process's.
    public init(
        label: String = "websocket_topics", dimensions: [(String, String)] = [],
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        let scope = MetricsScope(label: label, dimensions: dimensions, factory: factory)
        self.scope = scope
        connected = scope.meter("connected")
        connects = scope.counter("connects")
        topics = scope.meter("topics")
        waiting = scope.meter("waiting")
        waitingBytes = scope.meter("waiting_bytes")
        func settled(_ outcome: String) -> Counter { scope.counter("settled", [("outcome", outcome)]) }
        func leftOut(_ reason: String) -> Counter { scope.counter("left_out", [("reason", reason)]) }
        counters = [
            scope.counter("published"),
            settled("accepted"),
            settled("dropped"),
            settled("unknown"),
            scope.counter("received"),
            leftOut("own"),
            leftOut("invalid"),
            leftOut("duplicate"),
            leftOut("unwanted"),
            leftOut("overflow"),
            scope.counter("foreign"),
            scope.counter("recoveries"),
            scope.counter("messages_recovered"),
        ]
    }

    /// Counts the event, by its code or cause, and shows whether the broker can be reached.
    public func happened(_ event: WebSocketTopicEvent) {
        switch event {
        case .connected:
            connected.increment()
            connects.increment()
        case .disconnected(let error):
            connected.decrement()
            scope.count("disconnects", ("code", "\(error.code)"))
        case .gap(let gap): scope.count("gaps", ("cause", gap.cause.rawValue))
        case .alert(let error): scope.count("alerts", ("code", "\(error.code)"))
        }
    }

    /// Counts what was counted, and shows how many topics there are and what waits.
    public func counted(_ statistics: WebSocketTopicBrokerStatistics, since last: WebSocketTopicBrokerStatistics) {
        // Steps, because topics with the same label add up.
        topics.step(by: statistics.topics - last.topics)
        waiting.step(by: statistics.waiting - last.waiting)
        waitingBytes.step(by: statistics.waitingBytes - last.waitingBytes)
        for (counter, (now, before)) in zip(counters, zip(figures(statistics), figures(last))) where now > before {
            counter.increment(by: now - before)
        }
    }

    private func figures(_ statistics: WebSocketTopicBrokerStatistics) -> [Int] {
        [
            statistics.published,
            statistics.accepted,
            statistics.dropped,
            statistics.unknown,
            statistics.received,
            statistics.own,
            statistics.invalid,
            statistics.duplicates,
            statistics.unwanted,
            statistics.overflowed,
            statistics.foreign,
            statistics.recoveries,
            statistics.recovered,
        ]
    }
}
#endif
