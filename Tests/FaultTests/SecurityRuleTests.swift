//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Logging
import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// Rules of `SECURITY.md` that no other suite has a test for; `catalogue.json` names those of all.
@Suite(.timeLimit(.minutes(5))) struct SecurityRuleTests {
    private static let canary = "S3CR3T"

    /// Rule 6: what a caller hands over to be secret stands in no error, however it is printed, and in no log.
    @Test func noSecretIsInAnErrorOrALog() async throws {
        let log = CapturedLog()
        let group = try WebSocketEventLoopGroup(count: 1, logger: log.logger)
        var configuration = try clientConfiguration(on: group)
        configuration.headers[.authorization] = "Bearer \(Self.canary)"
        configuration.headers[.cookie] = "session=\(Self.canary)"
        configuration.openTimeout = .seconds(20)
        let answers = [
            "garbage\r\n\r\n", "HTTP/1.1 401 No\r\n\r\n", "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\n\r\n", "",
        ]
        for answer in answers {
            let listener = try WebSocketBytePeerListener()
            let attempt = Task { [configuration] in
                try await WebSocketClient.connect(
                    to: "ws://user:\(Self.canary)@127.0.0.1:\(listener.port)/a?token=\(Self.canary)",
                    configuration: configuration)
            }
            let peer = try await listener.accept()
            // They did reach the server; the caller's credentials go before the URL's.
            let request = String(decoding: try await peer.readHead().bytes, as: UTF8.self)
            #expect(request.ranges(of: Self.canary).count == 3)
            try await peer.write(Array(answer.utf8))
            peer.close()
            let error = await #expect(throws: WebSocketError.self) { _ = try await attempt.value }
            var dumped = ""
            dump(error, to: &dumped)
            for text in [String(describing: error), String(reflecting: error), dumped] {
                #expect(!text.contains(Self.canary), "\(text)")
            }
        }
        for url in ["ws://user:\(Self.canary)@", "wx://\(Self.canary)@h/", "ws://h:99999/?token=\(Self.canary)"] {
            let error = await #expect(throws: WebSocketError.self) {
                _ = try await WebSocketClient.connect(to: url, configuration: configuration)
            }
            #expect(!String(reflecting: error).contains(Self.canary))
        }
        try await group.loops[0].reaches("nothing is left") { $0.isZero }
        await group.shutDown()
        #expect(!log.text.contains(Self.canary), "\(log.text)")
    }

    /// Rule 6 for those who log: a key in a path or a query is in no log, error, metric or name of either side.
    @Test func noKeyOfAURLIsShown() async throws {
        let key = "S3CR3TpqiaS61cv6a81va65sd"
        let log = CapturedLog()
        try await withLoopback(
            server: { configuration in
                configuration.logger = log.logger
                configuration.observers = [WebSocketLogObserver(logger: log.logger)]
            },
            handler: { socket in
                #expect(socket.requestTarget == "/ws/\(key)?token=\(key)")
                try await echo(socket)
            }
        ) { loopback in
            let url = loopback.url + "/ws/\(key)?token=\(key)"
            var client = loopback.client
            client.observers = [WebSocketLogObserver(logger: log.logger)]
            var texts: [String] = []
            // Refused: the server says why in its log, and the client in its error.
            var stranger = client
            stranger.headers[.origin] = "https://elsewhere.example"
            let refused = await #expect(throws: WebSocketError.self) {
                try await WebSocketClient.connect(to: url, configuration: stranger)
            }
            texts.append(String(reflecting: refused))
            // A connection, a managed one, a pool, a session.
            try await WebSocketClient.withConnection(to: url, configuration: client) { socket in
                texts.append("\(socket) \(socket.url.map { "\($0)" } ?? "")")
            }
            let managed = try WebSocketManagedConnection(to: url, configuration: client)
            try await managed.withConnection { try await $0.send("x") }
            texts.append("\(managed.url)")
            try await managed.close()
            var pooled = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            pooled.client = client
            try await WebSocketConnectionPool.withPool(to: url, configuration: pooled) { pool in
                try await pool.withConnection { _ in }
                texts += pool.statistics.endpoints.map(\.name)
            }
            var configuration = WebSocketSessionConfiguration()
            configuration.client = client
            configuration.logger = log.logger
            configuration.reconnectsAutomatically = false
            try await WebSocketSession.withSession(to: url, configuration: configuration, whenConnected: true) {
                session in
                texts.append(session.url)
                await session.kill()
            }
            var lost = configuration
            lost.client = stranger
            let failure = await #expect(throws: WebSocketError.self) {
                try await WebSocketSession.withSession(to: url, configuration: lost, whenConnected: true) { _ in }
            }
            texts.append(String(reflecting: failure))
            #expect(log.text.contains("/ws/…") && log.text.contains("elsewhere"), "\(log.text)")
            for text in texts + [log.text] { #expect(!text.contains("S3CR3T"), "\(text)") }
        }
    }

    /// Rule 14: a page authenticates by a token that only it knows; a cookie alone would come with any page's request.
    @Test func aTokenInTheQueryAuthenticatesAPage() async throws {
        try await withLoopback(handler: { socket in
            guard socket.requestTarget == "/chat?token=right" else {
                try await socket.close(code: .policyViolation)
                return
            }
            try await socket.send("welcome")
        }) { loopback in
            let socket = try await loopback.connect("/chat?token=right")
            #expect(try await socket.receive() == .text("welcome"))
            let other = try await loopback.connect("/chat") { $0.headers[.cookie] = "session=valid" }
            #expect(try await other.closed().code == .policyViolation)
            try await socket.close()
        }
    }

    /// Rule 24: text of an attacker and secrets in one compressed stream leak by their size, so clients have to ask.
    @Test func clientsDoNotOfferCompressionByThemselves() async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = WebSocketClientConfiguration()
            configuration.eventLoop = loops.next()
            async let connecting = WebSocketClient.connect(
                to: "ws://127.0.0.1:\(listener.port)/", configuration: configuration)
            let peer = try await listener.accept()
            let request = try await peer.acceptHandshake()
            #expect(request["Sec-WebSocket-Extensions"] == nil)
            let socket = try await connecting
            #expect(socket.deflate == nil)
            socket.abort()
            _ = try await socket.closed()
        }
    }

    /// Next.js GHSA-c4j6-fc7j-m34r: an upgrade whose target is a whole URL must lead nowhere. RFC 9112 §3.2.2 has a server
    /// take it, for the path that it names; every other form is refused.
    @Test(arguments: [
        ("http://169.254.169.254/x", 101, "/x"), ("//169.254.169.254/", 101, "//169.254.169.254/"), ("*", 400, ""),
        ("127.0.0.1:1", 400, ""), ("/ok", 101, "/ok"), ("ftp://169.254.169.254/", 400, ""),
    ])
    func aTargetLeadsNowhere(_ target: String, _ status: Int, _ path: String) async throws {
        let targets = Mutex<[String]>([])
        try await withLoopback(handler: { socket in
            targets.withLock { $0.append(socket.requestTarget ?? "") }
        }) { loopback in
            let peer = try await WebSocketBytePeer.connect(port: loopback.server.port)
            try await peer.write(WebSocketBytePeer.request(target: target))
            let answer = try await peer.readHead()
            // A path may begin with two slashes; it stays one.
            #expect(answer.status == status)
            peer.close()
        }
        #expect(targets.withLock { $0 }.allSatisfy { $0 == path })
    }

    /// X2: code that holds the loop is told of, with the connection's address.
    @Test func codeThatHoldsTheLoopIsLogged() async throws {
        let log = CapturedLog()
        let group = try WebSocketEventLoopGroup(count: 1, logger: log.logger, blockedLoopThreshold: .milliseconds(20))
        let listener = try WebSocketBytePeerListener()
        let configuration = try clientConfiguration(on: group)
        let connecting = Task {
            try await WebSocketClient.withConnection(
                to: "ws://127.0.0.1:\(listener.port)/", configuration: configuration, on: .loop
            ) { socket in
                try await socket.send("about to block")
                let end = ContinuousClock.now + .milliseconds(60)
                while ContinuousClock.now < end {}
            }
        }
        let peer = try await listener.accept()
        try await peer.acceptHandshake()
        #expect(try await peer.readFrame().payload == Array("about to block".utf8))
        #expect(try await peer.readFrame().closeCode == 1000)
        try await peer.send(.close(1000))
        try await connecting.value
        try await group.loops[0].reaches("nothing is left") { $0.isZero }
        await group.shutDown()
        #expect(log.text.contains("a task held the loop"))
        #expect(log.text.contains("127.0.0.1:\(listener.port)"), "\(log.text)")
    }
}

/// Keeps what is logged.
private final class CapturedLog: Sendable {
    private let lines = Mutex<[String]>([])
    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    var logger: Logger {
        var logger = Logger(label: "tests") { _ in Handler(log: self) }
        logger.logLevel = .trace
        return logger
    }

    private struct Handler: LogHandler {
        let log: CapturedLog
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            log.lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:]) \(metadata)") }
        }
    }
}
