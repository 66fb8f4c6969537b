//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore
import WebSocketLoop

extension WebSocketManagedConnection {
    /// Takes the connection for yourself, connecting it if need be. Release it afterwards, or use
    /// ``withConnection(timeout:_:)``, which does.
    ///
    /// - Throws: `connectionBusy` at once when it is in use or being drained; what ``connect()`` throws.
    public func acquire() async throws(WebSocketError) { try await want(.turnNow, "acquire") }

    /// Takes the connection for yourself when its turn has come: in the order of arrival, after those who have it and
    /// who wait for it.
    ///
    /// - Parameter timeout: How long to wait for the turn and for the connection together. With `.zero` it is had at
    ///   once or not at all.
    /// - Throws: `acquireTimedOut`; `invalidConfiguration` for a negative time; what ``connect()`` throws. A call that
    ///   throws holds nothing.
    public func acquire(timeout: Duration) async throws(WebSocketError) {
        guard timeout >= .zero else {
            throw WebSocketError(.invalidConfiguration, "timeout is \(timeout); it must be zero or more")
        }
        try await want(.turn, "acquire", timeout: timeout)
    }

    /// Gives the connection back. Does nothing when it is not acquired, or being drained already.
    ///
    /// With `options.drain` what was left behind is thrown away in the background, and the connection is busy until that
    /// is done. Where it fails the connection is closed, ``onDisconnect(_:)`` tells of it, and the next ``acquire()``
    /// opens another; ``drainAndRelease()`` throws the reason.
    ///
    /// A call of the former user that still waits for a message would take one of the next user's: the connection is
    /// closed then, too.
    public func release() {
        guard let socket = endTurn(drains: options.drain != nil) else { return }
        let drain = Task { _ = try? await finishDraining(socket) }
        state.withLock { $0.drain = drain }
    }

    /// Gives the connection back, and waits until what was left behind is thrown away: as `options.drain` says, without
    /// one as the defaults of ``DrainPolicy`` say. Does nothing when it is not acquired, or being drained already.
    ///
    /// - Throws: `drainTimedOut` when the peer does not stop sending, `connectionClosed` when a message came that must
    ///   not be thrown away or the connection ended, `cancelled` when the task was while draining. The connection is
    ///   released and closed then; the next `acquire` opens a new one.
    public func drainAndRelease() async throws(WebSocketError) {
        guard let socket = endTurn(drains: true) else { return }
        try await finishDraining(socket)
    }

    /// Ends the turn. What is left to be drained is returned.
    func endTurn(drains: Bool) -> WebSocketConnection? {
        let (rest, claimed, news) = state.withLock { state -> (WebSocketConnection?, WebSocketConnection?, News) in
            // What waits for its connection is not released but cancelled.
            guard state.machine.isBusy else { return (nil, nil, News()) }
            let claimed = state.socket.flatMap { $0.wire.isInboundClaimed ? $0 : nil }
            if claimed != nil { state.forgetSocket() }
            switch state.machine.release(drains: drains) {
            case .ignore: return (nil, nil, News())
            case .drain:
                state.endTurn(clock.now())
                return (state.socket, nil, News())
            case .free(let next):
                state.endTurn(clock.now())
                return (nil, claimed, follow(next, &state))
            }
        }
        if let claimed {
            let wire = claimed.wire
            Task { await wire.closeRegardless(WebSocketCloseFrame(code: .normalClosure)) }
        }
        tell(news)
        watchIdleness()
        return rest
    }

    func finishDraining(_ socket: WebSocketConnection) async throws(WebSocketError) {
        let result: Result<Void, WebSocketError>
        do throws(WebSocketError) {
            let policy = options.drain ?? DrainPolicy()
            // Not where the caller runs: a busy executor must not use up the time.
            result = .success(
                try await withTaskExecutorPreference(loop.taskExecutor) { () async throws(WebSocketError) in
                    try await Self.drain(socket, policy)
                })
        } catch {
            socket.abort()
            result = .failure(error.code == .cancelled ? .cancelled("release, while draining,") : error)
        }
        let news = state.withLock { state in
            // Gone before it can be acquired again.
            if case .failure = result, state.socket === socket { state.forgetSocket() }
            state.touch(clock.now())
            return follow(state.machine.drained(), &state)
        }
        tell(news)
        watchIdleness()
        try result.get()
    }

    @concurrent private static func drain(
        _ socket: WebSocketConnection, _ policy: DrainPolicy
    ) async throws(WebSocketError) {
        let deadline = ContinuousClock.now + policy.timeout
        while true {
            let left = deadline - .now
            guard left > .zero else {
                throw WebSocketError(
                    .drainTimedOut,
                    "messages kept coming for \(policy.timeout) after release; the connection was closed, acquire opens a new one"
                )
            }
            guard let message = try await socket.receive(within: min(left, policy.quietPeriod)) else {
                if left < policy.quietPeriod { continue }
                return
            }
            guard policy.shouldDiscard(message) else {
                throw WebSocketError(
                    .connectionClosed,
                    "a \(message) was left behind that must not be thrown away; the connection was closed, acquire opens a new one"
                )
            }
        }
    }
}
