//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct WebSocketCloseFrameTests {
    typealias Frame = WebSocketCloseFrame

    @Test func everyCodeIsValidatedBeforeItIsSent() throws {
        for value in UInt16.min...UInt16.max {
            let code = WebSocketCloseCode(rawValue: value)
            do {
                try Frame(code: code).validate()
                try check(code.isAllowedOnTheWire || code == .noStatusReceived, "\(value) was accepted")
            } catch let error as WebSocketError {
                try check(!code.isAllowedOnTheWire && code != .noStatusReceived, "\(value) was refused")
                try check(error.code == .invalidCloseCode && error.message.contains("\(value)"), "\(error)")
            }
        }
    }

    @Test func theReasonHasAtMost123Bytes() throws {
        try Frame(code: .normalClosure, reason: String(repeating: "a", count: 123)).validate()
        try Frame(code: .normalClosure, reason: String(repeating: "€", count: 41)).validate()
        for reason in [String(repeating: "a", count: 124), String(repeating: "€", count: 41) + "a"] {
            expectError(.closeReasonTooLong, "124", "123") { () throws(WebSocketError) in
                try Frame(code: .normalClosure, reason: reason).validate()
            }
        }
        #expect(Frame.maximumReasonBytes == 123)
    }

    /// Without a code there is no place for a reason (RFC 6455 §5.5.1).
    @Test func aReasonNeedsACode() throws {
        try Frame(code: .noStatusReceived).validate()
        expectError(.invalidCloseCode, "reason") { () throws(WebSocketError) in
            try Frame(code: .noStatusReceived, reason: "why").validate()
        }
    }

    @Test(
        arguments: [
            (Frame(code: .noStatusReceived), []),
            (Frame(code: .normalClosure), [0x03, 0xE8]),
            (Frame(code: .init(rawValue: 4999), reason: "é!"), [0x13, 0x87, 0xC3, 0xA9, 0x21]),
        ] as [(Frame, [UInt8])])
    func payload(_ frame: Frame, _ bytes: [UInt8]) throws {
        #expect(frame.payload == bytes)
        #expect(try withExactBytes(bytes, Frame.init(payload:)) == frame)
    }

    @Test func everyCodeOnTheWire() throws {
        for value in UInt16.min...UInt16.max {
            for reason in [[], Array("x".utf8)] {
                let bytes = [UInt8(value >> 8), UInt8(value & 0xFF)] + reason
                let code = WebSocketCloseCode(rawValue: value)
                do throws(Frame.PayloadViolation) {
                    let frame = try withExactBytes(bytes, Frame.init(payload:))
                    try! check(code.isAllowedOnTheWire, "\(value) was accepted")
                    try! check(frame.code == code && frame.reason == (reason.isEmpty ? "" : "x"), "\(frame)")
                } catch {
                    try check(!code.isAllowedOnTheWire && error == .invalidCode, "\(value): \(error)")
                }
            }
        }
    }

    @Test func oneByteIsTooShort() {
        for byte in UInt8.min...UInt8.max {
            #expect(throws: Frame.PayloadViolation.tooShort) { try withExactBytes([byte], Frame.init(payload:)) }
        }
    }

    @Test(
        arguments: [
            [0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0x61, 0xE2, 0x82],
            [0x80, 0x61],
        ] as [[UInt8]])
    func theReasonIsUTF8(_ reason: [UInt8]) {
        #expect(throws: Frame.PayloadViolation.invalidUTF8) {
            try withExactBytes([0x03, 0xE8] + reason, Frame.init(payload:))
        }
    }

    /// A bad code is found before a bad reason, and a long reason is a peer's right up to the frame's limit.
    @Test func codeBeforeReason() throws {
        #expect(throws: Frame.PayloadViolation.invalidCode) {
            try withExactBytes([0x03, 0xED, 0xFF], Frame.init(payload:))
        }
        let long = try withExactBytes([0x03, 0xE8] + [UInt8](repeating: 0x61, count: 123), Frame.init(payload:))
        #expect(long.reason.utf8.count == 123)
    }
}

@Suite struct WebSocketCloseInfoTests {
    static let causes: [WebSocketCloseInfo.Cause] = [
        .closingHandshake, .connectionLost, .pingTimeout, .closeTimeout, .flushTimeout, .peerViolation, .aborted,
    ]

    @Test func isNormalNeedsTwoNormalCodesAndTheHandshake() {
        let codes: [WebSocketCloseCode?] = [
            nil, .normalClosure, .goingAway, .noStatusReceived, .abnormalClosure, .protocolError, .internalError,
            .init(rawValue: 3000), .init(rawValue: 4000),
        ]
        let normal: Set<WebSocketCloseCode?> = [.normalClosure, .goingAway, .noStatusReceived]
        for cause in Self.causes {
            for received in codes {
                for sent in codes {
                    let info = WebSocketCloseInfo(
                        received: received.map { .init(code: $0) }, sent: sent.map { .init(code: $0) },
                        receivedFirst: nil, cause: cause)
                    let expected = cause == .closingHandshake && normal.contains(received) && normal.contains(sent)
                    #expect(info.isNormal == expected, "\(info)")
                    #expect(info.code == received ?? .abnormalClosure)
                    #expect(info.unsentMessages == 0)
                }
            }
        }
    }

    @Test func codeAndReasonAreThePeers() {
        let info = WebSocketCloseInfo(
            received: .init(code: .init(rawValue: 4001), reason: "theirs"),
            sent: .init(code: .goingAway, reason: "ours"),
            receivedFirst: false, cause: .closingHandshake, unsentMessages: 3)
        #expect(info.code.rawValue == 4001 && info.reason == "theirs" && info.unsentMessages == 3)
        let none = WebSocketCloseInfo(received: nil, sent: info.sent, receivedFirst: nil, cause: .connectionLost)
        #expect(none.code == .abnormalClosure && none.reason.isEmpty)
    }

    @Test(
        arguments: [
            (nil, nil, nil, .connectionLost, "connection lost; no close frame received or sent"),
            (1000, nil, nil, .closingHandshake, "received 1000 (normal closure) “r”"),
            (
                nil, 1001, nil, .closeTimeout,
                "the peer did not finish the close in time; sent 1001 (going away) “s”; no close frame received"
            ),
            (
                1000, 1001, true, .closingHandshake,
                "received 1000 (normal closure) “r”; then sent 1001 (going away) “s”"
            ),
            (
                1000, 1001, false, .closingHandshake,
                "sent 1001 (going away) “s”; then received 1000 (normal closure) “r”"
            ),
            (
                nil, 1011, nil, .pingTimeout,
                "no pong in time; sent 1011 (internal error) “s”; no close frame received"
            ),
            (
                nil, nil, nil, .flushTimeout,
                "the peer did not take in time what was sent before the close frame; no close frame received or sent"
            ),
            (
                nil, 1002, nil, .peerViolation,
                "the peer broke a rule; sent 1002 (protocol error) “s”; no close frame received"
            ),
            (nil, nil, nil, .aborted, "aborted; no close frame received or sent"),
        ] as [(UInt16?, UInt16?, Bool?, WebSocketCloseInfo.Cause, String)])
    func description(
        _ received: UInt16?, _ sent: UInt16?, _ first: Bool?, _ cause: WebSocketCloseInfo.Cause, _ text: String
    ) {
        let info = WebSocketCloseInfo(
            received: received.map { .init(code: .init(rawValue: $0), reason: "r") },
            sent: sent.map { .init(code: .init(rawValue: $0), reason: "s") }, receivedFirst: first, cause: cause)
        #expect(info.description == text)
    }

    @Test func descriptionEscapesReasons() {
        let info = WebSocketCloseInfo(
            received: .init(code: .normalClosure, reason: "a\nINFO forged\u{202E}\u{1B}[2J"),
            sent: .init(code: .normalClosure),
            receivedFirst: true, cause: .closingHandshake)
        #expect(
            info.description
                == #"received 1000 (normal closure) “a\nINFO forged\u{202e}\u{1b}[2J”; then sent 1000 (normal closure)"#
        )
    }
}
