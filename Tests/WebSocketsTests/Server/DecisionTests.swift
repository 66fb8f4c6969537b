//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct DecisionTests {
    @Test(arguments: [Transport.plain, .secure], [WebSocketBodyExecutor.loop, .global])
    func theHookSeesTheWholeRequestAndSettlesTheConnection(
        _ transport: Transport, _ executor: WebSocketBodyExecutor
    ) async throws {
        try await withLoopback(
            transport,
            server: {
                $0.executor = executor
                $0.onRequest = { request in
                    #expect(request.method == "GET")
                    #expect(request.target == "/a%20b/../c?d=%2F&e")
                    #expect(request.path == "/a%20b/../c")
                    #expect(request.query == "d=%2F&e")
                    #expect(request.headers[values: .cookie] == ["a=1", "b=2"])
                    #expect(request.isWebSocket)
                    #expect(request.isSecure == transport.isSecure)
                    #expect((request.tls != nil) == transport.isSecure)
                    #expect(request.subprotocols == ["one", "two"])
                    #expect(request.remoteAddress?.description.hasPrefix("127.0.0.1:") == true)
                    #expect(request.localAddress?.port == Int(request.host.split(separator: ":").last!))
                    // It may take its time.
                    await Task.yield()
                    var options = WebSocketOptions()
                    options.maximumMessageSize = 3
                    options.keepAlive = nil
                    return .accept(subprotocol: "two", headers: [.setCookie: "session=1; Path=/"], options: options)
                }
            },
            handler: { socket in
                #expect(socket.subprotocol == "two")
                #expect(socket.requestTarget == "/a%20b/../c?d=%2F&e")
                let error = try await failure { try await socket.receive() }
                #expect(error.code == .messageTooBig)
            }
        ) { loopback in
            let socket = try await loopback.connect("/a%20b/../c?d=%2F&e") {
                $0.subprotocols = ["one", "two"]
                $0.headers.append(HTTPField(name: .cookie, value: "a=1"))
                $0.headers.append(HTTPField(name: .cookie, value: "b=2"))
            }
            #expect(socket.subprotocol == "two")
            #expect(socket.response?.headers[.setCookie] == "session=1; Path=/")
            // The server's options would allow it, the decision's do not.
            try await socket.send("1234")
            #expect(try await socket.closed().received?.code == .messageTooBig)
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func theHookAnswersInsteadOfAccepting(_ transport: Transport) async throws {
        // More than a socket takes at once.
        let body = [UInt8](repeating: UInt8(ascii: "x"), count: 3_000_000)
        try await withLoopback(
            transport,
            server: {
                $0.onRequest = { _ in
                    .respond(
                        status: 402, headers: [.retryAfter: "7", .contentLength: "1", .connection: "x"], body: body)
                }
            }, handler: echo
        ) { loopback in
            let error = try await failure { try await loopback.connect() }
            #expect(error.code == .handshakeRejected)
            #expect(error.response?.status == 402)
            #expect(error.response?.headers[.retryAfter] == "7")
            if !transport.isSecure {
                let answer = try await loopback.answer(RawRequest.upgrade())
                #expect(answer.status == 402)
                #expect(answer["Content-Length"] == "3000000")
                #expect(answer["Connection"] == "close")
                #expect(answer.body.utf8.count == body.count)
            }
        }
    }

    @Test func plainHTTPIsAnsweredOnTheSamePort() async throws {
        try await withLoopback(
            server: {
                $0.onRequest = { request in
                    guard !request.isWebSocket else { return .accept() }
                    return request.path == "/health" ? .respond(status: 200, text: "\(request.method) ok") : .accept()
                }
            }, handler: echo
        ) { loopback in
            let health = try await loopback.answer(RawRequest.plain("/health"))
            #expect(health.status == 200)
            #expect(health.body == "GET ok\n")
            #expect(health["Content-Type"] == "text/plain; charset=utf-8")
            let head = try await loopback.answer(RawRequest.plain("/health", method: "HEAD"))
            #expect(head.status == 200)
            #expect(head["Content-Length"] == "8")
            #expect(head.body == "")
            // Accepting what is no handshake gives what it would have got without a hook.
            let other = try await loopback.answer(RawRequest.plain("/other"))
            #expect(other.status == 426)
            #expect(other["Upgrade"] == "websocket")
            #expect(other["Sec-WebSocket-Version"] == "13")
            let post = try await loopback.answer(RawRequest.plain("/other", method: "POST"))
            #expect(post.status == 405)
            #expect(post["Allow"] == "GET")
            let socket = try await loopback.connect()
            try await socket.close()
        }
    }

    /// The hook is for requests that are whole and well-formed.
    @Test func badRequestsNeverReachTheHook() async throws {
        let asked = Atomic<Int>(0)
        try await withLoopback(
            server: {
                $0.onRequest = { _ in
                    asked.wrappingAdd(1, ordering: .relaxed)
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            let rows: [(String, Int)] = [
                ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 400), ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505),
                ("nonsense\r\n\r\n", 400), ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
                (RawRequest.plain("/", method: "POST", ["Content-Length: 5"]), 405),
                (RawRequest.upgrade("/", [key]), 400),
                (RawRequest.upgrade().replacing("Version: 13", with: "Version: 8"), 426),
                (RawRequest.upgrade().replacing("Key: dGh", with: "Key: d"), 400),
                (RawRequest.upgrade().replacing("GET", with: "POST"), 405),
                ("GET /\(String(repeating: "a", count: 9_000)) HTTP/1.1\r\n", 414),
                (RawRequest.upgrade("/", ["X: \(String(repeating: "a", count: 9_000))"]), 431),
            ]
            for (request, status) in rows {
                let answer = try await loopback.answer(request)
                #expect(answer.status == status, "\(request.prefix(200).debugDescription)")
                #expect(answer.body.isEmpty == false)
            }
            #expect(asked.load(ordering: .relaxed) == 0)
        }
    }

    private struct Failure: Error {}

    @Test(arguments: [Transport.plain, .secure])
    func aDecisionThatFailsIs500(_ transport: Transport) async throws {
        try await withLoopback(
            transport,
            server: {
                $0.onRequest = { request in
                    switch request.path {
                    case "/throws": throw Failure()
                    case "/unoffered": return .accept(subprotocol: "unoffered")
                    case "/reserved": return .accept(headers: [.secWebSocketAccept: "x"])
                    case "/large": return .accept(headers: [.server: String(repeating: "x", count: 20_000)])
                    case "/status": return .respond(status: 101)
                    default:
                        var options = WebSocketOptions()
                        options.maximumFragments = 0
                        return .accept(options: options)
                    }
                }
            }, handler: echo
        ) { loopback in
            for target in ["/throws", "/unoffered", "/reserved", "/large", "/status", "/options"] {
                let error = try await failure(target) { try await loopback.connect(target) }
                #expect(error.response?.status == 500, "\(target): \(error)")
            }
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func aDecisionThatTakesTooLongIs503AndCancelled(_ transport: Transport) async throws {
        let cancelled = Events<Void>()
        try await withLoopback(
            transport,
            server: {
                $0.handshakeTimeout = transport.isSecure ? .seconds(2) : .seconds(1)
                $0.onRequest = { _ in
                    await untilCancelled()
                    cancelled.send()
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            let error = try await failure { try await loopback.connect() }
            #expect(error.response?.status == 503, "\(error)")
            try await cancelled.next()
        }
    }

    @Test func aClientThatLeavesCancelsTheDecision() async throws {
        let asked = Events<Void>()
        let cancelled = Events<Void>()
        try await withLoopback(
            server: {
                $0.handshakeTimeout = .seconds(600)
                $0.onRequest = { _ in
                    asked.send()
                    await untilCancelled()
                    cancelled.send()
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            do {
                let client = try RawClient(port: loopback.server.port)
                client.write(Array(RawRequest.upgrade().utf8))
                try await asked.next()
            }
            try await cancelled.next()
        }
    }

    @Test func aStopAnswersThoseWhoWaitForADecision() async throws {
        let asked = Events<Void>()
        try await withLoopback(
            server: {
                $0.handshakeTimeout = .seconds(600)
                $0.onRequest = { _ in
                    asked.send()
                    await untilCancelled()
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            let client = try RawClient(port: loopback.server.port)
            client.write(Array(RawRequest.upgrade().utf8))
            try await asked.next()
            await loopback.server.shutDown()
            #expect(try await RawAnswer(client.readToEnd()).status == 503)
        }
    }

    /// Frames that came with the request wait for the decision.
    @Test func earlyFramesSurviveASlowDecision() async throws {
        let mayAnswer = Events<Void>()
        try await withLoopback(
            server: {
                $0.onRequest = { _ in
                    try await mayAnswer.next()
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            let client = try RawClient(port: loopback.server.port)
            let frame: [UInt8] = [0x81, 0x82, 0, 0, 0, 0, UInt8(ascii: "h"), UInt8(ascii: "i")]
            client.write(Array(RawRequest.upgrade().utf8) + frame)
            client.write(frame)
            mayAnswer.send()
            let echoed: [UInt8] = [0x81, 0x02, UInt8(ascii: "h"), UInt8(ascii: "i")]
            let bytes = await client.read { $0.suffix(8) == (echoed + echoed)[...] }
            #expect(bytes.suffix(8) == (echoed + echoed)[...])
        }
    }

    @Test func theFirstOfferedSubprotocolThatIsKnownIsChosen() async throws {
        try await withLoopback(server: { $0.subprotocols = ["b", "c"] }, handler: echo) { loopback in
            let rows: [([String], String?)] = [
                (["a", "c", "b"], "c"), (["b"], "b"), (["a"], nil), ([], nil), (["B"], nil),
            ]
            for (offered, chosen) in rows {
                let socket = try await loopback.connect { $0.subprotocols = offered }
                #expect(socket.subprotocol == chosen)
                try await socket.close()
            }
        }
    }
}

/// Suspends until the task is cancelled.
private func untilCancelled() async {
    let (stream, continuation) = AsyncStream.makeStream(of: Never.self)
    for await _ in stream {}
    continuation.finish()
}
