//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import Glibc
import Testing

/// A TLS client on the loopback interface that verifies nothing and shows the certificate that it is told to.
package final class RawTLSClient: @unchecked Sendable {
    // Each call runs on a thread of its own, and callers make one call at a time.
    private let descriptor: CInt
    private let context: OpaquePointer
    private let ssl: OpaquePointer

    /// - Parameters:
    ///   - certificate: The name of a certificate of the tests', with its chain and key.
    ///   - preamble: Goes out in front of the TLS handshake.
    package init(port: Int, certificate: String? = nil, serverName: String? = nil, preamble: [UInt8] = []) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        context = SSL_CTX_new(TLS_client_method())
        if let certificate {
            let chain = try TestEnvironment.certificate(certificate)
            try #require(SSL_CTX_use_certificate_chain_file(context, chain) == 1)
            try #require(
                SSL_CTX_use_PrivateKey_file(context, try TestEnvironment.key(certificate), SSL_FILETYPE_PEM) == 1)
        }
        ssl = SSL_new(context)
        if var name = serverName.map({ Array($0.utf8CString) }) {
            SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name), &name)
        }
        try #require(connectToLoopback(descriptor, port: port) == 0, "errno \(errno)")
        _ = Glibc.send(descriptor, preamble, preamble.count, Int32(MSG_NOSIGNAL))
        SSL_set_fd(ssl, descriptor)
    }

    /// The TLS handshake as far as this end sees it, a request, and everything up to the end of its answer's head or of
    /// the connection. `nil` when the server refuses the client.
    package func answer(to request: String) async -> String? {
        await onThread { [self] in
            guard SSL_connect(ssl) == 1 else { return nil }
            let bytes = Array(request.utf8)
            guard SSL_write(ssl, bytes, CInt(bytes.count)) == bytes.count else { return nil }
            var head: [UInt8] = []
            var byte: UInt8 = 0
            while head.suffix(4) != Array("\r\n\r\n".utf8)[...], SSL_read(ssl, &byte, 1) == 1 { head.append(byte) }
            return head.isEmpty ? nil : String(decoding: head, as: UTF8.self)
        }
    }

    /// The common name of the server's certificate.
    package var serversName: String? {
        guard let certificate = SSL_get1_peer_certificate(ssl) else { return nil }
        defer { X509_free(certificate) }
        var text = [CChar](repeating: 0, count: 256)
        X509_NAME_oneline(X509_get_subject_name(certificate), &text, CInt(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        SSL_free(ssl)
        SSL_CTX_free(context)
        close(descriptor)
    }
}
