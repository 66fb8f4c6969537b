//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL
import Synchronization
package import WebSocketCore

/// What a client's SSL_CTXs have for one configuration and one name. libwebsockets makes one for each vhost, and `fill`
/// makes it what `context` is: only so can SNI, the verified name and the trusted certificates be set as they should be.
/// Immutable once made; loops share it.
@safe package final class ClientTLSContext: @unchecked Sendable {
    // OpenSSL counts references to an SSL_CTX atomically, and nothing changes it after `init`.
    let context: OpaquePointer
    private let identity: OpaquePointer
    let isVerified: Bool
    private let ciphers: String?
    private let cipherSuites: String?
    /// What SNI says and what is verified.
    let name: String
    /// Whether the configuration says the name, and not the URL.
    let isNamed: Bool
    /// Whether there is a client certificate.
    let isIdentified: Bool
    /// One of these keys must be met; empty for any.
    let pins: Set<[UInt8]>

    private struct Key: Hashable {
        let configuration: WebSocketTLSClientConfiguration
        let name: String
        /// Files that have changed make another context.
        let files: [FileVersion]
        /// The same for the system's authorities; `nil` where they are not asked.
        let system: SystemVersion?
    }
    private struct SystemVersion: Hashable {
        let trust: SystemTrust
        let files: [FileVersion]
    }
    @safe private struct Cache {
        var contexts: [Key: ClientTLSContext] = [:]
        var order: [Key] = []
        /// One store for all contexts: parsing the bundle is what costs.
        var system: (version: SystemVersion, store: OpaquePointer)?
    }
    private static let cache = Mutex(Cache())
    private static let maximumCached = 64

    /// The context for a configuration and the URL's host. Made once and kept until a file changes that it was made of;
    /// loading the system's CAs takes about 16 ms the first time, so this does not run on a loop. To be asked for each
    /// attempt anew.
    package static func make(
        _ configuration: WebSocketTLSClientConfiguration, host: String, system: SystemTrust = .standard
    ) throws(WebSocketError) -> ClientTLSContext {
        _ = unsafe LibWebSockets.initialize
        let asksSystem = configuration.trust == .system && configuration.verification == .full
        let key = Key(
            configuration: configuration, name: name(configuration.serverName ?? host),
            files: configuration.sources.map(FileVersion.init),
            system: asksSystem ? SystemVersion(trust: system, files: system.versions) : nil)
        let result: Result<ClientTLSContext, WebSocketError> = cache.withLock { cache in
            if let known = cache.contexts[key] { return .success(known) }
            do throws(WebSocketError) {
                let store = try unsafe key.system.map { version throws(WebSocketError) in
                    try unsafe systemStore(version, &cache)
                }
                let made = try unsafe ClientTLSContext(configuration, name: key.name, systemStore: store)
                if cache.order.count >= maximumCached { cache.contexts[cache.order.removeFirst()] = nil }
                cache.contexts[key] = made
                cache.order.append(key)
                return .success(made)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// What SNI says and what is verified. The root's dot belongs to the DNS (RFC 6066 §3), a zone to this machine.
    private static func name(_ host: String) -> String {
        let host = IPAddress.withoutZone(host)
        return host.hasSuffix(".") ? String(host.dropLast()) : host
    }

    /// The system's authorities as they are now.
    private static func systemStore(
        _ version: SystemVersion, _ cache: inout Cache
    ) throws(WebSocketError) -> OpaquePointer {
        if let known = unsafe cache.system, unsafe known.version == version { return unsafe known.store }
        let store = try unsafe version.trust.load()
        if let old = unsafe cache.system { unsafe X509_STORE_free(old.store) }
        unsafe cache.system = unsafe (version, store)
        return unsafe store
    }

    private init(
        _ configuration: WebSocketTLSClientConfiguration, name: String, systemStore: OpaquePointer?
    ) throws(WebSocketError) {
        guard !name.isEmpty, name.utf8.count <= 253, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw WebSocketError(
                .invalidConfiguration,
                "tls.serverName is not a host name or an IP address; write it as in the certificate")
        }
        self.name = name
        isNamed = configuration.serverName != nil
        isIdentified = configuration.identity != nil
        pins = try PublicKeyPin.parse(configuration.publicKeyPins)
        isVerified = configuration.verification == .full
        let isAddress = IPAddress.isIPv4(name) || IPAddress.isIPv6(name)
        guard let context = unsafe SSL_CTX_new(TLS_client_method()),
            let identity = unsafe wsx_tls_identity_create(
                name, isAddress ? 1 : 0, configuration.resumesSessions ? 1 : 0)
        else {
            throw WebSocketError(
                .resourceExhausted, "OpenSSL could not create a TLS context; give the process more memory")
        }
        ciphers = configuration.ciphers
        cipherSuites = configuration.cipherSuites
        unsafe self.context = unsafe context
        unsafe self.identity = unsafe identity
        unsafe wsx_ssl_ctx_set_defaults(context)
        unsafe wsx_ssl_ctx_set_minimum_version(context, configuration.minimumVersion.openSSLValue)
        try setCiphers(configuration)
        if let own = configuration.identity { try setIdentity(own) }
        guard isVerified else { return }
        switch configuration.trust {
        case .system: unsafe SSL_CTX_set1_cert_store(context, systemStore)
        case .certificates(let source):
            let store = unsafe SSL_CTX_get_cert_store(context)
            let certificates = try unsafe PEM.certificates(source, field: "tls.trust")
            unsafe certificates.forEach {
                unsafe X509_STORE_add_cert(store, $0)
                unsafe X509_free($0)
            }
            // Each of them is an anchor, whether it has an issuer or not (RFC 5280 §6.1.1).
            unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        }
    }

    private func setCiphers(_ configuration: WebSocketTLSClientConfiguration) throws(WebSocketError) {
        defer { ERR_clear_error() }
        if let list = configuration.ciphers {
            guard !list.utf8.contains(0), unsafe SSL_CTX_set_cipher_list(context, list) == 1 else {
                throw WebSocketError(
                    .invalidConfiguration, "tls.ciphers names no cipher that OpenSSL has; see `openssl ciphers`")
            }
        }
        if let suites = configuration.cipherSuites {
            guard !suites.isEmpty, !suites.utf8.contains(0), unsafe SSL_CTX_set_ciphersuites(context, suites) == 1
            else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "tls.cipherSuites has a name that OpenSSL does not know; see `openssl ciphers -tls1_3`")
            }
        }
    }

    private func setIdentity(_ identity: WebSocketTLSClientIdentity) throws(WebSocketError) {
        let chain = try unsafe PEM.certificates(identity.certificateChain, field: "tls.identity.certificateChain")
        defer { unsafe chain.forEach { unsafe X509_free($0) } }
        let key = try unsafe PEM.privateKey(
            identity.privateKey, passphrase: identity.passphrase, field: "tls.identity")
        defer {
            unsafe EVP_PKEY_free(key)
            ERR_clear_error()
        }
        guard unsafe X509_check_private_key(chain[0], key) == 1 else {
            throw PEM.stranger(
                identity.privateKey, identity.certificateChain, field: "tls.identity", whose: "client")
        }
        guard unsafe SSL_CTX_use_certificate(context, chain[0]) == 1, unsafe SSL_CTX_use_PrivateKey(context, key) == 1
        else {
            throw WebSocketError(
                .invalidConfiguration, "tls.identity: OpenSSL refuses the certificate; its key may be too weak")
        }
        unsafe chain.dropFirst().forEach {
            unsafe X509_up_ref($0)
            _ = unsafe wsx_ssl_ctx_add_chain_certificate(context, $0)
        }
    }

    /// Called by libwebsockets with the SSL_CTX of a new vhost.
    func fill(_ other: OpaquePointer) -> Bool {
        guard unsafe wsx_ssl_ctx_set_client(other, context, identity) == 1 else { return false }
        if let ciphers, unsafe SSL_CTX_set_cipher_list(other, ciphers) != 1 { return false }
        if let cipherSuites, unsafe SSL_CTX_set_ciphersuites(other, cipherSuites) != 1 { return false }
        return true
    }

    /// Makes a client's session of an SSL that libwebsockets has made from a context which `fill` has filled.
    func begin(on ssl: OpaquePointer, verifier: UnsafeMutableRawPointer) {
        unsafe wsx_tls_client_begin(ssl, isVerified ? 1 : 0, verifier)
    }

    /// A session on a socket that libwebsockets does not hold; `nil` when memory has run out. The caller frees
    /// it, and keeps this context for as long.
    func makeSession(on descriptor: CInt) -> OpaquePointer? {
        guard let own = unsafe SSL_CTX_new(TLS_client_method()) else { return nil }
        defer { unsafe SSL_CTX_free(own) }
        guard unsafe fill(own), let ssl = unsafe SSL_new(own) else { return nil }
        guard unsafe SSL_set_fd(ssl, descriptor) == 1 else {
            unsafe SSL_free(ssl)
            return nil
        }
        return unsafe ssl
    }

    /// Lets time pass for the sessions that are kept, for tests.
    package func advance(by time: Duration) {
        unsafe wsx_tls_identity_advance(identity, Int64(time.components.seconds))
    }

    deinit {
        unsafe SSL_CTX_free(context)
        unsafe wsx_tls_identity_free(identity)
    }
}

extension WebSocketTLSClientConfiguration {
    fileprivate var sources: [WebSocketPEMSource] {
        var result: [WebSocketPEMSource] = []
        if case .certificates(let source) = trust { result.append(source) }
        if let identity { result += [identity.certificateChain, identity.privateKey] }
        return result
    }
}

extension WebSocketTLSVersion {
    var openSSLValue: CInt {
        switch self {
        case .tls12: TLS1_2_VERSION
        case .tls13: TLS1_3_VERSION
        }
    }
}
