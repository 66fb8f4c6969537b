//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Glibc
import HTTPTypes
import WebSocketCore

/// What an attempt has learnt from libwebsockets' texts and buffers, and how it says that it failed.
extension ClientHandshake {
    static func key(in request: UnsafeRawBufferPointer) -> String? {
        let name = Array("Sec-WebSocket-Key: ".utf8)
        guard request.count > name.count + 24 else { return nil }
        for index in 0..<(request.count - name.count - 24) where unsafe request[index] == name[0] {
            if unsafe request[index..<(index + name.count)].elementsEqual(name) {
                return unsafe String(decoding: request[(index + name.count)..<(index + name.count + 24)], as: UTF8.self)
            }
        }
        return nil
    }

    func knownHeaders() -> HTTPFields {
        var fields = HTTPFields()
        for token in 0..<UInt32(WSI_TOKEN_COUNT.rawValue) {
            let token = lws_token_indexes(rawValue: token)
            guard let nameBytes = unsafe lws_token_to_string(token) else { continue }
            let raw = unsafe String(cString: UnsafeRawPointer(nameBytes).assumingMemoryBound(to: CChar.self))
            guard raw.hasSuffix(":"), let name = HTTPField.Name(String(raw.dropLast())) else { continue }
            let length = unsafe lws_hdr_total_length(wsi, token)
            guard length > 0 else { continue }
            var value = [CChar](repeating: 0, count: Int(length) + 2)
            guard unsafe lws_hdr_copy(wsi, &value, CInt(value.count), token) > 0 else { continue }
            fields.append(
                HTTPField(name: name, lenientValue: value.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }))
        }
        return fields
    }

    func invalid(_ text: String) -> WebSocketError {
        WebSocketError(
            .handshakeInvalid, "the server's handshake is not valid: \(text)", phase: .upgrade, response: response)
    }

    func makeError() -> WebSocketError {
        if let refusal { return refusal }
        if let response, response.status != 101 {
            return WebSocketError(
                .handshakeRejected,
                "the server answered the handshake with status \(response.status) instead of 101; \(Self.advice(for: response))",
                phase: .upgrade, response: response)
        }
        if isPinMissed {
            return WebSocketError(
                .tlsFailed,
                "none of the server's keys is among tls.publicKeyPins; if it has a new one that you trust, pin that",
                phase: .tls, tlsFailure: .pinMismatch)
        }
        if let verifyError { return TLSErrors.verification(verifyError, host: request.url.host) }
        switch stage {
        case .tcp, .proxy:
            // 4.1.6 does not say that it could not open a socket, and by now errno is something else's.
            let shortage = stage == .tcp ? wsx_socket_shortage() : 0
            let cause = shortage != 0 ? shortage : systemError
            let code = cause != 0 && cause != EINPROGRESS && cause != EAGAIN ? cause : routeProblem
            let why = code.map { unsafe ": " + String(cString: strerror($0)) } ?? ""
            let exhausted = code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
            return WebSocketError(
                exhausted ? .resourceExhausted : .connectFailed,
                "no connection to \(peerDescription)\(why); check that the server runs and is reachable",
                phase: .connect, systemError: code)
        case .tls:
            // 4.1.6 may end the wsi without CLIENT_CONNECTION_ERROR, after OpenSSL has said why.
            return TLSErrors.handshake(
                reason: tlsReason != 0 ? tlsReason : wsx_tls_take_reason(), library: libraryText,
                wasAskedForCertificate: wasAskedForCertificate,
                isIdentified: request.isIdentified)
        case .upgrade:
            if response != nil || libraryText.hasPrefix("HS:") || libraryText.contains("pars") {
                let text = Self.explanations.first { libraryText.hasPrefix($0.key) }?.value ?? libraryText.escapedForLog
                return invalid(text.isEmpty ? "it broke off" : text)
            }
            var receivedAlert: CInt = 0
            if request.tls != nil, let alert = unsafe wsx_tls_take_alert(&receivedAlert), receivedAlert != 0 {
                return unsafe TLSErrors.alert(
                    String(cString: alert), wasAskedForCertificate: wasAskedForCertificate)
            }
            // TLS 1.3 has a server judge the client's certificate when the client thinks that all is well, and some
            // end the connection without the alert.
            return wasAskedForCertificate
                ? TLSErrors.unacceptedIdentity(isShown: request.isIdentified)
                : invalid("the server ended the connection before it answered")
        }
    }

    /// 4.1.6 forgets why `connect` failed at once, which is what it does without a route. There still is none.
    private var routeProblem: CInt? {
        guard case .address(let text, let port) = transport, let address = IPAddress.bytes(text) else { return nil }
        let problem = unsafe wsx_route_problem(address, address.count, CInt(port))
        return problem == 0 ? nil : problem
    }

    private var peerDescription: String {
        switch transport {
        case .address(let address, let port): "\(address) port \(port)"
        case .socket(_, let description): description.escapedForLog
        }
    }

    private static func advice(for response: WebSocketError.Response) -> String {
        (300...399).contains(response.status) && response.headers[.location] != nil
            ? "it redirects elsewhere: set maximumRedirects to follow it, or use that URL"
            : "check the URL and the credentials"
    }

    private static let explanations: [String: String] = [
        "HS: Accept hash wrong": "Sec-WebSocket-Accept does not match the key",
        "HS: ACCEPT missing": "Sec-WebSocket-Accept is missing",
        "HS: UPGRADE missing": "the Upgrade header is missing",
        "HS: Upgrade to something": "the Upgrade header names something else than websocket",
        "HS: UPGRADE malformed": "the Connection header does not say upgrade",
        "HS: PROTOCOL malformed": "the server chose a subprotocol that was not offered",
        "HS: EXT: unknown ext": "the server chose an extension that was not offered",
        "HS: EXT": "the Sec-WebSocket-Extensions header is not valid",
        "problems parsing header": "the response head is malformed or too large",
    ]
}
