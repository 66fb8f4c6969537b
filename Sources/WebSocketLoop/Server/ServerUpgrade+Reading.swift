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
import WebSocketCore

// The request comes, plain or through TLS, perhaps behind a proxy's header.
extension ServerUpgrade {
    func startPlain() {
        // The request is often there already; then no poll is needed.
        readPlain()
        guard stage == .request, poll == nil, descriptor >= 0 else { return }
        poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [self] in readPlain() }
        poll?.start(.readable)
    }

    func readPlain() {
        guard stage == .request else { return vanished() }
        let count = unsafe withScratch { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
        if count > 0 {
            unsafe head.append(contentsOf: loop.scratch.memory[..<count])
            judge(consumed: nil)
        } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
            drop(Self.gone)
        }
    }

    func startTLS() {
        // libwebsockets looks at the socket when it gets it, and takes it no more when something else than TLS is there.
        var first: UInt8 = 0
        switch unsafe recv(descriptor, &first, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) {
        case 0: return drop(Self.gone)
        case 1 where first != Self.handshakeRecord: return drop(Self.notTLS)
        default: break
        }
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
        poll = DescriptorPoll(loop: loop, descriptor: duplicate) { [self] in driveTLS() }
        poll?.start(.readable)
        driveTLS()
    }

    func driveTLS() {
        guard stage == .request else { return vanished() }
        guard let wsi = unsafe wsi, let ssl = unsafe lws_get_ssl(wsi) else { return }
        if !isTLSAccepted {
            _ = unsafe wsx_tls_take_alert(nil)
            ERR_clear_error()
            let status = unsafe SSL_accept(ssl)
            guard status == 1 else { return unsafe wait(for: SSL_get_error(ssl, status), during: "the TLS handshake") }
            isTLSAccepted = true
            details.tls = unsafe WebSocketTLSInfo(wsi: wsi)
            clientCertificate = unsafe WebSocketTLSClientCertificate(ssl: ssl)
        }
        while stage == .request {
            // Looked at first, so that only the request is taken: what follows it is libwebsockets' to read.
            ERR_clear_error()
            let count = unsafe withScratch { unsafe Int(SSL_peek(ssl, $0.baseAddress, CInt($0.count))) }
            guard count > 0 else {
                if unsafe wsx_ssl_was_flooded(ssl) != 0 { return drop(Self.flooded) }
                // `SSL_peek` leaves the reason of an earlier call standing when the stream is over.
                let isOver = unsafe SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0
                return unsafe wait(
                    for: isOver ? SSL_ERROR_ZERO_RETURN : SSL_get_error(ssl, CInt(count)), during: "the request")
            }
            let before = head.count
            unsafe head.append(contentsOf: loop.scratch.memory[..<count])
            judge { total in
                _ = unsafe self.withScratch {
                    unsafe SSL_read(ssl, $0.baseAddress, CInt(min(total - before, $0.count)))
                }
            }
        }
    }

    func wait(for error: CInt, during step: String) {
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

    /// The first byte of what TLS clients say (RFC 8446 §5.1).
    private static let handshakeRecord: UInt8 = 22

    static let notTLS = WebSocketError(
        .tlsFailed, "the client does not speak TLS, which this server wants; check its URL's scheme and port",
        phase: .tls, tlsFailure: .notTLS)

    private static let flooded = WebSocketError(
        .tlsFailed,
        "the client sent more than \(WSX_TLS_MAXIMUM_RECORDS_WITHOUT_DATA.rawValue) TLS records without data in a row",
        phase: .tls, tlsFailure: .other)

    func withScratch<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<(16 << 10)]))
    }

    // MARK: The proxy in front

    var isFromTrustedProxy: Bool {
        switch details.remoteAddress {
        case .ip(let address, _): policy.trust.trusts(address)
        case .unix: policy.trust.trustsUnixSockets
        case nil: false
        }
    }

    /// Looks at the PROXY header without taking what follows it.
    func readProxyHeader() {
        guard stage == .proxyHeader else { return }
        var bytes = [UInt8](repeating: 0, count: ProxyHeader.maximumBytes)
        let count = unsafe recv(descriptor, &bytes, bytes.count, Int32(MSG_PEEK))
        guard count > 0 else {
            if count < 0 && (errno == EAGAIN || errno == EINTR) { awaitProxyHeader() } else { drop(Self.gone) }
            return
        }
        // Anybody could say whom it speaks for; only the proxies may.
        switch isFromTrustedProxy ? ProxyHeader.parse(Array(bytes[..<count])) : .malformed {
        case .incomplete:
            guard count < ProxyHeader.maximumBytes else { return drop(Self.badProxy) }
            lookAgainSoon()
        case .malformed:
            loop.logger.debug("no PROXY header of a trusted proxy", metadata: peerMetadata)
            drop(Self.badProxy)
        case .header(let header, let byteCount):
            _ = unsafe recv(descriptor, &bytes, byteCount, 0)
            poll?.close()
            poll = nil
            if case .client(let address, let port) = header {
                details.remoteAddress = .ip(address: WebSocketAddress.normalized(address), port: port)
            }
            if ticket?.move(to: details.remoteAddress) == false { refusal = .tooMany }
            startReading()
        }
    }

    private func awaitProxyHeader() {
        if poll == nil {
            poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [self] in readProxyHeader() }
        }
        poll?.start(.readable)
    }

    /// Part of a header lies in the socket, which stays readable: look again in a moment, not at once.
    private func lookAgainSoon() {
        poll?.stop()
        loop.cancel(proxyRetry)
        proxyRetry = loop.schedule(after: 10_000_000) { [self] in
            proxyRetry = nil
            readProxyHeader()
        }
    }

    /// Takes a trusted proxy's word for who the client is. A client that the proxy does not name counts under the proxy's
    /// address: otherwise it would pass by the limit for each address.
    func hearProxy(_ fields: HTTPFields) throws(UpgradeRefusal) -> (isSecure: Bool?, host: String?) {
        guard policy.trust != ForwardingTrust(), isFromTrustedProxy else { return (nil, nil) }
        let client: ForwardedClient?
        do throws(ForwardedClient.Malformed) {
            client = try ForwardedClient(fields, trust: policy.trust)
        } catch {
            throw .badRequest("the header in which the proxy names its client is malformed")
        }
        if let address = client?.address {
            details.remoteAddress = .ip(address: WebSocketAddress.normalized(address), port: client?.port ?? 0)
        }
        if ticket?.move(to: details.remoteAddress) == false { refusal = .tooMany }
        return (client?.isSecure, client?.host)
    }
}
