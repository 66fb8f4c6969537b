//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import WebSocketCore
import WebSocketLoop
import WebSockets

/// What `connect --verbose` shows of a handshake and of what follows, on standard error: `>` goes out, `<` comes in, `*` is about both.
struct Transcript: Sendable {
    /// Whose values are secrets.
    private static let hidden: Set<HTTPField.Name> = [
        .authorization, .cookie, .proxyAuthorization, .setCookie,
    ]

    /// Shows each request as it goes out, and each redirect on the way.
    var trace: ClientRequest.Trace {
        .init(begins: { begin($0) }, sent: { show(request: $0) }, redirected: { show($0) })
    }

    private func begin(_ request: ClientRequest) {
        switch request.route {
        case .host(let host, let port): Terminal.status("* connecting to \(host):\(port)")
        case .unix(let path): Terminal.status("* connecting to \(WebSocketAddress.unix(path: path))")
        case .proxy(let proxy):
            Terminal.status("* connecting to \(request.url.host):\(request.url.port) through \(proxy)")
        }
    }

    private func show(request: String) {
        for line in request.split(separator: "\r\n") {
            guard let colon = line.firstIndex(of: ":"), let name = HTTPField.Name(String(line[..<colon])) else {
                Terminal.status("> \(line)")
                continue
            }
            Terminal.status("> \(shown(name, String(line[line.index(after: colon)...].drop { $0 == " " })))")
        }
    }

    func show(_ socket: WebSocketConnection) {
        if let url = socket.url { Terminal.status("* connected to \(url)") }
        if let address = socket.remoteAddress { Terminal.status("* at \(address)") }
        if let tls = socket.tls {
            Terminal.status("* \(tls.version), \(tls.cipher)\(tls.isResumed ? ", resumed" : "")")
            if let certificate = tls.peerCertificate {
                let names = (certificate.dnsNames + certificate.ipAddresses).joined(separator: ", ")
                Terminal.status("* certificate \(certificate.subject) for \(names), issued by \(certificate.issuer)")
            }
        }
        if let response = socket.response { show(response) }
    }

    func show(_ error: WebSocketError) {
        guard let response = error.response else { return }
        show(response)
        for line in String(decoding: response.body, as: UTF8.self).split(whereSeparator: \.isNewline) {
            Terminal.status("< \(line)")
        }
    }

    // MARK: After the handshake

    func sent(_ message: WebSocketMessage) { Terminal.status("> \(Self.text(message))") }

    func received(_ message: WebSocketMessage) { Terminal.status("< \(Self.text(message))") }

    func pong(_ payload: [UInt8], _ roundTrip: Duration?) {
        let time = roundTrip.map { ", round trip \(duration(nanoseconds: $0.nanoseconds))" } ?? ", not asked for"
        Terminal.status("< pong, \(size(bytes: payload.count))\(time)")
    }

    func closed(_ info: WebSocketCloseInfo) {
        let frames = [info.sent.map { (">", $0) }, info.received.map { ("<", $0) }].compactMap { $0 }
        for (mark, frame) in info.receivedFirst == true ? frames.reversed() : frames {
            Terminal.status("\(mark) close \(frame.code.rawValue) \(frame.reason)")
        }
        Terminal.status("* \(info)")
    }

    private static func text(_ message: WebSocketMessage) -> String {
        "\(message.kind == .text ? "text" : "binary"), \(size(bytes: message.byteCount))"
    }

    private func show(_ response: WebSocketError.Response) {
        Terminal.status("< HTTP/1.1 \(response.status)")
        for field in response.headers { Terminal.status("< \(shown(field.name, field.value))") }
        Terminal.status("<")
    }

    private func shown(_ name: HTTPField.Name, _ value: String) -> String {
        "\(name.rawName): \(Self.hidden.contains(name) ? "…" : value)"
    }
}
