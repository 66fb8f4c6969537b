//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import HTTPTypes
import LoopbackSupport
import Testing
import WebSockets

/// Two ends of a TCP connection over the loopback interface.
private func connectedPair() async throws -> (client: RawClient, server: CInt) {
    let peer = try RawPeer()
    let client = try RawClient(port: peer.port)
    return (client, await peer.accept())
}

private func isOpen(_ descriptor: CInt) -> Bool { fcntl(descriptor, F_GETFD) >= 0 }

private let upgrade = HTTPRequest(
    method: .get, scheme: "http", authority: "example.com", path: "/chat?room=1",
    headerFields: [
        .upgrade: "websocket", .connection: "Upgrade", .secWebSocketVersion: "13",
        .secWebSocketKey: "dGhlIHNhbXBsZSBub25jZQ==", .secWebSocketProtocol: "one, two",
    ])

/// A server that does not listen.
private func withAcceptingServer(
    loops count: Int = 1, _ change: (inout WebSocketServerConfiguration) throws -> Void = { _ in },
    _ body: (WebSocketServer, WebSocketEventLoopGroup) async throws -> Void
) async throws {
    try await withLoops(count) { loops in
        var configuration = WebSocketServerConfiguration()
        configuration.eventLoopGroup = loops
        configuration.addresses = []
        configuration.options.keepAlive = nil
        try change(&configuration)
        let server = try WebSocketServer(configuration: configuration)
        try await body(server, loops)
        await server.shutDown()
    }
}

/// The first text frame that a client sends, masked with zeros.
private func textFrame(_ text: String) -> [UInt8] {
    [0x81, 0x80 | UInt8(text.utf8.count), 0, 0, 0, 0] + Array(text.utf8)
}

@Suite(.timeLimit(.minutes(5)))
struct AdoptingTests {
    @Test func aSocketWhoseRequestWasReadBecomesAConnection() async throws {
        try await withAcceptingServer {
            $0.subprotocols = ["two"]
        } _: { server, _ in
            let (client, descriptor) = try await connectedPair()
            let socket = try await server.accept(
                try WebSocketConnectedSocket(adopting: descriptor), request: upgrade, bytesBehind: textFrame("early"))
            #expect(socket.requestTarget == "/chat?room=1")
            #expect(socket.requestHeaders[.secWebSocketProtocol] == "one, two")
            #expect(socket.subprotocol == "two")
            #expect(socket.remoteAddress?.description.hasPrefix("127.0.0.1:") == true)
            #expect(try await socket.receive() == "early")
            let head = await client.read { $0.suffix(4) == Array("\r\n\r\n".utf8)[...] }
            let answer = try RawAnswer(head)
            #expect(answer.status == 101)
            // RFC 6455 §1.3
            #expect(answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            #expect(answer["Sec-WebSocket-Protocol"] == "two")
            client.write(textFrame("later"))
            #expect(try await socket.receive() == "later")
            try await socket.send("reply")
            #expect(await client.read { $0.count >= 7 } == [0x81, 5] + Array("reply".utf8))
            socket.abort()
            await client.readToEnd()
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func anUntouchedSocketBecomesAConnection(_ transport: Transport) async throws {
        try await withAcceptingServer {
            if transport.isSecure { $0.tls = try TestEnvironment.identity("valid") }
            $0.options.compression = transport.compression
        } _: { server, _ in
            try await withLoops { loops in
                let peer = try RawPeer()
                let client = try clientConfiguration(transport, on: loops)
                let url = "\(transport.isSecure ? "wss" : "ws")://127.0.0.1:\(peer.port)/path"
                let connecting = Task { try await WebSocketClient.connect(to: url, configuration: client) }
                let socket = try await server.accept(try WebSocketConnectedSocket(adopting: await peer.accept()))
                let other = try await connecting.value
                #expect(socket.requestTarget == "/path")
                #expect((socket.tls != nil) == transport.isSecure)
                try await other.send("hello")
                #expect(try await socket.receive() == "hello")
                try await socket.send("world")
                #expect(try await other.receive() == "world")
                try await socket.close()
                #expect(try await other.closed().isNormal)
            }
        }
    }

    /// The caller keeps what cannot be taken.
    @Test func badDescriptorsStayTheCallers() async throws {
        func expectBad(_ descriptor: CInt, _ why: String) async throws {
            let wasOpen = isOpen(descriptor)
            let flags = fcntl(descriptor, F_GETFL)
            let error = try await failure(why) { _ = try WebSocketConnectedSocket(adopting: descriptor).descriptor }
            #expect(error.code == .badDescriptor, "\(why): \(error)")
            #expect(error.isSentence)
            #expect(isOpen(descriptor) == wasOpen, "\(why)")
            #expect(fcntl(descriptor, F_GETFL) == flags, "\(why)")
            let other = try await failure(why) { _ = try WebSocketConnectedSocket(duplicating: descriptor).descriptor }
            #expect(other.code == .badDescriptor, "\(why): \(other)")
            #expect(isOpen(descriptor) == wasOpen, "\(why)")
        }
        try await expectBad(-1, "negative")
        try await expectBad(1_000_000, "closed")
        let file = open("/dev/null", O_RDWR | O_CLOEXEC)
        try await expectBad(file, "a file")
        close(file)
        var ends: [CInt] = [-1, -1]
        pipe(&ends)
        try await expectBad(ends[0], "a pipe")
        ends.forEach { close($0) }
        let datagram = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try await expectBad(datagram, "UDP")
        close(datagram)
        let unconnected = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try await expectBad(unconnected, "not connected")
        listen(unconnected, 1)
        try await expectBad(unconnected, "listening")
        close(unconnected)
    }

    @Test func aSocketIsTakenOnceAndClosedOnce() async throws {
        let (client, descriptor) = try await connectedPair()
        do {
            let socket = try WebSocketConnectedSocket(adopting: descriptor)
            let again = try await failure { _ = try WebSocketConnectedSocket(adopting: descriptor).descriptor }
            #expect(again.code == .badDescriptor)
            #expect(isOpen(socket.descriptor))
        }
        #expect(await client.readToEnd() == [])

        // What is given back is the caller's again.
        let (other, second) = try await connectedPair()
        let released = try WebSocketConnectedSocket(adopting: second).release()
        #expect(released == second && isOpen(second))
        let taken = try WebSocketConnectedSocket(adopting: second)
        // A duplicate is another descriptor of the same connection.
        let copy = try WebSocketConnectedSocket(duplicating: taken.descriptor)
        #expect(copy.descriptor != taken.descriptor)
        #expect(close(taken.release()) == 0)
        #expect(close(copy.release()) == 0)
        #expect(await other.readToEnd() == [])
    }

    @Test func aSocketThatIsAConnectionCannotBeTakenAgain() async throws {
        try await withAcceptingServer { server, _ in
            let (client, descriptor) = try await connectedPair()
            let socket = try await server.accept(try WebSocketConnectedSocket(adopting: descriptor), request: upgrade)
            let error = try await failure { _ = try WebSocketConnectedSocket(adopting: descriptor).descriptor }
            #expect(error.code == .badDescriptor)
            socket.abort()
            await client.readToEnd()
        }
    }

    @Test func aRefusedRequestIsAnsweredAndTold() async throws {
        try await withAcceptingServer {
            $0.onRequest = { _ in .respond(status: 402) }
        } _: { server, _ in
            var foreign = upgrade
            foreign.headerFields[.origin] = "http://evil.net"
            var wrong = upgrade
            wrong.headerFields[.secWebSocketVersion] = "8"
            let plain = HTTPRequest(method: .get, scheme: nil, authority: "a", path: "/")
            var keyless = upgrade
            keyless.headerFields[.secWebSocketKey] = "example-key"
            let rows = [
                (upgrade, 402, "402 instead of a WebSocket"),
                (foreign, 403, "the origin is not allowed (origin “http://evil.net”, host “example.com”)"),
                (wrong, 426, "Sec-WebSocket-Version: 13"), (plain, 402, "402 instead of a WebSocket"),
                (keyless, 400, "Sec-WebSocket-Key must be 16 bytes in base64"),
            ]
            for (request, status, reason) in rows {
                let (client, descriptor) = try await connectedPair()
                let socket = try WebSocketConnectedSocket(adopting: descriptor)
                let error = await rejection(of: socket, request, by: server)
                #expect(error?.code == .handshakeRejected)
                #expect(error?.response?.status == status)
                // The server's developer learns what the client is told.
                #expect(error?.message.hasSuffix(reason) == true, "\(error?.message ?? "")")
                #expect(error?.isSentence == true)
                #expect((error?.response?.body.isEmpty == false) == (status != 402))
                #expect(try await RawAnswer(client.readToEnd()).status == status)
            }
            let (client, descriptor) = try await connectedPair()
            var broken = upgrade
            broken.path = "/a b"
            let error = await rejection(of: try WebSocketConnectedSocket(adopting: descriptor), broken, by: server)
            #expect(error?.code == .invalidConfiguration)
            #expect(await client.readToEnd() == [])
        }
    }

    /// A closure could not consume the socket.
    private func rejection(
        of socket: consuming WebSocketConnectedSocket, _ request: HTTPRequest, by server: WebSocketServer
    ) async -> WebSocketError? {
        do throws(WebSocketError) {
            _ = try await server.accept(socket, request: request)
            return nil
        } catch {
            return error
        }
    }

    @Test func aClientThatLeftIsAnError() async throws {
        try await withAcceptingServer { server, _ in
            let peer = try RawPeer()
            do { _ = try RawClient(port: peer.port) }
            do {
                _ = try await server.accept(try WebSocketConnectedSocket(adopting: await peer.accept()))
                Issue.record("there was nobody to shake hands with")
            } catch let error as WebSocketError {
                #expect(error.code == .connectionClosed)
                #expect(error.isSentence)
            }
        }
    }

    /// A client on the wrong port, or one that left, is no lack of resources.
    @Test func anUntouchedSocketWithoutTLSSaysSo() async throws {
        try await withAcceptingServer {
            $0.tls = try TestEnvironment.identity("valid")
        } _: { server, _ in
            let (plain, first) = try await connectedPair()
            plain.write(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
            // Its bytes are there before the socket is given away.
            var byte: UInt8 = 0
            #expect(recv(first, &byte, 1, Int32(MSG_PEEK)) == 1)
            let error = try await failure { try await server.accept(try WebSocketConnectedSocket(adopting: first)) }
            #expect(error.code == .tlsFailed, "\(error)")

            let peer = try RawPeer()
            do { _ = try RawClient(port: peer.port) }
            let second = await peer.accept()
            #expect(recv(second, &byte, 1, Int32(MSG_PEEK)) == 0)
            let gone = try await failure { try await server.accept(try WebSocketConnectedSocket(adopting: second)) }
            #expect(gone.code == .connectionClosed, "\(gone)")
        }
    }

    @Test func aCancelledAcceptLetsTheClientGo() async throws {
        let asked = Events<Void>()
        try await withAcceptingServer {
            $0.handshakeTimeout = .seconds(600)
            $0.onRequest = { _ in
                asked.send()
                await untilCancelled()
                return .accept()
            }
        } _: { server, _ in
            // While the request is awaited.
            let (silent, first) = try await connectedPair()
            let reading = Task { try await server.accept(try WebSocketConnectedSocket(adopting: first)) }
            reading.cancel()
            #expect(try await failure { try await reading.value }.code == .cancelled)
            #expect(await silent.readToEnd().isEmpty)
            // While somebody decides.
            let (waiting, second) = try await connectedPair()
            let deciding = Task {
                try await server.accept(try WebSocketConnectedSocket(adopting: second), request: upgrade)
            }
            try await asked.next()
            deciding.cancel()
            #expect(try await failure { try await deciding.value }.code == .cancelled)
            #expect(try await RawAnswer(waiting.readToEnd()).status == 503)
            // Before anything.
            let (late, third) = try await connectedPair()
            let never = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await server.accept(try WebSocketConnectedSocket(adopting: third))
            }
            #expect(try await failure { try await never.value }.code == .cancelled)
            #expect(await late.readToEnd().isEmpty)
        }
    }

    @Test func aShutDownClosesWhatWasAccepted() async throws {
        try await withAcceptingServer { server, _ in
            let (client, descriptor) = try await connectedPair()
            let socket = try await server.accept(try WebSocketConnectedSocket(adopting: descriptor), request: upgrade)
            server.broadcast("all")
            let stopping = Task { await server.shutDown() }
            _ = await client.read { $0.suffix(4) == [0x88, 0x02, 0x03, 0xE9] }
            #expect(await sendError(of: socket)?.code == .connectionClosed)
            // The client's answer: 1001.
            client.write([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9])
            await stopping.value
            #expect(socket.state == .closed)
            let (late, second) = try await connectedPair()
            let error = await rejection(of: try WebSocketConnectedSocket(adopting: second), upgrade, by: server)
            #expect(error?.response?.status == 503)
            #expect(try await RawAnswer(late.readToEnd()).status == 503)
            socket.abort()
        }
    }

    /// A program may end when a shutdown has returned: what was sent before it has to be on its way.
    @Test(arguments: [false, true])
    func aShutDownWaitsForWhatWasAccepted(_ isRunning: Bool) async throws {
        let count = 2_000
        try await withAcceptingServer(loops: 2) { server, _ in
            let running = isRunning ? Task { try await server.run(echo) } : nil
            let peer = try RawPeer()
            try await withLoops { loops in
                let client = try clientConfiguration(on: loops)
                let url = "ws://127.0.0.1:\(peer.port)/"
                var others: [WebSocketConnection] = []
                var sockets: [WebSocketConnection] = []
                for _ in 0..<3 {
                    let connecting = Task { try await WebSocketClient.connect(to: url, configuration: client) }
                    sockets.append(try await server.accept(try WebSocketConnectedSocket(adopting: await peer.accept())))
                    others.append(try await connecting.value)
                }
                #expect(Set(server.connections.map(\.id)) == Set(sockets.map(\.id)))
                let reading = others.map { other in
                    Task {
                        var received = 0
                        while (try? await other.receive()) != nil { received += 1 }
                        return (received, try await other.closed().received?.code)
                    }
                }
                for index in 0..<count {
                    for socket in sockets { try await socket.send("message \(index)") }
                }
                await server.shutDown(timeout: .seconds(60))
                #expect(sockets.allSatisfy { $0.state == .closed })
                #expect(server.connections.isEmpty)
                for task in reading {
                    let (received, code) = try await task.value
                    #expect(received == count && code == .goingAway)
                }
            }
            try await running?.value
        }
    }

    /// A peer that never answers is not waited for any longer than said.
    @Test func aShutDownAbortsWhatWasAcceptedInTheEnd() async throws {
        try await withAcceptingServer {
            $0.options.closeTimeout = .seconds(600)
        } _: { server, _ in
            let (client, descriptor) = try await connectedPair()
            let socket = try await server.accept(try WebSocketConnectedSocket(adopting: descriptor), request: upgrade)
            await server.shutDown(timeout: .milliseconds(50))
            #expect(socket.state == .closed)
            await client.readToEnd()
        }
    }

    /// The list holds nothing: the owner's last reference ends a connection that was taken over, and so does its close.
    @Test func theServerListsWhatWasAcceptedUntilItEnds() async throws {
        try await withAcceptingServer { server, loops in
            let (client, descriptor) = try await connectedPair()
            var socket: WebSocketConnection? = try await server.accept(
                try WebSocketConnectedSocket(adopting: descriptor), request: upgrade)
            #expect(server.connections.map(\.id) == [socket?.id])
            #expect(server.connections.first === socket)
            socket = nil
            #expect(await client.readToEnd().suffix(4) != [0x88, 0x02, 0x03, 0xE9])
            try await until("it is no longer listed", on: loops.loops[0]) { server.connections.isEmpty }

            let (other, second) = try await connectedPair()
            let closed = try await server.accept(try WebSocketConnectedSocket(adopting: second), request: upgrade)
            closed.abort()
            await other.readToEnd()
            _ = try? await closed.closed()
            try await until("it is no longer listed", on: loops.loops[0]) { server.connections.isEmpty }
        }
    }

    // MARK: Bytes as a request

    private static let bytes = Array(
        ("GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-A: 1\r\nX-A: 2\r\n\r\n")
            .utf8)

    @Test func aSocketThatTheProgramReadsFromIsGivenAway() async throws {
        try await withAcceptingServer { server, _ in
            let (client, descriptor) = try await connectedPair()
            client.write(Self.bytes + textFrame("early"))
            var bytes: [UInt8] = []
            func readAndAccept() async throws -> WebSocketConnection {
                let adopted = try WebSocketConnectedSocket(adopting: descriptor)
                while true {
                    var byte: UInt8 = 0
                    try #require(recv(descriptor, &byte, 1, 0) == 1)
                    bytes.append(byte)
                    guard let (request, count) = try WebSocketServer.parseRequest(bytes) else { continue }
                    return try await server.accept(adopted, request: request, bytesBehind: Array(bytes[count...]))
                }
            }
            let socket = try await readAndAccept()
            #expect(bytes == Self.bytes)
            #expect(socket.requestTarget == "/chat?room=1")
            #expect(try await socket.receive() == "early")
            socket.abort()
            await client.readToEnd()
        }
    }

    @Test func bytesBecomeARequest() throws {
        for count in 0..<Self.bytes.count {
            #expect(try WebSocketServer.parseRequest(Array(Self.bytes[..<count])) == nil)
        }
        let (request, count) = try #require(try WebSocketServer.parseRequest(Self.bytes + [1, 2, 3]))
        #expect(count == Self.bytes.count)
        #expect(request.method == .get && request.path == "/chat?room=1" && request.authority == "example.com")
        #expect(request.scheme == nil && request.headerFields[values: .init("X-A")!] == ["1", "2"])
        #expect(request.headerFields[.upgrade] == "websocket" && request.headerFields[.init("Host")!] == "example.com")

        // The authority of an absolute target replaces the header's (RFC 9112 §3.2.2).
        let absolute = Array("\r\nPOST http://there:81/a HTTP/1.1\r\nHost: here\r\n\r\n".utf8)
        let (other, all) = try #require(try WebSocketServer.parseRequest(absolute))
        #expect(all == absolute.count && other.method == .post && other.path == "/a" && other.authority == "there:81")

        // An `Upgrade` of HTTP/1.0 means nothing (RFC 9110 §7.8).
        let old = Array("GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n".utf8)
        let (oldest, _) = try #require(try WebSocketServer.parseRequest(old))
        #expect(oldest.authority == nil && oldest.headerFields[.upgrade] == nil)
    }

    @Test(arguments: [
        ("nonsense\r\n\r\n", 400, "the request line is malformed"), ("GET / HTTP/2.0\r\n\r\n", 505, "use HTTP/1.1"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "the Host header is missing"),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, "the Host header is not a host with or without a port"),
        (
            "GET /\(String(repeating: "a", count: 200))", 414,
            "the request line has more than 128 bytes, the server's limit"
        ),
    ])
    func bytesThatAreNoRequestSayWhy(_ text: String, _ status: Int, _ reason: String) async throws {
        var limits = WebSocketRequestLimits()
        limits.requestLineBytes = 128
        let chosen = limits
        let error = try await failure { _ = try WebSocketServer.parseRequest(Array(text.utf8), limits: chosen) }
        #expect(error.code == .handshakeRejected)
        #expect(error.response?.status == status)
        #expect(error.message == "the request cannot be read: \(reason)")
        #expect(error.isSentence)
        #expect(error.response?.body == Array("\(reason)\n".utf8))
    }

    private func sendError(of socket: WebSocketConnection) async -> WebSocketError? {
        do throws(WebSocketError) {
            try await socket.send("too late")
            return nil
        } catch {
            return error
        }
    }
}
