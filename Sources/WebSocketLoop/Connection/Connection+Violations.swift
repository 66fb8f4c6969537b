//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

// What a peer is told, and the receivers, about a rule that it broke.
extension Connection {
    func violation(
        _ code: WebSocketCloseCode, _ text: String, _ error: WebSocketError.Code = .protocolViolation
    ) {
        fail(
            WebSocketCloseFrame(code: code, reason: text), cause: .peerViolation,
            error: Self.violated(text, error))
    }

    static func violated(_ text: String, _ code: WebSocketError.Code = .protocolViolation) -> WebSocketError {
        WebSocketError(
            code, "the peer broke the protocol: \(text); what it runs on, or a proxy in between, needs repair")
    }

    func refuseMessage() {
        fail(
            WebSocketCloseFrame(code: .policyViolation, reason: "messages are not read here"), cause: .peerViolation,
            error: WebSocketError(
                .protocolViolation,
                "the peer sent a message after closeReading(); the connection was closed with 1008"))
    }

    func refuse(_ violation: MessageAssembler.Violation) {
        switch violation {
        case .messageTooBig(let limit):
            fail(
                WebSocketCloseFrame(code: .messageTooBig, reason: "a message has more than \(limit) bytes"),
                cause: .peerViolation,
                error: WebSocketError(
                    .messageTooBig,
                    "a message has more than \(limit) bytes; raise maximumMessageSize if such messages are wanted"))
        case .tooManyFragments(let limit):
            fail(
                WebSocketCloseFrame(code: .messageTooBig, reason: "a message has more than \(limit) frames"),
                cause: .peerViolation,
                error: WebSocketError(
                    .tooManyFragments,
                    "a message has more than \(limit) frames; raise maximumFragments if such messages are wanted"))
        case .invalidUTF8:
            fail(
                WebSocketCloseFrame(code: .invalidPayloadData, reason: "a text message is not UTF-8"),
                cause: .peerViolation,
                error: WebSocketError(
                    .invalidUTF8, "the peer sent a text message that is not UTF-8; it should send such bytes as binary")
            )
        }
    }
}
