//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketConcurrency
public import WebSocketCore
import WebSocketLoop

extension WebSocketClient {
    /// Connections to a server, one after the other: each turn of the loop gets a new one when the last has ended.
    ///
    /// ```swift
    /// for try await socket in WebSocketClient.connections(to: "wss://example.com/feed") {
    ///     do {
    ///         for try await message in socket.messages { print(message.text ?? "binary") }
    ///     } catch {
    ///         print("reconnecting after \(error)")
    ///     }
    /// }
    /// ```
    ///
    /// Asking for the next connection closes the present one with 1000 if it is still open. Failures to connect are
    /// tried again as `reconnect` says: with full jitter up to 60 s and without end by default, not before a
    /// `Retry-After`, and counted from the beginning only after a connection that lasted `stableTime`. So a server
    /// that accepts and closes is not stormed. Errors of the loop's body are the body's own.
    ///
    /// Leaving the loop closes the connection; one that is dropped is aborted. For subscriptions, gaps and a
    /// queue see ``WebSocketSession``.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - configuration: How to connect.
    ///   - reconnect: When to try again. Default: ``WebSocketReconnectPolicy`` without a limit of attempts.
    ///   - clock: Measures the delays. Default: the continuous clock.
    public static func connections(
        to url: String, configuration: WebSocketClientConfiguration = .init(),
        reconnect: WebSocketReconnectPolicy? = nil, clock: any Clock<Duration> = ContinuousClock()
    ) -> WebSocketReconnections {
        var endless = WebSocketReconnectPolicy()
        endless.maximumAttempts = nil
        return WebSocketReconnections(
            url: url, configuration: configuration, policy: reconnect ?? endless,
            clock: SessionClock(clock))
    }
}

/// See ``WebSocketClient/connections(to:configuration:reconnect:clock:)``.
public struct WebSocketReconnections: AsyncSequence, Sendable {
    /// An open connection.
    public typealias Element = WebSocketConnection
    /// Why no other attempt is made.
    public typealias Failure = WebSocketError

    let url: String
    let configuration: WebSocketClientConfiguration
    let policy: WebSocketReconnectPolicy
    let clock: SessionClock

    /// An iterator with connections and a count of attempts of its own.
    public func makeAsyncIterator() -> Iterator { Iterator(self) }

    /// Opens one connection after the other.
    public struct Iterator: AsyncIteratorProtocol {
        private let sequence: WebSocketReconnections
        private var engine: ReconnectEngine
        private var current: WebSocketConnection?
        private var openedAt: Duration = .zero

        init(_ sequence: WebSocketReconnections) {
            self.sequence = sequence
            engine = ReconnectEngine(policy: sequence.policy, seed: .random(in: 0 ... .max))
        }

        /// Closes the last connection, waits as long as the policy wants, and opens the next one. Never nil.
        ///
        /// - Throws: The error of an attempt that would only fail again, or of the last one that the policy allows;
        ///   `invalidConfiguration` for a policy out of its range; `cancelled`.
        public mutating func next() async throws(WebSocketError) -> WebSocketConnection? {
            try sequence.policy.validate()
            if let current {
                self.current = nil
                await current.wire.closeRegardless(WebSocketCloseFrame(code: .normalClosure))
                let info = try? await current.closed()
                let end = WebSocketSessionDisconnect(
                    reason: info?.sent?.code == .normalClosure && info?.receivedFirst == false
                        ? .userRequested : SessionStateMachine<WebSocketConnection>.reason(info),
                    closeInfo: info, connectedFor: sequence.clock.now() - openedAt)
                try await wait(
                    .disconnected(end),
                    otherwise: info.map { .closed($0) }
                        ?? WebSocketError(.connectionClosed, "the connection has ended; open a new one"))
            }
            while true {
                do throws(WebSocketError) {
                    let connection = try await WebSocketClient.connect(
                        to: sequence.url, configuration: sequence.configuration)
                    openedAt = sequence.clock.now()
                    engine.connected(at: openedAt)
                    current = connection
                    return connection
                } catch {
                    if error.code == .cancelled { throw error }
                    try await wait(.connectFailed(error), otherwise: error)
                }
            }
        }

        private mutating func wait(
            _ cause: WebSocketReconnectPolicy.Cause, otherwise error: WebSocketError
        ) async throws(WebSocketError) {
            let now = sequence.clock.now()
            guard case .retry(let delay) = engine.next(after: cause, at: now, clock: WallClock.seconds) else {
                throw error
            }
            guard delay > .zero else { return }
            do { try await sequence.clock.sleep(until: now + delay) } catch { throw .cancelled("reconnecting") }
        }
    }
}
