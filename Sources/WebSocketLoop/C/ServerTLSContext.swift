//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL
import Synchronization
package import WebSocketCore

/// A certificate, its chain and its key.
@safe private final class ServerIdentity: @unchecked Sendable {
    // Immutable after `init`; OpenSSL's reference counts are atomic.
    let chain: [OpaquePointer]
    let key: OpaquePointer

    init(
        _ certificateChain: WebSocketPEMSource, _ privateKey: WebSocketPEMSource, passphrase: String?, field: String
    ) throws(WebSocketError) {
        unsafe chain = try unsafe PEM.certificates(certificateChain, field: "\(field).certificateChain")
        do throws(WebSocketError) {
            unsafe key = try unsafe PEM.privateKey(privateKey, passphrase: passphrase, field: field)
        } catch {
            unsafe chain.forEach { unsafe X509_free($0) }
            throw error
        }
        guard unsafe X509_check_private_key(chain[0], key) == 1 else {
            ERR_clear_error()
            throw PEM.stranger(privateKey, certificateChain, field: field, whose: "server")
        }
    }

    deinit {
        unsafe chain.forEach { unsafe X509_free($0) }
        unsafe EVP_PKEY_free(key)
    }

    func use(on ssl: OpaquePointer?) -> Bool {
        unsafe chain.map(Optional.init).withUnsafeBufferPointer {
            unsafe wsx_ssl_use_identity(ssl, $0.baseAddress!, CInt($0.count), key) == 1
        }
    }
}

/// Which client certificates are good.
@safe private final class ClientVerification: @unchecked Sendable {
    // Immutable after `init`.
    private let isRequired: Bool
    private let store: OpaquePointer
    private let authorities: [OpaquePointer]

    init?(_ policy: WebSocketTLSServerConfiguration.ClientCertificates) throws(WebSocketError) {
        let source: WebSocketPEMSource
        switch policy {
        case .ignored: return nil
        case .optional(let trust): (isRequired, source) = (false, trust)
        case .required(let trust): (isRequired, source) = (true, trust)
        }
        unsafe authorities = try unsafe PEM.certificates(source, field: "tls.clientCertificates")
        guard let store = unsafe X509_STORE_new() else {
            unsafe authorities.forEach { unsafe X509_free($0) }
            throw WebSocketError(.resourceExhausted, "OpenSSL could not allocate memory; give the process more")
        }
        unsafe self.store = unsafe store
        unsafe authorities.forEach { unsafe X509_STORE_add_cert(store, $0) }
        // Each of them is an anchor, whether it has an issuer or not (RFC 5280 §6.1.1).
        unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
    }

    deinit {
        unsafe X509_STORE_free(store)
        unsafe authorities.forEach { unsafe X509_free($0) }
    }

    func ask(on ssl: OpaquePointer?) {
        unsafe authorities.map(Optional.init).withUnsafeBufferPointer {
            unsafe wsx_ssl_ask_for_certificate(ssl, isRequired ? 1 : 0, store, $0.baseAddress!, CInt($0.count))
        }
    }
}

/// A server's certificates and keys. Each handshake is given its own by the name the client asked for, so they can be
/// exchanged at any time without touching connections that stand.
@safe package final class ServerTLSContext: @unchecked Sendable {
    // `Mutex`, and immutable pointers whose counts OpenSSL keeps atomically.
    private struct Current {
        let fallback: ServerIdentity
        let named: [String: ServerIdentity]
        let verification: ClientVerification?
    }

    private let current: Mutex<Current>
    private let minimumVersion: WebSocketTLSVersion
    /// Decided once: a vhost's SSL_CTX keeps what it was made with.
    private let asksForCertificates: Bool
    let unusedClientContext: OpaquePointer
    /// A ticket that one loop gave out is good on the others, and after a reload.
    private let ticketKeys: OpaquePointer

    /// Reads and checks certificates and keys.
    package init(_ configuration: WebSocketTLSServerConfiguration) throws(WebSocketError) {
        _ = unsafe LibWebSockets.initialize
        let loaded = try Self.load(configuration)
        guard let keys = unsafe wsx_ticket_keys_new() else {
            throw WebSocketError(
                .resourceExhausted, "there is no memory for the keys of TLS tickets; give the process more")
        }
        unsafe ticketKeys = unsafe keys
        asksForCertificates = loaded.verification != nil
        current = Mutex(loaded)
        minimumVersion = configuration.minimumVersion
        unsafe unusedClientContext = unsafe SSL_CTX_new(TLS_client_method())!
    }

    /// Handshakes that begin from now on get these. When it throws nothing has changed.
    package func reload(_ configuration: WebSocketTLSServerConfiguration) throws(WebSocketError) {
        let loaded = try Self.load(configuration)
        guard (loaded.verification != nil) == asksForCertificates, configuration.minimumVersion == minimumVersion else {
            throw WebSocketError(
                .invalidConfiguration,
                "a reload exchanges certificates, keys and authorities; for another tls.minimumVersion, or to begin or end asking for client certificates, start a new server"
            )
        }
        current.withLock { $0 = loaded }
    }

    private static func load(_ configuration: WebSocketTLSServerConfiguration) throws(WebSocketError) -> Current {
        let fallback = try ServerIdentity(
            configuration.certificateChain, configuration.privateKey, passphrase: configuration.passphrase,
            field: "tls")
        var named: [String: ServerIdentity] = [:]
        for identity in configuration.additionalIdentities {
            let loaded = try ServerIdentity(
                identity.certificateChain, identity.privateKey, passphrase: identity.passphrase,
                field: "tls.additionalIdentities")
            for name in identity.serverNames.map(Self.withoutRoot) {
                guard !name.isEmpty, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                    throw WebSocketError(
                        .invalidConfiguration,
                        "tls.additionalIdentities has a server name that is no host name; write it as clients ask for it"
                    )
                }
                guard named.updateValue(loaded, forKey: name.lowercased()) == nil else {
                    throw WebSocketError(
                        .invalidConfiguration,
                        "tls.additionalIdentities names “\(name.escapedForLog)” twice; leave one out")
                }
            }
        }
        return Current(
            fallback: fallback, named: named, verification: try ClientVerification(configuration.clientCertificates))
    }

    /// Called by libwebsockets with the SSL_CTX of a new vhost.
    func fill(_ context: OpaquePointer) -> Bool {
        unsafe wsx_ssl_ctx_set_defaults(context)
        unsafe wsx_ssl_ctx_set_minimum_version(context, minimumVersion.openSSLValue)
        // libwebsockets' own callback would let a client's SNI choose a vhost, and aborts when contexts are swapped.
        unsafe wsx_ssl_ctx_clear_servername_callback(context)
        unsafe wsx_ssl_ctx_watch_alerts(context)
        if asksForCertificates {
            unsafe wsx_ssl_ctx_disable_resumption(context)
        } else {
            unsafe wsx_ssl_ctx_share_tickets(context, ticketKeys)
        }
        // The loop's table of vhosts keeps this object as long as the SSL_CTX.
        unsafe SSL_CTX_set_cert_cb(
            context,
            { ssl, argument in
                guard let argument = unsafe argument else { return 0 }
                let tls = unsafe Unmanaged<ServerTLSContext>.fromOpaque(argument).takeUnretainedValue()
                return unsafe tls.prepare(ssl) ? 1 : 0
            }, Unmanaged.passUnretained(self).toOpaque())
        return true
    }

    /// A handshake has come to the point where it needs a certificate.
    private func prepare(_ ssl: OpaquePointer?) -> Bool {
        let name = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { unsafe String(cString: $0) }
        let now = current.withLock { $0 }
        let identity = name.flatMap { Self.find(Self.withoutRoot($0.lowercased()), in: now.named) } ?? now.fallback
        unsafe now.verification?.ask(on: ssl)
        return unsafe identity.use(on: ssl)
    }

    /// A name without the dot of the DNS's root, which SNI does not have (RFC 6066 §3), though some clients send it.
    private static func withoutRoot(_ name: String) -> String { name.hasSuffix(".") ? String(name.dropLast()) : name }

    /// The name itself, then a wildcard for its first label.
    private static func find(_ name: String, in table: [String: ServerIdentity]) -> ServerIdentity? {
        if let exact = table[name] { return exact }
        guard let dot = name.firstIndex(of: ".") else { return nil }
        return table["*" + name[dot...]]
    }

    /// Makes the keys of tickets older, for tests.
    package func advanceTicketKeys(by time: Duration) {
        unsafe wsx_ticket_keys_advance(ticketKeys, Int64(time.components.seconds))
    }

    deinit {
        unsafe SSL_CTX_free(unusedClientContext)
        unsafe wsx_ticket_keys_free(ticketKeys)
    }
}

/// Whom a client's certificate names. It has been verified.
public struct WebSocketTLSClientCertificate: Sendable, Hashable {
    /// The subject (RFC 2253), such as `CN=alice,O=Example`.
    public let subject: String
    /// The SHA-256 of the certificate in DER form, 32 bytes: what to pin.
    public let fingerprint: [UInt8]
    /// The certificate itself, DER.
    public let der: [UInt8]

    init?(ssl: OpaquePointer) {
        guard let certificate = unsafe SSL_get1_peer_certificate(ssl) else { return nil }
        defer { unsafe X509_free(certificate) }
        guard unsafe SSL_get_verify_result(ssl) == Int(X509_V_OK) else { return nil }
        let length = unsafe i2d_X509(certificate, nil)
        guard length > 0 else { return nil }
        var der = [UInt8](repeating: 0, count: Int(length))
        unsafe der.withUnsafeMutableBufferPointer { buffer in
            var position = buffer.baseAddress
            _ = unsafe i2d_X509(certificate, &position)
        }
        self.der = der
        var digest = [UInt8](repeating: 0, count: 32)
        _ = unsafe COpenSSL.SHA256(der, der.count, &digest)
        fingerprint = digest
        var text = [UInt8](repeating: 0, count: 4_096)
        let count = unsafe wsx_x509_subject(certificate, &text, CInt(text.count))
        subject = String(decoding: text.prefix(Int(max(0, count))), as: UTF8.self)
    }
}
