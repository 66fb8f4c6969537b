//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
public import WebSocketCore

// When to be connected, and to what.
extension WebSocketSession {
    // MARK: Connecting

    /// Connects now, also while the session waits to reconnect, and returns when messages flow. Joins an attempt that
    /// is under way: there is never a second one.
    ///
    /// - Throws: `notConnected` while the session is closing, or when it was closed meanwhile; the session's own error
    ///   when it gave up; `connectionClosed` when it has ended; `cancelled`, while the attempt goes on.
    public func connect() async throws(WebSocketError) {
        let isClosing = core.perform { parts, _, _ in
            (parts.machine.publicState == .closing, parts.machine.connect())
        }
        guard !isClosing else {
            throw WebSocketError(.notConnected, "the session is closing; wait for waitDisconnected, then connect")
        }
        let isConnected = await core.wait(timeout: nil) { state, isResting in
            switch state {
            case .connected: true
            case .closed: false
            case .disconnected where isResting: false
            default: nil
            }
        }
        switch isConnected {
        case true?: return
        case nil: throw .cancelled("connect")
        case false?:
            if state.isTerminal { throw SessionCore.endedError(core.parts.withLock { $0.failure }) }
            throw WebSocketError(.notConnected, "the session was closed before it was connected; call connect again")
        }
    }

    /// Connects after this time, and returns at once. ``close(code:reason:)`` and the like end the wait.
    ///
    /// - Throws: `notConnected` unless the session is disconnected or waits to reconnect.
    public func scheduleReconnect(after delay: Duration) throws(WebSocketError) {
        let isScheduled = core.perform { parts, now, _ in
            (parts.machine.scheduleReconnect(at: now + max(delay, .zero)), [])
        }
        guard isScheduled else {
            throw WebSocketError(
                .notConnected, "the session is \(state); a reconnect can be scheduled while it is disconnected")
        }
    }

    /// Asks `shouldReconnect` every `reconnectCheckInterval` until it says now, without connecting.
    ///
    /// - Returns: False when the closure says never, when there is none, or when the time is over.
    public func waitForReconnectWindow(timeout: Duration? = nil) async -> Bool {
        let core = core
        return await (try? core.clock.limit(timeout) { await core.waitForReconnectWindow() }) ?? false
    }

    // MARK: Disconnecting

    /// Closes the connection with 1000 and reason `userRequested`, and returns when it has ended.
    ///
    /// - Parameter delay: When to connect again, counted from the end. nil leaves that to `shouldReconnect`, or to
    ///   ``connect()`` without that closure. The wait belongs to the session: this call does not wait for it.
    /// - Throws: `notConnected`.
    public func disconnect(reconnectAfter delay: Duration? = nil) async throws(WebSocketError) {
        let isLeaving = core.perform { parts, _, _ in
            let commands = parts.machine.disconnect(.userRequested, reconnectAfter: delay)
            return (commands != nil, commands ?? [])
        }
        guard isLeaving else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to leave")
        }
        await core.waitUntilLeft()
    }

    /// Closes the present connection at that time with reason `scheduled`; replaces an earlier schedule.
    ///
    /// - Parameters:
    ///   - delay: From now.
    ///   - reconnectAfter: See ``disconnect(reconnectAfter:)``.
    /// - Throws: `notConnected`.
    public func scheduleDisconnect(
        after delay: Duration, reconnectAfter: Duration? = nil
    ) throws(WebSocketError) {
        let isScheduled = core.perform { parts, now, _ in
            (parts.machine.scheduleDisconnect(at: now + max(delay, .zero), reconnectAfter: reconnectAfter), [])
        }
        guard isScheduled else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to leave")
        }
    }

    /// Replaces the connection without a gap (make-before-break): opens and prepares a new one, hands over, and closes
    /// the old one when it has brought its last message. Returns at once; a `renewed` event tells when it is done, and
    /// an alert `renewalFailed` that the old connection stays.
    ///
    /// A message that both connections bring is delivered once; see
    /// ``WebSocketSessionConfiguration/messageIdentity``.
    ///
    /// - Throws: `notConnected`.
    public func renew() throws(WebSocketError) {
        let isRenewing = core.perform { parts, _, _ in
            let commands = parts.machine.renew()
            return (commands != nil, commands ?? [])
        }
        guard isRenewing else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to replace")
        }
    }

    // MARK: Ending

    /// Closes the connection and whatever is under way to get one, and returns when it has ended, within
    /// `closeTimeout`. The session can be connected again. Does nothing where there is nothing to close.
    ///
    /// - Throws: `invalidCloseCode`, `closeReasonTooLong`.
    public func close(
        code: WebSocketCloseCode = .normalClosure, reason: String = ""
    ) async throws(WebSocketError) {
        let frame = WebSocketCloseFrame(code: code, reason: reason)
        try frame.validate()
        core.perform { parts, _, _ in ((), parts.machine.close(frame)) }
        await core.waitUntilLeft()
    }

    /// Closes with 1000 and ends the session, within `closeTimeout`; ``run()`` returns.
    public func shutDown() async {
        core.beginShutdown()
        await core.waitUntilLeft()
    }

    /// Ends the session without asking the server; ``run()`` returns.
    public func abort() async {
        core.perform { parts, _, _ in ((), parts.machine.abort()) }
        await core.waitUntilLeft()
    }

    /// Cuts the TCP connection as a broken network would, to test what the application does then: reason `killed`,
    /// followed by a reconnect as after any failure. Does nothing without a connection.
    public func kill() async {
        core.perform { parts, _, _ in ((), parts.machine.kill()) }
        await core.waitUntilLeft()
    }

    // MARK: Subscriptions

    /// The channels that are wanted, in the order in which they were first subscribed.
    public var subscriptions: [String] { core.parts.withLock { $0.subscriptions.channels } }

    /// Whether the server has confirmed the channel on the present connection; without
    /// ``WebSocketSessionConfiguration/Subscriptions/reply``, whether it was sent there.
    public func isSubscribed(_ channel: String) -> Bool {
        core.parts.withLock { $0.subscriptions.isActive(channel) }
    }

    /// Wants these channels from now on: they are sent now, if there is a connection, and on every later one before the
    /// application's messages. Returns when they are on their way; a failure is an alert `subscriptionFailed`.
    ///
    /// - Throws: What the configuration's `subscribe` throws; then none of the channels is wanted.
    public func subscribe(_ channels: String...) async throws {
        for channel in channels { _ = try configuration.subscriptions.subscribe(channel) }
        for channel in channels { core.subscribe(channel) }
        core.sendSubscriptions()
    }

    /// Does not want these channels any more, and tells the server if there is a connection.
    ///
    /// - Throws: What the configuration's `unsubscribe` throws.
    public func unsubscribe(_ channels: String...) async throws {
        for channel in channels { try core.unsubscribe(channel) }
    }

    // MARK: More

    /// Pings the server and returns the round trip.
    ///
    /// - Throws: `notConnected`; what a connection's `ping` throws.
    public func ping() async throws(WebSocketError) -> Duration {
        guard let (_, connection) = core.parts.withLock({ $0.machine.openConnection }) else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to ping")
        }
        return try await connection.ping()
    }

    /// Sets the counters to zero. Messages under way stay in the ledger, so that its sums agree.
    public func resetStatistics() { core.resetStatistics() }
}
