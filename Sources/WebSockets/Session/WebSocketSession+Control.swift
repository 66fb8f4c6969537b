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

    /// Connects now, also while the session waits to reconnect or has given up, and returns when messages flow. Joins an
    /// attempt that is under way: there is never a second one.
    ///
    /// It is ``run()`` that connects: before it was called, in this or another task, there is nothing to wait for, and after
    /// a second this throws.
    ///
    /// - Throws: `notConnected` when the session does not run, while it is closing, or when it was closed meanwhile;
    ///   what ``failure`` has when it gave up; `connectionClosed` when it was shut down; `cancelled`, while the attempt goes
    ///   on.
    public func connect() async throws(WebSocketError) {
        try await core.requireRun(for: "connect")
        let isClosing = core.perform { coordinator, now in
            let isClosing = coordinator.machine.publicState == .closing
            coordinator.connect(at: now)
            return isClosing
        }
        guard !isClosing else {
            throw WebSocketError(.notConnected, "the session is closing; wait for waitDisconnected, then connect")
        }
        let isConnected = await core.wait(timeout: nil) { view in
            switch view.state {
            case .connected: true
            case .closed: false
            case .disconnected: view.rest == nil ? nil : false
            case .connecting, .reconnecting, .closing: nil
            }
        }
        switch isConnected {
        case true?: return
        case nil: throw .cancelled("connect")
        case false?:
            if let failure { throw failure }
            if state.isTerminal { throw core.coordinator.withLock { $0.endedError } }
            throw WebSocketError(.notConnected, "the session was closed before it was connected; call connect again")
        }
    }

    /// Connects after this time, at once where it is negative, and returns at once. ``close(code:reason:)`` and the like end the wait.
    ///
    /// - Throws: `notConnected` unless the session is disconnected or waits to reconnect.
    public func scheduleReconnect(after delay: Duration) throws(WebSocketError) {
        let isScheduled = core.perform { $0.scheduleReconnect(at: $1 + max(delay, .zero)) }
        guard isScheduled else {
            throw WebSocketError(
                .notConnected, "the session is \(state); a reconnect can be scheduled while it is disconnected")
        }
    }

    /// Asks `closure` every `reconnectCheckInterval` until it says now, without connecting.
    ///
    /// - Parameters:
    ///   - timeout: How long at most; nil for as long as it takes.
    ///   - closure: What is asked. Default: the configuration's `shouldReconnect`.
    /// - Returns: False when the closure says never, when there is none, or when the time is over.
    public func waitForReconnectWindow(
        timeout: Duration? = nil,
        _ closure: (@Sendable (WebSocketSessionSnapshot) async throws -> WebSocketReconnectWindow)? = nil
    ) async -> Bool {
        guard let closure = closure ?? configuration.shouldReconnect else { return false }
        let core = core
        return await (try? core.clock.limit(timeout) { await core.waitForReconnectWindow(closure) }) ?? false
    }

    // MARK: Disconnecting

    /// Closes the connection with 1000 and reason `userRequested`, and returns when it has ended: within
    /// `handoverTimeout` where another one is to follow, within `closeTimeout` otherwise. ``messages`` go on with the next
    /// connection.
    ///
    /// - Parameters:
    ///   - delay: When to connect again, counted from the end. nil leaves that to `shouldReconnect`, or to
    ///     ``connect()`` without that closure. The wait belongs to the session: this call does not wait for it.
    ///   - reason: What the close frame says, at most 123 bytes.
    /// - Throws: `notConnected`; `closeReasonTooLong`.
    public func disconnect(
        reconnectAfter delay: Duration? = nil, reason: String = ""
    ) async throws(WebSocketError) {
        let frame = WebSocketCloseFrame(code: .normalClosure, reason: reason)
        try frame.validate()
        guard core.perform({ $0.disconnect(reconnectAfter: delay, frame, at: $1) }) else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to leave")
        }
        await core.waitUntilLeft()
    }

    /// Closes the present connection at that time with reason `scheduled`; replaces an earlier schedule.
    ///
    /// - Parameters:
    ///   - delay: From now; a negative one is over.
    ///   - reconnectAfter: See ``disconnect(reconnectAfter:reason:)``.
    /// - Throws: `notConnected`.
    public func scheduleDisconnect(
        after delay: Duration, reconnectAfter: Duration? = nil
    ) throws(WebSocketError) {
        let isScheduled = core.perform {
            $0.scheduleDisconnect(at: $1 + max(delay, .zero), reconnectAfter: reconnectAfter)
        }
        guard isScheduled else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to leave")
        }
    }

    /// Replaces the connection without a gap (make-before-break): opens and prepares a new one, hands over, and closes
    /// the old one. What the new one brings meanwhile is delivered when the old one has brought its last message, or is
    /// silent for `handoverTimeout`. Returns at once; a `renewed` event tells when it is done, and an alert `renewalFailed`
    /// that the old connection stays.
    ///
    /// A message that both connections bring is delivered once; see
    /// ``WebSocketSessionConfiguration/messageIdentity``.
    ///
    /// - Throws: `notConnected`.
    public func renew() throws(WebSocketError) {
        guard core.perform({ $0.renew(at: $1) }) else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to replace")
        }
    }

    // MARK: Ending

    /// Closes the connection and whatever is under way to get one, and returns when it has ended, within
    /// `closeTimeout`. The session can be connected again, unless it is being shut down. Does nothing where
    /// there is nothing to close.
    ///
    /// - Throws: `invalidCloseCode`, `closeReasonTooLong`.
    public func close(
        code: WebSocketCloseCode = .normalClosure, reason: String = ""
    ) async throws(WebSocketError) {
        let frame = WebSocketCloseFrame(code: code, reason: reason)
        try frame.validate()
        core.perform { $0.close(frame, at: $1) }
        await core.waitUntilLeft()
    }

    /// Closes with 1000 and ends the session, within `closeTimeout`; ``run()`` returns.
    public func shutDown() async {
        core.beginShutdown()
        await core.waitUntilLeft()
    }

    /// Ends the session without asking the server; ``run()`` returns.
    public func abort() async {
        core.perform { $0.abort(at: $1) }
        await core.waitUntilLeft()
    }

    /// Cuts the TCP connection as a broken network would, to test what the application does then: reason `killed`,
    /// followed by a reconnect as after any failure. Does nothing without a connection.
    public func kill() async {
        core.perform { $0.kill(at: $1) }
        await core.waitUntilLeft()
    }

    // MARK: Subscriptions

    /// The channels that are wanted, in the order in which they were first subscribed.
    public var subscriptions: [String] { core.coordinator.withLock { $0.subscriptions.channels } }

    /// Whether the server has confirmed the channel on the present connection; without
    /// ``WebSocketSessionConfiguration/Subscriptions/reply``, whether it was sent there.
    public func isSubscribed(_ channel: String) -> Bool {
        core.coordinator.withLock { $0.subscriptions.isActive(channel) }
    }

    /// Wants these channels from now on: they are sent now, if there is a connection, and on every later one before the
    /// application's messages. Returns when they are on their way; ``waitSubscribed(_:timeout:)`` waits for the answers, and
    /// each answer is an event `subscription`.
    ///
    /// - Throws: What the configuration's `subscribe` or `subscribeBatch` throws; then none of the channels is wanted.
    public func subscribe(_ channels: String...) async throws { try await subscribe(channels) }

    /// Wants these channels from now on. See ``subscribe(_:)-(String...)``.
    ///
    /// - Throws: What the configuration's `subscribe` or `subscribeBatch` throws; then none of the channels is wanted.
    public func subscribe(_ channels: [String]) async throws {
        for channel in channels { _ = try configuration.subscriptions.message([channel]) }
        core.perform { coordinator, _ in for channel in channels { coordinator.subscribe(channel) } }
    }

    /// Waits until the server has accepted these channels on the present or a later connection; without
    /// ``WebSocketSessionConfiguration/Subscriptions/reply``, until they are sent.
    ///
    /// - Parameters:
    ///   - channels: All of them must have been subscribed. Default: every channel that is wanted.
    ///   - timeout: How long at most; nil for as long as it takes.
    /// - Throws: `subscriptionRefused` with every channel that was refused as often as it is tried, and the server's words;
    ///   `timedOut`; `notConnected` when none will be sent by itself; what ``failure`` has when the session gave up;
    ///   `connectionClosed` when it was shut down; `cancelled`.
    public func waitSubscribed(
        _ channels: [String]? = nil, timeout: Duration? = nil
    ) async throws(WebSocketError) {
        try await core.requireRun(for: "waitSubscribed")
        let channels = channels ?? subscriptions
        let isKnown = await core.wait(timeout: timeout) { view in
            if view.rest != nil || view.state.isTerminal { return true }
            return view.state == .connected && view.subscriptions.progress(of: channels) != .pending ? true : nil
        }
        guard isKnown != nil else {
            if Task.isCancelled { throw .cancelled("waitSubscribed") }
            throw WebSocketError(
                .timedOut,
                "the server did not answer every subscription within \(timeout ?? .zero); allow more time, or look for events subscription",
                phase: .receive)
        }
        switch core.coordinator.withLock({ $0.subscriptions.progress(of: channels) }) {
        case .active: return
        case .failed(let reasons):
            let list = channels.compactMap { channel in reasons[channel].map { (channel, $0) } }
                .map { "\($0.escapedForLog) (\($1.escapedForLog))" }.joined(separator: ", ")
            throw WebSocketError(
                .subscriptionRefused, "not subscribed: \(list); correct or unsubscribe them")
        case .pending:
            if let failure { throw failure }
            if state.isTerminal { throw core.coordinator.withLock { $0.endedError } }
            throw WebSocketError(
                .notConnected, "the session is \(state), so nothing is subscribed; call connect, then wait again")
        }
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
        guard let (_, connection) = core.coordinator.withLock({ $0.machine.openConnection }) else {
            throw WebSocketError(.notConnected, "the session is \(state); there is no connection to ping")
        }
        return try await connection.ping()
    }

    /// Sets the counters to zero. Messages under way stay in the ledger, so that its sums agree.
    public func resetStatistics() { core.perform { $0.resetStatistics(at: $1) } }
}
