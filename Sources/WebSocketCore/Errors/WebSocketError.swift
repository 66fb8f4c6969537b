//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes

/// The one error of the package: what happened, what to do, and the details that apply.
public struct WebSocketError: Error, Sendable, Hashable {
    /// What kind of failure it is. Cases may be added; switch with a `default`.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        package enum Base: String, Sendable {
            case invalidURL, invalidConfiguration, nameNotFound, connectFailed, timedOut
            case tlsFailed, proxyFailed, handshakeRejected, handshakeInvalid, redirectRefused
            case messageTooBig, invalidUTF8, protocolViolation, connectionClosed
            case invalidCloseCode, closeReasonTooLong, cancelled, resourceExhausted, listenFailed, shutDown
            case badDescriptor
            case tooManyFragments, invalidPing, invalidPayload
            case connectionBusy, connectionUnavailable, notAcquired, drainTimedOut
            case acquireTimedOut, poolUnavailable, poolExhausted, poolClosed, leaseEnded
            case notConnected, reconnectFailed, sendQueueFull, notSent, subscriptionRefused
            case beforeConnectFailed
            case brokerUnavailable, brokerRefused
        }
        package let base: Base
        package init(_ base: Base) { self.base = base }

        /// The URL cannot be used; the message names the part.
        public static let invalidURL = Self(.invalidURL)
        /// A setting cannot be used; the message names the field.
        public static let invalidConfiguration = Self(.invalidConfiguration)
        /// The name does not resolve.
        public static let nameNotFound = Self(.nameNotFound)
        /// No address accepted the connection; `systemError` has the last `errno`, when it is known.
        public static let connectFailed = Self(.connectFailed)
        /// A deadline passed; `phase` says in which step.
        public static let timedOut = Self(.timedOut)
        /// TLS failed; `tlsFailure` has the cause.
        public static let tlsFailed = Self(.tlsFailed)
        /// The proxy could not be reached or did not open the tunnel; `response` has what it answered to CONNECT.
        public static let proxyFailed = Self(.proxyFailed)
        /// The server answered with a status other than 101; `response` has it.
        public static let handshakeRejected = Self(.handshakeRejected)
        /// The server's answer breaks RFC 6455 §4.
        public static let handshakeInvalid = Self(.handshakeInvalid)
        /// A redirect leads where the client does not go; `response` has it.
        public static let redirectRefused = Self(.redirectRefused)
        /// A message is larger than `maximumMessageSize`.
        public static let messageTooBig = Self(.messageTooBig)
        /// A text message is not UTF-8.
        public static let invalidUTF8 = Self(.invalidUTF8)
        /// The peer broke RFC 6455 or RFC 7692.
        public static let protocolViolation = Self(.protocolViolation)
        /// The connection has ended; `closeInfo` says how.
        public static let connectionClosed = Self(.connectionClosed)
        /// A close code that RFC 6455 §7.4 does not allow on the wire was given to `close`.
        public static let invalidCloseCode = Self(.invalidCloseCode)
        /// A close reason is longer than the 123 bytes of UTF-8 that fit into a CLOSE frame (RFC 6455 §5.5).
        public static let closeReasonTooLong = Self(.closeReasonTooLong)
        /// The task was cancelled. Nothing was sent or lost by the call that threw.
        public static let cancelled = Self(.cancelled)
        /// Descriptors or memory ran out.
        public static let resourceExhausted = Self(.resourceExhausted)
        /// The server could not listen.
        public static let listenFailed = Self(.listenFailed)
        /// A descriptor that was to be taken over is no connected stream socket. It stays its owner's.
        public static let badDescriptor = Self(.badDescriptor)
        /// The event loop or the server has been shut down.
        public static let shutDown = Self(.shutDown)
        /// A message comes in more frames than `maximumFragments`.
        public static let tooManyFragments = Self(.tooManyFragments)
        /// A ping or a pong has more than 125 bytes, or a ping with the same payload is still unanswered.
        public static let invalidPing = Self(.invalidPing)
        /// A message is not what it was to be decoded as.
        public static let invalidPayload = Self(.invalidPayload)
        /// Another task has acquired the managed connection, or it is being drained.
        public static let connectionBusy = Self(.connectionBusy)
        /// The managed connection is closed for good, or could not connect; `unavailableCause` has the reason.
        public static let connectionUnavailable = Self(.connectionUnavailable)
        /// The managed connection is used without having been acquired.
        public static let notAcquired = Self(.notAcquired)
        /// The peer did not stop sending within the drain's timeout, so the connection was closed.
        public static let drainTimedOut = Self(.drainTimedOut)
        /// The pool had no connection in time.
        public static let acquireTimedOut = Self(.acquireTimedOut)
        /// Every endpoint of the pool is ejected after failures to connect: waiting would not help.
        public static let poolUnavailable = Self(.poolUnavailable)
        /// As many acquires as the pool allows are waiting already.
        public static let poolExhausted = Self(.poolExhausted)
        /// The pool is shutting down or closed.
        public static let poolClosed = Self(.poolClosed)
        /// The lease was released or detached, or the pool took its connection back.
        public static let leaseEnded = Self(.leaseEnded)

        /// The session has no connection just now, and what was asked for needs one.
        public static let notConnected = Self(.notConnected)
        /// The session gave up reconnecting; `attempts`, `sessionCause`, `response` and `closeInfo` tell of the last failure.
        public static let reconnectFailed = Self(.reconnectFailed)
        /// The session's queue for messages without a connection is full.
        public static let sendQueueFull = Self(.sendQueueFull)
        /// The message was not sent before its deadline or the end of the session, not even in part.
        public static let notSent = Self(.notSent)
        /// The server refused channels; the message names each.
        public static let subscriptionRefused = Self(.subscriptionRefused)

        /// `beforeConnect` threw; `beforeConnectError` has what. Nothing was sent.
        public static let beforeConnectFailed = Self(.beforeConnectFailed)
        /// The broker of shared topics cannot be reached.
        public static let brokerUnavailable = Self(.brokerUnavailable)
        /// The broker answered with an error; the message has it.
        public static let brokerRefused = Self(.brokerRefused)

        /// The name of the code, as in the source.
        public var description: String { base.rawValue }
    }

    /// The step in which a deadline passed or an attempt failed.
    public enum Phase: String, Sendable, Hashable {
        /// The host's addresses are looked up.
        case nameResolution
        /// TCP, or a Unix socket.
        case connect
        /// The conversation with a proxy, TLS to it included.
        case proxy
        /// The TLS handshake.
        case tls
        /// HTTP's request and its answer (RFC 6455 §4).
        case upgrade
        /// A ping and its pong.
        case ping
        /// The closing handshake (RFC 6455 §7).
        case close
        /// A message to the peer.
        case send
        /// A message from the peer.
        case receive
    }

    /// Why TLS failed.
    public enum TLSFailure: String, Sendable, Hashable {
        /// A certificate's time is over.
        case expired
        /// A certificate's time has not begun: is this machine's clock right?
        case notYetValid
        /// The certificate is for other names.
        case hostMismatch
        /// The certificate is its own authority, which is no anchor.
        case selfSigned
        /// No anchor was found: an unknown authority, or a server that leaves its intermediate certificates out.
        case untrusted
        /// A certificate of the chain must not sign the next, or its signature is wrong.
        case badChain
        /// The certificate is not meant for this side of a connection.
        case wrongUsage
        /// None of the server's keys is among `publicKeyPins`.
        case pinMismatch
        /// The peer does not speak TLS at all.
        case notTLS
        /// No TLS version or cipher in common.
        case version
        /// The peer wants a client certificate or refuses ours.
        case clientCertificate
        /// The peer ended the handshake; the message has its alert.
        case peerAlert
        /// Anything else; the message has OpenSSL's words.
        case other
    }

    /// A server's HTTP answer.
    public struct Response: Sendable, Hashable {
        /// The status code, 100 to 999.
        public let status: Int
        /// The header fields, in the order in which they came.
        public let headers: HTTPFields
        /// Of a refusal: up to 64 KiB of its body, as far as it came within half a second.
        public let body: [UInt8]

        /// A response with a status code, header fields and the beginning of its body.
        public init(status: Int, headers: HTTPFields, body: [UInt8] = []) {
            self.status = status
            self.headers = headers
            self.body = body
        }
    }

    private struct Details: Sendable, Hashable {
        let code: Code
        let message: String
        var phase: Phase?
        var tlsFailure: TLSFailure?
        var response: Response?
        var closeInfo: WebSocketCloseInfo?
        var systemError: Int32?
        var attachment: Attachment?
    }

    /// An error is one word, because every result on a hot path has room for one.
    private indirect enum Box: Sendable, Hashable {
        case details(Details)
    }

    private var box: Box
    private var details: Details {
        get {
            switch box {
            case .details(let details): details
            }
        }
        set { box = .details(newValue) }
    }

    /// What went wrong: what a program decides by.
    public var code: Code { details.code }
    /// A sentence that says what happened and what to do. Peer text in it is escaped.
    public var message: String { details.message }
    /// How far the opening had come, if it is the opening that failed.
    public package(set) var phase: Phase? {
        get { details.phase }
        set { details.phase = newValue }
    }
    /// What TLS found wrong, if it is TLS that failed.
    public package(set) var tlsFailure: TLSFailure? {
        get { details.tlsFailure }
        set { details.tlsFailure = newValue }
    }
    /// The server's HTTP response, if it refused the upgrade with one.
    public package(set) var response: Response? {
        get { details.response }
        set { details.response = newValue }
    }
    /// How the connection ended, if it ended.
    public package(set) var closeInfo: WebSocketCloseInfo? {
        get { details.closeInfo }
        set { details.closeInfo = newValue }
    }
    /// Whether it is the end of a connection whose both sides closed with 1000, 1001 or no code: no failure to those who
    /// read to the end.
    package var isNormalEnd: Bool { code == .connectionClosed && closeInfo?.isNormal == true }
    /// The `errno` behind the failure, when the system gave one.
    public package(set) var systemError: Int32? {
        get { details.systemError }
        set { details.systemError = newValue }
    }
    /// What a layer above this one has to add; it has accessors of its own there.
    package var attachment: Attachment? {
        get { details.attachment }
        set { details.attachment = newValue }
    }

    /// An error; `message` is a sentence for a person.
    public init(
        _ code: Code, _ message: String, phase: Phase? = nil, tlsFailure: TLSFailure? = nil,
        response: Response? = nil, closeInfo: WebSocketCloseInfo? = nil, systemError: Int32? = nil
    ) {
        box = .details(
            Details(
                code: code, message: message, phase: phase, tlsFailure: tlsFailure, response: response,
                closeInfo: closeInfo, systemError: systemError))
    }

    /// An object that this module knows nothing of. One word, because errors travel on hot paths; equal when identical.
    package struct Attachment: Sendable, Hashable {
        package let object: any AnyObject & Sendable
        package init(_ object: any AnyObject & Sendable) { self.object = object }

        package static func == (left: Self, right: Self) -> Bool { left.object === right.object }
        package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(object)) }
    }

    package static func closed(_ info: WebSocketCloseInfo) -> Self {
        Self(.connectionClosed, "the connection is closed: \(info); open a new one", closeInfo: info)
    }

    package static func cancelled(_ what: String) -> Self {
        Self(.cancelled, "\(what) was cancelled with its task; call it again in another one")
    }
}

extension WebSocketError: CustomStringConvertible {
    /// The code and the message.
    public var description: String { "\(code): \(message)" }
}
