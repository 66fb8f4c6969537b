//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Where a session stands.
public enum WebSocketSessionState: String, Sendable, Hashable, CaseIterable {
    /// There is no connection, and nothing is under way to get one.
    case disconnected
    /// The first connection is being opened or prepared.
    case connecting
    /// Messages flow.
    case connected
    /// The session had a connection and will have another one: it waits, asks, opens or prepares.
    case reconnecting
    /// The connection is being closed from this side.
    case closing
    /// Final.
    case closed

    /// Whether `connect` has something to do.
    public var canConnect: Bool { self == .disconnected || self == .reconnecting }
    /// Whether a message would be sent at once.
    public var canSend: Bool { self == .connected }
    /// Whether no other state follows.
    public var isTerminal: Bool { self == .closed }
}

/// Why a connection of a session ended.
public enum WebSocketDisconnectReason: String, Sendable, Hashable, CaseIterable {
    /// `disconnect`, `close`, `shutDown` or `abort`.
    case userRequested
    /// `scheduleDisconnect`.
    case scheduled
    /// `shouldDisconnect` answered true.
    case callbackTriggered
    /// The connection came near `maximumConnectionAge`.
    case connectionLimit
    /// The server closed the connection, with whatever code.
    case serverClosed
    /// The connection broke without a close frame.
    case networkError
    /// No pong came in time.
    case pingTimeout
    /// The server broke the protocol or one of our limits.
    case protocolError
    /// The `prepare` hook threw, or the preparation took too long.
    case preparationFailed
    /// Messages came faster than they were taken, and the policy is `disconnect`.
    case overflow
    /// `kill` cut the connection.
    case killed
    /// No message came for `silenceTimeout`.
    case silence

    /// Whether this side decided it. A proactive end is never followed by an unasked reconnect.
    public var isProactive: Bool {
        switch self {
        case .userRequested, .scheduled, .callbackTriggered, .connectionLimit: true
        default: false
        }
    }
}

/// The end of one connection of a session.
public struct WebSocketSessionDisconnect: Sendable, Hashable {
    /// Why it ended.
    public let reason: WebSocketDisconnectReason
    /// Both sides' close frames; nil when the connection never had been open for messages and left none.
    public let closeInfo: WebSocketCloseInfo?
    /// What failed, when it was not the connection itself.
    public let error: WebSocketError?
    /// How long messages could flow.
    public let connectedFor: Duration

    package init(
        reason: WebSocketDisconnectReason, closeInfo: WebSocketCloseInfo?, error: WebSocketError? = nil,
        connectedFor: Duration
    ) {
        self.reason = reason
        self.closeInfo = closeInfo
        self.error = error
        self.connectedFor = connectedFor
    }
}

/// A hole: messages may be missing between the one before and the one after.
public struct WebSocketSessionGap: Sendable, Hashable {
    /// What made the hole.
    public enum Cause: Sendable, Hashable {
        /// There was no connection for a while, and no `prepare` hook said that the hole was closed.
        case reconnected(after: Duration)
        /// This number of messages was dropped by the overflow policy.
        case overflow(dropped: Int)
    }

    /// What made the hole.
    public let cause: Cause

    package init(_ cause: Cause) { self.cause = cause }
}

/// Something that a person should know. Each kind is reported at most once per its `alertIntervals`, or `alertInterval`; the
/// ones in between are counted and the count is reported at the end of the interval.
public struct WebSocketSessionAlert: Sendable, Hashable {
    /// What kind of thing happened.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Messages were dropped, or the connection was, because no task took them in time.
        case inboundOverflow
        /// A message was refused because the queue for messages without a connection is full.
        case outboundOverflow
        /// Messages that had been accepted could not be sent, or it is not known whether they were.
        case messagesNotSent
        /// A subscription was refused or not acknowledged.
        case subscriptionFailed
        /// `shouldDisconnect`, `shouldReconnect` or another closure of the application threw.
        case callbackFailed
        /// The connection ended without this side wanting it.
        case disconnected
        /// An attempt met what would have been fatal before the first connection, such as a certificate that has expired, a
        /// file that cannot be read, or 404. It is tried again, later each time.
        case attemptFailed
        /// The next connection of a make-before-break could not be opened or prepared; the old one stays.
        case renewalFailed
        /// The session tried as often as its policy allows and rests; `connect` begins again.
        case gaveUp
    }

    /// What kind of thing happened.
    public let kind: Kind
    /// A sentence for a person. Peer text in it is escaped.
    public let message: String
    /// How many alerts of the kind were held back since the last one.
    public let suppressed: Int

    package init(kind: Kind, message: String, suppressed: Int) {
        self.kind = kind
        self.message = message
        self.suppressed = suppressed
    }
}

/// What a session tells, in the order in which it happened.
public enum WebSocketSessionEvent: Sendable, Hashable {
    /// A message of the server.
    case message(WebSocketMessage)
    /// Messages flow from here on; all subscriptions have been sent.
    case connected(isReconnect: Bool)
    /// A connection ended. Every message that it brought came before.
    case disconnected(WebSocketSessionDisconnect)
    /// Messages may be missing here.
    case gap(WebSocketSessionGap)
    /// The connection was replaced without a gap (make-before-break).
    case renewed
    /// The server answered a subscription; only with a ``WebSocketSubscriptionReply`` that the configuration recognises.
    case subscription(WebSocketSubscriptionReply)
    /// Something that a person should know.
    case alert(WebSocketSessionAlert)
}

/// What happens when messages come faster than they are taken.
public enum WebSocketOverflowPolicy: String, Sendable, Hashable, CaseIterable {
    /// The session stops reading until there is room: the server feels TCP's backpressure and nothing is lost.
    case suspendReading
    /// The oldest waiting message makes room; a gap event stands in its place.
    case dropOldest
    /// The new message is dropped; a gap event stands in its place.
    case dropNewest
    /// The connection is closed with reason `overflow`.
    case disconnect
}

/// How a message that was given to a session ended.
public enum WebSocketSendOutcome: String, Sendable, Hashable, CaseIterable {
    /// Handed to the operating system, whole.
    case written
    /// Certainly not sent, not even in part: its deadline passed or the session ended first.
    case notSent
    /// Perhaps sent: the connection broke while the operating system had taken a part of the burst it was in.
    case unknown
    /// Cancelled before it was sent.
    case cancelled
    /// Refused because the queue was full.
    case dropped
}

/// The answer of `shouldReconnect`.
public enum WebSocketReconnectWindow: Sendable, Hashable {
    /// Reconnect now.
    case now
    /// Reconnect after this time, without asking again.
    case after(Duration)
    /// Ask again after `reconnectCheckInterval`.
    case notYet
    /// Stay disconnected until `connect` is called.
    case never
}

/// Why a session has no connection and gets none by itself.
package enum SessionRest: Sendable, Equatable {
    /// It was closed, or it does not reconnect by itself.
    case closed
    /// It left its connection, and may be told to come back.
    case left
    /// It tried as often as its policy allows.
    case gaveUp(WebSocketError)
}

/// One attempt to connect.
package struct SessionAttempt: Sendable {
    /// Counted from 1 since the last stable connection.
    package let number: Int
    /// Which of the session's URLs, from 0.
    package let endpoint: Int
    /// Whether there was a connection before.
    package let isReconnect: Bool
    /// Whether the present connection stays until the new one is ready.
    package let isRenewal: Bool
    /// Why the attempt before failed.
    package let lastError: WebSocketError?
}
