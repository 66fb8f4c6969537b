//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import WebSocketCore

/// What came of a step on a stream that does not block.
enum StreamResult {
    /// So many bytes went; for a handshake 0.
    case done(Int)
    /// Nothing can be done until the descriptor is ready for this.
    case wants(DescriptorPoll.Events)
    /// The peer's side of the stream is over.
    case ended
    case failed
}

/// The TLS session of a socket that libwebsockets holds, driven by us while its own reading is held back. Valid as long
/// as its wsi.
@safe struct TLSStream {
    private let ssl: OpaquePointer

    init?(wsi: OpaquePointer) {
        guard let ssl = unsafe lws_get_ssl(wsi) else { return nil }
        unsafe self.ssl = unsafe ssl
    }

    /// A session that is not libwebsockets', on a socket that this side holds. Valid as long as the SSL.
    init(ssl: OpaquePointer) { unsafe self.ssl = unsafe ssl }

    /// Makes a client's session of it: libwebsockets has made it as a server's, and nothing has been read or written.
    ///
    /// - Parameter verifier: Asked about the peer's certificates, until `finish`. Not retained.
    func begin(_ verifier: PeerVerifier) {
        PeerVerification.install()
        unsafe verifier.tls.begin(on: ssl, verifier: Unmanaged.passUnretained(verifier).toOpaque())
    }

    /// Tells the peer that nothing more comes (close_notify), if the socket takes it.
    func shutDown() {
        ERR_clear_error()
        _ = unsafe SSL_shutdown(ssl)
        ERR_clear_error()
    }

    /// Nothing is asked any more.
    func finish() { unsafe wsx_tls_client_finish(ssl) }

    func handshake() -> StreamResult {
        ERR_clear_error()
        _ = unsafe wsx_tls_take_alert(nil)
        let status = unsafe SSL_do_handshake(ssl)
        return status == 1 ? .done(0) : result(status)
    }

    /// A server's side of the handshake.
    func accept() -> StreamResult {
        ERR_clear_error()
        _ = unsafe wsx_tls_take_alert(nil)
        let status = unsafe SSL_accept(ssl)
        return status == 1 ? .done(0) : result(status)
    }

    /// What has been decrypted, at most a record, and stays there to be read.
    func peek(into memory: UnsafeMutableRawBufferPointer) -> StreamResult {
        ERR_clear_error()
        let count = unsafe SSL_peek(ssl, memory.baseAddress, CInt(memory.count))
        return count > 0 ? .done(Int(count)) : result(count)
    }

    /// What has been decrypted, at most a record.
    func read(into memory: UnsafeMutableRawBufferPointer) -> StreamResult {
        ERR_clear_error()
        let count = unsafe SSL_read(ssl, memory.baseAddress, CInt(memory.count))
        return count > 0 ? .done(Int(count)) : result(count)
    }

    func write(_ bytes: UnsafeRawBufferPointer) -> StreamResult {
        ERR_clear_error()
        let count = unsafe SSL_write(ssl, bytes.baseAddress, CInt(bytes.count))
        return count > 0 ? .done(Int(count)) : result(count)
    }

    /// OpenSSL leaves the reason of an earlier call standing when the stream is over: that is asked for first.
    private func result(_ status: CInt) -> StreamResult {
        let error = unsafe SSL_get_error(ssl, status)
        if error != SSL_ERROR_SSL, unsafe SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 { return .ended }
        switch error {
        case SSL_ERROR_WANT_READ: return .wants(.readable)
        case SSL_ERROR_WANT_WRITE: return .wants(.writable)
        case SSL_ERROR_ZERO_RETURN: return .ended
        default: return .failed
        }
    }

    /// Why the last call failed (SSL_R_...), or 0.
    var reason: CInt { wsx_tls_last_reason() }
    /// Whether the peer was cut off because it sent too many records without data.
    var wasFlooded: Bool { unsafe wsx_ssl_was_flooded(ssl) != 0 }
    static var maximumRecordsWithoutData: UInt32 { WSX_TLS_MAXIMUM_RECORDS_WITHOUT_DATA.rawValue }
    /// The last alert that was sent or received on this thread. Forgotten by asking.
    static func takeAlert() -> String? { unsafe wsx_tls_take_alert(nil).map { unsafe String(cString: $0) } }
    /// The certificate of a client, which has been verified.
    var clientCertificate: WebSocketTLSClientCertificate? { unsafe WebSocketTLSClientCertificate(ssl: ssl) }
    var isResumed: Bool { unsafe SSL_session_reused(ssl) != 0 }
    /// Whether the server has asked for a certificate of the client.
    var wasAskedForCertificate: Bool { unsafe wsx_ssl_was_asked_for_certificate(ssl) != 0 }
}
