//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import WebSocketCore

/// Typed errors from OpenSSL's numbers.
enum TLSErrors {
    static func verification(_ code: CInt, host: String) -> WebSocketError {
        let (failure, advice): (WebSocketError.TLSFailure, String) =
            switch code {
            case X509_V_ERR_CERT_HAS_EXPIRED: (.expired, "renew the server's certificate")
            case X509_V_ERR_CERT_NOT_YET_VALID: (.notYetValid, "check both clocks")
            case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
                (.hostMismatch, "it is not for “\(host)”; use the name in the certificate, or set tls.serverName")
            case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
                (.selfSigned, "add its CA to tls.trust if you trust it")
            case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
                X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED,
                X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
                (
                    .untrusted,
                    "its CA is not trusted or an intermediate is missing; set tls.trust or complete the server's chain"
                )
            case X509_V_ERR_INVALID_PURPOSE: (.wrongUsage, "it is not meant for servers")
            case X509_V_ERR_INVALID_CA, X509_V_ERR_PATH_LENGTH_EXCEEDED, X509_V_ERR_CERT_CHAIN_TOO_LONG:
                (.badChain, "a certificate in the chain may not issue others")
            default: (.other, "see the OpenSSL text")
            }
        let text = unsafe String(cString: X509_verify_cert_error_string(Int(code)))
        return WebSocketError(
            .tlsFailed, "the server's certificate is not accepted: \(text); \(advice)", phase: .tls, tlsFailure: failure
        )
    }

    static let notTLS = WebSocketError(
        .tlsFailed, "the server does not speak TLS on this port; use ws:// or the TLS port", phase: .tls,
        tlsFailure: .notTLS)

    static let pinMissed = WebSocketError(
        .tlsFailed,
        "none of the server's keys is among tls.publicKeyPins; if it has a new one that you trust, pin that",
        phase: .tls, tlsFailure: .pinMismatch)

    /// The alert that the peer has ended the session with; forgotten once it is told.
    static func takeReceivedAlert() -> String? {
        var received: CInt = 0
        let alert = unsafe wsx_tls_take_alert(&received).map { unsafe String(cString: $0) }
        return received != 0 ? alert : nil
    }

    /// `reason`: OpenSSL's, 0 when the connection ended without one.
    static func handshake(reason: CInt, wasAskedForCertificate: Bool, isIdentified: Bool) -> WebSocketError {
        var received: CInt = 0
        let alert = unsafe wsx_tls_take_alert(&received).map { unsafe String(cString: $0) }
        switch reason {
        case SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_PACKET_LENGTH_TOO_LONG,
            SSL_R_BAD_RECORD_TYPE, SSL_R_UNEXPECTED_MESSAGE, SSL_R_RECORD_LENGTH_MISMATCH:
            if received == 0 || alert == nil { return notTLS }
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_NO_PROTOCOLS_AVAILABLE:
            return WebSocketError(
                .tlsFailed, "no TLS version in common with the server; it needs TLS 1.2 or later", phase: .tls,
                tlsFailure: .version)
        default: break
        }
        if let alert, received != 0 { return self.alert(alert, wasAskedForCertificate: wasAskedForCertificate) }
        let isEnd = reason == 0 || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING
        if wasAskedForCertificate, isEnd { return unacceptedIdentity(isShown: isIdentified) }
        let known = unsafe reason == 0 ? nil : wsx_tls_reason_text(reason).map { unsafe String(cString: $0) }
        return WebSocketError(
            .tlsFailed,
            "the TLS handshake failed (\(known ?? "the connection ended")); check that the server speaks TLS on this port",
            phase: .tls, tlsFailure: reason == 0 ? .notTLS : .other)
    }

    static func unacceptedIdentity(isShown: Bool) -> WebSocketError {
        WebSocketError(
            .tlsFailed,
            "the server asked for a client certificate and ended the connection before it answered; "
                + (isShown ? "check that it accepts the one in tls.identity" : "set tls.identity"),
            phase: .tls, tlsFailure: .clientCertificate)
    }

    static func alert(_ alert: String, wasAskedForCertificate: Bool) -> WebSocketError {
        let failure: WebSocketError.TLSFailure =
            switch alert {
            // What OpenSSL's servers say under TLS 1.2 when there is no certificate.
            case "handshake failure" where wasAskedForCertificate: .clientCertificate
            case "protocol version", "handshake failure", "insufficient security": .version
            case "certificate required", "bad certificate", "certificate unknown", "unknown CA", "certificate expired",
                "no certificate", "certificate revoked", "unsupported certificate":
                .clientCertificate
            default: .peerAlert
            }
        return WebSocketError(
            .tlsFailed, "the server ended the TLS handshake with the alert “\(alert)”", phase: .tls, tlsFailure: failure
        )
    }
}

extension WebSocketTLSInfo {
    init?(wsi: OpaquePointer) {
        guard let ssl = unsafe lws_get_ssl(wsi) else { return nil }
        version = unsafe String(cString: SSL_get_version(ssl))
        cipher = unsafe SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)).map { unsafe String(cString: $0) } ?? "unknown"
        isResumed = unsafe SSL_session_reused(ssl) != 0
        peerCertificate = unsafe WebSocketTLSCertificate(peerOf: ssl)
    }
}
