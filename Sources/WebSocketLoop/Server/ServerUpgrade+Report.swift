//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Logging
import WebSocketCore

// What the server's operator and the socket's giver are told.
extension ServerUpgrade {
    private var logger: Logger { policy.logger ?? loop.logger }
    var peerMetadata: Logger.Metadata {
        ["peer": "\(details.remoteAddress.map(\.description) ?? "unknown")"]
    }

    /// A refusal is the server's own, so its log says why. What a hook answers is its own affair.
    func report(_ response: PlainResponse) {
        policy.refused?(response.status, response.reason, details.remoteAddress)
        var metadata = peerMetadata.merging(["status": "\(response.status)"]) { $1 }
        guard let reason = response.reason else {
            return logger.debug("a request was answered without a WebSocket", metadata: metadata)
        }
        metadata["reason"] = "\(reason)"
        if let parsed = machine.parsed {
            metadata["target"] = "\(Self.shown(ShownTarget.text(parsed.target)))"
            metadata["host"] = "\(Self.shown(machine.askedHost ?? parsed.fields[.hostField] ?? ""))"
            metadata["origin"] = "\(Self.shown(parsed.fields[.origin] ?? ""))"
        }
        logger.info("a request was refused", metadata: metadata)
    }

    /// A socket was closed without a response. Clients that leave are no news.
    func reportEnd(_ reason: WebSocketError) {
        let isNews = reason.code != .connectionClosed && reason.code != .shutDown && reason.code != .cancelled
        logger.log(
            level: isNews ? .info : .debug, "a socket was closed before its request was answered",
            metadata: peerMetadata.merging(["reason": "\(reason.message)"]) { $1 })
    }

    func rejection(_ response: PlainResponse) -> WebSocketError {
        let reason = response.reason.map { ": \($0)\(comparison(response))" } ?? ""
        return WebSocketError(
            .handshakeRejected, "the request was answered with \(response.status) instead of a WebSocket\(reason)",
            phase: .upgrade,
            response: .init(
                status: response.status, headers: response.fields, body: Array(response.body.prefix(Self.keptBody))))
    }

    /// Of a response's body, for the error of the socket's giver: as much as a client keeps of a refusal.
    private static let keptBody = 1_024

    /// What a refused origin or host was compared with: a proxy that changes one of the two is found by that.
    private func comparison(_ response: PlainResponse) -> String {
        guard let parsed = machine.parsed, [403, 421].contains(response.status) else { return "" }
        let origin = parsed.fields[.origin].map { "“\(Self.shown($0))”" } ?? "none"
        return " (origin \(origin), host “\(Self.shown(machine.askedHost ?? ""))”)"
    }

    private static func shown(_ text: String) -> String {
        text.utf8.count > 256 ? "\(String(text.prefix(256)).escapedForLog)…" : text.escapedForLog
    }

    /// Why the stream is over where TLS is spoken; `nil` where it is not.
    func tlsFailure(during part: ServerUpgradeMachine.Part) -> WebSocketError? {
        guard policy.tls != nil, part == .handshake || (part == .request && stream != nil) else { return nil }
        if stream?.wasFlooded == true { return .flooded }
        let step = part == .handshake ? "the TLS handshake" : "the request"
        let alert = TLSStream.takeAlert().map { ": \($0)" } ?? ""
        return WebSocketError(.tlsFailed, "TLS ended during \(step)\(alert)", phase: .tls, tlsFailure: .other)
    }

    /// Why libwebsockets did not take the socket.
    func untaken() -> WebSocketError {
        guard Self.hasRoom(for: descriptor) else { return .shortage }
        return tlsFailure(during: .handshake)
            ?? WebSocketError(
                .resourceExhausted, "libwebsockets did not take the socket; its log says why", phase: .upgrade)
    }
}

extension WebSocketError {
    static let full = WebSocketError(
        .resourceExhausted, "the server has as many connections as it may; raise maximumConnections, or let some end",
        phase: .upgrade)
    static let crowded = WebSocketError(
        .timedOut,
        "the server has as many handshakes under way as it may, and this one was the slowest; raise maximumHandshakes for crowds",
        phase: .upgrade)
    static let shortage = WebSocketError(
        .resourceExhausted,
        "there is no descriptor left, or none that libwebsockets can have; raise the limit on open files (ulimit -n)",
        phase: .upgrade)
    static let noVhost = WebSocketError(
        .resourceExhausted, "libwebsockets could not make a vhost; its log says why", phase: .upgrade)
    static let unsecured = WebSocketError(
        .tlsFailed, "OpenSSL could not set up the server's side; check its system-wide configuration", phase: .tls,
        tlsFailure: .other)
    fileprivate static let flooded = WebSocketError(
        .tlsFailed,
        "the client sent more than \(TLSStream.maximumRecordsWithoutData) TLS records without data in a row; it is broken or means harm",
        phase: .tls, tlsFailure: .other)
}
