//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

/// Receives what happens to a session: the seam for metrics. One of ``WebSocketSessionConfiguration/observers``.
///
/// Every method has a default that does nothing. They are called after the session's lock was released, on the thread
/// on which the event occurred, so they may ask the session for its statistics but must not block. Events of different
/// threads may arrive in another order than they occurred. What the session's connections do is told to
/// ``WebSocketClientConfiguration/observers``.
public protocol WebSocketSessionObserver: Sendable {
    /// The session is in another state.
    func stateChanged(from old: WebSocketSessionState, to new: WebSocketSessionState)
    /// Messages flow. `downtime` is how long there was no connection; nil for the first one.
    func connected(isReconnect: Bool, after downtime: Duration?)
    /// The connection was replaced without a gap.
    func renewed()
    /// An attempt to connect failed.
    func attemptFailed(_ error: WebSocketError)
    /// A connection ended, or its preparation failed.
    func disconnected(_ end: WebSocketSessionDisconnect)
    /// Messages may be missing, because there was no connection.
    func gapped(_ gap: WebSocketSessionGap)
    /// An alert was told; ``WebSocketSessionAlert/suppressed`` were not.
    func alerted(_ alert: WebSocketSessionAlert)
    /// This many messages that had been accepted were not sent, or it is not known whether they were.
    func messagesLost(_ count: Int)
    /// The overflow policy dropped a message that had come.
    func messageDropped()
}

extension WebSocketSessionObserver {
    /// Does nothing: the default.
    public func stateChanged(from old: WebSocketSessionState, to new: WebSocketSessionState) {}
    /// Does nothing: the default.
    public func connected(isReconnect: Bool, after downtime: Duration?) {}
    /// Does nothing: the default.
    public func renewed() {}
    /// Does nothing: the default.
    public func attemptFailed(_ error: WebSocketError) {}
    /// Does nothing: the default.
    public func disconnected(_ end: WebSocketSessionDisconnect) {}
    /// Does nothing: the default.
    public func gapped(_ gap: WebSocketSessionGap) {}
    /// Does nothing: the default.
    public func alerted(_ alert: WebSocketSessionAlert) {}
    /// Does nothing: the default.
    public func messagesLost(_ count: Int) {}
    /// Does nothing: the default.
    public func messageDropped() {}
}
