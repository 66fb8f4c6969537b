//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes

/// A client's side of the opening handshake behind its request (RFC 6455 §4.1): given what was asked, and fed with the
/// bytes that come, it says what to do. It holds no clock and no socket.
///
/// The states are the head of the answer, a refusal's body, and the end. Each ends at the same byte with the same
/// action however the bytes are cut; what follows a 101 is never taken, so a caller may peek or read.
package struct ClientHandshakeMachine: Sendable {
    /// What the request asked for.
    package struct Offer: Sendable {
        /// The request's `Sec-WebSocket-Key`.
        package var key: String
        /// The `Sec-WebSocket-Accept` that answers the key (`AcceptKey`).
        package var acceptKey: String
        package var subprotocols: [String]
        package var compression: WebSocketCompression

        package init(
            key: String, acceptKey: String, subprotocols: [String] = [], compression: WebSocketCompression = .disabled
        ) {
            self.key = key
            self.acceptKey = acceptKey
            self.subprotocols = subprotocols
            self.compression = compression
        }
    }

    /// What a valid 101 agreed on.
    package struct Opened: Equatable, Sendable {
        package var response: WebSocketError.Response
        package var subprotocol: String?
        package var deflate: WebSocketNegotiatedDeflate?
    }

    package enum Action: Equatable, Sendable {
        /// More is needed.
        case wait
        /// The connection is open: what follows is frames.
        case open(Opened)
        /// The answer is malformed, no valid 101, or a refusal whose body is complete or as long as is kept.
        case fail(WebSocketError)
        /// The answer is a refusal whose body is wanted, if it comes soon: the caller sets a short timer, once, and
        /// then calls `bodyTimedOut`.
        case readBody
    }

    private enum State {
        case head
        case body(HTTPResponseHead, RefusalBody)
        case open(Opened)
        case failed(WebSocketError)
    }

    private let offer: Offer
    private let limits: WebSocketResponseLimits
    private var state = State.head
    private var reader: HTTPResponseHeadReader

    package init(_ offer: Offer, limits: WebSocketResponseLimits = .init()) {
        self.offer = offer
        self.limits = limits
        reader = HTTPResponseHeadReader(limits: limits)
    }

    /// Whether any byte of the answer has come.
    package var hasBegun: Bool { reader.hasBegun }

    /// What is held of the answer, in bytes: never more than `headBytes` and `bodyBytes` together.
    package var keptBytes: Int {
        switch state {
        case .head, .open: reader.keptBytes
        case .body(_, let body): reader.keptBytes + body.bytes.count
        case .failed(let error): reader.keptBytes + (error.response?.body.count ?? 0)
        }
    }

    /// Bytes came.
    ///
    /// - Returns: How many of them are the handshake's, and what to do. After `open` and `fail` none is taken, and the
    ///   action is said again.
    package mutating func receive(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        switch state {
        case .head: return receiveHead(bytes)
        case .body(let head, let body):
            // Given up meanwhile, so that its bytes are not copied.
            state = .head
            return receiveBody(bytes, of: head, into: body)
        case .open(let opened): return (0, .open(opened))
        case .failed(let error): return (0, .fail(error))
        }
    }

    /// The server has ended the stream.
    package mutating func ended() -> WebSocketError {
        switch state {
        case .head:
            let text =
                reader.isWithinHead
                ? "the server ended the connection within its answer"
                : reader.hasBegun
                    ? "the server ended the connection after an interim answer (1xx), before the final one"
                    : "the server ended the connection before it answered"
            return fail(invalid(text, advice: Advice.ended))
        case .body(let head, let body): return fail(rejection(head, body))
        case .open: return fail(invalid("the server ended the connection behind its answer", advice: Advice.ended))
        case .failed(let error): return error
        }
    }

    /// The 101 came in front of the request's end, which would go out behind it, as frames.
    package mutating func openedTooEarly() -> WebSocketError {
        fail(
            invalid(
                "it answered with 101 before it had the whole request; send fewer or shorter headers, and tell those who run the server"
            ))
    }

    /// The time for a refusal's body is over.
    package mutating func bodyTimedOut() -> WebSocketError {
        switch state {
        case .head, .open:
            return fail(
                WebSocketError(
                    .timedOut, "the server's answer was not read in time; look for what keeps the event loop busy",
                    phase: .upgrade))
        case .body(let head, let body): return fail(rejection(head, body))
        case .failed(let error): return error
        }
    }

    // MARK: The head

    private mutating func receiveHead(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        let (taken, result) = reader.receive(bytes)
        switch result {
        case .wait: return (taken, .wait)
        case .problem(let problem): return (taken, .fail(fail(invalid(problem.text))))
        case .head(let head) where head.status == 101:
            do throws(WebSocketError) {
                let opened = try judge(head)
                state = .open(opened)
                return (taken, .open(opened))
            } catch {
                return (taken, .fail(fail(error)))
            }
        case .head(let head):
            let rest = receiveBody(
                UnsafeRawBufferPointer(rebasing: bytes[taken...]), of: head,
                into: RefusalBody(of: head, limits: limits))
            return (taken + rest.taken, rest.action)
        }
    }

    /// RFC 6455 §4.1, what the client must check of a 101. Header fields about a body are ignored: it has none
    /// (RFC 9112 §6.3).
    private func judge(_ head: HTTPResponseHead) throws(WebSocketError) -> Opened {
        let response = WebSocketError.Response(status: head.status, headers: head.fields)
        func refuse(_ text: String) -> WebSocketError { invalid(text, response) }

        guard head.minorVersion > 0 else {
            throw refuse("it upgrades in HTTP/1.0, which cannot; check for a proxy in between that speaks no HTTP/1.1")
        }
        let upgrades = head.fields.list(.upgrade)
        guard let upgrade = upgrades.first else { throw refuse("the Upgrade header is missing") }
        guard upgrades.count == 1, upgrade.lowercased() == "websocket" else {
            throw refuse("the Upgrade header names something else than websocket")
        }
        guard head.fields.list(.connection).contains(where: { $0.lowercased() == "upgrade" }) else {
            throw refuse("the Connection header does not say upgrade")
        }
        let accepts = head.fields[values: .secWebSocketAccept]
        guard let accept = accepts.first else { throw refuse("Sec-WebSocket-Accept is missing") }
        // RFC 6455 §11.3.3, and browsers: not even the same twice.
        guard accepts.count == 1 else { throw refuse("Sec-WebSocket-Accept comes more than once") }
        guard accept != offer.key else {
            throw refuse("Sec-WebSocket-Accept does not match the key: it is the key itself instead of its digest")
        }
        guard accept == offer.acceptKey else { throw refuse("Sec-WebSocket-Accept does not match the key") }
        return Opened(
            response: response, subprotocol: try subprotocol(head.fields, refuse),
            deflate: try deflate(head.fields, refuse))
    }

    private func subprotocol(
        _ fields: HTTPFields, _ refuse: (String) -> WebSocketError
    ) throws(WebSocketError) -> String? {
        let chosen = fields[values: .secWebSocketProtocol]
        // RFC 6455 §11.3.4.
        guard chosen.count <= 1 else { throw refuse("Sec-WebSocket-Protocol comes more than once") }
        // An empty one chooses nothing.
        guard let name = chosen.first, !name.isEmpty else { return nil }
        guard offer.subprotocols.contains(name) else {
            throw refuse("the server chose a subprotocol that was not offered")
        }
        return name
    }

    private func deflate(
        _ fields: HTTPFields, _ refuse: (String) -> WebSocketError
    ) throws(WebSocketError) -> WebSocketNegotiatedDeflate? {
        do throws(DeflateNegotiation.Refusal) {
            // Several fields are one list (RFC 6455 §9.1), which is how they are joined here.
            return try DeflateNegotiation.accept(
                answer: fields[.secWebSocketExtensions], offered: offer.compression)
        } catch {
            throw refuse(error.reason)
        }
    }

    // MARK: A refusal

    private mutating func receiveBody(
        _ bytes: UnsafeRawBufferPointer, of head: HTTPResponseHead, into body: consuming RefusalBody
    ) -> (taken: Int, action: Action) {
        let taken = body.receive(bytes)
        guard !body.isComplete else { return (taken, .fail(fail(rejection(head, body)))) }
        state = .body(head, body)
        return (taken, .readBody)
    }

    private func rejection(_ head: HTTPResponseHead, _ body: RefusalBody) -> WebSocketError {
        let response = WebSocketError.Response(status: head.status, headers: head.fields, body: body.bytes)
        return WebSocketError(
            .handshakeRejected,
            "the server answered the handshake with status \(head.status) instead of 101; \(Advice.after(head))",
            phase: .upgrade, response: response)
    }

    // MARK: Ending

    private mutating func fail(_ error: WebSocketError) -> WebSocketError {
        state = .failed(error)
        return error
    }

    private func invalid(
        _ text: String, _ response: WebSocketError.Response? = nil, advice: String = Advice.invalid
    ) -> WebSocketError {
        // Some say it better themselves.
        let advised = text.utf8.contains(UInt8(ascii: ";")) ? text : "\(text); \(advice)"
        return WebSocketError(
            .handshakeInvalid, "the server's handshake is not valid: \(advised)", phase: .upgrade, response: response)
    }
}

/// What to do about an answer that opens no connection.
private enum Advice {
    static let invalid = "check that the URL leads to a WebSocket server, and what proxies in between change"
    static let ended = "its log may say why; check the URL's port and scheme too, a TLS port wants wss://"

    /// The statuses that `maximumRedirects` follows.
    private static let followed: Set<Int> = [300, 301, 302, 303, 307, 308]

    static func after(_ head: HTTPResponseHead) -> String {
        switch head.status {
        case let status where followed.contains(status) && head.fields[.location] != nil:
            "it redirects elsewhere: set maximumRedirects to follow it, or use that URL"
        case 300...399: "there is no redirect in it that could be followed; check the URL"
        case 401: "check the credentials, or give fresh ones to each attempt with beforeConnect"
        case 403: "check the credentials, and the Origin header, which some servers want"
        case 404, 410: "check the URL's path"
        case 400, 426: "check the URL's path, and that no proxy in between takes Upgrade away"
        case 408, 425, 429, 503:
            head.fields[.retryAfter] == nil
                ? "try again later" : "try again later, when its Retry-After allows it"
        case 500...599: "it or a gateway in front of it has failed: try again later, and see its log"
        case 200...299: "what answers there speaks HTTP and no WebSocket; check the URL's path"
        default: "check the URL and the headers"
        }
    }
}
