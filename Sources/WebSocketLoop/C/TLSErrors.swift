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
    /// With whom TLS failed: the server, or a proxy before it.
    struct Party {
        let noun: String
        /// The configuration's part that TLS with it goes by.
        let field: String
        /// What to do when it does not speak TLS.
        let plain: String
        let code: WebSocketError.Code
        let phase: WebSocketError.Phase

        static let server = Party(
            noun: "server", field: "tls", plain: "use ws:// or the TLS port", code: .tlsFailed, phase: .tls)
        static let proxy = Party(
            noun: "proxy", field: "proxyTLS", plain: "use http:// for it, or its TLS port", code: .proxyFailed,
            phase: .proxy)

        fileprivate func error(_ text: String, _ failure: WebSocketError.TLSFailure) -> WebSocketError {
            WebSocketError(code, text, phase: phase, tlsFailure: failure)
        }
    }

    /// Which certificate failed, why, and for what it was verified.
    static func verification(
        _ fault: PeerVerification.Fault, _ party: Party, _ tls: ClientTLSContext
    ) -> WebSocketError {
        let isOwn = fault.depth == 0
        let (failure, advice): (WebSocketError.TLSFailure, String) =
            switch fault.code {
            case X509_V_ERR_CERT_HAS_EXPIRED:
                (.expired, isOwn ? "renew it" : "renew it, or take it out of the \(party.noun)'s chain")
            case X509_V_ERR_CERT_NOT_YET_VALID: (.notYetValid, "check both clocks")
            case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
                (.hostMismatch, mismatch(fault, party, tls))
            case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
                (.selfSigned, "add it to \(party.field).trust if you trust it")
            case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
                X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED,
                X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
                (
                    .untrusted,
                    "its CA is not trusted or an intermediate is missing; set \(party.field).trust or complete the \(party.noun)'s chain"
                )
            case X509_V_ERR_INVALID_PURPOSE:
                (.wrongUsage, "it is not meant for servers; give the \(party.noun) one that is")
            case X509_V_ERR_INVALID_CA, X509_V_ERR_PATH_LENGTH_EXCEEDED, X509_V_ERR_CERT_CHAIN_TOO_LONG:
                (.badChain, "it may not issue the one below it; mend the \(party.noun)'s chain")
            default: (.other, "look the text up in OpenSSL's manual, x509_verify")
            }
        let text = unsafe String(cString: X509_verify_cert_error_string(Int(fault.code)))
        let which = isOwn ? "certificate" : "chain"
        let subject = fault.subject.isEmpty ? "without a subject" : "“\(fault.subject.escapedForLog)”"
        let place = isOwn ? subject : "\(subject), number \(fault.depth) above the \(party.noun)'s own"
        return party.error(
            "the \(party.noun)'s \(which) is not accepted for “\(tls.name)”: \(text) (\(place)); \(advice)", failure)
    }

    private static func mismatch(
        _ fault: PeerVerification.Fault, _ party: Party, _ tls: ClientTLSContext
    ) -> String {
        // A certificate may have hundreds.
        let names = fault.names.prefix(8).map(\.escapedForLog).joined(separator: ", ")
        let holds =
            names.isEmpty
            ? "it has no name at all" : "it is for \(names)\(fault.names.count > 8 ? " and others" : "")"
        return tls.isNamed
            ? "\(holds), and \(party.field).serverName asks for another; correct that, or remove it"
            : "\(holds); use one of its names, or set \(party.field).serverName"
    }

    static func notTLS(_ party: Party) -> WebSocketError {
        party.error("the \(party.noun) does not speak TLS on this port; \(party.plain)", .notTLS)
    }

    static func pinMissed(_ party: Party) -> WebSocketError {
        party.error(
            "none of the \(party.noun)'s keys is among \(party.field).publicKeyPins; if it has a new one that you trust, pin that",
            .pinMismatch)
    }

    /// The alert that the peer has ended the session with; forgotten once it is told.
    static func takeReceivedAlert() -> String? {
        var received: CInt = 0
        let alert = unsafe wsx_tls_take_alert(&received).map { unsafe String(cString: $0) }
        return received != 0 ? alert : nil
    }

    /// `reason`: OpenSSL's, 0 when the connection ended without one.
    static func handshake(
        reason: CInt, _ party: Party, wasAskedForCertificate: Bool, isIdentified: Bool
    ) -> WebSocketError {
        var received: CInt = 0
        let alert = unsafe wsx_tls_take_alert(&received).map { unsafe String(cString: $0) }
        switch reason {
        case SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_PACKET_LENGTH_TOO_LONG,
            SSL_R_BAD_RECORD_TYPE, SSL_R_UNEXPECTED_MESSAGE, SSL_R_RECORD_LENGTH_MISMATCH:
            if received == 0 || alert == nil { return notTLS(party) }
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_NO_PROTOCOLS_AVAILABLE:
            return party.error(
                "no TLS version in common with the \(party.noun); it needs TLS 1.2 or later, or what \(party.field).minimumVersion says",
                .version)
        default: break
        }
        if let alert, received != 0 { return self.alert(alert, party, wasAskedForCertificate: wasAskedForCertificate) }
        let isEnd = reason == 0 || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING
        if wasAskedForCertificate, isEnd { return unacceptedIdentity(party, isShown: isIdentified) }
        let known = unsafe reason == 0 ? nil : wsx_tls_reason_text(reason).map { unsafe String(cString: $0) }
        return party.error(
            "the TLS handshake with the \(party.noun) failed (\(known ?? "the connection ended")); check that it speaks TLS on this port",
            reason == 0 ? .notTLS : .other)
    }

    static func unacceptedIdentity(_ party: Party, isShown: Bool) -> WebSocketError {
        party.error(
            "the \(party.noun) asked for a client certificate and ended the connection before it answered; "
                + (isShown
                    ? "check that it accepts the one in \(party.field).identity" : "set \(party.field).identity"),
            .clientCertificate)
    }

    static func alert(_ alert: String, _ party: Party, wasAskedForCertificate: Bool) -> WebSocketError {
        let (failure, advice): (WebSocketError.TLSFailure, String) =
            switch alert {
            // What OpenSSL's servers say under TLS 1.2 when there is no certificate.
            case "handshake failure" where wasAskedForCertificate:
                (.clientCertificate, "set \(party.field).identity to a certificate that it accepts")
            case "protocol version", "handshake failure", "insufficient security":
                (
                    .version,
                    "allow a version and a cipher that it knows, with \(party.field).minimumVersion and .ciphers"
                )
            case "certificate required", "bad certificate", "certificate unknown", "unknown CA", "certificate expired",
                "no certificate", "certificate revoked", "unsupported certificate":
                (.clientCertificate, "set \(party.field).identity to a certificate that it accepts")
            default: (.peerAlert, "its log says why")
            }
        return party.error(
            "the \(party.noun) ended the TLS handshake with the alert “\(alert)”; \(advice)", failure)
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
