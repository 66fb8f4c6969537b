//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import WebSocketLoop
import WebSockets

/// `wsx demo --web`: a page over HTTPS whose script talks to this server over wss, and plots what it measures.
struct DemoWeb {
    let display: DisplayOptions
    let port: Int

    func run() async throws {
        let interruption = await Interruption.begin()
        let certificate = try ThrowawayCertificate()
        var configuration = WebSocketServerConfiguration(
            port: port,
            tls: WebSocketTLSServerConfiguration(
                certificateChain: .bytes(certificate.certificate), privateKey: .bytes(certificate.privateKey)))
        configuration.options.compression = .deflate()
        configuration.onRequest = { Self.answer($0) }
        let server = try WebSocketServer(configuration: configuration)
        let url = "https://localhost:\(server.port)/"
        if display.json {
            await Output.standard.write(json: ["event": "listening", "url": .string(url)])
        } else {
            await Output.standard.write(line: "open \(url)")
        }
        if display.showsStatus {
            Terminal.status("the certificate was made for this run, so the browser warns once; Ctrl-C ends")
        }
        interruption.onFirst { Task { await server.shutDown() } }
        try await server.run { socket in
            for try await message in socket.messages { try await socket.send(message) }
        }
    }

    private static func answer(_ request: WebSocketUpgradeRequest) -> WebSocketUpgradeDecision {
        switch (request.isWebSocket, request.path) {
        case (true, "/live"): .accept()
        case (false, "/"):
            .respond(
                status: 200,
                headers: [
                    .contentType: "text/html; charset=utf-8", .cacheControl: "no-store",
                    .xContentTypeOptions: "nosniff",
                    // Nothing from elsewhere, and the script may speak to this server only.
                    .contentSecurityPolicy:
                        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
                ], body: Array(DemoPage.html.utf8))
        default: .respond(status: 404, text: "there is a page at / and a WebSocket at /live")
        }
    }
}
