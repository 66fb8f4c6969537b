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
                ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 400), ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
                // RFC 9110 §7.8: an `Upgrade` of HTTP/1.0 means nothing.
                (RawRequest.upgrade().replacing("HTTP/1.1", with: "HTTP/1.0"), 426),
                ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
                ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
                ("GET / HTTP/1.0\r\nHost: a,b\r\n\r\n", 400),
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

    /// RFC 9110 §2.5: a server processes a request of a higher minor version as the highest that it knows, and one of a
    /// lower one too. Health checks of proxies speak HTTP/1.0, often without a `Host`.
    @Test(
        arguments: [
            "GET /health HTTP/1.0", "GET /health HTTP/1.0\r\nHost: h", "HEAD /health HTTP/1.0",
            "OPTIONS /health HTTP/1.0",
            "GET /health HTTP/1.2\r\nHost: h", "GET /health HTTP/1.1\r\nHost: h", "\r\nGET /health HTTP/1.0",
            "GET http://h/health HTTP/1.0", "GET http://h/health HTTP/1.1\r\nHost: other",
            "GET /health HTTP/1.0\r\nConnection: keep-alive",
        ], [false, true])
    func everyMinorVersionReachesHooksAndRoutesRFC9110Section2_5(_ request: String, _ hasRoutes: Bool) async throws {
        let hosts = Mutex<[String]>([])
        let hook: WebSocketUpgradeHook = { request in
            hosts.withLock { $0.append(request.host) }
            return request.path == "/health" ? .respond(status: 200, text: "\(request.method) ok") : .accept()
        }
        try await withLoops { loops in
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            configuration.onRequest = hook
            let server = try WebSocketServer(configuration: configuration)
            var routes = WebSocketRoutes()
            try routes.http("/health", methods: ["GET", "HEAD", "OPTIONS"], respond: hook)
            let served = routes
            let running = Task {
                if hasRoutes { try await server.run(routes: served) } else { try await server.run(echo) }
            }
            let answer = try await RawClient(port: server.port).answer(to: request + "\r\n\r\n")
            #expect(answer.status == 200)
            // It is the last one, whatever the client wishes.
            #expect(answer["Connection"] == "close")
            #expect(answer["Transfer-Encoding"] == nil)
            let method = String(request.drop { $0 == "\r\n" }.prefix { $0 != " " })
            #expect(answer.body == (method == "HEAD" ? "" : "\(method) ok\n"))
            #expect(answer["Content-Length"] == "\("\(method) ok\n".utf8.count)")
            let host = request.contains("h") && (request.contains("Host: h") || request.contains("//h/")) ? "h" : ""
            #expect(hosts.withLock { $0 } == [host])
            await server.shutDown()
            try await running.value
        }
    }

    /// RFC 9110 §15.6.6: 505 is for major versions. A handshake in 1.0 says what it needs instead.
    @Test func aHandshakeInHTTP10NeedsANewerVersionRFC9110Section15_6_6() async throws {
        try await withLoopback(handler: echo) { loopback in
            let answer = try await loopback.answer(RawRequest.upgrade().replacing("HTTP/1.1", with: "HTTP/1.0"))
            #expect(answer.status == 426)
            #expect(answer["Upgrade"] == "websocket" && answer["Sec-WebSocket-Version"] == "13")
            #expect(answer.body.contains("HTTP/1.1"))
            let plain = try await loopback.answer("GET / HTTP/1.0\r\n\r\n")
            #expect(plain.status == 426)
        }
    }

    /// RFC 9112 §3.2.2: what the client asks for is what its target says.
    @Test func anAbsoluteTargetSaysWhichHostRFC9112Section3_2_2() async throws {
        try await withLoopback(
            server: {
                $0.onRequest = { request in
                    #expect(request.target == "/chat?x=1" && request.path == "/chat" && request.query == "x=1")
                    #expect(request.host == "there.example:81" && request.headers[.init("Host")!] == "there.example:81")
                    return .accept()
                }
            },
            handler: { socket in
                #expect(socket.requestTarget == "/chat?x=1")
                try await echo(socket)
            }
        ) { loopback in
            // The origin is compared with that host, not with the header's.
            for (origin, status) in [("http://there.example:81", 101), ("http://here.example", 403)] {
                let found = try await loopback.status(
                    RawRequest.upgrade("ws://there.example:81/chat?x=1", host: "here.example", ["Origin: \(origin)"]))
                #expect(found == status)
            }
        }
    }

    // MARK: Limits of the head

    @Test(arguments: [Transport.plain, .secure])
    func theLimitsOfAHeadAreTheConfigurations(_ transport: Transport) async throws {
        let cookie = "a=" + String(repeating: "x", count: 100_000)
        let target = "/" + String(repeating: "t", count: 50_000)
        try await withLoopback(
            transport,
            server: {
                $0.requestLimits.requestLineBytes = 60_000
                $0.requestLimits.headerLineBytes = 110_000
                $0.requestLimits.headerLines = 300
                $0.requestLimits.headBytes = 200_000
            },
            handler: { socket in
                #expect(socket.requestTarget == target)
                #expect(socket.requestHeaders[.cookie] == cookie)
                #expect(socket.requestHeaders.count > 200)
                try await socket.send("read")
            }
        ) { loopback in
            let lines = ["Cookie: \(cookie)"] + (0..<200).map { "X-\($0): y" }
            let request = RawRequest.upgrade(target, lines)
            if transport.isSecure {
                let client = try RawTLSClient(port: loopback.server.port)
                let answer = await client.answer(to: request)
                #expect(answer?.hasPrefix("HTTP/1.1 101 ") == true)
            } else {
                let client = try RawClient(port: loopback.server.port)
                client.write(Array(request.utf8))
                let bytes = await client.read { $0.suffix(4) == Array("read".utf8)[...] }
                #expect(bytes.starts(with: Array("HTTP/1.1 101 ".utf8)))
            }
        }
    }

    @Test func aSmallerLimitIsNamedInTheRefusal() async throws {
        try await withLoopback(
            server: {
                $0.requestLimits.requestLineBytes = 64
                $0.requestLimits.headerLineBytes = 80
                $0.requestLimits.headerLines = 8
                $0.requestLimits.headBytes = 512
            }, handler: echo
        ) { loopback in
            let long = String(repeating: "x", count: 80)
            let rows: [(String, Int, String)] = [
                (RawRequest.upgrade("/\(long)"), 414, "64 bytes"),
                (RawRequest.upgrade("/", ["X: \(long)"]), 431, "80 bytes"),
                (RawRequest.upgrade("/", (0..<8).map { "X-\($0): y" }), 431, "8 header lines"),
                (
                    RawRequest.plain("/", (0..<7).map { "X-\($0): \(String(repeating: "y", count: 75))" }), 431,
                    "512 bytes"
                ),
            ]
            for (request, status, text) in rows {
                let answer = try await loopback.answer(request)
                #expect(answer.status == status && answer.body.contains(text), "\(answer.status) \(answer.body)")
            }
            let found = try await loopback.status(RawRequest.upgrade())
            #expect(found == 101)
        }
    }

    @Test(
        arguments: [
            { $0.requestLimits.requestLineBytes = 63 }, { $0.requestLimits.requestLineBytes = 1_048_577 },
            { $0.requestLimits.headerLineBytes = 63 }, { $0.requestLimits.headerLineBytes = 1_048_577 },
            { $0.requestLimits.headerLines = 7 }, { $0.requestLimits.headerLines = 10_001 },
            { $0.requestLimits.headBytes = 511 }, { $0.requestLimits.headBytes = 1_048_577 },
            { $0.ipv6ClientPrefixLength = 0 }, { $0.ipv6ClientPrefixLength = 129 },
            { $0.hosts = ["http://a"] }, { $0.hosts = ["*"] },
        ] as [@Sendable (inout WebSocketServerConfiguration) -> Void])
    func limitsOutOfRangeAreNamed(_ change: @Sendable (inout WebSocketServerConfiguration) -> Void) async throws {
        var configuration = WebSocketServerConfiguration()
        change(&configuration)
        let broken = configuration
        let error = try await failure { _ = try WebSocketServer(configuration: broken) }
        #expect(error.code == .invalidConfiguration)
        #expect(error.isSentence)
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
func untilCancelled() async {
    let (stream, continuation) = AsyncStream.makeStream(of: Never.self)
    for await _ in stream {}
    continuation.finish()
}
