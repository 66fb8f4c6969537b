//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// One end of TLS over a byte peer, a client's by default, so that a test decides what stands in which record and which segment. It
/// verifies nothing. Used by one task at a time.
final class TLSPeer: @unchecked Sendable {
    let peer: WebSocketBytePeer
    private let context: OpaquePointer
    private let ssl: OpaquePointer
    /// What came from the wire, and what has to go there.
    private let input: OpaquePointer
    private let output: OpaquePointer
    private let protocols: [UInt8]
    private var unread: [UInt8] = []
    /// How many records.
    private var written: UInt64 = 0

    struct Failure: Error { let status: CInt }

    /// - Parameters:
    ///   - certificate: What a server shows.
    ///   - version: The latest that it speaks.
    ///   - protocols: What a client offers with ALPN (RFC 7301), or a server chooses from.
    init(
        _ peer: WebSocketBytePeer, server certificate: ThrowawayCertificate? = nil, version: CInt = TLS1_3_VERSION,
        protocols: [String] = []
    ) {
        self.peer = peer
        context = SSL_CTX_new(certificate == nil ? TLS_client_method() : TLS_server_method())
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(version), nil)
        SSL_CTX_set_cipher_list(context, "ECDHE+AES128+AESGCM")
        if let certificate {
            func read<Value>(_ pem: [UInt8], _ body: (OpaquePointer?) -> Value) -> Value {
                let memory = BIO_new_mem_buf(pem, CInt(pem.count))
                defer { BIO_free(memory) }
                return body(memory)
            }
            let own = read(certificate.certificate) { PEM_read_bio_X509($0, nil, nil, nil) }
            let key = read(certificate.privateKey) { PEM_read_bio_PrivateKey($0, nil, nil, nil) }
            SSL_CTX_use_certificate(context, own)
            SSL_CTX_use_PrivateKey(context, key)
            X509_free(own)
            EVP_PKEY_free(key)
        }
        self.protocols = protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        ssl = SSL_new(context)
        input = BIO_new(BIO_s_mem())
        output = BIO_new(BIO_s_mem())
        SSL_set_bio(ssl, input, output)
        if certificate == nil { SSL_set_connect_state(ssl) } else { SSL_set_accept_state(ssl) }
        guard !protocols.isEmpty else { return }
        SSL_set_alpn_protos(ssl, self.protocols, UInt32(self.protocols.count))
        SSL_CTX_set_alpn_select_cb(
            context,
            { _, chosen, count, offered, offeredCount, own in
                let own = Unmanaged<TLSPeer>.fromOpaque(own!).takeUnretainedValue().protocols
                let result = chosen!.withMemoryRebound(to: UnsafeMutablePointer<UInt8>?.self, capacity: 1) {
                    SSL_select_next_proto($0, count, own, UInt32(own.count), offered, offeredCount)
                }
                return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    /// What both have agreed on with ALPN.
    var negotiatedProtocol: String? {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &name, &count)
        return name.map { String(decoding: UnsafeBufferPointer(start: $0, count: Int(count)), as: UTF8.self) }
    }

    deinit {
        SSL_free(ssl)
        SSL_CTX_free(context)
    }

    /// The client's first message, without sending it.
    func clientHello() -> [UInt8] {
        _ = SSL_do_handshake(ssl)
        return takeOutput()
    }

    func handshake() async throws {
        while true {
            // What another test has left on this thread would be this handshake's.
            ERR_clear_error()
            let status = SSL_do_handshake(ssl)
            try await peer.write(takeOutput())
            if status == 1 { return }
            guard SSL_get_error(ssl, status) == SSL_ERROR_WANT_READ, try await feed() else {
                throw Failure(status: status)
            }
        }
    }

    /// Writes each part in a record of its own, all of them in one segment.
    func write(_ records: [UInt8]...) async throws {
        var bytes: [UInt8] = []
        for record in records {
            ERR_clear_error()
            guard SSL_write(ssl, record, CInt(record.count)) == record.count else { throw Failure(status: -1) }
            bytes += takeOutput()
            written += 1
        }
        try await peer.write(bytes)
    }

    /// Records that hold no data: KeyUpdates that ask for none in return (RFC 8446 §4.6.3).
    func keyUpdates(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<count {
            guard SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1, SSL_do_handshake(ssl) == 1 else {
                throw Failure(status: -1)
            }
            bytes += takeOutput()
        }
        return bytes
    }

    /// Records that a server of TLS 1.3 sends behind its handshake: tickets (RFC 8446 §4.6.1).
    func tickets(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<count {
            guard SSL_new_session_ticket(ssl) == 1, SSL_do_handshake(ssl) == 1 else { throw Failure(status: -1) }
            bytes += takeOutput()
        }
        return bytes
    }

    /// A record that asks for a new handshake, as TLS 1.2 knows it (RFC 5246 §7.4.1): with a server's HelloRequest, or with a
    /// client's ClientHello without anything in it.
    func renegotiation() -> [UInt8] {
        record(22, [SSL_is_server(ssl) == 1 ? 0 : 1, 0, 0, 0])
    }

    /// A record of TLS 1.2 that OpenSSL would not write. Afterwards there is no ``write(_:)``.
    func record(_ type: UInt8, _ payload: [UInt8]) -> [UInt8] {
        written += 1
        // The first that a side encrypts is its Finished.
        return TLS12Keys(ssl).record(type, payload, number: written)
    }

    /// Reads so many bytes.
    func read(_ count: Int) async throws -> [UInt8] {
        while unread.count < count {
            guard try await more() else { throw WebSocketBytePeerError.ended(buffered: unread) }
        }
        defer { unread.removeFirst(count) }
        return Array(unread.prefix(count))
    }

    func readHead() async throws -> WebSocketWireHead {
        var head: [UInt8] = []
        while head.suffix(4) != [13, 10, 13, 10] { head += try await read(1) }
        return try WebSocketWireHead(head)
    }

    /// Reads a frame of less than 126 bytes.
    func readFrame() async throws -> WebSocketWireFrame {
        let start = try await read(2)
        return WebSocketWireFrame(start[0] & 0x0F, try await read(Int(start[1])), final: start[0] & 0x80 != 0)
    }

    /// Reads up to the end of the stream.
    func readToEnd() async throws -> [UInt8] {
        while try await more() {}
        defer { unread = [] }
        return unread
    }

    /// Says that nothing more comes (RFC 8446 §6.1), and ends this direction.
    func closeNotify() async throws {
        ERR_clear_error()
        SSL_shutdown(ssl)
        try await peer.write(takeOutput())
        peer.halfClose()
    }

    /// Whether the other end has said that nothing more comes.
    var isToldTheEnd: Bool { SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 }

    /// Reads, without a look at what it is, until the other end closes or resets.
    func waitForTheEndOfTheSocket() async {
        while let bytes = try? await peer.readSome(), !bytes.isEmpty {}
    }

    private func more() async throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            ERR_clear_error()
            let count = SSL_read(ssl, &chunk, CInt(chunk.count))
            if count > 0 {
                unread += chunk[..<Int(count)]
                return true
            }
            switch SSL_get_error(ssl, count) {
            case SSL_ERROR_WANT_READ: if try await !feed() { return false }
            case SSL_ERROR_ZERO_RETURN: return false
            default: throw Failure(status: count)
            }
        }
    }

    private func feed() async throws -> Bool {
        let bytes = try await peer.readSome()
        BIO_write(input, bytes, CInt(bytes.count))
        return !bytes.isEmpty
    }

    private func takeOutput() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(BIO_ctrl_pending(output)))
        let count = BIO_read(output, &bytes, CInt(bytes.count))
        return Array(bytes.prefix(Int(max(0, count))))
    }
}

/// A CA and a certificate for the tests of this process.
enum TestCertificate {
    static let shared: ThrowawayCertificate = {
        do {
            return try ThrowawayCertificate()
        } catch {
            fatalError("\(error)")
        }
    }()

    static func server() throws -> ServerTLSContext {
        try ServerTLSContext(
            WebSocketTLSServerConfiguration(
                certificateChain: .bytes(shared.certificate), privateKey: .bytes(shared.privateKey)))
    }

    static var client: WebSocketTLSClientConfiguration {
        var configuration = WebSocketTLSClientConfiguration()
        configuration.trust = .certificates(.bytes(shared.authority))
        return configuration
    }
}
