//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import LoopbackSupport
import Synchronization
import TestSupport
import Testing
import WebSockets

#if Metrics
import MetricsTestKit
#endif
#if Tracing
import InMemoryTracing
import Tracing
#endif

/// Keeps what it is told.
private final class Recorder: WebSocketObserver {
    enum Event: Sendable {
        case connecting(WebSocketURL)
        case opened(WebSocketConnectionSummary, Duration)
        case failed(WebSocketURL, WebSocketError)
        case ponged(WebSocketConnectionSummary, Duration)
        case closed(WebSocketConnectionSummary, WebSocketCloseInfo, Duration)
    }
    let events = Events<Event>()

    func connecting(to url: WebSocketURL) { events.send(.connecting(url)) }
    func opened(_ connection: WebSocketConnectionSummary, after duration: Duration) {
        events.send(.opened(connection, duration))
    }
    func connectFailed(to url: WebSocketURL, error: WebSocketError, after duration: Duration) {
        events.send(.failed(url, error))
    }
    func ponged(_ connection: WebSocketConnectionSummary, roundTrip: Duration) {
        events.send(.ponged(connection, roundTrip))
    }
    func closed(_ connection: WebSocketConnectionSummary, info: WebSocketCloseInfo, after duration: Duration) {
        events.send(.closed(connection, info, duration))
    }
}

/// Has no method of its own: the defaults do nothing.
private struct Indifferent: WebSocketObserver {}

/// Keeps every line that is logged, metadata included.
private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(lines: self) }
        logger.logLevel = .trace
        return logger
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            let text = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            lines.lines.withLock { $0.append("\(event.level) \(event.message) \(text.joined(separator: " "))") }
        }
    }
}

@Suite(.timeLimit(.minutes(5)))
struct ObserverTests {
    @Test(arguments: [false, true])
    func bothSidesAreObserved(byPool: Bool) async throws {
        let client = Recorder()
        let server = Recorder()
        try await withLoopback(
            Transport(compression: .deflate()), server: { $0.observers = [Indifferent(), server] }, handler: echo
        ) { loopback in
            var configuration = loopback.client
            configuration.observers = [client, Indifferent()]
            configuration.options.compression = .deflate()
            let url = loopback.url + "/path?token=secret"
            if byPool {
                var pool = WebSocketConnectionPoolConfiguration()
                pool.client = configuration
                try await WebSocketConnectionPool.withPool(to: url, configuration: pool) { pool in
                    try await pool.withConnection { _ = try await $0.ping() }
                }
            } else {
                try await WebSocketClient.withConnection(to: url, configuration: configuration) {
                    _ = try await $0.ping()
                }
            }
            guard case .connecting(let target) = try await client.events.next() else {
                Issue.record("an attempt begins with connecting")
                return
            }
            #expect(!target.description.contains("secret"))
            for (recorder, isClient) in [(client, true), (server, false)] {
                guard case .opened(let opened, let after) = try await recorder.events.next() else {
                    Issue.record("no opened")
                    return
                }
                #expect((opened.url != nil) == isClient && (after > .zero) == isClient)
                #expect(opened.isCompressed && opened.tlsVersion == nil && opened.subprotocol == nil)
                #expect(opened.remoteAddress != nil && !opened.description.contains("secret"))
                if isClient {
                    guard case .ponged(let ponged, let roundTrip) = try await recorder.events.next() else {
                        Issue.record("no ponged")
                        return
                    }
                    #expect(ponged == opened && roundTrip > .zero)
                }
                guard case .closed(let closed, let info, let lifetime) = try await recorder.events.next() else {
                    Issue.record("no closed")
                    return
                }
                #expect(closed == opened && info.isNormal && lifetime > .zero)
            }
        }
    }

    @Test func failuresAreReported() async throws {
        try await withLoops { loops in
            let recorder = Recorder()
            var configuration = try clientConfiguration(on: loops)
            configuration.observers = [recorder]
            let port = try WebSocketBytePeerListener().port
            let error = try await failure {
                try await WebSocketClient.connect(to: "ws://127.0.0.1:\(port)/", configuration: configuration)
            }
            guard case .connecting(let url) = try await recorder.events.next(),
                case .failed(let again, let reported) = try await recorder.events.next()
            else {
                Issue.record("not connecting, then failed")
                return
            }
            #expect(url == again && url.port == port)
            #expect(reported == error && error.code == .connectFailed)
        }
    }

    /// No credential, header or content reaches a log line or an error's text, whatever goes wrong, and what the peer
    /// writes cannot break a line.
    @Test func secretsStayOutOfLogsAndErrors() async throws {
        let canary = "c4n4ry"
        let lines = Lines()
        var texts: [String] = []
        try await withLoops { loops in
            var settings = try clientConfiguration(on: loops)
            settings.observers = [WebSocketLogObserver(logger: lines.logger)]
            settings.openTimeout = .seconds(2)
            settings.options.closeTimeout = .milliseconds(50)
            settings.options.maximumMessageSize = 100
            settings.headers = [.authorization: "Bearer \(canary)", .cookie: "session=\(canary)"]
            let configuration = settings
            let listener = try WebSocketBytePeerListener()
            func url(_ port: Int) -> String { "ws://user:\(canary)@127.0.0.1:\(port)/path?token=\(canary)&\(canary)" }

            // URLs and headers that are refused before anything is sent.
            for bad in [
                "ws://user:\(canary)@h:99999/", "ws://us:er:\(canary)@@h/", "ws://h/?token=\(canary)#x",
                "ws://h /?token=\(canary)", "ftp://user:\(canary)@h/", "ws://user:\(canary)%zz@h/",
                "ws://\(canary)@h/",
            ] {
                let error = try await failure { try await WebSocketClient.connect(to: bad) }
                texts.append("\(error)")
            }

            // Servers that refuse, redirect, or do not speak WebSocket.
            let closedPort = try WebSocketBytePeerListener().port
            texts.append(
                "\(try await failure { try await WebSocketClient.connect(to: url(closedPort), configuration: configuration) })"
            )
            for answer in [
                "HTTP/1.1 401 \(canary)\r\nWWW-Authenticate: \(canary)\r\nContent-Length: 6\r\n\r\n\(canary)",
                "HTTP/1.1 101 \(canary)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \(canary)\r\n\r\n",
                "\(canary)\r\n\r\n", "",
            ] {
                let attempt = Task {
                    try await WebSocketClient.connect(to: url(listener.port), configuration: configuration)
                }
                let peer = try await listener.accept()
                _ = try await peer.readHead()
                try await peer.write(Array(answer.utf8))
                peer.close()
                texts.append("\(try await failure { try await attempt.value })")
            }

            // Connections that end badly.
            for end in [
                WebSocketWireFrame.text(String(repeating: canary, count: 50)),
                WebSocketWireFrame(WebSocketWireFrame.text, Array(canary.utf8) + [0xFF]),
                WebSocketWireFrame(3, Array(canary.utf8)), .close(4000, "\u{1B}[31mbye\nforged: \u{202E}line"),
            ] {
                async let connecting = WebSocketClient.connect(to: url(listener.port), configuration: configuration)
                let peer = try await listener.accept()
                try await peer.acceptHandshake()
                let socket = try await connecting
                try await peer.send(end)
                for _ in 0..<2 { texts.append("\(try await failure { try await socket.receive() })") }
                texts.append("\(try await failure { try await socket.send(canary) })")
                peer.close()
                texts.append("\(try await socket.closed())")
            }
            let managed = try WebSocketManagedConnection(to: url(closedPort), configuration: configuration)
            texts.append("\(try await failure { try await managed.acquire() })")
            texts.append("\(WebSocketMessage.text(canary)) \(WebSocketMessage.binary(Array(canary.utf8)))")
            texts.append("\(try WebSocketURL(url(1)))")
        }
        #expect(lines.all.contains { $0.contains("websocket: connecting") })
        #expect(lines.all.contains { $0.contains("websocket: could not connect") })
        #expect(lines.all.contains { $0.contains("websocket: open") })
        #expect(lines.all.contains { $0.hasPrefix("warning websocket: closed") })
        for text in lines.all + texts {
            #expect(!text.contains(canary), "\(text)")
            #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x202E }, "\(text)")
        }
    }

    #if Metrics
    @Test func metricsCount() async throws {
        let metrics = TestMetrics()
        try await withLoopback(handler: echo) { loopback in
            var configuration = loopback.client
            let recorder = Recorder()
            configuration.observers = [WebSocketMetrics(label: "ws", factory: metrics), recorder]
            for _ in 0..<2 {
                try await WebSocketClient.withConnection(to: loopback.url, configuration: configuration) {
                    _ = try await $0.ping()
                }
            }
            for _ in 0..<8 { _ = try await recorder.events.next() }
            let port = try WebSocketBytePeerListener().port
            _ = try await failure {
                try await WebSocketClient.connect(to: "ws://127.0.0.1:\(port)/", configuration: configuration)
            }
        }
        #expect(try metrics.expectTimer("ws_open_duration").values.count == 2)
        #expect(try metrics.expectTimer("ws_lifetime").values.count == 2)
        #expect(try metrics.expectTimer("ws_latency").values.allSatisfy { $0 > 0 })
        let failed = try metrics.expectCounter("ws_connects_failed", [("code", "connectFailed")])
        #expect(failed.totalValue == 1)
        let closed = try metrics.expectCounter("ws_closed", [("cause", "closingHandshake"), ("code", "1000")])
        #expect(closed.totalValue == 2)
    }
    #endif
}
