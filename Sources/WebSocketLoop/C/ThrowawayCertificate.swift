//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import CLibWebSocketsShims
package import WebSocketCore

/// A CA of its own and one certificate from it, made in memory for demonstrations and tests. Valid for a day; the CA's
/// key is never kept, so no second certificate can be issued.
package struct ThrowawayCertificate: Sendable {
    /// The CA's certificate, PEM: what a client trusts.
    package let authority: [UInt8]
    /// The server's certificate, PEM.
    package let certificate: [UInt8]
    /// The server's key, PEM, unencrypted.
    package let privateKey: [UInt8]

    private static let clockTolerance = -3_600
    private static let lifetime = 24 * 3_600

    /// Makes both, with P-256 keys.
    ///
    /// - Parameter names: The server's subject alternative names as OpenSSL writes them.
    package init(
        names: [String] = ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]
    ) throws(WebSocketError) {
        _ = unsafe LibWebSockets.initialize
        do {
            let authorityKey = try unsafe Self.makeKey()
            defer { unsafe EVP_PKEY_free(authorityKey) }
            let authority = try unsafe Self.makeCertificate(name: "wsx throw-away CA", key: authorityKey)
            defer { unsafe X509_free(authority) }
            // The key identifiers are what strict verifiers (Python 3.13) ask for.
            try unsafe Self.extend(
                authority, issuer: authority,
                [
                    (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
                    (NID_key_usage, "critical,keyCertSign,cRLSign"),
                    (NID_subject_key_identifier, "hash"), (NID_authority_key_identifier, "keyid:always"),
                ])
            try unsafe Self.sign(authority, issuer: authority, key: authorityKey)

            let key = try unsafe Self.makeKey()
            defer { unsafe EVP_PKEY_free(key) }
            let certificate = try unsafe Self.makeCertificate(name: "wsx throw-away server", key: key)
            defer { unsafe X509_free(certificate) }
            try unsafe Self.extend(
                certificate, issuer: authority,
                [
                    (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
                    (NID_ext_key_usage, "serverAuth"), (NID_subject_alt_name, names.joined(separator: ",")),
                    (NID_subject_key_identifier, "hash"), (NID_authority_key_identifier, "keyid:always"),
                ])
            try unsafe Self.sign(certificate, issuer: authority, key: authorityKey)

            self.authority = try unsafe Self.pem { unsafe PEM_write_bio_X509($0, authority) }
            self.certificate = try unsafe Self.pem { unsafe PEM_write_bio_X509($0, certificate) }
            privateKey = try unsafe Self.pem { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
        } catch {
            ERR_clear_error()
            throw WebSocketError(
                .resourceExhausted,
                "OpenSSL could not make a throw-away certificate (\(error.step)); free memory, or use a certificate of your own"
            )
        }
    }

    /// Which call of OpenSSL failed.
    private struct Failure: Error { let step: String }

    private static func check(_ step: String, _ succeeded: Bool) throws(Failure) {
        if !succeeded { throw Failure(step: step) }
    }

    private static func makeKey() throws(Failure) -> OpaquePointer {
        guard let context = unsafe EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil) else { throw Failure(step: "key context") }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        try unsafe check("key parameters", EVP_PKEY_keygen_init(context) == 1)
        try unsafe check("curve", EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1)
        try unsafe check("key", EVP_PKEY_keygen(context, &key) == 1)
        return unsafe key!
    }

    private static func makeCertificate(name: String, key: OpaquePointer) throws(Failure) -> OpaquePointer {
        guard let certificate = unsafe X509_new() else { throw Failure(step: "certificate") }
        var serial: UInt64 = 0
        unsafe wsx_random_bytes(&serial, MemoryLayout<UInt64>.size)
        // Positive and not zero (RFC 5280 §4.1.2.2).
        serial = serial >> 1 | 1
        let subject = unsafe X509_get_subject_name(certificate)
        do throws(Failure) {
            try unsafe check("version", X509_set_version(certificate, 2) == 1)
            try unsafe check("serial", ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial) == 1)
            try unsafe check("validity", X509_gmtime_adj(X509_getm_notBefore(certificate), clockTolerance) != nil)
            try unsafe check("validity", X509_gmtime_adj(X509_getm_notAfter(certificate), lifetime) != nil)
            try unsafe check("public key", X509_set_pubkey(certificate, key) == 1)
            try unsafe check("name", X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, name, -1, -1, 0) == 1)
        } catch {
            unsafe X509_free(certificate)
            throw error
        }
        return unsafe certificate
    }

    private static func extend(
        _ certificate: OpaquePointer, issuer: OpaquePointer, _ extensions: [(nid: CInt, value: String)]
    ) throws(Failure) {
        var context = unsafe X509V3_CTX()
        unsafe X509V3_set_ctx(&context, issuer, certificate, nil, nil, 0)
        for (nid, value) in extensions {
            guard let made = unsafe X509V3_EXT_conf_nid(nil, &context, nid, value) else {
                throw Failure(step: "extension \(value)")
            }
            defer { unsafe X509_EXTENSION_free(made) }
            try check("extension \(value)", unsafe X509_add_ext(certificate, made, -1) == 1)
        }
    }

    private static func sign(
        _ certificate: OpaquePointer, issuer: OpaquePointer, key: OpaquePointer
    ) throws(Failure) {
        try unsafe check("issuer", X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1)
        try unsafe check("signature", X509_sign(certificate, key, EVP_sha256()) > 0)
    }

    private static func pem(_ write: (OpaquePointer) -> CInt) throws(Failure) -> [UInt8] {
        guard let bio = unsafe BIO_new(BIO_s_mem()) else { throw Failure(step: "memory") }
        defer { unsafe BIO_free(bio) }
        try unsafe check("PEM", write(bio) == 1)
        return unsafe [UInt8](unsafeUninitializedCapacity: BIO_ctrl_pending(bio)) { buffer, count in
            count = unsafe max(0, Int(BIO_read(bio, buffer.baseAddress, CInt(buffer.count))))
        }
    }
}
