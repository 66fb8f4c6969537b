//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc
import HTTPTypes
import Logging
import WebSocketCore

extension ServerUpgrade {
    private static let lingerTime: UInt64 = 1_000_000_000
    private static let answerTime: UInt64 = 10_000_000_000

    // MARK: Answers other than 101

    /// Answers and ends the connection so that the answer arrives: after our end of file the peer gets a moment to read
    /// it.
    func respond(_ answer: HTTPAnswer) {
        guard stage != .over, stage != .answering else { return }
        report(answer)
        stage = .answering
        self.answer = answer.bytes(isHead: isHeadRequest)[...]
        let watched = duplicate >= 0 ? duplicate : descriptor
        poll?.close()
        poll = DescriptorPoll(loop: loop, descriptor: watched) { [self] in
            if self.answer.isEmpty { awaitEnd(watched) } else { writeAnswer() }
        }
        setDeadline(Self.answerTime)
        let reason = answer.reason.map { ": \($0)\(comparison(answer))" } ?? ""
        tell(
            WebSocketError(
                .handshakeRejected, "the request was answered with \(answer.status) instead of a WebSocket\(reason)",
                phase: .upgrade,
                response: .init(
                    status: answer.status, headers: answer.fields, body: Array(answer.body.prefix(Self.keptBody)))))
        writeAnswer()
    }

    /// Of an answer's body, for the error of the socket's giver: as much as a client keeps of a refusal.
    private static let keptBody = 1_024

    /// A refusal is the server's own, so its operator hears why. What a hook answers is its own affair.
    private func report(_ answer: HTTPAnswer) {
        policy.refused?(answer.status, answer.reason, details.remoteAddress)
        var metadata = peerMetadata.merging(["status": "\(answer.status)"]) { $1 }
        let logger = policy.logger ?? loop.logger
        guard let reason = answer.reason else {
            return logger.debug("a request was answered without a WebSocket", metadata: metadata)
        }
        metadata["reason"] = "\(reason)"
        if let parsed {
            metadata["target"] = "\(Self.shown(parsed.target))"
            metadata["host"] = "\(Self.shown(askedHost ?? parsed.fields[.hostField] ?? ""))"
            metadata["origin"] = "\(Self.shown(parsed.fields[.origin] ?? ""))"
        }
        logger.info("a request was refused", metadata: metadata)
    }

    /// What a refused origin or host was compared with: a proxy that changes one of the two is found by that.
    private func comparison(_ answer: HTTPAnswer) -> String {
        guard let parsed, [403, 421].contains(answer.status) else { return "" }
        let origin = parsed.fields[.origin].map { "“\(Self.shown($0))”" } ?? "none"
        return " (origin \(origin), host “\(Self.shown(askedHost ?? ""))”)"
    }

    private static func shown(_ text: String) -> String {
        text.utf8.count > 256 ? "\(String(text.prefix(256)).escapedForLog)…" : text.escapedForLog
    }

    private func writeAnswer() {
        while !answer.isEmpty {
            let count: Int
            if let ssl = unsafe wsi.flatMap({ unsafe lws_get_ssl($0) }) {
                ERR_clear_error()
                let status = unsafe answer.withUnsafeBytes { unsafe SSL_write(ssl, $0.baseAddress, CInt($0.count)) }
                if status <= 0 {
                    switch unsafe SSL_get_error(ssl, status) {
                    case SSL_ERROR_WANT_WRITE: poll?.start(.writable)
                    case SSL_ERROR_WANT_READ: poll?.start(.readable)
                    default: drop(Self.unanswered)
                    }
                    return
                }
                count = Int(status)
            } else {
                count = unsafe answer.withUnsafeBytes {
                    unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                if count < 0 {
                    switch errno {
                    case EINTR: continue
                    case EAGAIN: poll?.start(.writable)
                    default: drop(Self.unanswered)
                    }
                    return
                }
            }
            answer = answer.dropFirst(count)
        }
        if let ssl = unsafe wsi.flatMap({ unsafe lws_get_ssl($0) }) { unsafe SSL_shutdown(ssl) }
        shutdown(duplicate >= 0 ? duplicate : descriptor, Int32(SHUT_WR))
        setDeadline(Self.lingerTime)
        poll?.start(.readable)
    }

    private func awaitEnd(_ watched: CInt) {
        let count = unsafe withScratch { unsafe recv(watched, $0.baseAddress, $0.count, 0) }
        if count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) { drop(Self.unanswered) }
    }

    private static let unanswered = WebSocketError(
        .connectionClosed, "the client left before its request was answered", phase: .upgrade)

    // MARK: The 101

    func writeResponseHeaders(_ arguments: UnsafeMutablePointer<lws_process_html_args>) -> CInt {
        guard let start = unsafe arguments.pointee.p else { return -1 }
        // `max_len` is the room up to the service buffer's end.
        let room = unsafe Int(arguments.pointee.max_len)
        unsafe loop.serviceBuffer = unsafe UnsafeRawPointer(start) + room - LibWebSockets.serviceBufferSize
        if usesTLS, unsafe !replaceAccept(before: start) { return -1 }
        var text = ""
        var position = UnsafeMutableRawPointer(start)
        if let deflate, !deflate.parameterText.isEmpty {
            // libwebsockets has just written `…permessage-deflate` and a line's end.
            unsafe position -= 2
            text += deflate.parameterText + "\r\n"
        }
        if let subprotocol = acceptance.subprotocol { text += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        for field in acceptance.fields { text += "\(field.name.rawName): \(field.value)\r\n" }
        guard text.utf8.count < room - 4 else {
            loop.logger.error("the response headers are too long", metadata: peerMetadata)
            return -1
        }
        let count = text.utf8.count
        unsafe UnsafeMutableRawBufferPointer(start: position, count: count).copyBytes(from: text.utf8)
        unsafe arguments.pointee.p = unsafe (position + count).assumingMemoryBound(to: CChar.self)
        return 0
    }

    /// The head that went in before the TLS handshake could not hold the client's key, so the answer to it, which
    /// libwebsockets has just written in front of `end`, is computed here.
    private func replaceAccept(before end: UnsafeMutablePointer<CChar>) -> Bool {
        guard let request else { return false }
        let accept = AcceptKey.of(request.key)
        let placeholder = Array(AcceptKey.of(Self.placeholderKey).utf8)
        // Everything in front of it: three fixed lines, this one, and perhaps the extension's.
        for distance in placeholder.count...320 {
            let candidate = unsafe UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(end) - distance, count: placeholder.count)
            if unsafe candidate.elementsEqual(placeholder) {
                unsafe candidate.copyBytes(from: accept.utf8)
                return true
            }
        }
        return false
    }
}
