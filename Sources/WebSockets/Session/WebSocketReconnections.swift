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
        connections(to: [url], configuration: configuration, reconnect: reconnect, clock: clock, logger: logger)
    }

    /// Connections to one of several servers that are as good as each other, one after the other. See
    /// ``connections(to:configuration:reconnect:clock:logger:)-(String,_,_,_,_)``.
    ///
    /// An attempt goes to the server of the last connection, unless that vanished without a word. One that fails is followed
    /// by the next server at once, but for those that asked for time (`Retry-After`); when each had its turn, `reconnect`
    /// says what follows.
    ///
    /// - Parameters:
    ///   - urls: `ws://` or `wss://` URLs, the first one first. With none the iterator throws `invalidURL`.
    ///   - configuration: How to connect.
    ///   - reconnect: When to try again. Default: ``WebSocketReconnectPolicy`` without a limit of attempts, of which each is
    ///     a round.
    ///   - clock: Measures the delays. Default: the continuous clock.
    ///   - logger: As with one server.
    public static func connections(
        to urls: [String], configuration: WebSocketClientConfiguration = .init(),
        reconnect: WebSocketReconnectPolicy? = nil, clock: any Clock<Duration> = ContinuousClock(),
        logger: Logger = Logger(label: "swift-libwebsockets")
    ) -> WebSocketReconnections {
        var endless = WebSocketReconnectPolicy()
        endless.maximumAttempts = nil
        return WebSocketReconnections(
            urls: urls, configuration: configuration, policy: reconnect ?? endless, clock: SessionClock(clock),
            logger: logger)
    }
}

/// See ``WebSocketClient/connections(to:configuration:reconnect:clock:logger:)-(String,_,_,_,_)``.
public struct WebSocketReconnections: AsyncSequence, Sendable {
    /// An open connection.
    public typealias Element = WebSocketConnection
    /// Why no other attempt is made.
    public typealias Failure = WebSocketError

    let urls: [String]
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
        private var endpoints: EndpointRotation
        private var current: WebSocketConnection?
        private var openedAt: Duration = .zero

        init(_ sequence: WebSocketReconnections) {
            self.sequence = sequence
            engine = ReconnectEngine(policy: sequence.policy, seed: .random(in: 0 ... .max))
            endpoints = EndpointRotation(count: sequence.urls.count)
        }

        /// Closes the last connection, waits as long as the policy wants, and opens the next one. Never nil.
        ///
        /// - Throws: The error of an attempt that would only fail again, or of the last one that the policy allows;
        ///   `invalidConfiguration` for a policy out of its range; `cancelled`.
        public mutating func next() async throws(WebSocketError) -> WebSocketConnection? { try await open() }

        mutating func open() async throws(WebSocketError) -> WebSocketConnection {
            try sequence.policy.validate()
            guard !sequence.urls.isEmpty else {
                throw WebSocketError(.invalidURL, "there is no URL to connect to; name a server")
            }
            if let current {
                self.current = nil
                await current.wire.closeRegardless(WebSocketCloseFrame(code: .normalClosure))
                let info = try? await current.closed()
                let end = WebSocketSessionDisconnect(
                    reason: info?.sent?.code == .normalClosure && info?.receivedFirst == false
                        ? .userRequested : SessionStateMachine<WebSocketConnection>.reason(info),
                    closeInfo: info, connectedFor: sequence.clock.now() - openedAt)
                let url = sequence.urls[endpoints.index]
                if end.reason.isOfEndpoint { endpoints.vanished() }
                try await wait(
                    .disconnected(end), url,
                    otherwise: info.map { .closed($0) }
                        ?? WebSocketError(.connectionClosed, "the connection has ended; open a new one"))
            }
            while true {
                endpoints.choose(at: sequence.clock.now())
                let url = sequence.urls[endpoints.index]
                do throws(WebSocketError) {
                    let connection = try await WebSocketClient.connect(to: url, configuration: sequence.configuration)
                    openedAt = sequence.clock.now()
                    engine.connected(at: openedAt)
                    endpoints.connected()
                    current = connection
                    return connection
                } catch {
                    if error.code == .cancelled { throw error }
                    let wish = sequence.policy.serverWish(.connectFailed(error), WallClock.seconds)
                    if let cause = endpoints.failed(error, wait: wish, at: sequence.clock.now()) {
                        try await wait(.connectFailed(cause), url, otherwise: cause)
                    } else {
                        tell(error, url, .zero)
                    }
                }
            }
        }

        private mutating func wait(
            _ cause: WebSocketReconnectPolicy.Cause, _ url: String, otherwise error: WebSocketError
        ) async throws(WebSocketError) {
            let now = sequence.clock.now()
            guard case .retry(let delay) = engine.next(after: cause, at: now, clock: WallClock.seconds) else {
                throw error
            }
            if !cause.isWanted { tell(error, url, delay) }
            guard delay > .zero else { return }
            do { try await sequence.clock.sleep(until: now + delay) } catch { throw .cancelled("reconnecting") }
        }

        private func tell(_ error: WebSocketError, _ url: String, _ delay: Duration) {
            let url = (try? WebSocketURL(international: url)).map { "\($0)" } ?? "no URL"
            sequence.logger.notice(
                "websocket: no connection; trying again",
                metadata: ["url": "\(url)", "error": "\(error)", "in": "\(delay)"])
        }
    }
}

extension WebSocketReconnectPolicy.Cause {
    fileprivate var isWanted: Bool {
        if case .disconnected(let end) = self { end.reason == .userRequested } else { false }
    }
}
