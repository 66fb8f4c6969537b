//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL
import Glibc
import Synchronization
package import WebSocketCore

/// A client's SSL_CTX for one configuration and one name. Ours, not libwebsockets': only so can SNI, the verified name
/// and the trusted certificates be set as they should be. Immutable once made; loops share it.
@safe package final class ClientTLSContext: @unchecked Sendable {
    // OpenSSL counts references to an SSL_CTX atomically, and nothing changes it after `init`.
    let context: OpaquePointer
    private let identity: UnsafeMutablePointer<wsx_tls_identity>
    let isVerified: Bool

    private struct Key: Hashable {
        let configuration: TLSClientConfiguration
        let name: String
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
        let key = Key(configuration: configuration, name: configuration.serverName ?? host)
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
        guard let context = unsafe SSL_CTX_new(TLS_client_method()) else {
            throw WebSocketError(.resourceExhausted, "OpenSSL could not create a TLS context")
        }
        unsafe self.context = unsafe context
        unsafe identity = .allocate(capacity: 1)
        unsafe identity.initialize(to: wsx_tls_identity())
        isVerified = configuration.verification == .full
        unsafe identity.pointee.is_address = IPAddress.isIPv4(name) || IPAddress.isIPv6(name) ? 1 : 0
        unsafe withUnsafeMutableBytes(of: &identity.pointee.name) { memory in
            unsafe memory.copyBytes(from: name.utf8)
            unsafe memory[name.utf8.count] = 0
        }
        unsafe wsx_ssl_ctx_set_defaults(context)
        unsafe wsx_ssl_ctx_set_minimum_version(context, configuration.minimumVersion.openSSLValue)
        unsafe wsx_ssl_ctx_set_identity(context, identity)
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

    deinit {
        unsafe SSL_CTX_free(context)
        unsafe identity.deallocate()
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

    static func privateKey(_ source: PEMSource, field: String) throws(WebSocketError) -> OpaquePointer {
        let bio = try unsafe bio(source, field: field)
        defer { unsafe BIO_free(bio) }
        // Without a callback of its own OpenSSL would ask for the passphrase on the terminal.
        let key = unsafe PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in -1 }, nil)
        ERR_clear_error()
        guard let key = unsafe key else {
            throw WebSocketError(.invalidConfiguration, "\(field) holds no unencrypted private key in PEM form")
        }
        return unsafe key
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
