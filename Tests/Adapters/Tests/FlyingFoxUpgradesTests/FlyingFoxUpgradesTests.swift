//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import FlyingFox
import FlyingFoxUpgrades
import FlyingSocks
import Foundation
import Testing
import WebSockets

@Suite(.serialized, .timeLimit(.minutes(2)))
struct FlyingFoxUpgradesTests {
    /// FlyingFox with a page and a WebSocket route, a client's configuration, and nothing left afterwards.
    private func withFlyingFox(
        _ change: (inout WebSocketServerConfiguration) -> Void = { _ in },
        conversation: @escaping @Sendable (WebSocketConnection) async throws -> Void = { socket in
            for try await message in socket.messages { try await socket.send(message) }
        },
        _ body: (_ port: UInt16, WebSocketClientConfiguration, HTTPServer) async throws -> Void
    ) async throws {
        let loops = try WebSocketEventLoopGroup(count: 1)
        let clientLoops = try WebSocketEventLoopGroup(count: 1)
        var configuration = WebSocketServerConfiguration()
        configuration.addresses = []
        configuration.eventLoopGroup = loops
        change(&configuration)
        let sockets = try WebSocketServer(configuration: configuration)
        let framework = HTTPServer(
            config: .init(
                address: try sockaddr_in.inet(ip4: "127.0.0.1", port: 0), pool: DescriptorPool(), logger: .disabled))
        await framework.appendRoute("GET /page") { _ in
            FlyingFox.HTTPResponse(statusCode: .ok, body: Data("a page".utf8))
        }
        await framework.appendRoute("GET /live") { .webSocket($0, on: sockets, conversation: conversation) }
        let running = Task { try await framework.run() }
        try await framework.waitUntilListening(timeout: 60)
        guard case .ip4(_, let port) = await framework.listeningAddress else {
            Issue.record("FlyingFox has no address")
            return
        }
        var client = WebSocketClientConfiguration()
        client.eventLoop = clientLoops.next()
        client.openTimeout = .seconds(60)
        let before = try Self.openSockets
        try await body(port, client, framework)
        try await nothingIsLeft(loops.loops + clientLoops.loops)
        // FlyingFox closes its descriptor only after the conversation.
        try await reaches("a descriptor is still open") { try Self.openSockets <= before }
        await framework.stop(timeout: 0)
        _ = await running.result
        await loops.shutDown()
        await clientLoops.shutDown()
    }

    private func nothingIsLeft(_ loops: [WebSocketEventLoop]) async throws {
        for loop in loops {
            try await reaches("\(loop.diagnostics)") { loop.diagnostics.isZero }
        }
    }

    private func reaches(_ what: @autoclosure () -> String, _ condition: () throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while try !condition() {
            try #require(ContinuousClock.now < deadline, "\(what())")
            await Task.yield()
        }
    }

    private static var openSockets: Int {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count { name in
                let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)")
                return target?.hasPrefix("socket:") ?? false
            }
        }
    }

    @Test func aRouteBecomesAWebSocket() async throws {
        try await withFlyingFox { port, client, _ in
            try await WebSocketClient.withConnection(
                to: "ws://127.0.0.1:\(port)/live?symbol=a%20b", configuration: client
            ) { socket in
                try await socket.send("hello")
                try await socket.send([1, 2, 3])
                #expect(try await socket.receive() == "hello")
                #expect(try await socket.receive() == .binary([1, 2, 3]))
                let large = String(repeating: "0123456789", count: 50_000)
                try await socket.send(.text(large))
                #expect(try await socket.receive() == .text(large))
            }
        }
    }

    @Test func theHandshakeIsTheServersOwn() async throws {
        try await withFlyingFox {
            $0.subprotocols = ["chat"]
            $0.onRequest = { request in
                #expect(request.target == "/live?symbol=a%20b")
                return request.headers[.cookie] == "id=1" ? .accept() : .respond(status: 403, text: "log in first")
            }
        } _: { port, client, _ in
            let url = "ws://127.0.0.1:\(port)/live?symbol=a%20b"
            var client = client
            client.subprotocols = ["chat"]
            client.options.compression = .deflate()
            let error = await #expect(throws: WebSocketError.self) {
                try await WebSocketClient.connect(to: url, configuration: client)
            }
            #expect(error?.response?.status == 403)
            client.headers = [.cookie: "id=1"]
            try await WebSocketClient.withConnection(to: url, configuration: client) { socket in
                #expect(socket.subprotocol == "chat")
                #expect(socket.deflate != nil)
                try await socket.send("hello")
                #expect(try await socket.receive() == "hello")
            }
        }
    }

    @Test func theConversationsEndClosesTheConnection() async throws {
        struct Failure: Error {}
        try await withFlyingFox(conversation: { socket in
            if try await socket.receive() == "fail" { throw Failure() }
        }) { port, client, _ in
            for (message, code) in [("return", WebSocketCloseCode.normalClosure), ("fail", .internalError)] {
                let socket = try await WebSocketClient.connect(to: "ws://127.0.0.1:\(port)/live", configuration: client)
                try await socket.send(.text(message))
                #expect(try await socket.closed().received?.code == code)
            }
        }
    }

    @Test func flyingFoxsStopClosesWith1001() async throws {
        try await withFlyingFox { port, client, framework in
            let socket = try await WebSocketClient.connect(to: "ws://127.0.0.1:\(port)/live", configuration: client)
            try await socket.send("hello")
            #expect(try await socket.receive() == "hello")
            await framework.stop(timeout: 0)
            let info = try await socket.closed()
            #expect(info.received?.code == .goingAway, "\(info)")
        }
    }

    @Test func manyAtOnceGetTheirOwnMessages() async throws {
        try await withFlyingFox { port, client, _ in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<20 {
                    group.addTask {
                        let url = "ws://127.0.0.1:\(port)/live"
                        try await WebSocketClient.withConnection(to: url, configuration: client) { socket in
                            for turn in 0..<10 {
                                try await socket.send("\(number) \(turn)")
                                #expect(try await socket.receive() == .text("\(number) \(turn)"))
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    /// FlyingFox reads the requests of one connection one after another; the last of them becomes a WebSocket.
    @Test func otherRoutesStayFlyingFoxsOwn() async throws {
        try await withFlyingFox { port, _, _ in
            let socket = try await AsyncSocket.connected(to: try sockaddr_in.inet(ip4: "127.0.0.1", port: port))
            try await socket.write(Data("GET /page HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
            #expect(try await Self.read(socket, to: "a page").hasPrefix("HTTP/1.1 200 "))
            try await socket.write(Data(Self.handshake.utf8))
            #expect(try await Self.read(socket, to: "\r\n\r\n").hasPrefix("HTTP/1.1 101 "))
            // A masked close frame with 1000, and its answer.
            try await socket.write(Data([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]))
            #expect(try await socket.read(bytes: 4) == [0x88, 0x02, 0x03, 0xE8])
            try socket.close()
        }
    }

    /// What FlyingFox has read behind the request cannot be had from it.
    @Test func aClientThatDoesNotWaitIsLetGo() async throws {
        try await withFlyingFox { port, _, _ in
            let socket = try await AsyncSocket.connected(to: try sockaddr_in.inet(ip4: "127.0.0.1", port: port))
            try await socket.write(Data(Self.handshake.utf8) + [0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69])
            await #expect(throws: SocketError.self) { try await socket.read() }
            try socket.close()
        }
    }

    private static let handshake = """
        GET /live HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
        """

    private static func read(_ socket: AsyncSocket, to end: String) async throws -> String {
        var bytes: [UInt8] = []
        while !String(decoding: bytes, as: UTF8.self).hasSuffix(end) { bytes.append(try await socket.read()) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
