//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc
import HTTPTypes
import WebSocketCore

/// One attempt at one address, from the socket to the 101. Its end is recorded once: by libwebsockets' refusal to
/// begin, or by the end of the wsi; all other callbacks only add detail.
final class ClientHandshake: WireOwner, ConnectionAttempt {
    enum Stage: Int, Comparable {
        case tcp, proxy, tls, upgrade
        static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
        var phase: WebSocketError.Phase {
            switch self {
            case .tcp: .connect
            case .proxy: .proxy
            case .tls: .tls
            case .upgrade: .upgrade
            }
        }
    }

    private unowned let connector: ClientConnector
    /// Keeps the connector while libwebsockets may call back.
    private var connectorRetain: ClientConnector?
    let request: ClientRequest
    /// What it is made over.
    enum Transport {
        case address(String, port: Int)
        /// A socket that is connected, and to what.
        case socket(CInt, String)
    }
    let transport: Transport
    /// A connected socket that libwebsockets has not got yet.
    private var socket: CInt = -1
    private(set) var stage = Stage.tcp
    private var isOver = false
    private var isAbandoned = false
    private var vhost: Vhost?
    private var key = ""
    // Details for the error.
    private(set) var verifyError: CInt?
    private(set) var libraryText = ""
    private(set) var tlsReason: CInt = 0
    private(set) var systemError: CInt = 0
    private(set) var response: WebSocketError.Response?
    private(set) var refusal: WebSocketError?
    private var details = ConnectionDetails()

    init(connector: ClientConnector, transport: Transport) {
        self.connector = connector
        self.connectorRetain = connector
        self.request = connector.request
        self.transport = transport
        super.init(loop: connector.loop)
        if case .socket(let socket, _) = transport {
            self.socket = socket
            loop.counters.descriptors.add(1)
        }
    }

    func start() {
        switch transport {
        case .address(let address, let port): start(address: address, port: port)
        case .socket: startWithSocket()
        }
    }

    /// libwebsockets 4.1.6 cannot be given a connected socket for a client. So it connects to a Unix socket of ours,
    /// which takes no time, and before it has written or polled anything, in `tcpConnected`, the connected socket takes
    /// the place of that one under its number.
    private func startWithSocket() {
        var address = [CChar](repeating: 0, count: 32)
        let listener = unsafe wsx_listen_anywhere(&address)
        guard listener >= 0 else {
            closeSocket()
            end(
                WebSocketError(
                    .resourceExhausted, "there is no descriptor for a local socket; check the limits",
                    systemError: errno))
            return
        }
        defer { close(listener) }
        let name = String(decoding: address.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        start(address: name, port: request.url.port)
        // It did not get as far as connecting.
        closeSocket()
    }

    private func closeSocket() {
        guard socket >= 0 else { return }
        close(socket)
        socket = -1
        loop.counters.descriptors.subtract(1)
    }

    private func start(address: String, port: Int) {
        let offer = request.subprotocols.joined(separator: ", ")
        guard loop.attachment == nil || offer.utf8.count <= Self.longestAttachedOffer else {
            end(
                WebSocketError(
                    .invalidConfiguration,
                    "the subprotocols have \(offer.utf8.count) bytes; on an attached loop the limit is \(Self.longestAttachedOffer)"
                ))
            return
        }
        let plain: OpaquePointer?
        if let tls = request.tls {
            vhost = loop.vhosts.acquire(tls, of: loop)
            unsafe plain = unsafe vhost?.handle
        } else {
            unsafe plain = unsafe loop.vhosts.plain(of: loop)
        }
        guard let handle = unsafe plain else {
            end(WebSocketError(.resourceExhausted, "libwebsockets could not create a vhost"))
            return
        }
        loop.counters.connections.add(1)
        loop.counters.descriptors.add(1)
        let pointer = unsafe retainedPointer()
        // What libwebsockets would write from these is replaced in `appendHandshakeHeaders`.
        let name = String(request.url.host.utf8.prefix(100))!
        // It refuses every subprotocol that it did not offer itself, so it has to know.
        let offered = unsafe request.subprotocols.isEmpty ? nil : strdup(offer)
        defer { unsafe free(offered) }
        _ = unsafe wsx_tls_take_alert(nil)
        _ = wsx_tls_take_reason()
        errno = 0
        var created: OpaquePointer?
        let result: OpaquePointer? = unsafe address.withCString { address in
            unsafe name.withCString { name in
                unsafe "/".withCString { path in
                    unsafe "http/1.1".withCString { alpn in
                        unsafe "wsx".withCString { local in
                            var info = unsafe lws_client_connect_info()
                            unsafe info.context = unsafe loop.context
                            unsafe info.vhost = unsafe handle
                            unsafe info.address = unsafe address
                            unsafe info.port = CInt(port)
                            unsafe info.path = unsafe path
                            unsafe info.host = unsafe name
                            unsafe info.alpn = unsafe alpn
                            unsafe info.local_protocol_name = unsafe local
                            unsafe info.protocol = unsafe UnsafePointer(offered)
                            unsafe info.ssl_connection = CInt(LCCSCF_HTTP_NO_FOLLOW_REDIRECT.rawValue)
                            if request.tls != nil { unsafe info.ssl_connection |= CInt(LCCSCF_USE_SSL.rawValue) }
                            unsafe info.retry_and_idle_policy = unsafe LibWebSockets.noKeepAlive
                            unsafe info.opaque_user_data = unsafe pointer
                            return unsafe withUnsafeMutablePointer(to: &created) { created in
                                unsafe info.pwsi = unsafe created
                                return unsafe lws_client_connect_via_info(&info)
                            }
                        }
                    }
                }
            }
        }
        if isOver { return }
        if unsafe result == nil {
            // Refused at once, or failed within the call. Without a WSI_DESTROY there was never a wsi to destroy.
            if systemError == 0 { systemError = errno }
            if !isDestroyed {
                if unsafe wsi == nil && created == nil { finishDestroyed(release: true) }
            }
        } else {
            unsafe wsi = unsafe result
        }
    }

    private var isDestroyed = false
    /// While certificates on it are ours to verify (`AttachedVerification`).
    var watchedDescriptor: CInt?

    // MARK: Callbacks

    override func tcpConnected() {
        if socket >= 0, let wsi = unsafe wsi, unsafe wsx_move_descriptor(socket, lws_get_socket_fd(wsi)) < 0 {
            refusal = WebSocketError(
                .resourceExhausted, "the connected socket could not be handed over", systemError: errno)
        }
        closeSocket()
        stage = request.tls == nil ? .upgrade : .tls
        if loop.attachment != nil && request.tls != nil {
            unsafe AttachedVerification.watch(lws_get_socket_fd(wsi), self)
        }
        if !isAbandoned { connector.progressed(self) }
    }

    override func verifiedCertificate(_ store: OpaquePointer, isValid: Bool) -> CInt {
        guard let tls = request.tls else { return 0 }
        if !isValid {
            guard tls.isVerified else {
                unsafe X509_STORE_CTX_set_error(store, X509_V_OK)
                return 0
            }
            if verifyError == nil { verifyError = unsafe X509_STORE_CTX_get_error(store) }
            return 1
        }
        // The server's own certificate comes last, when the chain is complete.
        guard !tls.pins.isEmpty, unsafe X509_STORE_CTX_get_error_depth(store) == 0 else { return 0 }
        guard unsafe PublicKeyPin.isMet(tls.pins, by: store, wholeChain: tls.isVerified) else {
            isPinMissed = true
            unsafe X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
            return 1
        }
        isPinMet = true
        return 0
    }

    private var isPinMet = false
    private(set) var isPinMissed = false
    private(set) var wasAskedForCertificate = false

    /// A session that is resumed was verified when it began, by the same context. Everything else must have met a pin.
    private var mayAsk: Bool {
        guard let tls = request.tls, !tls.pins.isEmpty, !isPinMet else { return true }
        guard let wsi = unsafe wsi, let ssl = unsafe lws_get_ssl(wsi) else { return false }
        return unsafe SSL_session_reused(ssl) != 0
    }

    /// Where libwebsockets has begun to write its request, which is the beginning of the service buffer. The end of that
    /// is `room + 12` bytes behind `end`.
    private func requestStart(_ end: UnsafeMutablePointer<CChar>, room: Int) -> UnsafeMutablePointer<CChar>? {
        guard loop.attachment != nil else { return unsafe end + room + 12 - loop.serviceBufferSize }
        // Only the context's owner knows how large it is, but how the request begins is known: nothing in it that
        // comes from outside has a space and a line's end.
        let beginning = Array("GET / HTTP/1.1\r\n".utf8)
        var start = unsafe end - beginning.count
        while unsafe memcmp(start, beginning, beginning.count) != 0 {
            // Target, host and protocols are as long as `start(address:port:)` lets them be.
            guard unsafe end - start < 4_096 else { return unsafe start }
            unsafe start -= 1
        }
        loop.serviceBufferSize = unsafe end - start + room + 12
        guard loop.serviceBufferSize >= Self.smallestServiceBuffer else {
            refusal = WebSocketError(
                .invalidConfiguration,
                "the lws_context's pt_serv_buf_size is \(loop.serviceBufferSize); set it to at least \(Self.smallestServiceBuffer) when you create the context"
            )
            return nil
        }
        return unsafe start
    }

    /// One TLS record, or a throttled TLS client spins for ever in 4.1.6.
    private static let smallestServiceBuffer = 16_384
    /// libwebsockets writes the offer into a service buffer that may be 4 KiB, without looking.
    private static let longestAttachedOffer = 2_048

    override func appendHandshakeHeaders(
        _ position: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, room: Int
    ) -> CInt {
        stage = .upgrade
        guard !isAbandoned, refusal == nil, let end = unsafe position.pointee else { return -1 }
        guard mayAsk else {
            isPinMissed = true
            return -1
        }
        noteCertificateRequest()
        // 4.1.6 cuts targets, hosts and origins silently. Its request stands at the beginning of the service buffer,
        // which ends `room + 12` bytes behind the position (the same in 4.3.5 and 5.0.0): the whole of it is
        // rewritten, but for the key, whose hash libwebsockets has already taken.
        guard let start = unsafe requestStart(end, room: room) else { return -1 }
        let written = unsafe UnsafeRawBufferPointer(start: start, count: end - start)
        guard unsafe written.starts(with: "GET ".utf8), let key = unsafe Self.key(in: written) else {
            refusal = WebSocketError(
                .handshakeInvalid,
                "this version of libwebsockets lays out its request differently; use a version that README.md lists")
            return -1
        }
        self.key = key
        unsafe loop.serviceBuffer = UnsafeRawPointer(start)
        let text = request.requestText(key: key)
        let capacity = loop.serviceBufferSize - 12
        let count = text.utf8.count
        guard count < capacity else {
            refusal = WebSocketError(
                .invalidConfiguration,
                "the request has \(count) bytes; the limit of this loop's context is \(capacity - 1)")
            return -1
        }
        unsafe UnsafeMutableRawBufferPointer(start: start, count: capacity).copyBytes(from: text.utf8)
        unsafe position.pointee = unsafe start + count
        details.requestBytes = Array(text.utf8) + "\r\n".utf8
        request.trace?.sent(text)
        return 0
    }

    private func noteCertificateRequest() {
        guard let wsi = unsafe wsi, let ssl = unsafe lws_get_ssl(wsi) else { return }
        wasAskedForCertificate = unsafe wsx_ssl_was_asked_for_certificate(ssl) != 0
    }

    override func receivedResponse() -> CInt {
        guard unsafe lws_http_client_http_response(wsi) >= 100 else {
            refusal = invalid("the status line is malformed")
            return -1
        }
        // The head is still where it was read, if it came in one read; else the headers that libwebsockets knows.
        if let buffer = unsafe loop.serviceBuffer {
            let head = unsafe UnsafeRawBufferPointer(
                start: buffer + Int(wsx_lws_pre()), count: loop.serviceBufferSize - Int(wsx_lws_pre()))
            if unsafe head.starts(with: "HTTP/1.".utf8), let parsed = unsafe HTTPResponseHeadParser.parse(head),
                unsafe parsed.status == Int(lws_http_client_http_response(wsi))
            {
                response = .init(status: parsed.status, headers: parsed.fields)
            }
        }
        if response == nil {
            response = unsafe .init(status: Int(lws_http_client_http_response(wsi)), headers: knownHeaders())
        }
        if let response, response.status != 101 {
            let body = readBody()
            self.response = .init(status: response.status, headers: response.headers, body: body)
            // libwebsockets has forgotten the status if the body is complete.
            return -1
        }
        return 0
    }

    /// The beginning of a refusal's body, as far as it is here: libwebsockets reads on for us once. Not in chunks: the
    /// chunk size of a hostile server makes 4.1.6 count below zero and read in front of the buffer.
    private func readBody() -> [UInt8] {
        guard let wsi = unsafe wsi, unsafe lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) == 0 else {
            return []
        }
        body = []
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: Self.bodyBytes + Int(wsx_lws_pre()))
        defer { unsafe memory.deallocate() }
        var position: UnsafeMutablePointer<CChar>? = unsafe memory + Int(wsx_lws_pre())
        var room = CInt(Self.bodyBytes)
        _ = unsafe lws_http_client_read(wsi, &position, &room)
        return Array(body.prefix(Self.bodyBytes))
    }

    private static let bodyBytes = 1_024
    private var body: [UInt8] = []

    override func receivedBody(_ bytes: UnsafeRawBufferPointer) {
        guard (1...Self.bodyBytes).contains(bytes.count) else { return }
        unsafe body.append(contentsOf: bytes)
    }

    override func willEstablish() -> CInt {
        guard !isAbandoned else { return -1 }
        let fields = response?.headers ?? [:]
        details.url = request.url
        details.response = response
        if let chosen = fields[.secWebSocketProtocol] {
            guard request.subprotocols.contains(chosen) else {
                refusal = invalid("the server chose a subprotocol that was not offered")
                return -1
            }
            details.subprotocol = chosen
        }
        do throws(DeflateNegotiation.Refusal) {
            details.deflate = try DeflateNegotiation.accept(
                answer: fields[.secWebSocketExtensions], offered: request.options.compression)
        } catch {
            refusal = invalid(error.reason)
            return -1
        }
        return 0
    }

    override func established() -> CInt {
        guard !isAbandoned, let wsi = unsafe wsi else { return -1 }
        let descriptor = unsafe lws_get_socket_fd(wsi)
        details.localAddress = SocketAddress.local(of: descriptor)
        details.remoteAddress =
            if case .unix(let path) = request.route { .unix(path: path) } else { SocketAddress.remote(of: descriptor) }
        details.tls = unsafe TLSInfo(wsi: wsi)
        let connection = Connection(loop: loop, isClient: true, options: Shared(request.options), details: details)
        connection.vhost = vhost
        vhost = nil
        isOver = true
        AttachedVerification.forget(self)
        handOver(to: connection)
        connection.start()
        connector.succeeded(self, connection)
        connectorRetain = nil
        return 0
    }

    override func connectionFailed(_ text: String) {
        libraryText = text
        noteCertificateRequest()
        tlsReason = wsx_tls_take_reason()
        guard systemError == 0 else { return }
        if let wsi = unsafe wsi {
            // errno is by now that of something libwebsockets did afterwards; the socket still knows.
            systemError = unsafe wsx_socket_error(lws_get_socket_fd(wsi))
        } else {
            systemError = errno
        }
    }

    override func destroyed() { finishDestroyed(release: false) }

    private func finishDestroyed(release: Bool) {
        guard !isDestroyed else { return }
        isDestroyed = true
        loop.counters.connections.subtract(1)
        loop.counters.descriptors.subtract(1)
        AttachedVerification.forget(self)
        vhost?.users -= 1
        vhost = nil
        let error = isOver || isAbandoned ? nil : makeError()
        if release { unsafe Unmanaged.passUnretained(self).release() }
        if let error { end(error) }
        connectorRetain = nil
    }

    // MARK: Ending

    private func end(_ error: WebSocketError) {
        guard !isOver else { return }
        isOver = true
        if !isAbandoned { connector.failed(self, error) }
    }

    /// The connector no longer wants this attempt.
    func abandon() {
        guard !isOver, !isAbandoned else { return }
        isAbandoned = true
        closeSocket()
        // Later, because this may run inside a callback of this or another wsi.
        loop.killSoon(self)
    }
}
