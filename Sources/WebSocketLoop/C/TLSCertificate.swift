//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL
import Glibc
import WebSocketCore

/// A certificate that a peer has shown. Everything in it is text of the peer's: verify before you believe.
@safe public struct WebSocketTLSCertificate: Sendable {
    /// OpenSSL's object, which nothing changes any more.
    @safe private final class Storage: @unchecked Sendable {
        let certificate: OpaquePointer
        /// Takes over the caller's reference.
        init(_ certificate: OpaquePointer) { unsafe self.certificate = unsafe certificate }
        deinit { unsafe X509_free(certificate) }
    }
    private let storage: Storage

    init?(peerOf ssl: OpaquePointer) {
        guard let certificate = unsafe wsx_ssl_peer_certificate(ssl) else { return nil }
        storage = unsafe Storage(certificate)
    }

    /// One that OpenSSL holds, and may let go of before this does.
    init?(retaining certificate: OpaquePointer) {
        guard unsafe X509_up_ref(certificate) == 1 else { return nil }
        storage = unsafe Storage(certificate)
    }

    /// The certificate in DER, for anything that is not offered here.
    public var derBytes: [UInt8] {
        let count = unsafe i2d_X509(storage.certificate, nil)
        guard count > 0 else { return [] }
        return unsafe [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, initialized in
            var position = buffer.baseAddress
            initialized = max(0, Int(unsafe i2d_X509(storage.certificate, &position)))
        }
    }

    /// The subject's name as in RFC 4514, such as `CN=example.com`. It is not what names are verified by.
    public var subject: String { name(isIssuer: false) }
    /// The issuer's name as in RFC 4514.
    public var issuer: String { name(isIssuer: true) }
    /// The first second of its validity, counted from 1970.
    public var validFrom: Int { unsafe Int(wsx_x509_validity(storage.certificate, 0)) }
    /// The last second of its validity, counted from 1970.
    public var validUntil: Int { unsafe Int(wsx_x509_validity(storage.certificate, 1)) }
    /// The DNS names among its subject alternative names.
    public var dnsNames: [String] { names(GEN_DNS) { String(decoding: $0, as: UTF8.self) } }
    /// The URIs among its subject alternative names.
    public var uris: [String] { names(GEN_URI) { String(decoding: $0, as: UTF8.self) } }
    /// The IP addresses among its subject alternative names.
    public var ipAddresses: [String] { names(GEN_IPADD, Self.address) }
    /// The SHA-256 of the certificate in DER, 32 bytes: what tells it from all others.
    public var fingerprint: [UInt8] {
        let der = derBytes
        var digest = [UInt8](repeating: 0, count: 32)
        _ = unsafe COpenSSL.SHA256(der, der.count, &digest)
        return digest
    }
    /// What ``WebSocketTLSClientConfiguration/publicKeyPins`` would have for it: SHA-256 of the public key, in base64.
    public var publicKeyPin: String {
        unsafe PublicKeyPin.of(storage.certificate).map { HandshakeText.base64($0) } ?? ""
    }

    private func name(isIssuer: Bool) -> String {
        guard let bio = unsafe BIO_new(BIO_s_mem()) else { return "" }
        defer { unsafe BIO_free(bio) }
        unsafe wsx_x509_write_name(storage.certificate, isIssuer ? 1 : 0, bio)
        return unsafe String(decoding: PEM.contents(of: bio), as: UTF8.self)
    }

    private final class Collector {
        let kind: CInt
        var values: [[UInt8]] = []
        init(kind: CInt) { self.kind = kind }
    }

    private func names(_ kind: CInt, _ text: ([UInt8]) -> String) -> [String] {
        let collector = Collector(kind: kind)
        unsafe wsx_x509_visit_names(storage.certificate, Unmanaged.passUnretained(collector).toOpaque()) {
            state, kind, bytes, count in
            let collector = unsafe Unmanaged<Collector>.fromOpaque(state!).takeUnretainedValue()
            guard kind == collector.kind else { return }
            unsafe collector.values.append(Array(UnsafeBufferPointer(start: bytes, count: Int(count))))
        }
        return collector.values.map(text)
    }

    private static func address(_ bytes: [UInt8]) -> String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard bytes.count == 4 || bytes.count == 16,
            unsafe inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count)) != nil
        else { return "" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension WebSocketTLSCertificate: Hashable, CustomStringConvertible {
    /// Equal byte for byte.
    public static func == (left: Self, right: Self) -> Bool {
        left.storage === right.storage || left.derBytes == right.derBytes
    }
    /// Hashes the DER bytes.
    public func hash(into hasher: inout Hasher) { hasher.combine(derBytes) }
    /// The subject, escaped.
    public var description: String { subject.escapedForLog }
}

/// RFC 7469's SHA-256 of a public key.
enum PublicKeyPin {
    static func of(_ certificate: OpaquePointer) -> [UInt8]? {
        var digest = [UInt8](repeating: 0, count: 32)
        return unsafe wsx_x509_key_digest(certificate, &digest) == 1 ? digest : nil
    }

    /// The digests of pins that a user has written.
    static func parse(_ pins: Set<String>) throws(WebSocketError) -> Set<[UInt8]> {
        var result: Set<[UInt8]> = []
        for pin in pins {
            // Written again, because several texts can mean the same bytes.
            guard let digest = HandshakeText.bytes(base64: pin), digest.count == 32, HandshakeText.base64(digest) == pin
            else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "tls.publicKeyPins: “\(pin.escapedForLog)” is not the base64 of a SHA-256; see `openssl x509 -pubkey`"
                )
            }
            result.insert(digest)
        }
        return result
    }

    /// Whether a verification that has come to the peer's own certificate has met one of the keys.
    static func isMet(_ pins: Set<[UInt8]>, by store: OpaquePointer, wholeChain: Bool) -> Bool {
        let count = unsafe wholeChain ? wsx_x509_chain_count(store) : min(1, wsx_x509_chain_count(store))
        return (0..<count).contains { index in
            guard let certificate = unsafe wsx_x509_chain_at(store, index), let pin = unsafe of(certificate) else {
                return false
            }
            return pins.contains(pin)
        }
    }
}
