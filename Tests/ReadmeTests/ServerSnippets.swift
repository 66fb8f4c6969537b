//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The examples of the article “The server”, compiled. `ReadmeTests` compares the two: change both.
import WebSockets

struct Sessions: Sendable {
    func isValid(_ cookie: String?) async throws -> Bool { cookie != nil }
}

func secureServer() throws -> WebSocketServer {
    var configuration = WebSocketServerConfiguration(host: "::", port: 8443)
    configuration.tls = .init(certificateChain: .file("fullchain.pem"), privateKey: .file("key.pem"))
    configuration.tls?.additionalIdentities = [
        .init(
            serverNames: ["*.example.org"], certificateChain: .file("org.pem"), privateKey: .file("org-key.pem"))
    ]
    let server = try WebSocketServer(configuration: configuration)
    return server
}

func reload(_ server: WebSocketServer, _ configuration: WebSocketServerConfiguration) throws {
    if let tls = configuration.tls { try server.reloadTLS(tls) }
}

func decidingServer(_ configuration: inout WebSocketServerConfiguration, _ sessions: Sessions) {
    configuration.onRequest = { request in
        guard request.isWebSocket else {
            return request.path == "/health" ? .respond(status: 200, text: "ok") : .accept()
        }
        guard try await sessions.isValid(request.headers[.cookie]) else {
            return .respond(status: 403, text: "log in first")
        }
        var options = WebSocketOptions()
        options.maximumMessageSize = 64 << 10
        return .accept(subprotocol: "chat", headers: [.server: "example"], options: options)
    }
}

func proxiedServer(_ configuration: inout WebSocketServerConfiguration) {
    configuration.trustedProxies = .init(addresses: ["10.0.0.0/8"])
    configuration.trustedProxies.tellsHost = true
    configuration.trustedProxies.tellsScheme = true
    configuration.maximumConnectionsPerAddress = 50
}

func routedServer(_ server: WebSocketServer) async throws {
    var routes = WebSocketRoutes()
    try routes.webSocket("/rooms/:room") { socket in
        let room = socket.routeParameters["room"] ?? ""
        for try await message in socket.messages {
            try await socket.send("\(room): \(message.text ?? "no text")")
        }
    }
    try routes.http("/health") { _ in .respond(status: 200, text: "ok") }
    try routes.redirect("/chat", to: "/rooms/lobby")
    try await server.run(routes: routes)
}
