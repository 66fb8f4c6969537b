//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Go's net/http with gorilla's websocket on the other side.
@Suite(.timeLimit(.minutes(5)))
struct GorillaTests {
    private func run(_ arguments: [String]) async throws -> [String: Any] {
        let outcome = try await Peer.run(try TestEnvironment.peer("run_gorilla.sh"), arguments)
        let line = outcome.output.split(separator: "\n").last.map(String.init)
        #expect(line != nil, "\(outcome.error)")
        return try object(line)
    }

    @Test(arguments: [false, true])
    func aServerSendsEverythingBackAndClosesAsItSays(isSecure: Bool) async throws {
        var arguments = ["server"]
        if isSecure { arguments += [try TestEnvironment.certificate("valid"), try TestEnvironment.key("valid")] }
        try await withLoops { loops in
            let transport = Transport(isSecure: isSecure, compression: .deflate())
            var configuration = try clientConfiguration(transport, on: loops)
            configuration.subprotocols = ["other", "chat"]
            let client = configuration
            try await Peer.server(try TestEnvironment.peer("run_gorilla.sh"), arguments) { peer in
                let url = "\(isSecure ? "wss" : "ws")://localhost:\(peer.port)/path"
                let socket = try await WebSocketClient.connect(to: url, configuration: client)
                // gorilla forgets its context with each message, and asks the client to.
                #expect(socket.subprotocol == "chat" && socket.deflate?.clientNoContextTakeover == true)
                for message in Payload.mixed {
                    try await socket.send(message)
                    let received = try await socket.receive()
                    #expect(received.isIdentical(to: message), "\(message) became \(received)")
                }
                #expect(try await socket.ping() > .zero)
                try await socket.send("close")
                let bye = WebSocketCloseFrame(code: .init(rawValue: 4_001), reason: "bye")
                #expect(try await socket.closed().received == bye)
                let other = try await WebSocketClient.connect(to: url, configuration: client)
                let info = try await other.close(code: .init(rawValue: 4_002), reason: "enough")
                #expect(info.cause == .closingHandshake && info.sent?.code.rawValue == 4_002)
                let page = try await failure {
                    try await WebSocketClient.connect(
                        to: url.replacing("/path", with: "/health"), configuration: client)
                }
                #expect(page.response?.status == 200 && page.message.contains("speaks HTTP"), "\(page)")
            }
        }
    }

    @Test(arguments: Transport.all)
    func itsClientGetsEveryMessageBack(_ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            transport, server: { $0.subprotocols = ["chat"] },
            handler: { socket in
                do { try await echo(socket) } catch {}
                closes.send(try await socket.closed())
            }
        ) { loopback in
            let url = loopback.url.replacing("127.0.0.1", with: "localhost")
            let report = try await run(
                ["client", url] + (transport.isSecure ? [try TestEnvironment.certificate("ca")] : []))
            #expect(report["ok"] as? Bool == true && report["messages"] as? Int == 14, "\(report)")
            #expect(report["subprotocol"] as? String == "chat" && report["code"] as? Int == 4_002, "\(report)")
            let hasDeflate = (report["extensions"] as? String)?.contains("permessage-deflate") == true
            #expect(hasDeflate == (transport.compression != .disabled), "\(report)")
            #expect(
                try await closes.next().received == WebSocketCloseFrame(code: .init(rawValue: 4_002), reason: "enough"))
        }
    }

    @Test func aHealthCheckOfNetHTTPIsAnswered() async throws {
        try await withLoopback(
            server: {
                $0.onRequest = { $0.path == "/health" ? .respond(status: 200, text: "well") : .accept() }
            }, handler: echo
        ) { loopback in
            let report = try await run(["health", "http\(loopback.url.dropFirst(2))/health"])
            #expect(report["status"] as? Int == 200 && report["body"] as? String == "well\n", "\(report)")
        }
    }
}
