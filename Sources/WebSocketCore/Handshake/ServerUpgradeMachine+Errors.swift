//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Why a handshake has no response.
extension ServerUpgradeMachine {
    package static let left = WebSocketError(
        .connectionClosed, "the client left before its request was answered; there is nothing to do here",
        phase: .upgrade)
    package static let slow = WebSocketError(
        .timedOut, "the client did not finish its handshake in time; raise handshakeTimeout for slow ones",
        phase: .upgrade)
    package static let stopping = WebSocketError(
        .shutDown, "the server or its event loop stops; connect again when it is back", phase: .upgrade)
    package static let badProxyHeader = WebSocketError(
        .protocolViolation,
        "the connection does not begin with the PROXY header of a trusted proxy; let the proxy send it, or turn sendsProxyProtocol off",
        phase: .upgrade)
    package static let notTLS = WebSocketError(
        .tlsFailed, "the client does not speak TLS, which this server wants; check its URL's scheme and port",
        phase: .tls, tlsFailure: .notTLS)
    package static let largeClientHello = WebSocketError(
        .tlsFailed,
        "the first message of the client's TLS has more than \(ClientHello.maximumBytes) bytes; such a client must offer less",
        phase: .tls, tlsFailure: .other)
}
