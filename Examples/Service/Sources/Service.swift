//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import ServiceLifecycle
import WebSockets

/// An echo server as a service: SIGTERM and SIGINT end it gracefully, so that each client gets its answers and a close
/// frame with 1001.
///
///     swift run service 8080
///
/// With swift-metrics and swift-distributed-tracing bootstrapped here, servers, clients, sessions and pools report to them
/// (the article “Observability” lists what).
@main
struct EchoService {
    static func main() async throws {
        let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 8080
        let server = try WebSocketServer(configuration: .init(port: port))
        let service = WebSocketServerService(server) { socket in
            for try await message in socket.messages { try await socket.send(message) }
        }
        let group = ServiceGroup(
            configuration: .init(
                services: [service], gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger(label: "service")))
        print("listening on \(server.address)")
        try await group.run()
        print("every connection is closed")
    }
}
