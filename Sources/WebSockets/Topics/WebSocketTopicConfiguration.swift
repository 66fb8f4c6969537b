//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

/// How topics are shared with other processes.
public struct WebSocketTopicConfiguration: Sendable {
    /// What becomes of messages without history while the broker has been away for longer than a second.
    public enum WhenAway: Sendable, Hashable {
        /// Subscribers of this process get them, others do not; they are counted as dropped. The default.
        case localOnly
        /// They wait for so long, and go out if the broker is back by then. At most 10 min.
        case buffer(Duration)
        /// As `localOnly`, but no subscriber gets those of a topic with one order.
        case fail
    }

    /// Rules by the beginning of a topic's name; the longest that fits counts, and none is the default rules. They must be
    /// the same in every process.
    public var rules: [String: WebSocketTopicRules] = [:]
    /// Default WhenAway/localOnly.
    public var whenAway = WhenAway.localOnly
    /// Publications that wait for the broker's answer. Default 65,536; 1 to 1,000,000. Beyond it `publish` drops and
    /// counts, and `publishConfirmed` waits.
    public var maximumWaitingMessages = 65_536
    /// The same in bytes. Default 16 MiB; 64 KiB to 1 GiB.
    public var maximumWaitingBytes = 16 << 20
    /// The largest message of a shared topic. Default 1 MiB; 1 to 64 MiB.
    public var maximumMessageBytes = 1 << 20
    /// The largest message of a topic with history. Default 64 KiB; 1 to 64 MiB.
    public var maximumHistoryMessageBytes = 64 << 10
    /// How long a message for a history waits for the broker. Default 30 s; 1 s to 10 min.
    public var historyPatience = Duration.seconds(30)
    /// The most messages that one connection recovers. Default 300; 1 to 10,000.
    public var maximumRecoveredMessages = 300
    /// The most bytes that one connection recovers. Default 4 MiB; 64 KiB to 64 MiB.
    public var maximumRecoveredBytes = 4 << 20
    /// How long a recovery waits for the broker. Default 5 s; 100 ms to 60 s.
    public var recoveryTimeout = Duration.seconds(5)
    /// Bytes of the broker's messages that one loop may have before it. Default 16 MiB; 64 KiB to 1 GiB. Beyond it they are
    /// dropped, counted, and told as a gap.
    public var maximumLoopBytes = 16 << 20
    /// Whether processes tell each other how many subscribers their topics have, for
    /// ``WebSocketTopics/subscriberCount(of:everywhere:)``: for each topic whose number has changed once a second. Default
    /// false.
    public var sharesCounts = false
    /// Who is told what happens at the broker's side; ``WebSocketTopicMetrics`` is one. Default none.
    public var observers: [any WebSocketTopicObserver] = []
    /// How often ``observers`` are told what was counted. Default 10 s; 100 ms to 10 min.
    public var observationInterval = Duration.seconds(10)
    /// Makes what subscribers get of what was published; called once for each message and process, for its own too. It
    /// is the place to put the position that clients send back. `nil`, the default, sends what was published.
    public var framing: (@Sendable (WebSocketTopicDelivery) -> WebSocketMessage)?

    /// The defaults.
    public init() {}

    func validate(_ features: WebSocketTopicBrokerFeatures) throws(WebSocketError) {
        func check<Value: Comparable>(
            _ name: String, _ value: Value, _ range: ClosedRange<Value>
        ) throws(WebSocketError) {
            guard range.contains(value) else {
                throw WebSocketError(.invalidConfiguration, "\(name) is \(value); it must be in \(range)")
            }
        }
        try check("maximumWaitingMessages", maximumWaitingMessages, 1...1_000_000)
        try check("maximumWaitingBytes", maximumWaitingBytes, (64 << 10)...(1 << 30))
        try check("maximumMessageBytes", maximumMessageBytes, 1...(64 << 20))
        try check("maximumHistoryMessageBytes", maximumHistoryMessageBytes, 1...(64 << 20))
        try check("historyPatience", historyPatience, .seconds(1) ... .seconds(600))
        try check("maximumRecoveredMessages", maximumRecoveredMessages, 1...10_000)
        try check("maximumRecoveredBytes", maximumRecoveredBytes, (64 << 10)...(64 << 20))
        try check("recoveryTimeout", recoveryTimeout, .milliseconds(100) ... .seconds(60))
        try check("maximumLoopBytes", maximumLoopBytes, (64 << 10)...(1 << 30))
        try check("observationInterval", observationInterval, .milliseconds(100) ... .seconds(600))
        if case .buffer(let age) = whenAway { try check("whenAway.buffer", age, .zero ... .seconds(600)) }
        guard !sharesCounts || features.contains(.counts) else {
            throw WebSocketError(
                .invalidConfiguration,
                "sharesCounts is set, and the broker has no counts; leave it out, or use another broker")
        }
        for (prefix, rules) in rules {
            try rules.validate(prefix: prefix)
            guard rules.history == nil || features.contains(.history) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "rules of “\(prefix.escapedForLog)”: the broker has no history; leave it out, or use another broker"
                )
            }
            guard rules.order == .publisher || features.contains(.topicOrder) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "rules of “\(prefix.escapedForLog)”: the broker has no order of a topic; use `.publisher`, or another broker"
                )
            }
        }
    }

    func settings(publisher: UInt64, seed: UInt64) -> TopicRouterMachine.Settings {
        var settings = TopicRouterMachine.Settings(publisher: publisher)
        settings.rules = rules
        settings.whenAway =
            switch whenAway {
            case .localOnly: .localOnly
            case .buffer(let age): .buffer(age.nanoseconds)
            case .fail: .fail
            }
        settings.waitingMessages = maximumWaitingMessages
        settings.waitingBytes = maximumWaitingBytes
        settings.messageBytes = maximumMessageBytes
        settings.historyMessageBytes = maximumHistoryMessageBytes
        settings.historyPatience = historyPatience.nanoseconds
        settings.sharesCounts = sharesCounts
        settings.seed = seed
        return settings
    }
}
