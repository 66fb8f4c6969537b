//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
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
    /// A connection is the loop's: one that is left behind by `break` or an error is aborted, unless it was closed before.
    /// ``WebSocketReconnections/run(_:)`` is the scope that closes it. For subscriptions, gaps and a queue see
    /// ``WebSocketSession``.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - configuration: How to connect.
    ///   - reconnect: When to try again. Default: ``WebSocketReconnectPolicy`` without a limit of attempts.
    ///   - clock: Measures the delays. Default: the continuous clock.
    ///   - logger: Told at `notice` of each connection that could not be opened or did not end well, with the delay before
    ///     the next attempt. Credentials and the query's values stay out of it.
    public static func connections(
        to url: String, configuration: WebSocketClientConfiguration = .init(),
        reconnect: WebSocketReconnectPolicy? = nil, clock: any Clock<Duration> = ContinuousClock(),
        logger: Logger = Logger(label: "swift-libwebsockets")
    ) -> WebSocketReconnections {
        var endless = WebSocketReconnectPolicy()
        endless.maximumAttempts = nil
        return WebSocketReconnections(
            url: url, configuration: configuration, policy: reconnect ?? endless, clock: SessionClock(clock),
            logger: logger)
    }
}

/// See ``WebSocketClient/connections(to:configuration:reconnect:clock:logger:)``.
public struct WebSocketReconnections: AsyncSequence, Sendable {
    /// An open connection.
    public typealias Element = WebSocketConnection
    /// Why no other attempt is made.
    public typealias Failure = WebSocketError

    let url: String
    let configuration: WebSocketClientConfiguration
    let policy: WebSocketReconnectPolicy
    let clock: SessionClock
    let logger: Logger

    /// Runs `body` with one connection after the other, where the caller runs, and closes each: with 1000 when the body
    /// returns, with 1011 when it throws.
    ///
    /// ```swift
    /// try await WebSocketClient.connections(to: "wss://example.com/feed").run { socket in
    ///     try await socket.send("subscribe")
    ///     for try await message in socket.messages { print(message.text ?? "binary") }
    /// }
    /// ```
    ///
    /// A body that returns, and one that throws a ``WebSocketError`` because its connection has ended, gets the next
    /// connection. Every other error leaves. To stop without one, cancel the task.
    ///
    /// - Parameter body: Uses the connection. It may touch whatever the caller may: variables, `self`, an actor's state.
    ///   It must not let the connection escape.
    /// - Throws: What the iterator's ``Iterator/next()`` throws, and what the body throws.
    public func run(_ body: (WebSocketConnection) async throws -> Void) async throws -> Never {
        var connections = makeAsyncIterator()
        while true {
            // Closes the last one.
            let connection = try await connections.open()
            do {
                try await body(connection)
            } catch let error as WebSocketError where connection.state != .open && error.code != .cancelled {
                continue
            } catch {
                await connection.wire.closeRegardless(WebSocketCloseFrame(code: .internalError))
                throw error
            }
        }
    }

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
        public mutating func next() async throws(WebSocketError) -> WebSocketConnection? { try await open() }

        mutating func open() async throws(WebSocketError) -> WebSocketConnection {
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
            tell(cause, error, delay)
            guard delay > .zero else { return }
            do { try await sequence.clock.sleep(until: now + delay) } catch { throw .cancelled("reconnecting") }
        }

        private func tell(_ cause: WebSocketReconnectPolicy.Cause, _ error: WebSocketError, _ delay: Duration) {
            if case .disconnected(let end) = cause, end.reason == .userRequested { return }
            let url = (try? WebSocketURL(international: sequence.url)).map { "\($0)" } ?? "no URL"
            sequence.logger.notice(
                "websocket: no connection; trying again",
                metadata: ["url": "\(url)", "error": "\(error)", "in": "\(delay)"])
        }
    }
}
