//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSocketsShims
import COpenSSL
import Glibc
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
    /// One of these keys must be met; empty for any.
    let pins: Set<[UInt8]>

    private struct Key: Hashable {
        let configuration: TLSClientConfiguration
        let name: String
        /// Files that have changed make another context.
        let files: [FileVersion]
    }
    @safe private struct Cache {
        var contexts: [Key: ClientTLSContext] = [:]
        var order: [Key] = []
        var systemStore: OpaquePointer?
    }
    private static let cache = Mutex(Cache())
    private static let maximumCached = 64

    /// The context for a configuration and the URL's host. Made once and kept; loading the system's CAs takes about
    /// 16 ms the first time, so this does not run on a loop.
    package static func make(
        _ configuration: TLSClientConfiguration, host: String
    ) throws(WebSocketError) -> ClientTLSContext {
        _ = unsafe LibWebSockets.initialize
        let key = Key(
            configuration: configuration, name: configuration.serverName ?? host,
            files: configuration.sources.map(FileVersion.init))
        let result: Result<ClientTLSContext, WebSocketError> = cache.withLock { cache in
            if let known = cache.contexts[key] { return .success(known) }
            do throws(WebSocketError) {
                let made = try unsafe ClientTLSContext(configuration, name: key.name, systemStore: &cache.systemStore)
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

    private init(
        _ configuration: TLSClientConfiguration, name: String, systemStore: inout OpaquePointer?
    ) throws(WebSocketError) {
        guard !name.isEmpty, name.utf8.count <= 253, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw WebSocketError(.invalidConfiguration, "tls.serverName is not a host name or an IP address")
        }
        pins = try PublicKeyPin.parse(configuration.publicKeyPins)
        isVerified = configuration.verification == .full
        let isAddress = IPAddress.isIPv4(name) || IPAddress.isIPv6(name)
        guard let context = unsafe SSL_CTX_new(TLS_client_method()),
            let identity = unsafe wsx_tls_identity_create(
                name, isAddress ? 1 : 0, configuration.resumesSessions ? 1 : 0)
        else {
            throw WebSocketError(.resourceExhausted, "OpenSSL could not create a TLS context")
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
        case .system:
            // One store for all contexts: parsing the bundle is what costs.
            if unsafe systemStore == nil {
                unsafe SSL_CTX_set_default_verify_paths(context)
                unsafe systemStore = unsafe SSL_CTX_get_cert_store(context)
                unsafe X509_STORE_up_ref(systemStore)
            } else {
                unsafe SSL_CTX_set1_cert_store(context, systemStore)
            }
        case .certificates(let source):
            let store = unsafe SSL_CTX_get_cert_store(context)
            let certificates = try unsafe PEM.certificates(source, field: "tls.trust")
            unsafe certificates.forEach {
                unsafe X509_STORE_add_cert(store, $0)
                unsafe X509_free($0)
            }
        }
    }

    private func setCiphers(_ configuration: TLSClientConfiguration) throws(WebSocketError) {
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

    private func setIdentity(_ identity: TLSClientIdentity) throws(WebSocketError) {
        let chain = try unsafe PEM.certificates(identity.certificateChain, field: "tls.identity.certificateChain")
        defer { unsafe chain.forEach { unsafe X509_free($0) } }
        let key = try unsafe PEM.privateKey(
            identity.privateKey, passphrase: identity.passphrase, field: "tls.identity")
        defer {
            unsafe EVP_PKEY_free(key)
            ERR_clear_error()
        }
        guard unsafe X509_check_private_key(chain[0], key) == 1 else {
            throw WebSocketError(
                .invalidConfiguration,
                "tls.identity.privateKey does not belong to the first certificate of tls.identity.certificateChain")
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

    deinit {
        unsafe SSL_CTX_free(context)
        unsafe wsx_tls_identity_free(identity)
    }
}

/// What tells a file from what it was before.
private struct FileVersion: Hashable {
    private var numbers: [Int] = []

    init(_ source: PEMSource) {
        var status = stat()
        guard case .file(let path) = source, unsafe stat(path, &status) == 0 else { return }
        numbers = [Int(status.st_ino), Int(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    }
}

extension TLSClientConfiguration {
    fileprivate var sources: [PEMSource] {
        var result: [PEMSource] = []
        if case .certificates(let source) = trust { result.append(source) }
        if let identity { result += [identity.certificateChain, identity.privateKey] }
        return result
    }
}

extension TLSVersion {
    var openSSLValue: CInt {
        switch self {
        case .tls12: TLS1_2_VERSION
        case .tls13: TLS1_3_VERSION
        }
    }
}

/// Reads PEM through OpenSSL.
enum PEM {
    static func certificates(_ source: PEMSource, field: String) throws(WebSocketError) -> [OpaquePointer] {
        let bio = try unsafe bio(source, field: field)
        defer { unsafe BIO_free(bio) }
        var result: [OpaquePointer] = unsafe []
        while let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil) { unsafe result.append(certificate) }
        ERR_clear_error()
        guard unsafe !result.isEmpty else {
            throw WebSocketError(.invalidConfiguration, "\(field) holds no certificate in PEM form")
        }
        return unsafe result
    }

    static func privateKey(
        _ source: PEMSource, passphrase: String? = nil, field: String
    ) throws(WebSocketError) -> OpaquePointer {
        // What an encrypted key says in its first lines, in both of the forms that there are.
        let bytes = try contents(source, field: "\(field).privateKey")
        let isEncrypted = bytes.contains(sequence: Array("ENCRYPTED".utf8))
        guard !isEncrypted || passphrase != nil else {
            throw WebSocketError(
                .invalidConfiguration,
                "\(field).privateKey is encrypted; give its passphrase, or use an unencrypted one")
        }
        if let passphrase {
            guard passphrase.utf8.count < 1_024, !passphrase.utf8.contains(0) else {
                throw WebSocketError(
                    .invalidConfiguration, "\(field).passphrase is longer than 1,023 bytes or holds a zero byte")
            }
        }
        let bio = try unsafe bio(.bytes(bytes), field: "\(field).privateKey")
        defer {
            unsafe BIO_free(bio)
            ERR_clear_error()
        }
        var text = Array((passphrase ?? "").utf8.map { CChar(bitPattern: $0) }) + [0]
        // Without a passphrase of its own OpenSSL would ask for one on the terminal.
        let key = unsafe text.withUnsafeMutableBytes { unsafe PEM_read_bio_PrivateKey(bio, nil, nil, $0.baseAddress) }
        guard let key = unsafe key else {
            throw WebSocketError(
                .invalidConfiguration,
                isEncrypted
                    ? "\(field).passphrase is not the one that \(field).privateKey is encrypted with"
                    : "\(field).privateKey holds no private key in PEM form")
        }
        return unsafe key
    }

    private static func contents(_ source: PEMSource, field: String) throws(WebSocketError) -> [UInt8] {
        if case .bytes(let bytes) = source { return bytes }
        let bio = try unsafe bio(source, field: field)
        defer { unsafe BIO_free(bio) }
        return unsafe contents(of: bio)
    }

    /// What can be read from a BIO, to its end.
    static func contents(of bio: OpaquePointer) -> [UInt8] {
        var result: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4_096)
        while result.count < 4 << 20 {
            let count = unsafe BIO_read(bio, &chunk, CInt(chunk.count))
            guard count > 0 else { break }
            result += chunk[..<Int(count)]
        }
        return result
    }

    private static func bio(_ source: PEMSource, field: String) throws(WebSocketError) -> OpaquePointer {
        switch source {
        case .file(let path):
            guard !path.utf8.contains(0), let bio = unsafe BIO_new_file(path, "r") else {
                let code = errno
                ERR_clear_error()
                throw WebSocketError(
                    .invalidConfiguration,
                    unsafe "\(field): the file “\(path.escapedForLog)” cannot be read: \(String(cString: strerror(code)))",
                    systemError: code)
            }
            return unsafe bio
        case .bytes(let bytes):
            // A memory BIO reads the bytes in place, so they are copied into one that owns them.
            guard let bio = unsafe BIO_new(BIO_s_mem()) else {
                throw WebSocketError(.resourceExhausted, "OpenSSL could not allocate memory")
            }
            let written = unsafe bytes.withUnsafeBytes { unsafe BIO_write(bio, $0.baseAddress, CInt($0.count)) }
            guard written == bytes.count else {
                unsafe BIO_free(bio)
                throw WebSocketError(.invalidConfiguration, "\(field) is empty")
            }
            return unsafe bio
        }
    }
}

extension [UInt8] {
    fileprivate func contains(sequence: [UInt8]) -> Bool {
        indices.contains { self[$0...].starts(with: sequence) }
    }
}
