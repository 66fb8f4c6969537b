//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

/// A session's counters, taken together.
public struct WebSocketSessionStatistics: Sendable, Hashable {
    /// Connections that became ready for messages.
    public internal(set) var connects = 0
    /// Of these, those that took over without a gap.
    public internal(set) var renewals = 0
    /// Attempts that did not become a connection.
    public internal(set) var failedAttempts = 0
    /// Connections that ended, other than by a renewal.
    public internal(set) var disconnects = 0
    /// Of these, those that this side ended.
    public internal(set) var proactiveDisconnects = 0
    /// Of these, those that ended otherwise.
    public internal(set) var reactiveDisconnects = 0
    /// Messages that came, answers to subscriptions included.
    public internal(set) var messagesReceived = 0
    /// Their payload, in bytes.
    public internal(set) var bytesReceived = 0
    /// Messages that were given to the session. The sum of the next six at any time.
    public internal(set) var messagesSubmitted = 0
    /// Handed to the operating system.
    public internal(set) var messagesWritten = 0
    /// See ``WebSocketSendOutcome/notSent``.
    public internal(set) var messagesNotSent = 0
    /// See ``WebSocketSendOutcome/unknown``.
    public internal(set) var messagesUnknown = 0
    /// See ``WebSocketSendOutcome/cancelled``.
    public internal(set) var messagesCancelled = 0
    /// See ``WebSocketSendOutcome/dropped``.
    public internal(set) var messagesRefused = 0
    /// Queued, or in a connection's buffer.
    public internal(set) var messagesPending = 0
    /// Payload that connections have taken, in bytes of UTF-8 for text.
    public internal(set) var bytesSent = 0
    /// Inbound messages that the overflow policy dropped.
    public internal(set) var messagesDropped = 0
    /// Of a make-before-break: messages that both connections brought, and that were delivered once.
    public internal(set) var duplicatesDropped = 0
    /// Events other than messages that were dropped because nobody took more than 1,024 of them.
    public internal(set) var eventsDropped = 0
    /// Gap events.
    public internal(set) var gaps = 0
    /// Alerts that were counted instead of told.
    public internal(set) var alertsSuppressed = 0
    /// Attempts since the last stable connection.
    public internal(set) var reconnectAttempts = 0
    /// Since the session was made or the statistics were reset.
    public internal(set) var uptime: Duration = .zero
    /// How long the present connection has been ready; nil without one.
    public internal(set) var connectionDuration: Duration?
    /// Since a connection last became ready; nil before the first.
    public internal(set) var sinceConnect: Duration?
    /// Since a connection last ended; nil before the first.
    public internal(set) var sinceDisconnect: Duration?
    /// Since a message last came; nil before the first.
    public internal(set) var sinceMessage: Duration?

    init() {}

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
}
