//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Python's web frameworks on the other side: aiohttp, and uvicorn with both of its WebSocket implementations.
@Suite(.timeLimit(.minutes(5)))
struct FrameworkTests {
    enum Kind: String, CaseIterable, Sendable {
        case aiohttp, websockets = "uvicorn-websockets", wsproto = "uvicorn-wsproto"
    }

    private func withServer(
        _ kind: Kind, isSecure: Bool, _ body: (_ url: String, WebSocketClientConfiguration) async throws -> Void
    ) async throws {
        var arguments = [try TestEnvironment.peer("frameworks.py"), "server", kind.rawValue]
        if isSecure {
            arguments += ["--identity", try TestEnvironment.certificate("valid"), try TestEnvironment.key("valid")]
        }
        try await withLoops { loops in
            let transport = Transport(isSecure: isSecure, compression: .deflate())
            var configuration = try clientConfiguration(transport, on: loops)
            configuration.subprotocols = ["other", "chat"]
            try await Peer.server(try TestEnvironment.python, arguments) { peer in
                try await body("\(isSecure ? "wss" : "ws")://localhost:\(peer.port)", configuration)
            }
        }
    }

    @Test(arguments: Kind.allCases, [false, true])
    func aServerSendsEverythingBackAndClosesAsItSays(_ kind: Kind, isSecure: Bool) async throws {
        try await withServer(kind, isSecure: isSecure) { url, configuration in
            let socket = try await WebSocketClient.connect(to: url + "/path", configuration: configuration)
            #expect(socket.subprotocol == "chat" && socket.deflate != nil)
            for message in Payload.mixed {
                try await socket.send(message)
                let received = try await socket.receive()
                #expect(received.isIdentical(to: message), "\(message) became \(received)")
            }
            #expect(try await socket.ping() > .zero)
            try await socket.send("close")
            #expect(
                try await socket.closed().received == WebSocketCloseFrame(code: .init(rawValue: 4_001), reason: "bye"))
            let other = try await WebSocketClient.connect(to: url, configuration: configuration)
            let info = try await other.close(code: .init(rawValue: 4_002), reason: "enough")
            #expect(info.cause == .closingHandshake && info.sent?.code.rawValue == 4_002)
        }
    }

    @Test func aPageIsNoWebSocket() async throws {
        try await withServer(.aiohttp, isSecure: false) { url, configuration in
            let error = try await failure {
                try await WebSocketClient.connect(to: url + "/health", configuration: configuration)
            }
            #expect(error.code == .handshakeRejected && error.response?.status == 200, "\(error)")
            #expect(error.message.contains("speaks HTTP"), "\(error)")
        }
    }

    @Test(arguments: Transport.all)
    func aiohttpsClientGetsEveryMessageBack(_ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            transport, server: { $0.subprotocols = ["chat"] },
            handler: { socket in
                do { try await echo(socket) } catch {}
                closes.send(try await socket.closed())
            }
        ) { loopback in
            var arguments = [try TestEnvironment.peer("frameworks.py"), "client", "aiohttp", loopback.url]
            if transport.isSecure { arguments += ["--ca", try TestEnvironment.certificate("ca")] }
            let outcome = try await Peer.run(try TestEnvironment.python, arguments)
            let report = try object(outcome.output.split(separator: "\n").last.map(String.init))
            #expect(report["ok"] as? Bool == true, "\(report) \(outcome.error)")
            #expect(report["messages"] as? Int == 14 && report["subprotocol"] as? String == "chat")
            #expect((report["compress"] as? Int ?? 0 > 0) == (transport.compression != .disabled), "\(report)")
            #expect(
                try await closes.next().received == WebSocketCloseFrame(code: .init(rawValue: 4_002), reason: "enough"))
        }
    }
}
