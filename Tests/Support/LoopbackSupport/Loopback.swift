//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import Testing
package import WebSockets

package typealias Handler = @Sendable @concurrent (WebSocketConnection) async throws -> Void

/// A transport of the matrix that most behaviour has to be the same on.
package struct Transport: Sendable, CustomStringConvertible {
    package let isSecure: Bool
    package let compression: WebSocketCompression

    package init(isSecure: Bool = false, compression: WebSocketCompression = .disabled) {
        self.isSecure = isSecure
        self.compression = compression
    }

    package static let plain = Transport()
    package static let secure = Transport(isSecure: true)
    package static let all = [
        plain, secure, Transport(compression: .deflate()), Transport(isSecure: true, compression: .deflate()),
    ]

    package var description: String {
        (isSecure ? "wss" : "ws") + (compression == .disabled ? "" : " deflate")
    }
}

/// Our server, and how our client reaches it.
package struct Loopback: Sendable {
    package let server: WebSocketServer
    package let url: String
    package var client: WebSocketClientConfiguration
    /// The clients' loop. Nothing of the server lives there.
    package let loop: WebSocketEventLoop
    package let serverLoops: WebSocketEventLoopGroup

    package func connect(
        _ target: String = "/", _ change: (inout WebSocketClientConfiguration) -> Void = { _ in }
    ) async throws -> WebSocketConnection {
        var configuration = client
        change(&configuration)
        return try await WebSocketClient.connect(to: url + target, configuration: configuration)
    }
}

/// Runs a server with `handler`, hands it to `body`, and shuts it down. The registries must be empty afterwards.
@discardableResult
package func withLoopback<Result: Sendable>(
    _ transport: Transport = .plain, serverLoops count: Int = 1, backend: WebSocketEventLoop.Backend? = nil,
    server change: (inout WebSocketServerConfiguration) throws -> Void = { _ in },
    handler: @escaping Handler, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (Loopback) async throws -> Result
) async throws -> Result {
    try await withLoops(count, backend: backend, sourceLocation: sourceLocation) { serverLoops in
        var configuration = WebSocketServerConfiguration()
        configuration.eventLoopGroup = serverLoops
        configuration.options.compression = transport.compression
        // Only what a test is about may end a connection.
        configuration.options.keepAlive = nil
        configuration.handshakeTimeout = .seconds(60)
        if transport.isSecure { configuration.tls = try TestEnvironment.identity("valid") }
        try change(&configuration)
        let server = try WebSocketServer(configuration: configuration)
        let running = Task { try await server.run(handler) }
        do {
            let result = try await withLoops(1, backend: backend, sourceLocation: sourceLocation) { loops in
                let client = try clientConfiguration(transport, on: loops)
                let scheme = configuration.tls == nil ? "ws" : "wss"
                let host = configuration.host.contains(":") ? "[\(configuration.host)]" : configuration.host
                return try await body(
                    Loopback(
                        server: server, url: "\(scheme)://\(host):\(server.port)", client: client,
                        loop: loops.loops[0], serverLoops: serverLoops))
            }
            await server.shutDown()
            try await running.value
            return result
        } catch {
            await server.shutDown()
            throw error
        }
    }
}

/// Trusts the tests' CA, sends no pings, and has all the time it needs.
package func clientConfiguration(
    _ transport: Transport = .plain, on loops: WebSocketEventLoopGroup
) throws -> WebSocketClientConfiguration {
    var client = WebSocketClientConfiguration()
    client.eventLoop = loops.next()
    client.options.compression = transport.compression
    client.options.keepAlive = nil
    client.openTimeout = .seconds(60)
    if transport.isSecure {
        client.tls.trust = .certificates(.file(try TestEnvironment.certificate("ca")))
    }
    return client
}

/// Sends every message back until the end.
package let echo: Handler = { socket in
    for try await message in socket.messages { try await socket.send(message) }
}

/// Reads to the end, however it comes.
package func drain(_ socket: WebSocketConnection) async {
    while (try? await socket.receive()) != nil {}
}

/// Reads to the end and says how it came.
package func report(_ closes: Events<WebSocketCloseInfo>) -> Handler {
    { socket in
        await drain(socket)
        closes.send(try await socket.closed())
    }
}
