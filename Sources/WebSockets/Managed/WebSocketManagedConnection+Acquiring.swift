//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore
import WebSocketLoop

extension WebSocketManagedConnection {
    /// Takes the connection for yourself, connecting it if need be. Release it afterwards, or use
    /// ``withSession(executor:_:)``, which does.
    ///
    /// - Throws: `connectionBusy` at once when somebody else has it; what ``connect()`` throws.
    public func acquire() async throws(WebSocketError) { try await connect(acquires: true) }

    /// Gives the connection back. Does nothing when it is not acquired.
    ///
    /// - Parameter draining: Whether to drain first as `options.drain` says (without one: as its defaults say). Default:
    ///   when there is such a policy.
    /// - Throws: `drainTimedOut` when the peer does not stop sending, `connectionClosed` when a message came that must
    ///   not be thrown away or the connection ended. The connection is released and closed then; the next `acquire`
    ///   opens a new one.
    public func release(draining: Bool? = nil) async throws(WebSocketError) {
        let drains = draining ?? (options.drain != nil)
        let (action, socket) = state.withLock { state in
            state.touch(clock.now())
            return (state.machine.release(drains: drains), state.socket)
        }
        defer { watchIdleness() }
        guard action == .drain, let socket else {
            state.withLock { $0.machine.drained() }
            return
        }
        do throws(WebSocketError) {
            try await drain(socket, options.drain ?? DrainPolicy())
            state.withLock { state in
                state.machine.drained()
                state.touch(clock.now())
            }
        } catch {
            socket.abort()
            // Gone before it can be acquired again.
            state.withLock { state in
                if state.socket === socket { state.forgetSocket() }
                state.machine.drained()
            }
            throw error
        }
    }

    func drain(_ socket: WebSocketConnection, _ policy: DrainPolicy) async throws(WebSocketError) {
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

    /// Acquires the connection, runs `body`, and releases it, whatever happens.
    ///
    /// - Parameters:
    ///   - executor: Where the body runs. Default ``WebSocketBodyExecutor/loop``: it must not block there.
    ///   - body: Uses the connection.
    /// - Throws: What ``acquire()``, the body, and, when the body did not throw, ``release(draining:)`` throw.
    public func withSession<Result: Sendable>(
        executor: WebSocketBodyExecutor = .loop,
        _ body: @escaping @Sendable @concurrent (WebSocketManagedConnection) async throws -> Result
    ) async throws -> Result {
        try await acquire()
        do {
            let result = try await withTaskExecutorPreference(executor.taskExecutor(on: loop)) {
                try await body(self)
            }
            try await release()
            return result
        } catch {
            try? await release()
            throw error
        }
    }
}
