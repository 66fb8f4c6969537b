//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes

/// One accepted socket of a server, until it is a WebSocket connection or has been refused. It holds no clock and no
/// socket: it is fed with what happens and says what to do, what to wait for, and which deadline runs meanwhile.
///
/// A client's *request* is read and judged, the server takes a *decision*, and the *response* goes out: a 101 that
/// libwebsockets writes, or another one, after which the socket is closed. There is one response at most.
package struct ServerUpgradeMachine: Sendable {
    /// What holds for the socket from the beginning.
    package struct Rules: Sendable {
        package var limits = HTTPRequestHeadParser.Limits()
        package var trust = ForwardingTrust()
        /// Whether the socket's peer is a trusted proxy, which may say whom it speaks for.
        package var isFromTrustedProxy = false
        package var expectsProxyHeader = false
        /// Whether TLS comes before the request.
        package var usesTLS = false
        /// Whether the client used TLS, here or in front of the server.
        package var isSecure = false

        package init() {}
    }

    /// A whole request that waits for a decision.
    package struct Request: Sendable, Equatable {
        /// With a path as its target.
        package var head: HTTPRequestHead
        /// The handshake, or what a request without one is refused with unless it is answered otherwise.
        package var upgrade: Result<ValidatedUpgrade, UpgradeRefusal>
        /// The host that the client asked for, as it says or a trusted proxy.
        package var host: String?
        /// Whether the client used TLS, here or as a trusted proxy says.
        package var isSecure: Bool
    }

    package enum State: Equatable, Sendable {
        /// Nothing has been looked at.
        case accepted
        case reading(Part)
        /// A proxy has said for whom it speaks: does that client have too many connections?
        case judging(Judging)
        /// The request waits for a decision.
        case deciding
        /// A response other than 101 goes out, and then has a moment to be read.
        case answering(Answering)
        /// The decision is to accept; libwebsockets answers.
        case upgrading
        case adopted
        case refused
    }

    /// What the client is to send.
    package enum Part: Equatable, Sendable { case proxyHeader, clientHello, handshake, request }
    package enum Judging: Equatable, Sendable { case proxyHeader, request }
    package enum Answering: Equatable, Sendable { case writing, lingering }

    /// What the caller does next; then it waits for `awaits`. What is large is indirect: a value in which some bytes of a
    /// large case are padding looks uninitialised to valgrind when its case is asked for.
    package enum Action: Equatable, Sendable {
        case wait
        /// Do the TLS handshake, then `secured`.
        case secure
        /// Count the connection for this client, `nil` for the socket's peer, then `counted`.
        case count(address: String?, port: Int)
        /// Have a decision taken, then `decided`.
        indirect case decide(Request)
        /// Write the bytes and end the sending half, then `wrote`.
        indirect case respond(PlainResponse, bytes: [UInt8])
        /// Let libwebsockets answer with 101, then `established`.
        indirect case upgrade(ValidatedUpgrade)
        /// Close the socket. Its giver, if it has not been told anything, is told this.
        case end(WebSocketError)
    }

    /// What the peer is waited for, or the socket.
    package enum Awaited: Equatable, Sendable {
        case nothing
        /// More bytes of this part.
        case part(Part)
        /// That the peer leaves.
        case departure
        /// That the response can be written.
        case room
        /// That the peer has read the response and ends its half.
        case end
    }

    /// How long the caller lets the state last, before it calls `timedOut`.
    package enum Deadline: Equatable, Sendable {
        /// From the accepted socket to the response.
        case handshake
        /// From the beginning of a response to its end.
        case answer
        /// From the response's end to the peer's.
        case linger
    }

    package private(set) var state = State.accepted
    private var rules: Rules
    private var progress: HeadProgress
    /// What has been read of the request; when it is whole, its head.
    package private(set) var head: [UInt8] = []
    /// Why the socket may not stay, found out before its request was read.
    private var refusal: UpgradeRefusal?
    /// The request as it came, and then with its target resolved.
    package private(set) var parsed: HTTPRequestHead?
    /// What a trusted proxy has said of the request.
    private var told: (isSecure: Bool?, host: String?) = (nil, nil)
    package private(set) var askedHost: String?
    /// Whether the target came in absolute form.
    package private(set) var isTargetRewritten = false
    private var validated: Result<ValidatedUpgrade, UpgradeRefusal>?

    package init(_ rules: Rules) {
        self.rules = rules
        progress = HeadProgress(limit: rules.limits.headBytes)
    }

    package var awaits: Awaited {
        switch state {
        case .accepted, .judging, .upgrading, .adopted, .refused: .nothing
        case .reading(let part): .part(part)
        // A WebSocket client that sends no more is gone. Others may have sent all they have to say.
        case .deciding: if case .success = validated { .departure } else { .nothing }
        case .answering(.writing): .room
        case .answering(.lingering): .end
        }
    }

    package var deadline: Deadline? {
        switch state {
        case .accepted, .reading, .judging, .deciding, .upgrading: .handshake
        case .answering(.writing): .answer
        case .answering(.lingering): .linger
        case .adopted, .refused: nil
        }
    }

    package var isOver: Bool { state == .adopted || state == .refused }

    // MARK: Reading

    /// Begins to read.
    ///
    /// - Parameter refusal: Why the socket may not stay. It gets that as the response to its request.
    package mutating func begin(refusal: UpgradeRefusal? = nil) -> Action {
        guard state == .accepted else { return .wait }
        self.refusal = refusal
        if rules.expectsProxyHeader {
            state = .reading(.proxyHeader)
        } else {
            readFirstPart()
        }
        return .wait
    }

    /// Begins with a request that another server has read.
    package mutating func begin(with request: HTTPRequestHead, refusal: UpgradeRefusal? = nil) -> Action {
        guard state == .accepted else { return .wait }
        self.refusal = refusal
        return judge(request)
    }

    private mutating func readFirstPart() { state = .reading(rules.usesTLS ? .clientHello : .request) }

    /// Bytes lie in the socket in front of everything else, and stay there.
    ///
    /// - Returns: How many of them are the PROXY header's, to be taken out of the socket.
    package mutating func peeked(proxyHeader bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        guard state == .reading(.proxyHeader) else { return (0, .wait) }
        // Anything could say whom it speaks for; only the proxies may.
        guard rules.isFromTrustedProxy else { return (0, end(Self.badProxyHeader)) }
        switch ProxyHeader.parse(Array(bytes.prefix(ProxyHeader.maximumBytes))) {
        case .incomplete:
            return (0, bytes.count < ProxyHeader.maximumBytes ? .wait : end(Self.badProxyHeader))
        case .malformed: return (0, end(Self.badProxyHeader))
        case .header(let header, let count):
            state = .judging(.proxyHeader)
            guard case .client(let address, let port) = header else { return (count, .count(address: nil, port: 0)) }
            rules.isFromTrustedProxy = rules.trust.trusts(address)
            return (count, .count(address: address, port: port))
        }
    }

    /// Bytes lie in the socket of a client that is to speak TLS, and stay there.
    package mutating func peeked(clientHello bytes: UnsafeRawBufferPointer) -> Action {
        guard state == .reading(.clientHello) else { return .wait }
        switch ClientHello.look(bytes) {
        case .incomplete: return .wait
        case .complete:
            state = .reading(.handshake)
            return .secure
        case .notTLS: return end(Self.notTLS)
        case .tooLarge: return end(Self.largeClientHello)
        }
    }

    /// The TLS handshake is done.
    package mutating func secured() -> Action {
        guard state == .reading(.handshake) else { return .wait }
        state = .reading(.request)
        return .wait
    }

    /// Bytes of the request came.
    ///
    /// - Returns: How many of them are the request's. What is behind it is the connection's.
    package mutating func received(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        guard state == .reading(.request) else { return (0, .wait) }
        let before = head.count
        head.append(contentsOf: bytes)
        guard head.withUnsafeBytes({ progress.isWorthParsing($0) }) else { return (bytes.count, .wait) }
        switch head.withUnsafeBytes({ HTTPRequestHeadParser.parse($0, limits: rules.limits) }) {
        case .incomplete: return (bytes.count, .wait)
        case .refused(let refusal): return (bytes.count, respond(PlainResponse(refusal)))
        case .head(let request, let count):
            head.removeLast(head.count - count)
            return (max(0, count - before), judge(request))
        }
    }

    /// The bytes of the request's head, which are the caller's from here on.
    package mutating func takeHead() -> [UInt8] {
        defer { head = [] }
        return head
    }

    // MARK: Judging

    /// Takes a trusted proxy's word for who the client is. A client that the proxy does not name counts under the proxy's
    /// address: otherwise it would pass by the limit for each address.
    private mutating func judge(_ request: HTTPRequestHead) -> Action {
        parsed = request
        state = .judging(.request)
        guard rules.isFromTrustedProxy, rules.trust != ForwardingTrust() else { return decide(request) }
        do throws(ForwardedClient.Malformed) {
            let client = try ForwardedClient(request.fields, trust: rules.trust)
            told = (client?.isSecure, client?.host)
            return .count(address: client?.address, port: client?.port ?? 0)
        } catch {
            return respond(
                PlainResponse(.badRequest("the header in which the proxy names its client is malformed")))
        }
    }

    /// - Parameter isAdmitted: Whether the client that the proxy speaks for may have one more connection.
    package mutating func counted(isAdmitted: Bool) -> Action {
        guard case .judging(let judging) = state else { return .wait }
        if !isAdmitted { refusal = .tooMany }
        switch judging {
        case .proxyHeader:
            readFirstPart()
            return .wait
        case .request: return parsed.map { decide($0) } ?? respond(PlainResponse(.internalError))
        }
    }

    /// The rules of HTTP and of the handshake.
    private mutating func decide(_ request: HTTPRequestHead) -> Action {
        do throws(UpgradeRefusal) {
            if let refusal { throw refusal }
            let head = try request.resolved()
            isTargetRewritten = head.target != request.target
            parsed = head
            askedHost = told.host ?? head.fields[.hostField]
            let upgrade = try Self.validate(head)
            validated = upgrade
            state = .deciding
            return .decide(
                Request(head: head, upgrade: upgrade, host: askedHost, isSecure: told.isSecure ?? rules.isSecure))
        } catch {
            return respond(PlainResponse(error))
        }
    }

    /// A client that tries to shake hands and does it wrongly is told so; other requests may be for a hook or a route.
    private static func validate(
        _ head: HTTPRequestHead
    ) throws(UpgradeRefusal) -> Result<ValidatedUpgrade, UpgradeRefusal> {
        do throws(UpgradeRefusal) {
            return .success(try ValidatedUpgrade(resolved: head))
        } catch {
            guard head.isWholeWithoutBody, !head.attemptsWebSocket else { throw error }
            return .failure(error)
        }
    }

    // MARK: Deciding and answering

    /// - Parameter response: `nil` accepts. What cannot be upgraded gets the response that it would have got without a
    ///   decision.
    package mutating func decided(_ response: PlainResponse?) -> Action {
        guard state == .deciding else { return .wait }
        if let response { return respond(response) }
        switch validated {
        case .success(let upgrade):
            state = .upgrading
            return .upgrade(upgrade)
        case .failure(let refusal): return respond(PlainResponse(refusal))
        case nil: return respond(PlainResponse(.internalError))
        }
    }

    private mutating func respond(_ response: PlainResponse) -> Action {
        state = .answering(.writing)
        return .respond(response, bytes: response.bytes(isHead: parsed?.method == "HEAD"))
    }

    /// All of the response is out, and the sending half ended.
    package mutating func wrote() -> Action {
        guard state == .answering(.writing) else { return .wait }
        state = .answering(.lingering)
        return .wait
    }

    /// libwebsockets has answered with 101. Whether there is a connection now.
    package mutating func established() -> Bool {
        guard state == .upgrading else { return false }
        state = .adopted
        return true
    }

    // MARK: Ending

    /// The peer has ended its half of the stream, or the socket is dead.
    package mutating func peerEnded() -> Action {
        switch state {
        case .accepted, .reading, .judging, .deciding, .answering, .upgrading: end(Self.left)
        case .adopted, .refused: .wait
        }
    }

    /// The time that `deadline` stands for is over.
    package mutating func timedOut() -> Action {
        switch state {
        case .accepted, .reading, .judging, .upgrading: end(Self.slow)
        case .deciding: respond(PlainResponse(.unavailable))
        case .answering: end(Self.left)
        case .adopted, .refused: .wait
        }
    }

    /// The server stops. A client that has its response gets its moment to read that, and one that waits for a decision
    /// is told that there will be none.
    package mutating func stopped() -> Action {
        switch state {
        case .accepted, .reading, .judging: end(Self.stopping)
        case .deciding: respond(PlainResponse(.unavailable))
        case .answering, .upgrading, .adopted, .refused: .wait
        }
    }

    /// The socket's giver does not want the connection any more. Nothing happens to one that stands.
    package mutating func cancelled() -> Action {
        switch state {
        case .accepted, .reading, .judging: end(.cancelled("accept"))
        case .deciding: respond(PlainResponse(.unavailable))
        case .answering: .wait
        // Nothing would own what libwebsockets makes of it.
        case .upgrading: end(.cancelled("accept"))
        case .adopted, .refused: .wait
        }
    }

    /// It cannot go on, for a reason that the caller has found.
    package mutating func abandoned(_ reason: WebSocketError) -> Action {
        switch state {
        case .accepted, .reading, .judging, .deciding, .answering, .upgrading: end(reason)
        case .adopted, .refused: .wait
        }
    }

    private mutating func end(_ reason: WebSocketError) -> Action {
        state = .refused
        return .end(reason)
    }
}

extension HTTPRequestHead {
    fileprivate var isWholeWithoutBody: Bool {
        fields[.transferEncoding] == nil && (fields[.contentLength] ?? "0") == "0"
    }
}
