//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

@Suite struct WebSocketErrorTests {
    static let codes: [(WebSocketError.Code, String)] = [
        (.invalidURL, "invalidURL"), (.invalidConfiguration, "invalidConfiguration"), (.nameNotFound, "nameNotFound"),
        (.connectFailed, "connectFailed"), (.timedOut, "timedOut"), (.tlsFailed, "tlsFailed"),
        (.handshakeRejected, "handshakeRejected"), (.handshakeInvalid, "handshakeInvalid"),
        (.messageTooBig, "messageTooBig"), (.invalidUTF8, "invalidUTF8"), (.protocolViolation, "protocolViolation"),
        (.connectionClosed, "connectionClosed"), (.invalidCloseCode, "invalidCloseCode"),
        (.closeReasonTooLong, "closeReasonTooLong"), (.cancelled, "cancelled"),
        (.resourceExhausted, "resourceExhausted"), (.listenFailed, "listenFailed"), (.shutDown, "shutDown"),
    ]

    @Test func codesAreDistinctAndNamed() {
        #expect(Set(Self.codes.map(\.0)).count == Self.codes.count)
        for (code, name) in Self.codes {
            #expect(code.description == name)
            #expect(WebSocketError(code, "a sentence").description == "\(name): a sentence")
        }
    }

    @Test func carriesItsDetails() {
        let info = WebSocketCloseInfo(received: nil, sent: nil, receivedFirst: nil, cause: .connectionLost)
        let response = WebSocketError.Response(status: 403, headers: [.server: "x"])
        let error = WebSocketError(
            .handshakeRejected, "m", phase: .upgrade, tlsFailure: .expired, response: response, closeInfo: info,
            systemError: 111)
        #expect(error.code == .handshakeRejected && error.message == "m" && error.phase == .upgrade)
        #expect(error.tlsFailure == .expired && error.response == response && error.closeInfo == info)
        #expect(error.systemError == 111 && error.response?.status == 403 && error.response?.headers[.server] == "x")
        #expect(error != WebSocketError(.handshakeRejected, "m"))
    }

    @Test func closedEscapesThePeersReason() {
        let info = WebSocketCloseInfo(
            received: WebSocketCloseFrame(code: .goingAway, reason: "a\r\nb\u{1B}"), sent: nil, receivedFirst: nil,
            cause: .closingHandshake)
        let error = WebSocketError.closed(info)
        #expect(error.code == .connectionClosed && error.closeInfo == info)
        #expect(error.message.contains(#"“a\r\nb\u{1b}”"#))
        #expect(!error.description.contains { $0.isNewline })
    }

    /// Equal to one with the same details, whoever made it.
    @Test func closedIsAnErrorLikeOthers() {
        let info = WebSocketCloseInfo(received: nil, sent: nil, receivedFirst: nil, cause: .connectionLost)
        let closed = WebSocketError.closed(info)
        let same = WebSocketError(.connectionClosed, closed.message, closeInfo: info)
        #expect(closed == same && closed.hashValue == same.hashValue && closed.description == same.description)
        #expect(
            closed.message
                == "the connection is closed: connection lost; no close frame received or sent; open a new one")
        var changed = closed
        changed.phase = .receive
        #expect(changed != closed && changed.phase == .receive && changed.message == closed.message)
        #expect(changed.code == .connectionClosed && changed.closeInfo == info && !changed.isNormalEnd)
        changed.closeInfo = nil
        #expect(changed.closeInfo == nil && closed.closeInfo == info)
    }

    @Test func cancelledNamesTheCall() {
        let cancelled = WebSocketError.cancelled("receive").description
        #expect(cancelled == "cancelled: receive was cancelled with its task; call it again in another one")
    }
}
