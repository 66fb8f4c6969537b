//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Testing
import WebSockets

/// nginx ends TLS in front of our server.
@Suite(.timeLimit(.minutes(5)))
struct ProxyTests {
    private func withProxy(
        upstream: Int, idle: String = "60s", _ body: (_ port: Int) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-nginx-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try await Peer.server(
            try TestEnvironment.peer("run_nginx.sh"),
            [
                "\(upstream)", try TestEnvironment.certificate("valid"), try TestEnvironment.key("valid"),
                directory.path, idle,
            ]
        ) { try await body($0.port) }
    }

    @Test(arguments: [WebSocketCompression.disabled, .deflate()])
    func ourClientReachesOurServer(_ compression: WebSocketCompression) async throws {
        let seen = Events<String?>()
        try await withLoopback(
            Transport(compression: compression),
            handler: { socket in
                seen.send(socket.requestHeaders[.init("X-Forwarded-Proto")!])
                try await echo(socket)
            }
        ) { loopback in
            try await withProxy(upstream: loopback.server.port) { port in
                var configuration = loopback.client
                configuration.tls.trust = .certificates(.file(try TestEnvironment.certificate("ca")))
                try await WebSocketClient.withConnection(
                    to: "wss://localhost:\(port)/path", configuration: configuration
                ) { socket in
                    #expect((socket.deflate != nil) == (compression != .disabled))
                    #expect(socket.tls?.version == "TLSv1.3")
                    for message in Payload.mixed {
                        try await socket.send(message)
                        let received = try await socket.receive()
                        #expect(received.isIdentical(to: message), "\(message) became \(received)")
                    }
                    #expect(try await socket.ping() > .zero)
                }
                #expect(try await seen.next() == "https")
            }
        }
    }

    @Test func pythonsClientReachesOurServer() async throws {
        try await withLoopback(Transport(compression: .deflate()), handler: echo) { loopback in
            try await withProxy(upstream: loopback.server.port) { port in
                let report = try await Peer.echoClient("wss://localhost:\(port)")
                #expect(report["ok"] as? Bool == true, "\(report)")
                #expect(report["messages"] as? Int == 100)
                #expect((report["extensions"] as? String)?.hasPrefix("permessage-deflate") == true)
            }
        }
    }

    /// The proxy cuts what is idle; a keepalive keeps a connection from being that.
    @Test func onlyTheKeepaliveOutlivesTheProxysPatience() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            handler: { socket in
                do { try await echo(socket) } catch {}
                closes.send(try await socket.closed())
            }
        ) { loopback in
            try await withProxy(upstream: loopback.server.port, idle: "700ms") { port in
                var configuration = loopback.client
                configuration.tls.trust = .certificates(.file(try TestEnvironment.certificate("ca")))
                let url = "wss://localhost:\(port)"
                var alive = configuration
                alive.options.keepAlive = .init(interval: .milliseconds(100), timeout: .seconds(20))
                // Opened first, so that it is the older one.
                let kept = try await WebSocketClient.connect(to: url, configuration: alive)
                let idle = try await WebSocketClient.connect(to: url, configuration: configuration)
                let info = try await idle.closed()
                #expect(info.cause == .connectionLost)
                #expect(try await closes.next().cause == .connectionLost)
                try await kept.send("still here")
                #expect(try await kept.receive() == "still here")
                #expect(try await kept.close().isNormal)
            }
        }
    }
}
