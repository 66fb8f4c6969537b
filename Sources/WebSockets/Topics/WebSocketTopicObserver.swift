//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

/// Receives what happens between topics and their broker: the seam for metrics. One of
/// ``WebSocketTopicConfiguration/observers``.
///
/// Every method has a default that does nothing. They are called on the thread on which the event occurred, a loop for
/// most, so they must not block. They may ask the topics for their statistics. With several brokers each one's events and
/// counts are told apart, and at the same time.
public protocol WebSocketTopicObserver: Sendable {
    /// The broker came or went, messages may be missing, or something is wrong. None is left out, unlike in
    /// ``WebSocketTopics/events``, whose reader may be slow.
    func happened(_ event: WebSocketTopicEvent)
    /// What was counted since the last time, or since the beginning: every
    /// ``WebSocketTopicConfiguration/observationInterval`` while the topics run, and when they end.
    func counted(_ statistics: WebSocketTopicBrokerStatistics, since last: WebSocketTopicBrokerStatistics)
}

extension WebSocketTopicObserver {
    /// Does nothing.
    public func happened(_ event: WebSocketTopicEvent) {}
    /// Does nothing.
    public func counted(_ statistics: WebSocketTopicBrokerStatistics, since last: WebSocketTopicBrokerStatistics) {}
}
