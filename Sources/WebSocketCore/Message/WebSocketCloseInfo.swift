//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The code and reason of one close frame.
public struct WebSocketCloseFrame: Sendable, Hashable {
    /// 1005 when the frame was empty.
    public let code: WebSocketCloseCode
    /// At most 123 bytes of UTF-8. A peer's reason is the peer's text: escape it before showing it.
    public let reason: String
    /// Whether the peer may have sent another code than 1002. libwebsockets 4.1.6 turns 1012, 1013 and 1014 into 1002.
    /// What was really sent is read from the wire, but not by a server when the frame arrived in two reads.
    public package(set) var isCodeUncertain = false

    /// A CLOSE frame's content.
    public init(code: WebSocketCloseCode, reason: String = "") {
        self.code = code
        self.reason = reason
    }

    /// The largest reason in bytes of UTF-8: a control frame holds 125, two of them are the code (RFC 6455 §5.5.1).
    public static let maximumReasonBytes = 123

    /// Throws unless the frame may be sent.
    package func validate() throws(WebSocketError) {
        guard code.isAllowedOnTheWire || code == .noStatusReceived else {
            throw WebSocketError(
                .invalidCloseCode,
                "close code \(code.rawValue) may not be sent; use 1000–1003, 1007–1014 or 3000–4999, or noStatusReceived for none"
            )
        }
        guard code != .noStatusReceived || reason.isEmpty else {
            throw WebSocketError(
                .invalidCloseCode, "a close reason needs a code to stand behind; use 1000–1003, 1007–1014 or 3000–4999")
        }
        guard reason.utf8.count <= Self.maximumReasonBytes else {
            throw WebSocketError(
                .closeReasonTooLong,
                "the close reason has \(reason.utf8.count) bytes; shorten it to \(Self.maximumReasonBytes) bytes of UTF-8"
            )
        }
    }

    /// The payload of the frame: empty without a code.
    package var payload: [UInt8] {
        if code == .noStatusReceived { return [] }
        return [UInt8(truncatingIfNeeded: code.rawValue >> 8), UInt8(truncatingIfNeeded: code.rawValue)]
            + Array(reason.utf8)
    }

    /// What a peer's close frame may be guilty of (RFC 6455 §5.5.1, §7.4.1).
    package enum PayloadViolation: Error { case tooShort, invalidCode, invalidUTF8 }

    /// Reads a peer's close payload.
    package init(payload: UnsafeRawBufferPointer) throws(PayloadViolation) {
        if payload.isEmpty {
            self.init(code: .noStatusReceived)
            return
        }
        guard payload.count >= 2 else { throw .tooShort }
        let code = WebSocketCloseCode(rawValue: UInt16(payload[0]) << 8 | UInt16(payload[1]))
        guard code.isAllowedOnTheWire else { throw .invalidCode }
        guard let reason = String(validating: payload.dropFirst(2), as: UTF8.self) else { throw .invalidUTF8 }
        self.init(code: code, reason: reason)
    }
}

/// How a connection ended: both sides' close frames and what came first.
public struct WebSocketCloseInfo: Sendable, Hashable {
    /// Why the connection ended.
    public enum Cause: Sendable, Hashable {
        /// The closing handshake of RFC 6455 §7 ran, begun by either side.
        case closingHandshake
        /// The transport ended without a close frame: reset, end of file, network failure.
        case connectionLost
        /// No pong and no other sign of life within the keepalive's timeout.
        case pingTimeout
        /// The peer did not answer our close frame within `closeTimeout`.
        case closeTimeout
        /// The peer did not take what was sent before our close frame within `flushTimeout`; the frame was not sent.
        case flushTimeout
        /// The peer broke the protocol or one of our limits; `sent` says which way.
        case peerViolation
        /// `abort()`, a cancelled scope, or a connection object that was dropped without `close()`.
        case aborted

        /// Whether a deadline of this side was over.
        package var isTimeout: Bool {
            switch self {
            case .pingTimeout, .closeTimeout, .flushTimeout: true
            case .closingHandshake, .connectionLost, .peerViolation, .aborted: false
            }
        }
    }

    /// The peer's close frame, if one arrived.
    public let received: WebSocketCloseFrame?
    /// Our close frame, if the operating system took one.
    public let sent: WebSocketCloseFrame?
    /// Whether the peer's frame came before ours. `nil` unless both exist.
    public let receivedFirst: Bool?
    /// Why the connection ended.
    public let cause: Cause
    /// Messages that `send` had accepted and that were not handed to the operating system whole. A client counts exactly.
    /// On a server, where libwebsockets holds what the socket does not take, all messages of such a burst count.
    public let unsentMessages: Int
    /// Messages of the peer that arrived while the connection was closing, from the first one on that came when no task
    /// received and the inbound buffer was full. Those in the buffer are not among them: they can still be received.
    /// Except when the memory budget was used up and this connection had to go: those count too, and are gone.
    public let droppedMessages: Int

    /// How a connection ended.
    public init(
        received: WebSocketCloseFrame?, sent: WebSocketCloseFrame?, receivedFirst: Bool?, cause: Cause,
        unsentMessages: Int = 0, droppedMessages: Int = 0
    ) {
        self.received = received
        self.sent = sent
        self.receivedFirst = receivedFirst
        self.cause = cause
        self.unsentMessages = unsentMessages
        self.droppedMessages = droppedMessages
    }

    /// The peer's code; 1006 when no close frame was received (RFC 6455 §7.1.5).
    public var code: WebSocketCloseCode { received?.code ?? .abnormalClosure }
    /// The peer's reason, or an empty string.
    public var reason: String { received?.reason ?? "" }
    /// Whether both sides closed with 1000, 1001 or no code. Such an end finishes iteration; any other throws.
    public var isNormal: Bool {
        cause == .closingHandshake && (received?.code.isNormal ?? false) && (sent?.code.isNormal ?? false)
    }
}

extension WebSocketCloseInfo: CustomStringConvertible {
    /// The cause and both sides' CLOSE frames, on one line.
    public var description: String {
        func describe(_ frame: WebSocketCloseFrame, _ verb: String) -> String {
            "\(verb) \(frame.code)\(frame.isCodeUncertain ? ", or a code rewritten by libwebsockets," : "")\(frame.reason.isEmpty ? "" : " “\(frame.reason.escapedForLog)”")"
        }
        let frames: String
        switch (received, sent) {
        case (nil, nil): frames = "no close frame received or sent"
        case (let received?, nil): frames = describe(received, "received")
        case (nil, let sent?): frames = describe(sent, "sent") + "; no close frame received"
        case (let received?, let sent?):
            frames =
                receivedFirst == true
                ? "\(describe(received, "received")); then \(describe(sent, "sent"))"
                : "\(describe(sent, "sent")); then \(describe(received, "received"))"
        }
        var text =
            switch cause {
            case .closingHandshake: frames
            case .connectionLost: "connection lost; \(frames)"
            case .pingTimeout: "no pong in time; \(frames)"
            case .closeTimeout: "the peer did not finish the close in time; \(frames)"
            case .flushTimeout: "the peer did not take in time what was sent before the close frame; \(frames)"
            case .peerViolation: "the peer broke a rule; \(frames)"
            case .aborted: "aborted; \(frames)"
            }
        if unsentMessages > 0 { text += "; messages not sent: \(unsentMessages)" }
        if droppedMessages > 0 { text += "; messages dropped: \(droppedMessages)" }
        return text
    }
}
