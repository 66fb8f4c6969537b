//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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
    private let preread: Preread?
    private var outcome: Outcome?
    var stage = Stage.request
    var descriptor: CInt
    var poll: DescriptorPoll?
    /// libuv cannot poll one descriptor twice, and libwebsockets polls the original.
    var duplicate: CInt = -1
    private var deadline: EventLoop.TimerToken?
    var head: [UInt8] = []
    private var progress: HeadProgress
    private var isTLSAccepted = false
    private var ticket: ConnectionTicket?
    /// Why the socket may not stay, found out before its request was read.
    private var refusal: UpgradeRefusal?
    private var isSecureBehindProxy: Bool?
    private var stopDeciding: (@Sendable () -> Void)?
    private var isReplied = false
    private var parsed: HTTPRequestHead?
    private var validated: Result<ValidatedUpgrade, UpgradeRefusal>?
    private var behind: [UInt8] = []
    var request: ValidatedUpgrade?
    var acceptance = UpgradeAcceptance()
    var deflate: DeflateNegotiation.Answer?
    var details = ConnectionDetails()
    private var clientCertificate: ClientCertificate?
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
    ///   - preread: The request, when another server has read it. There is no TLS then.
    ///   - outcome: Told once what became of the socket.
    package static func begin(
        _ descriptor: CInt, on loop: EventLoop, policy: UpgradePolicy, register: OpenConnections? = nil,
        preread: Preread? = nil, outcome: Outcome? = nil
    ) {
        let upgrade = ServerUpgrade(
            descriptor: descriptor, loop: loop, policy: policy, register: register, preread: preread, outcome: outcome)
        upgrade.selfRetain = upgrade
        upgrade.start()
        if upgrade.stage != .over { register?.insert(upgrade) }
    }

    private init(
        descriptor: CInt, loop: EventLoop, policy: UpgradePolicy, register: OpenConnections?, preread: Preread?,
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
        details.localAddress = SocketAddress.local(of: descriptor)
        details.remoteAddress = SocketAddress.remote(of: descriptor)
        loop.onStop[ObjectIdentifier(self)] = { [unowned self] in drop(Self.stopped) }
        deadline = loop.schedule(after: policy.handshakeTimeout.nanoseconds) { [unowned self] in
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
            guard stage == .proxyHeader else { return }
            poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [unowned self] in readProxyHeader() }
            poll?.start(.readable)
        } else {
            startReading()
        }
    }

    private func startReading() {
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

    // MARK: Reading

    private func startPlain() {
        // The request is often there already; then no poll is needed.
        readPlain()
        guard stage == .request, poll == nil, descriptor >= 0 else { return }
        poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [unowned self] in readPlain() }
        poll?.start(.readable)
    }

    private func readPlain() {
        guard stage == .request else { return vanished() }
        let count = unsafe withScratch { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
        if count > 0 {
            unsafe head.append(contentsOf: loop.scratch.memory[..<count])
            judge(consumed: nil)
        } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
            drop(Self.gone)
        }
    }

    private func startTLS() {
        guard let tls = policy.tls, let vhost = loop.vhosts.acquire(tls, of: loop) else {
            return drop(WebSocketError(.tlsFailed, "OpenSSL could not set up the server's side", tlsFailure: .other))
        }
        duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard duplicate >= 0 else {
            return drop(WebSocketError(.resourceExhausted, "there is no descriptor left", systemError: errno))
        }
        loop.counters.descriptors.add(1)
        // Offered in any case: whether it is agreed on is decided later.
        let bytes = HandshakeText.rebuiltHead(host: vhost.name, key: Self.placeholderKey, deflate: true)
        unsafe adopt(into: vhost.handle, Array(bytes.utf8))
        guard stage == .request, unsafe wsi != nil else { return }
        poll = DescriptorPoll(loop: loop, descriptor: duplicate) { [unowned self] in driveTLS() }
        poll?.start(.readable)
        driveTLS()
    }

    private func driveTLS() {
        guard stage == .request else { return vanished() }
        guard let wsi = unsafe wsi, let ssl = unsafe lws_get_ssl(wsi) else { return }
        if !isTLSAccepted {
            _ = unsafe wsx_tls_take_alert(nil)
            ERR_clear_error()
            let status = unsafe SSL_accept(ssl)
            guard status == 1 else { return unsafe wait(for: SSL_get_error(ssl, status), during: "the TLS handshake") }
            isTLSAccepted = true
            details.tls = unsafe TLSInfo(wsi: wsi)
            clientCertificate = unsafe ClientCertificate(ssl: ssl)
        }
        while stage == .request {
            // Looked at first, so that only the request is taken: what follows it is libwebsockets' to read.
            ERR_clear_error()
            let count = unsafe withScratch { unsafe Int(SSL_peek(ssl, $0.baseAddress, CInt($0.count))) }
            guard count > 0 else { return unsafe wait(for: SSL_get_error(ssl, CInt(count)), during: "the request") }
            let before = head.count
            unsafe head.append(contentsOf: loop.scratch.memory[..<count])
            judge { total in
                _ = unsafe self.withScratch {
                    unsafe SSL_read(ssl, $0.baseAddress, CInt(min(total - before, $0.count)))
                }
            }
        }
    }

    private func wait(for error: CInt, during step: String) {
        switch error {
        case SSL_ERROR_WANT_READ: poll?.start(.readable)
        case SSL_ERROR_WANT_WRITE: poll?.start(.writable)
        default:
            let alert = unsafe wsx_tls_take_alert(nil).map { unsafe String(cString: $0) }
            loop.logger.debug(
                "TLS ended during \(step)", metadata: peerMetadata.merging(["alert": "\(alert ?? "none")"]) { $1 })
            drop(
                WebSocketError(
                    .tlsFailed, "TLS ended during \(step)\(alert.map { ": \($0)" } ?? "")", phase: .tls,
                    tlsFailure: .other))
        }
    }

    func withScratch<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<(16 << 10)]))
    }

    // MARK: The proxy in front

    private var isFromTrustedProxy: Bool {
        switch details.remoteAddress {
        case .ip(let address, _): policy.trust.trusts(address)
        case .unix: policy.trust.trustsUnixSockets
        case nil: false
        }
    }

    /// Looks at the PROXY header without taking what follows it.
    private func readProxyHeader() {
        guard stage == .proxyHeader else { return }
        var bytes = [UInt8](repeating: 0, count: ProxyHeader.maximumBytes)
        let count = unsafe recv(descriptor, &bytes, bytes.count, Int32(MSG_PEEK))
        guard count > 0 else {
            if count == 0 || (errno != EAGAIN && errno != EINTR) { drop(Self.gone) }
            return
        }
        // Anybody could say whom it speaks for; only the proxies may.
        switch isFromTrustedProxy ? ProxyHeader.parse(Array(bytes[..<count])) : .malformed {
        case .incomplete:
            guard count < ProxyHeader.maximumBytes else { return drop(Self.badProxy) }
            peekedAgain()
        case .malformed:
            loop.logger.debug("no PROXY header of a trusted proxy", metadata: peerMetadata)
            drop(Self.badProxy)
        case .header(let header, let byteCount):
            _ = unsafe recv(descriptor, &bytes, byteCount, 0)
            poll?.close()
            poll = nil
            if case .client(let address, let port) = header {
                details.remoteAddress = .ip(address: SocketAddress.normalized(address), port: port)
            }
            if ticket?.move(to: details.remoteAddress) == false { refusal = .tooMany }
            startReading()
        }
    }

    /// Part of a header lies in the socket, which stays readable: look again in a moment, not at once.
    private func peekedAgain() {
        poll?.stop()
        proxyRetry = loop.schedule(after: 10_000_000) { [unowned self] in
            proxyRetry = nil
            guard stage == .proxyHeader else { return }
            if poll == nil {
                poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [unowned self] in readProxyHeader() }
            }
            poll?.start(.readable)
        }
    }

    private var proxyRetry: EventLoop.TimerToken?

    /// Takes a trusted proxy's word for who the client is.
    private func hearProxy(_ fields: HTTPFields) -> (isSecure: Bool?, host: String?) {
        guard policy.trust != ForwardingTrust(), isFromTrustedProxy,
            let client = ForwardedClient(fields, trust: policy.trust)
        else { return (nil, nil) }
        if let address = client.address {
            details.remoteAddress = .ip(address: SocketAddress.normalized(address), port: client.port ?? 0)
            if ticket?.move(to: details.remoteAddress) == false { refusal = .tooMany }
        }
        return (client.isSecure, client.host)
    }

    // MARK: Judging

    /// Looks at what has been read. `consume` is told how much of it all belongs to the request.
    private func judge(consumed consume: ((Int) -> Void)?) {
        guard unsafe head.withUnsafeBytes({ unsafe progress.isWorthParsing($0) }) else {
            consume?(head.count)
            return
        }
        switch unsafe head.withUnsafeBytes({ unsafe HTTPRequestHeadParser.parse($0, limits: policy.limits) }) {
        case .incomplete: consume?(head.count)
        case .refused(let refusal):
            consume?(head.count)
            respond(HTTPAnswer(refusal))
        case .head(let parsed, let count):
            consume?(count)
            if !usesTLS { behind = Array(head[count...]) }
            head = []
            decide(parsed)
        }
    }

    private func judge(_ consume: @escaping (Int) -> Void) { judge(consumed: consume) }

    private func decide(_ parsed: HTTPRequestHead) {
        self.parsed = parsed
        let told = hearProxy(parsed.fields)
        if let refusal { return respond(HTTPAnswer(refusal)) }
        let upgrade: Result<ValidatedUpgrade, UpgradeRefusal>
        do throws(UpgradeRefusal) {
            upgrade = .success(try ValidatedUpgrade(parsed))
        } catch {
            // Who tries to shake hands and does it wrongly is told so; other requests may be for somebody here.
            guard parsed.isPlainRequest else { return respond(HTTPAnswer(error)) }
            upgrade = .failure(error)
        }
        validated = upgrade
        let inquiry = UpgradeInquiry(
            head: parsed, upgrade: upgrade, localAddress: details.localAddress, remoteAddress: details.remoteAddress,
            isSecure: told.isSecure ?? preread?.isSecure ?? usesTLS,
            host: told.host ?? parsed.fields[.hostField], tls: details.tls, clientCertificate: clientCertificate)
        stage = .deciding
        let stop = policy.decide(inquiry, UpgradeReply(upgrade: self))
        guard stage == .deciding, !isReplied else { return }
        stopDeciding = stop
        // A WebSocket client that sends no more is gone. Others may have sent all they have to say.
        if case .success = upgrade { watchForEnd() } else { poll?.stop() }
    }

    private func watchForEnd() {
        let watched = duplicate >= 0 ? duplicate : descriptor
        if poll == nil {
            poll = DescriptorPoll(loop: loop, descriptor: watched) { [unowned self] in vanished() }
        }
        poll?.start(.disconnected)
    }

    private func vanished() {
        guard stage == .deciding else { return }
        loop.logger.debug("a client left before its request was answered", metadata: peerMetadata)
        drop(Self.gone)
    }

    private func finishDeciding() {
        isReplied = true
        stopDeciding?()
        stopDeciding = nil
    }

    /// On the loop. The first decision counts.
    func decided(_ verdict: UpgradeVerdict) {
        guard stage == .deciding, !isReplied else { return }
        isReplied = true
        stopDeciding = nil
        switch verdict {
        case .respond(let answer): respond(answer)
        case .accept(let acceptance):
            do throws(UpgradeRefusal) {
                guard let parsed, let validated else { throw .internalError }
                accept(acceptance, try validated.get(), parsed)
            } catch {
                // Accepted what cannot be upgraded: it gets the answer that it would have got from nobody.
                respond(HTTPAnswer(error))
            }
        }
    }

    private func accept(_ acceptance: UpgradeAcceptance, _ request: ValidatedUpgrade, _ parsed: HTTPRequestHead) {
        self.acceptance = acceptance
        self.request = request
        let options = acceptance.options ?? policy.options
        deflate = DeflateNegotiation.answer(offers: request.extensions, configured: options.compression)
        details.request = parsed
        details.subprotocol = acceptance.subprotocol
        details.deflate = deflate?.agreed
        details.upgrade = acceptance.context
        stage = .letGo
        if usesTLS { letGo() } else { adoptPlain(request) }
    }

    // MARK: libwebsockets

    private func adoptPlain(_ request: ValidatedUpgrade) {
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

    private func letGo() {
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

    private func adopt(into vhost: OpaquePointer, _ bytes: [UInt8]) {
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
            finish(WebSocketError(.resourceExhausted, "libwebsockets did not take the socket"))
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
            loop: loop, isClient: false, options: acceptance.options ?? policy.options, details: details)
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
        deadline = loop.schedule(after: nanoseconds) { [unowned self] in
            deadline = nil
            drop(Self.gone)
        }
    }

    static let placeholderKey = "AAAAAAAAAAAAAAAAAAAAAA=="
    private static let gone = WebSocketError(
        .connectionClosed, "the client left before its request was answered", phase: .upgrade)
    private static let stopped = WebSocketError(.shutDown, "the server or its event loop stops", phase: .upgrade)
    private static let full = WebSocketError(
        .resourceExhausted, "the server has as many connections as it may", phase: .upgrade)
    private static let badProxy = WebSocketError(
        .protocolViolation, "the connection does not begin with the PROXY header of a trusted proxy", phase: .upgrade)
}

extension HTTPRequestHead {
    /// Whether this asks for no WebSocket, and is whole without a body.
    fileprivate var isPlainRequest: Bool {
        target.hasPrefix("/") && fields[values: .hostField].count == 1 && fields[.transferEncoding] == nil
            && (fields[.contentLength] ?? "0") == "0"
            && fields[.upgrade]?.lowercased().contains("websocket") != true
    }
}
