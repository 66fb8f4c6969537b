//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A session's counters, taken together.
public struct WebSocketSessionStatistics: Sendable, Hashable {
    /// Connections that became ready for messages.
    public package(set) var connects = 0
    /// Of these, those that took over without a gap.
    public package(set) var renewals = 0
    /// Attempts that did not become a connection.
    public package(set) var failedAttempts = 0
    /// Connections that ended, other than by a renewal.
    public package(set) var disconnects = 0
    /// Of these, those that this side ended.
    public package(set) var proactiveDisconnects = 0
    /// Of these, those that ended otherwise.
    public package(set) var reactiveDisconnects = 0
    /// Messages that came, answers to subscriptions included.
    public package(set) var messagesReceived = 0
    /// Their payload, in bytes.
    public package(set) var bytesReceived = 0
    /// Messages that were given to the session. The sum of the next six at any time.
    public package(set) var messagesSubmitted = 0
    /// Handed to the operating system.
    public package(set) var messagesWritten = 0
    /// See ``WebSocketSendOutcome/notSent``.
    public package(set) var messagesNotSent = 0
    /// See ``WebSocketSendOutcome/unknown``.
    public package(set) var messagesUnknown = 0
    /// See ``WebSocketSendOutcome/cancelled``.
    public package(set) var messagesCancelled = 0
    /// See ``WebSocketSendOutcome/dropped``.
    public package(set) var messagesRefused = 0
    /// Queued, or in a connection's buffer.
    public package(set) var messagesPending = 0
    /// Payload that connections have taken, in bytes of UTF-8 for text.
    public package(set) var bytesSent = 0
    /// Inbound messages that the overflow policy dropped.
    public package(set) var messagesDropped = 0
    /// Of a make-before-break: messages that both connections brought, and that were delivered once.
    public package(set) var duplicatesDropped = 0
    /// Events other than messages that were dropped because more than 1,024 of them waited.
    public package(set) var eventsDropped = 0
    /// Messages of connections that ended while they were prepared, and that could not be delivered: `prepare` had not
    /// returned, or the old connection of a renewal goes on.
    public package(set) var messagesDiscarded = 0
    /// Gap events, of either cause.
    public package(set) var gaps = 0
    /// Alerts that were counted instead of told.
    public package(set) var alertsSuppressed = 0
    /// Attempts since the last stable connection.
    public package(set) var reconnectAttempts = 0
    /// Since the session was made or the statistics were reset.
    public package(set) var uptime: Duration = .zero
    /// How long the present connection has been ready; nil without one.
    public package(set) var connectionDuration: Duration?
    /// Since a connection last became ready; nil before the first.
    public package(set) var sinceConnect: Duration?
    /// Since a connection last ended; nil before the first.
    public package(set) var sinceDisconnect: Duration?
    /// The round trip of the last ping on the present connection, the session's or the application's; nil before the first pong.
    public package(set) var latency: Duration?
    /// Since a message last came that was not an answer to a subscription or answered by `answer`; nil before the first.
    public package(set) var sinceMessage: Duration?

    package init() {}

    /// Whether every message that was given to the session is accounted for.
    public var isBalanced: Bool {
        messagesSubmitted
            == messagesWritten + messagesNotSent + messagesUnknown + messagesCancelled + messagesRefused
            + messagesPending
    }
}

/// What the application's closures decide by.
public struct WebSocketSessionSnapshot: Sendable, Hashable {
    /// Where the session stands.
    public let state: WebSocketSessionState
    /// The counters.
    public let statistics: WebSocketSessionStatistics
    /// Why the last connection ended; nil before the first end.
    public let lastDisconnect: WebSocketSessionDisconnect?

    package init(
        state: WebSocketSessionState, statistics: WebSocketSessionStatistics,
        lastDisconnect: WebSocketSessionDisconnect?
    ) {
        self.state = state
        self.statistics = statistics
        self.lastDisconnect = lastDisconnect
    }
}
