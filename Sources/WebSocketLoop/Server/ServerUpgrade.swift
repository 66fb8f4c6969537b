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
import WebSocketCore

/// One accepted socket, from its first byte to the 101 or the refusal.
///
/// The request is read and judged here, strictly and whole, and libwebsockets gets a rebuilt one. On a plain socket that
/// happens before libwebsockets sees the socket. On a TLS socket libwebsockets has to own the TLS session from the
/// start, so it is given the rebuilt head first, together with the socket, and held back by flow control; the handshake
/// runs and the real request is read on libwebsockets' own SSL object; then it is let go, and reads the rebuilt head
/// from its buffer with the real key put in. Both ways come to the same decision with the same data.
package final class ServerUpgrade: WireOwner {
    private let policy: UpgradePolicy
    private let register: OpenConnections?
    private var descriptor: CInt
    private var poll: DescriptorPoll?
    /// libuv cannot poll one descriptor twice, and libwebsockets polls the original.
    private var duplicate: CInt = -1
    private var deadline: EventLoop.TimerToken?
    private var head: [UInt8] = []
    private var progress: HeadProgress
    private var isTLSAccepted = false
    private var isLetGo = false
    private var isOver = false
    private var request: ValidatedUpgrade?
    private var acceptance = UpgradeAcceptance()
    private var deflate: DeflateNegotiation.Answer?
    private var details = ConnectionDetails()
    /// Released when the upgrade is over.
    private var selfRetain: ServerUpgrade?

    private static let placeholderKey = "AAAAAAAAAAAAAAAAAAAAAA=="
    private static let lingerTime: UInt64 = 1_000_000_000

    /// Takes over the descriptor. On the loop.
    ///
    /// - Parameter register: Knows about the handshake while it is under way, and can stop it.
    package static func begin(
        _ descriptor: CInt, on loop: EventLoop, policy: UpgradePolicy, register: OpenConnections? = nil
    ) {
        let upgrade = ServerUpgrade(descriptor: descriptor, loop: loop, policy: policy, register: register)
        upgrade.selfRetain = upgrade
        upgrade.start()
        if !upgrade.isOver { register?.insert(upgrade) }
    }

    private init(descriptor: CInt, loop: EventLoop, policy: UpgradePolicy, register: OpenConnections?) {
        self.policy = policy
        self.register = register
        progress = HeadProgress(limit: policy.limits.headBytes)
        self.descriptor = descriptor
        super.init(loop: loop)
    }

    private func start() {
        loop.counters.descriptors.add(1)
        var one: CInt = 1
        unsafe setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        details.localAddress = SocketAddress.local(of: descriptor)
        details.remoteAddress = SocketAddress.remote(of: descriptor)
        loop.onStop[ObjectIdentifier(self)] = { [unowned self] in drop() }
        deadline = loop.schedule(after: policy.handshakeTimeout.nanoseconds) { [unowned self] in
            deadline = nil
            loop.logger.debug("a handshake did not finish in time", metadata: peerMetadata)
            drop()
        }
        if policy.tls == nil { startPlain() } else { startTLS() }
    }

    private var peerMetadata: Logger.Metadata { ["peer": "\(details.remoteAddress.map(\.description) ?? "unknown")"] }

    // MARK: Plain

    private func startPlain() {
        // The request is often there already; then no poll is needed.
        readPlain()
        guard !isOver, poll == nil, descriptor >= 0 else { return }
        poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [unowned self] in readPlain() }
        poll?.start(.readable)
    }

    private func readPlain() {
        let count = unsafe withScratch { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
        if count > 0 {
            unsafe head.append(contentsOf: loop.scratch.memory[..<count])
            judge(consumed: nil)
        } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
            drop()
        }
    }

    private func adoptPlain(_ request: ValidatedUpgrade, extra: ArraySlice<UInt8>) {
        guard let vhost = unsafe loop.vhosts.plain(of: loop), let name = loop.vhosts.plainName else { return drop() }
        poll?.close()
        poll = nil
        var bytes = Array(HandshakeText.rebuiltHead(host: name, key: request.key, deflate: deflate != nil).utf8)
        bytes += extra
        isLetGo = true
        unsafe adopt(into: vhost, bytes)
    }

    // MARK: TLS

    private func startTLS() {
        guard let tls = policy.tls, let vhost = loop.vhosts.acquire(tls, of: loop) else { return drop() }
        duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard duplicate >= 0 else { return drop() }
        loop.counters.descriptors.add(1)
        var isCompressing = false
        if case .deflate = policy.options.compression { isCompressing = true }
        let bytes = HandshakeText.rebuiltHead(host: vhost.name, key: Self.placeholderKey, deflate: isCompressing)
        unsafe adopt(into: vhost.handle, Array(bytes.utf8))
        guard !isOver, unsafe wsi != nil else { return }
        poll = DescriptorPoll(loop: loop, descriptor: duplicate) { [unowned self] in driveTLS() }
        poll?.start(.readable)
        driveTLS()
    }

    private func driveTLS() {
        guard !isOver, !isLetGo, let wsi = unsafe wsi, let ssl = unsafe lws_get_ssl(wsi) else { return }
        if !isTLSAccepted {
            _ = unsafe wsx_tls_take_alert(nil)
            ERR_clear_error()
            let status = unsafe SSL_accept(ssl)
            guard status == 1 else { return unsafe wait(for: SSL_get_error(ssl, status), during: "the TLS handshake") }
            isTLSAccepted = true
            details.tls = unsafe TLSInfo(wsi: wsi)
        }
        while !isOver, !isLetGo {
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
            drop()
        }
    }

    private func letGo() {
        closeDuplicate()
        isLetGo = true
        guard let wsi = unsafe wsi else { return drop() }
        unsafe lws_rx_flow_control(wsi, 1)
        defer { connection = nil }
        // First the TLS state is noticed, then the rebuilt head is read; a third look finds what OpenSSL has already
        // decrypted behind the request. libuv would report none of these.
        for _ in 0..<3 {
            guard let wsi = unsafe self.wsi ?? connection?.wsi else { return }
            if unsafe wsx_lws_pretend_readable(loop.context, wsi) != 0 { return }
        }
    }

    /// What the upgrade became, for the rest of `letGo`. Not weak: that would slow down every retain of a connection.
    private var connection: Connection?

    private func closeDuplicate() {
        poll?.close()
        poll = nil
        guard duplicate >= 0 else { return }
        close(duplicate)
        duplicate = -1
        loop.counters.descriptors.subtract(1)
    }

    // MARK: Judging

    private func withScratch<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<(16 << 10)]))
    }

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
            refuse(refusal)
        case .head(let parsed, let count):
            consume?(count)
            do throws(UpgradeRefusal) {
                let request = try ValidatedUpgrade(parsed)
                acceptance = try policy.decide(request, policy.tls != nil).get()
                self.request = request
                deflate = DeflateNegotiation.answer(
                    offers: request.extensions, configured: policy.options.compression)
                details.request = parsed
                details.subprotocol = acceptance.subprotocol
                details.deflate = deflate?.agreed
                if policy.tls == nil { adoptPlain(request, extra: head[count...]) } else { letGo() }
            } catch {
                refuse(error)
            }
        }
    }

    private func judge(_ consume: @escaping (Int) -> Void) { judge(consumed: consume) }

    /// Answers with a status and ends the connection so that the answer arrives: after our end of file the peer gets a
    /// moment to read it.
    private func refuse(_ refusal: UpgradeRefusal) {
        loop.logger.debug(
            "a handshake was refused",
            metadata: peerMetadata.merging(["status": "\(refusal.status)", "reason": "\(refusal.explanation)"]) { $1 })
        let bytes = refusal.responseBytes
        if let wsi = unsafe wsi, let ssl = unsafe lws_get_ssl(wsi) {
            // Small enough for any socket buffer of a connection that has sent nothing yet.
            _ = unsafe bytes.withUnsafeBytes { unsafe SSL_write(ssl, $0.baseAddress, CInt($0.count)) }
            unsafe SSL_shutdown(ssl)
            shutdown(duplicate, Int32(SHUT_WR))
        } else {
            _ = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            shutdown(descriptor, Int32(SHUT_WR))
        }
        loop.cancel(deadline)
        deadline = loop.schedule(after: Self.lingerTime) { [unowned self] in
            deadline = nil
            drop()
        }
        isLetGo = true
        let watched = duplicate >= 0 ? duplicate : descriptor
        poll?.close()
        poll = DescriptorPoll(loop: loop, descriptor: watched) { [unowned self] in
            let count = unsafe withScratch { unsafe recv(watched, $0.baseAddress, $0.count, 0) }
            if count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) { drop() }
        }
        poll?.start(.readable)
    }

    // MARK: libwebsockets

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
            finish()
        }
        _ = unsafe result
    }

    /// libwebsockets has made the wsi.
    override func instantiated(_ wsi: OpaquePointer) {
        unsafe self.wsi = unsafe wsi
        loop.counters.connections.add(1)
        if !isLetGo { unsafe lws_rx_flow_control(wsi, 0) }
    }

    override func willAnswerUpgrade() -> CInt {
        isLetGo && request != nil ? 0 : -1
    }

    override func confirmsExtension() -> Bool { deflate != nil }

    override func addResponseHeaders(_ arguments: UnsafeMutablePointer<lws_process_html_args>) -> CInt {
        guard let start = unsafe arguments.pointee.p else { return -1 }
        // `max_len` is the room up to the service buffer's end.
        let room = unsafe Int(arguments.pointee.max_len)
        unsafe loop.serviceBuffer = unsafe UnsafeRawPointer(start) + room - LibWebSockets.serviceBufferSize
        if policy.tls != nil, unsafe !replaceAccept(before: start) { return -1 }
        var text = ""
        var position = UnsafeMutableRawPointer(start)
        if let deflate, !deflate.parameterText.isEmpty {
            // libwebsockets has just written `…permessage-deflate` and a line's end.
            unsafe position -= 2
            text += deflate.parameterText + "\r\n"
        }
        if let subprotocol = acceptance.subprotocol { text += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        for field in acceptance.fields { text += "\(field.name.rawName): \(field.value)\r\n" }
        guard text.utf8.count < room - 4 else {
            loop.logger.error("the response headers are too long", metadata: peerMetadata)
            return -1
        }
        let count = text.utf8.count
        unsafe UnsafeMutableRawBufferPointer(start: position, count: count).copyBytes(from: text.utf8)
        unsafe arguments.pointee.p = unsafe (position + count).assumingMemoryBound(to: CChar.self)
        return 0
    }

    /// The head that went in before the TLS handshake could not hold the client's key, so the answer to it, which
    /// libwebsockets has just written in front of `end`, is computed here.
    private func replaceAccept(before end: UnsafeMutablePointer<CChar>) -> Bool {
        guard let request else { return false }
        let accept = HandshakeText.base64(SHA1.hash(request.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
        let placeholder = Array(
            HandshakeText.base64(SHA1.hash(Self.placeholderKey + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).utf8)
        // Everything in front of it: three fixed lines, this one, and perhaps the extension's.
        for distance in placeholder.count...320 {
            let candidate = unsafe UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(end) - distance, count: placeholder.count)
            if unsafe candidate.elementsEqual(placeholder) {
                unsafe candidate.copyBytes(from: accept.utf8)
                return true
            }
        }
        return false
    }

    override func established() -> CInt {
        guard isLetGo, !isOver else { return -1 }
        let connection = Connection(loop: loop, isClient: false, options: policy.options, details: details)
        if policy.tls != nil { self.connection = connection }
        handOver(to: connection)
        finish()
        connection.start()
        policy.established(connection)
        return 0
    }

    override func destroyed() {
        loop.counters.connections.subtract(1)
        loop.counters.descriptors.subtract(1)
        finish()
    }

    /// The server stops. A client that has been answered gets its moment to read that.
    func stop() { if !isLetGo { drop() } }

    /// Gives up.
    private func drop() {
        guard !isOver else { return }
        if unsafe wsi != nil {
            closeDuplicate()
            // The rest follows in `destroyed`. Later, because this may run inside one of its callbacks.
            loop.killSoon(self)
            loop.cancel(deadline)
            deadline = nil
            isOver = true
            return
        }
        if descriptor >= 0 {
            poll?.close()
            poll = nil
            close(descriptor)
            descriptor = -1
            loop.counters.descriptors.subtract(1)
        }
        finish()
    }

    private func finish() {
        isOver = true
        closeDuplicate()
        loop.cancel(deadline)
        deadline = nil
        loop.onStop[ObjectIdentifier(self)] = nil
        register?.remove(self)
        selfRetain = nil
    }
}

private enum SHA1 {
    /// What RFC 6455 §4.2.2 asks for; it proves nothing but that the server speaks WebSocket.
    static func hash(_ text: String) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        let bytes = Array(text.utf8)
        _ = unsafe COpenSSL.SHA1(bytes, bytes.count, &digest)
        return digest
    }
}
