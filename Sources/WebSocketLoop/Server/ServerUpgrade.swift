//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc
import HTTPTypes
import Logging
package import WebSocketCore

/// One accepted socket, from its first byte to the 101 or another answer.
///
/// The request is read and judged here, strictly and whole, and libwebsockets gets a rebuilt one. On a plain socket that
/// happens before libwebsockets sees the socket. On a TLS socket libwebsockets has to own the TLS session from the
/// start, so it is given the rebuilt head first, together with the socket, and held back by flow control; the handshake
/// runs and the real request is read on libwebsockets' own SSL object; then it is let go, and reads the rebuilt head
/// from its buffer with the real key put in. Both ways come to the same decision with the same data.
package final class ServerUpgrade: WireOwner, @unchecked Sendable {
    // Sendable because everything mutable is loop-confined.

    enum Stage {
        /// The PROXY header is being read.
        case proxyHeader
        /// The request is being read, behind the TLS handshake where there is one.
        case request
        /// Somebody decides.
        case deciding
        /// An answer other than 101 is being written, and then read by the peer.
        case answering
        /// libwebsockets answers with 101.
        case letGo
        case over
    }

    /// A request that another server has read, and what that server has read behind it.
    package struct Preread: Sendable {
        package let head: HTTPRequestHead
        package let behind: [UInt8]
        /// Whether the client came over TLS that the other server has ended.
        package let isSecure: Bool

        package init(head: HTTPRequestHead, behind: [UInt8], isSecure: Bool) {
            self.head = head
            self.behind = behind
            self.isSecure = isSecure
        }
    }

    package typealias Outcome = @Sendable (Result<Connection, WebSocketError>) -> Void

    let policy: UpgradePolicy
    private let register: OpenConnections?
    let preread: Preread?
    private var outcome: Outcome?
    var stage = Stage.request
    var descriptor: CInt
    var poll: DescriptorPoll?
    /// libuv cannot poll one descriptor twice, and libwebsockets polls the original.
    var duplicate: CInt = -1
    private var deadline: WebSocketEventLoop.TimerToken?
    var proxyRetry: WebSocketEventLoop.TimerToken?
    var head: [UInt8] = []
    var progress: HeadProgress
    var isTLSAccepted = false
    var ticket: ConnectionTicket?
    /// Why the socket may not stay, found out before its request was read.
    var refusal: UpgradeRefusal?
    var stopDeciding: (@Sendable () -> Void)?
    var isReplied = false
    var parsed: HTTPRequestHead?
    var validated: Result<ValidatedUpgrade, UpgradeRefusal>?
    /// The host that the request is for, as it says or a trusted proxy.
    var askedHost: String?
    /// Whether the target came in absolute form.
    var isTargetRewritten = false
    var behind: [UInt8] = []
    var request: ValidatedUpgrade?
    var acceptance = UpgradeAcceptance()
    var deflate: DeflateNegotiation.Answer?
    var details = ConnectionDetails()
    var clientCertificate: WebSocketTLSClientCertificate?
    /// What is still to be written of an answer.
    var answer: ArraySlice<UInt8> = []
    /// What the upgrade became, for the rest of `letGo`. Not weak: that would slow down every retain of a connection.
    private var connection: Connection?
    /// Released when the upgrade is over.
    private var selfRetain: ServerUpgrade?

    /// Takes over the descriptor. On the loop.
    ///
    /// - Parameters:
    ///   - register: Knows about the handshake while it is under way, and can stop it.
    ///   - cancellation: Lets whoever handed over the socket lose interest.
    ///   - preread: The request, when another server has read it. There is no TLS then.
    ///   - outcome: Told once what became of the socket.
    package static func begin(
        _ descriptor: CInt, on loop: WebSocketEventLoop, policy: UpgradePolicy, register: OpenConnections? = nil,
        preread: Preread? = nil, cancellation: UpgradeCancellation? = nil, outcome: Outcome? = nil
    ) {
        let upgrade = ServerUpgrade(
            descriptor: descriptor, loop: loop, policy: policy, register: register, preread: preread, outcome: outcome)
        upgrade.selfRetain = upgrade
        upgrade.start()
        if upgrade.stage != .over { register?.insert(upgrade) }
        cancellation?.begun(upgrade)
    }

    private init(
        descriptor: CInt, loop: WebSocketEventLoop, policy: UpgradePolicy, register: OpenConnections?,
        preread: Preread?,
        outcome: Outcome?
    ) {
        self.policy = policy
        self.register = register
        self.preread = preread
        self.outcome = outcome
        progress = HeadProgress(limit: policy.limits.headBytes)
        self.descriptor = descriptor
        super.init(loop: loop)
    }

    var isHeadRequest: Bool { parsed?.method == "HEAD" }
    var usesTLS: Bool { policy.tls != nil && preread == nil }

    private func start() {
        loop.counters.descriptors.add(1)
        var one: CInt = 1
        unsafe setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        details.localAddress = WebSocketAddress.local(of: descriptor)
        details.remoteAddress = WebSocketAddress.remote(of: descriptor)
        loop.onStop[ObjectIdentifier(self)] = { [self] in drop(Self.stopped) }
        deadline = loop.schedule(after: policy.handshakeTimeout.nanoseconds) { [self] in
            deadline = nil
            ranOutOfTime()
        }
        // Connections of a trusted proxy are counted for whom it speaks, once it has said so.
        let isProxy = policy.expectsProxyHeader || isFromTrustedProxy
        switch policy.limiter?.enter(isProxy ? nil : details.remoteAddress) {
        case nil: break
        case .admitted(let ticket): self.ticket = ticket
        case .refused(let refusal, let ticket): (self.refusal, self.ticket) = (refusal, ticket)
        case .dropped:
            loop.logger.debug("a connection beyond the limit was closed", metadata: peerMetadata)
            return drop(Self.full)
        }
        if let preread {
            behind = preread.behind
            decide(preread.head)
        } else if policy.expectsProxyHeader {
            stage = .proxyHeader
            readProxyHeader()
        } else {
            startReading()
        }
    }

    func startReading() {
        stage = .request
        if usesTLS { startTLS() } else { startPlain() }
    }

    private func ranOutOfTime() {
        loop.logger.debug("a handshake did not finish in time", metadata: peerMetadata)
        if stage == .deciding {
            finishDeciding()
            respond(HTTPAnswer(.unavailable))
        } else {
            drop(WebSocketError(.timedOut, "the client did not finish its handshake in time", phase: .upgrade))
        }
    }

    var peerMetadata: Logger.Metadata { ["peer": "\(details.remoteAddress.map(\.description) ?? "unknown")"] }

    // MARK: libwebsockets

    func adoptPlain(_ request: ValidatedUpgrade) {
        guard let vhost = unsafe loop.vhosts.plain(of: loop), let name = loop.vhosts.plainName else {
            return drop(WebSocketError(.resourceExhausted, "libwebsockets could not make a vhost"))
        }
        poll?.close()
        poll = nil
        var bytes = Array(HandshakeText.rebuiltHead(host: name, key: request.key, deflate: deflate != nil).utf8)
        bytes += behind
        behind = []
        unsafe adopt(into: vhost, bytes)
    }

    func letGo() {
        closeDuplicate()
        guard let wsi = unsafe wsi else { return drop(Self.gone) }
        unsafe lws_rx_flow_control(wsi, 1)
        defer { connection = nil }
        // First the TLS state is noticed, then the rebuilt head is read; a third look finds what OpenSSL has already
        // decrypted behind the request. libuv would report none of these.
        for _ in 0..<3 {
            guard let wsi = unsafe self.wsi ?? connection?.wsi else { return }
            if unsafe wsx_lws_pretend_readable(loop.context, wsi) != 0 { return }
        }
    }

    func adopt(into vhost: OpaquePointer, _ bytes: [UInt8]) {
        loop.adopting = self
        let socket = descriptor
        // From here on the descriptor is libwebsockets': it closes it also when it fails.
        descriptor = -1
        let result = unsafe bytes.withUnsafeBytes {
            unsafe lws_adopt_socket_vhost_readbuf(
                vhost, socket, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
        if loop.adopting != nil {
            // It failed before there was a wsi with an owner.
            loop.adopting = nil
            loop.counters.descriptors.subtract(1)
            // What came since `startTLS` looked, unless there is no room for the socket.
            let isNotTLS = usesTLS && socket < LibWebSockets.maximumDescriptors && wsx_socket_shortage() == 0
            finish(
                isNotTLS
                    ? Self.notTLS : WebSocketError(.resourceExhausted, "libwebsockets did not take the socket"))
        }
        _ = unsafe result
    }

    /// libwebsockets has made the wsi.
    override func instantiated(_ wsi: OpaquePointer) {
        unsafe self.wsi = unsafe wsi
        loop.counters.connections.add(1)
        if stage != .letGo { unsafe lws_rx_flow_control(wsi, 0) }
    }

    override func willAnswerUpgrade() -> CInt { stage == .letGo && request != nil ? 0 : -1 }

    override func confirmsExtension() -> Bool { deflate != nil }

    override func addResponseHeaders(_ arguments: UnsafeMutablePointer<lws_process_html_args>) -> CInt {
        unsafe writeResponseHeaders(arguments)
    }

    override func established() -> CInt {
        guard stage == .letGo else { return -1 }
        let connection = Connection(
            loop: loop, isClient: false, options: acceptance.options.map(Shared.init) ?? policy.sharedOptions,
            details: details)
        if usesTLS { self.connection = connection }
        if let ticket { connection.serverSide = ServerSide(ticket: ticket) }
        ticket = nil
        handOver(to: connection)
        let outcome = outcome.take()
        finish(nil)
        connection.start()
        policy.established(connection)
        outcome?(.success(connection))
        return 0
    }

    override func destroyed() {
        loop.counters.connections.subtract(1)
        loop.counters.descriptors.subtract(1)
        finish(Self.gone)
    }

    // MARK: Ending

    /// The server stops. A client that has been answered gets its moment to read that, and one that waits for a
    /// decision is told that there will be none.
    func stop() {
        switch stage {
        case .letGo, .answering, .over: break
        case .deciding:
            finishDeciding()
            respond(HTTPAnswer(.unavailable))
        case .proxyHeader, .request: drop(Self.stopped)
        }
    }

    /// Whoever handed over the socket does not want the connection any more. Nothing happens to one that stands.
    func cancel() {
        guard outcome != nil else { return }
        let reason = WebSocketError.cancelled("accept")
        // Nobody would own what libwebsockets makes of it.
        if stage == .letGo { return drop(reason) }
        tell(reason)
        stop()
    }

    /// Gives up.
    func drop(_ reason: WebSocketError) {
        guard stage != .over else { return }
        finishDeciding()
        if unsafe wsi != nil {
            closeDuplicate()
            // The rest follows in `destroyed`. Later, because this may run inside one of its callbacks.
            loop.killSoon(self)
            cancelDeadline()
            stage = .over
            tell(reason)
            return
        }
        if descriptor >= 0 {
            poll?.close()
            poll = nil
            close(descriptor)
            descriptor = -1
            loop.counters.descriptors.subtract(1)
        }
        finish(reason)
    }

    private func finish(_ reason: WebSocketError?) {
        stage = .over
        finishDeciding()
        closeDuplicate()
        cancelDeadline()
        ticket = nil
        loop.onStop[ObjectIdentifier(self)] = nil
        register?.remove(self)
        if let reason { tell(reason) }
        selfRetain = nil
    }

    /// Whoever handed over the socket learns why it became no connection. Once.
    func tell(_ reason: WebSocketError) { outcome.take()?(.failure(reason)) }

    func closeDuplicate() {
        poll?.close()
        poll = nil
        guard duplicate >= 0 else { return }
        close(duplicate)
        duplicate = -1
        loop.counters.descriptors.subtract(1)
    }

    private func cancelDeadline() {
        loop.cancel(deadline)
        deadline = nil
        loop.cancel(proxyRetry)
        proxyRetry = nil
    }

    /// From now on this bounds what is left.
    func setDeadline(_ nanoseconds: UInt64) {
        cancelDeadline()
        deadline = loop.schedule(after: nanoseconds) { [self] in
            deadline = nil
            drop(Self.gone)
        }
    }

    static let placeholderKey = "AAAAAAAAAAAAAAAAAAAAAA=="
    static let gone = WebSocketError(
        .connectionClosed, "the client left before its request was answered", phase: .upgrade)
    private static let stopped = WebSocketError(.shutDown, "the server or its event loop stops", phase: .upgrade)
    private static let full = WebSocketError(
        .resourceExhausted, "the server has as many connections as it may", phase: .upgrade)
    static let badProxy = WebSocketError(
        .protocolViolation, "the connection does not begin with the PROXY header of a trusted proxy", phase: .upgrade)
}
