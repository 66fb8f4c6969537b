//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import HTTPTypes
import LoopbackSupport
import Synchronization
import Testing
import WebSockets

// simple-websocket's documents show seven uses. Each is a test here, on a server that did not accept its connections
// itself: a small web framework did, as aiohttp does for simple-websocket's `AioServer`.

/// The smallest web framework: it accepts, reads request heads, answers them, and closes its descriptors when it is done
/// with them. It knows nothing of WebSockets.
private final class SmallFramework: Sendable {
    /// A request that a route of the framework got.
    struct Request: Sendable {
        let method: String
        let path: String
        let headers: [(String, String)]
        /// What was read behind the head.
        let body: [UInt8]
        fileprivate let descriptor: CInt
    }

    private let peer: RawPeer
    var port: Int { peer.port }

    init() throws { peer = try RawPeer() }

    /// Accepts one connection and runs a route for its request. Afterwards it closes its descriptor, whatever happened.
    func serveOne(_ route: (Request) async throws -> Void) async throws {
        let descriptor = await peer.accept()
        defer { peer.close(descriptor) }
        let bytes = await peer.read(descriptor) { $0.firstRange(of: Array("\r\n\r\n".utf8)) != nil }
        let end = try #require(bytes.firstRange(of: Array("\r\n\r\n".utf8)))
        let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
        let words = lines[0].split(separator: " ")
        let headers = lines.dropFirst().map { line in
            let colon = line.firstIndex(of: ":")!
            return (String(line[..<colon]), String(line[line.index(after: colon)...].drop { $0 == " " }))
        }
        try await route(
            Request(
                method: String(words[0]), path: String(words[1]), headers: headers,
                body: Array(bytes[end.upperBound...]),
                descriptor: descriptor))
    }
}

/// The adapter that hands the framework's connections over: its descriptor is duplicated, because it closes its own.
extension SmallFramework.Request: WebSocketUpgradeSource {
    var upgradeRequest: HTTPRequest {
        var fields = HTTPFields()
        for (name, value) in headers {
            if let name = HTTPField.Name(name) { fields.append(HTTPField(name: name, value: value)) }
        }
        return HTTPRequest(
            method: HTTPRequest.Method(method) ?? .get, scheme: "http", authority: fields[.init("Host")!], path: path,
            headerFields: fields)
    }
    var bytesBehindRequest: [UInt8] { body }
    func takeSocket() throws -> WebSocketConnectedSocket { try WebSocketConnectedSocket(duplicating: descriptor) }
}

@Suite(.timeLimit(.minutes(5)))
struct SimpleWebSocketUseTests {
    /// A framework, a server that takes over from it, and a client of ours.
    private func withRoute(
        _ change: (inout WebSocketServerConfiguration) -> Void = { _ in },
        target: String = "/echo", headers: HTTPFields = [:], subprotocols: [String] = [],
        server route: @escaping @Sendable (WebSocketServer, SmallFramework.Request) async throws -> Void,
        client: (WebSocketConnection) async throws -> Void
    ) async throws {
        try await withLoops { loops in
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            configuration.addresses = []
            configuration.options.keepAlive = nil
            change(&configuration)
            let server = try WebSocketServer(configuration: configuration)
            let framework = try SmallFramework()
            try await withLoops { clientLoops in
                var options = try clientConfiguration(on: clientLoops)
                options.headers = headers
                options.subprotocols = subprotocols
                let serving = Task { try await framework.serveOne { try await route(server, $0) } }
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(framework.port)\(target)", configuration: options)
                try await client(socket)
                _ = try await socket.closed()
                try await serving.value
            }
            await server.shutDown()
        }
    }

    /// 1. An echo server inside a web framework's route.
    @Test func anEchoRoute() async throws {
        try await withRoute { server, request in
            let socket = try await server.accept(request)
            #expect(socket.requestTarget == "/echo")
            for try await message in socket.messages { try await socket.send(message) }
        } client: { socket in
            try await socket.send("hello")
            try await socket.send([1, 2, 3])
            #expect(try await socket.receive() == "hello")
            #expect(try await socket.receive() == .binary([1, 2, 3]))
            try await socket.close()
        }
    }

    /// 2. A connection from a raw socket and a request's headers, without a framework's help.
    @Test func aRawSocketAndItsHeaders() async throws {
        try await withRoute(headers: [.cookie: "session=1"]) { server, request in
            let copy = try WebSocketConnectedSocket(duplicating: request.descriptor)
            let socket = try await server.accept(copy, request: request.upgradeRequest, bytesBehind: request.body)
            try await socket.send(.text(socket.requestHeaders[.cookie] ?? ""))
            try await socket.close()
        } client: { socket in
            let message = try await socket.receive()
            #expect(message == "session=1")
        }
    }

    /// 3. A subprotocol of those that the client offers, chosen by code of the server's.
    @Test func aChosenSubprotocol() async throws {
        try await withRoute(
            {
                $0.onRequest = { request in
                    .accept(subprotocol: request.subprotocols.last.map { .named($0) } ?? .none)
                }
            }, subprotocols: ["v1", "v2"]
        ) { server, request in
            let socket = try await server.accept(request)
            #expect(socket.subprotocol == "v2")
            try await socket.close()
        } client: { socket in
            #expect(socket.subprotocol == "v2")
        }
    }

    /// 4. A receive with a time limit, after which the connection goes on.
    @Test func aReceiveWithATimeLimit() async throws {
        try await withRoute { server, request in
            let socket = try await server.accept(request)
            #expect(try await socket.receive(within: .milliseconds(20)) == nil)
            try await socket.send("go")
            #expect(try await socket.receive() == "late")
            try await socket.close()
        } client: { socket in
            #expect(try await socket.receive() == "go")
            try await socket.send("late")
        }
    }

    /// Of the range for applications (RFC 6455 §7.4.2).
    private static let ownCode = WebSocketCloseCode(rawValue: 4_000)

    /// 5. An end that the server learns of: code and reason, behind what was sent before.
    @Test func aCloseWithItsReason() async throws {
        try await withRoute { server, request in
            let socket = try await server.accept(request)
            #expect(try await socket.receive() == "last words")
            let error = try await failure { try await socket.receive() }
            #expect(error.code == .connectionClosed)
            #expect(error.closeInfo?.received == WebSocketCloseFrame(code: Self.ownCode, reason: "bye"))
        } client: { socket in
            try await socket.send("last words")
            try await socket.close(code: Self.ownCode, reason: "bye")
        }
    }

    /// 6. The server closes, with a code and a message.
    @Test func aServerThatCloses() async throws {
        try await withRoute { server, request in
            let socket = try await server.accept(request)
            try await socket.close(code: .policyViolation, reason: "enough")
            // Once is enough, and twice no error.
            #expect(try await socket.close().sent?.reason == "enough")
        } client: { socket in
            let info = try await socket.closed()
            #expect(info.received == WebSocketCloseFrame(code: .policyViolation, reason: "enough"))
        }
    }

    /// 7. Limits and pings of one's own: a message that is too big ends the connection, pings are answered.
    @Test func aMessageLimitAndPings() async throws {
        try await withRoute(
            {
                $0.options.maximumMessageSize = 10
                $0.options.keepAlive = .init(interval: .milliseconds(20))
            }
        ) { server, request in
            let socket = try await server.accept(request)
            #expect(try await socket.ping() > .zero)
            try await socket.send("ready")
            #expect(try await failure { try await socket.receive() }.code == .messageTooBig)
        } client: { socket in
            #expect(try await socket.receive() == "ready")
            try await socket.send("eleven bytes")
            #expect(try await socket.closed().received?.code == .messageTooBig)
        }
    }

    /// Other requests stay the framework's own.
    @Test func aRequestThatIsNotTakenOverIsAnswered() async throws {
        let framework = try SmallFramework()
        let serving = Task {
            try await framework.serveOne { request in
                let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                _ = Glibc.send(request.descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL))
            }
        }
        let answer = try await RawClient(port: framework.port).answer(to: RawRequest.plain())
        #expect(answer.body == "ok")
        try await serving.value
    }
}
