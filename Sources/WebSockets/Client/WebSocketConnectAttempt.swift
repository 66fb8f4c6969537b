//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
public import WebSocketCore
public import WebSocketLoop

/// What one attempt to connect asks for. ``WebSocketClientConfiguration/beforeConnect`` is given the configured one and
/// says what this attempt is to use: a fresh token, a signed URL, a new certificate.
public struct WebSocketConnectAttempt: Sendable {
    /// Where to: a `ws://` or `wss://` URL. A pool counts the connection to the endpoint that it was made with.
    public var url: String
    /// Additional headers of the handshake, in place of the configuration's.
    public var headers: HTTPFields
    /// Subprotocols to offer, in order of preference.
    public var subprotocols: [String]
    /// How the server is verified, and how this side proves who it is.
    public var tls: WebSocketTLSClientConfiguration
    /// The server's 401 or 403 to what the closure gave the last time, when it is asked again for that; nil otherwise. Its
    /// `response` has the challenge.
    public let refusal: WebSocketError?
}

extension WebSocketError {
    /// On `beforeConnectFailed`: what ``WebSocketClientConfiguration/beforeConnect`` threw.
    public var beforeConnectError: (any Error)? { (attachment?.object as? Thrown)?.error }

    private final class Thrown: Sendable {
        let error: any Error
        init(_ error: any Error) { self.error = error }
    }

    static func beforeConnect(threw error: any Error) -> WebSocketError {
        // What an error says may quote what a server said.
        let text = (error as? WebSocketError)?.message ?? "\(error)".escapedForLog
        var failure = WebSocketError(
            .beforeConnectFailed,
            "beforeConnect threw \(text); mend what it needs, or try again: nothing was sent for this attempt")
        failure.attachment = Attachment(Thrown(error))
        return failure
    }
}

extension WebSocketClientConfiguration {
    /// The one way from settings to an open connection, for single calls, iterators, sessions, managed connections and
    /// pools: asks ``beforeConnect``, checks what it says, connects, and asks again after a 401 or 403, once.
    ///
    /// - Parameters:
    ///   - openTimeout: How long all of it may take; nil for the configuration's.
    ///   - adjust: Has a last look at the request.
    func open(
        _ url: String, openTimeout: Duration? = nil, on loop: WebSocketEventLoop,
        adjust: (inout ClientRequest) async throws(WebSocketError) -> Void = { _ in }
    ) async throws(WebSocketError) -> Connection {
        let observation = Observation(observers: observers)
        let allowed = openTimeout ?? self.openTimeout
        guard let beforeConnect else {
            let request = try request(for: url, openTimeout: allowed)
            return try await observation.open(request, on: loop, deadline: nil, adjust)
        }
        // What else is configured may be what the closure replaces.
        let configured = try WebSocketURL(international: url)
        // The closure's time is part of the attempt's.
        let deadline = loop.deadline(after: allowed)
        var refusal: WebSocketError?
        while true {
            let attempt = WebSocketConnectAttempt(
                url: url, headers: headers, subprotocols: subprotocols, tls: tls, refusal: refusal)
            let request: ClientRequest
            do throws(WebSocketError) {
                let answer = try await loop.ask(by: deadline, allowed) { try await beforeConnect(attempt) }
                request = try self.request(for: answer, openTimeout: allowed)
            } catch {
                observation.failed(configured, error)
                throw error
            }
            do throws(WebSocketError) {
                return try await observation.open(request, on: loop, deadline: deadline, adjust)
            } catch {
                guard refusal == nil, error.code == .handshakeRejected, [401, 403].contains(error.response?.status)
                else { throw error }
                refusal = error
            }
        }
    }

    /// Checks what `beforeConnect` said as the configuration is checked.
    private func request(
        for attempt: WebSocketConnectAttempt, openTimeout: Duration
    ) throws(WebSocketError) -> ClientRequest {
        var configuration = self
        configuration.headers = attempt.headers
        configuration.subprotocols = attempt.subprotocols
        configuration.tls = attempt.tls
        do throws(WebSocketError) {
            return try configuration.request(for: attempt.url, openTimeout: openTimeout)
        } catch {
            throw WebSocketError(
                error.code, "what beforeConnect returned cannot be used: \(error.message)", phase: error.phase,
                tlsFailure: error.tlsFailure, systemError: error.systemError)
        }
    }
}

extension Observation {
    /// Connects in a span, if traces are taken, before the eyes of the observers.
    fileprivate func open(
        _ request: ClientRequest, on loop: WebSocketEventLoop, deadline: UInt64?,
        _ adjust: (inout ClientRequest) async throws(WebSocketError) -> Void
    ) async throws(WebSocketError) -> Connection {
        let wire = try await WebSocketSpan.connect.traced(request.url) { () throws(WebSocketError) in
            try await connect(to: request.url) { () throws(WebSocketError) in
                var request = request
                request.timing = timing(request.url)
                if WebSocketSpan.isTraced { TraceHeaders.inject(into: &request.fields) }
                try await adjust(&request)
                return try await loop.connect(request, deadline: deadline)
            }
        }
        watchTraffic(of: wire)
        return wire
    }
}

extension WebSocketEventLoop {
    /// What a closure of the application's says, which may take its time. It runs on no loop, sees the caller's task-local
    /// values, and is cancelled when the caller is or the deadline has passed; neither waits for it.
    fileprivate func ask<Answer: Sendable>(
        by deadline: UInt64, _ allowed: Duration, _ body: @escaping @Sendable () async throws -> Answer
    ) async throws(WebSocketError) -> Answer {
        let answer = DeadlineAnswer<Answer>(loop: self)
        let work = Task {
            do {
                answer.give(.success(try await body()))
            } catch {
                answer.give(.failure(.beforeConnect(threw: error)))
            }
        }
        // Also when the answer has come: it is over then.
        defer { work.cancel() }
        return try await answer.wait(for: "connect", deadline: deadline) {
            WebSocketError(
                .timedOut,
                "beforeConnect did not return within openTimeout (\(allowed)); make it quicker, or allow more time")
        }
    }
}
