//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// The recipes for feeds and orders, run against peers that go by a script.
@Suite(.timeLimit(.minutes(5)))
struct RecipeTests {
    private static func accept(_ listener: WebSocketBytePeerListener) async throws -> WebSocketBytePeer {
        let peer = try await listener.accept()
        try await peer.acceptHandshake()
        return peer
    }

    private static func text(_ peer: WebSocketBytePeer) async throws -> String {
        while true {
            let frame = try await peer.readFrame()
            if frame.opcode == WebSocketWireFrame.text { return String(decoding: frame.payload, as: UTF8.self) }
        }
    }

    private static func configuration() -> WebSocketSessionConfiguration {
        var configuration = WebSocketSessionConfiguration()
        configuration.reconnect.strategy = .fixed(.zero)
        return configuration
    }

    @Test func eachConnectionLogsInBeforeItSubscribes() async throws {
        let listener = try WebSocketBytePeerListener()
        let count = Atomic<Int>(0)
        var configuration = Self.configuration()
        loggingIn(&configuration, key: "k") { "s\(count.add(1, ordering: .relaxed).newValue)" }
        let url = "ws://127.0.0.1:\(listener.port)/"
        let feed = Task { [configuration] in
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                try await session.subscribe("trades")
                for try await _ in session.messages {}
            }
        }
        defer { feed.cancel() }
        for round in 1...2 {
            let peer = try await Self.accept(listener)
            #expect(try await Self.text(peer) == "{\"op\":\"login\",\"key\":\"k\",\"sign\":\"s\(round)\"}")
            try await peer.send(.text("{\"op\":\"login\",\"ok\":true}"))
            #expect(try await Self.text(peer).contains("subscribe"))
            peer.close()
        }
    }

    @Test func aChannelIsSubscribedWhenTheVenueSaysSo() async throws {
        let listener = try WebSocketBytePeerListener()
        var configuration = Self.configuration()
        configuration.subscriptions.retryDelay = .zero
        confirmedSubscriptions(&configuration)
        let url = "ws://127.0.0.1:\(listener.port)/"
        let messages = Events<WebSocketMessage>()
        let feed = Task { [configuration] in
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                try await session.subscribe("a", "b")
                for try await message in session.messages { messages.send(message) }
            }
        }
        defer { feed.cancel() }
        let peer = try await Self.accept(listener)
        #expect(try await Self.text(peer) == "{\"op\":\"sub\",\"id\":\"a\"}")
        #expect(try await Self.text(peer) == "{\"op\":\"sub\",\"id\":\"b\"}")
        try await peer.send(.text("{\"op\":\"ack\",\"id\":\"b\"}"), .text("{\"op\":\"nack\",\"id\":\"a\"}"))
        // A refused one is asked for again.
        #expect(try await Self.text(peer) == "{\"op\":\"sub\",\"id\":\"a\"}")
        try await peer.send(.text("{\"op\":\"ack\",\"id\":\"a\"}"), .text("data"))
        #expect(try await messages.next() == "data", "acknowledgements are not delivered")
        peer.close()
    }

    @Test func heartbeatsAreAnsweredAndNotHandled() async throws {
        let listener = try WebSocketBytePeerListener()
        let handled = Events<WebSocketMessage>()
        let url = "ws://127.0.0.1:\(listener.port)/"
        var configuration = Self.configuration()
        answeringHeartbeats(&configuration)
        let feed = Task { [configuration] in
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                for try await message in session.messages { handled.send(message) }
            }
        }
        defer { feed.cancel() }
        let peer = try await Self.accept(listener)
        for _ in 0..<3 {
            try await peer.send(.text("{\"op\":\"ping\"}"))
            #expect(try await Self.text(peer) == "{\"op\":\"pong\"}")
        }
        try await peer.send(.text("data"))
        #expect(try await handled.next() == "data")
        peer.close()
    }

    @Test func aHoleInTheSequenceBringsASnapshot() async throws {
        let listener = try WebSocketBytePeerListener()
        let applied = Events<WebSocketMessage>()
        let url = "ws://127.0.0.1:\(listener.port)/"
        let feed = Task {
            try await WebSocketSession.withSession(to: url, configuration: Self.configuration()) { session in
                try await session.subscribe("book")
                try await mendingHoles(
                    session, channel: "book", sequence: { $0.text.flatMap(Book.sequence) }, apply: { applied.send($0) })
            }
        }
        defer { feed.cancel() }
        func delta(_ sequence: Int) -> String { "{\"sequence\":\(sequence)}" }
        let peer = try await Self.accept(listener)
        #expect(try await Self.text(peer).contains("\"subscribe\""))
        try await peer.send(.text(delta(1)), .text(delta(2)), .text(delta(2)), .text(delta(5)))
        for number in [1, 2, 5] { #expect(try await applied.next() == .text(delta(number))) }
        #expect(try await Self.text(peer).contains("\"unsubscribe\""))
        #expect(try await Self.text(peer).contains("\"subscribe\""))
        peer.close()
        // After a reconnect the sequence may begin anywhere.
        let next = try await Self.accept(listener)
        _ = try await Self.text(next)
        try await next.send(.text(delta(1)))
        #expect(try await applied.next() == .text(delta(1)))
        next.close()
    }

    @Test func eachAttemptHasAKeyAndATokenOfItsOwn() async throws {
        let listener = try WebSocketBytePeerListener()
        let count = Atomic<Int>(0)
        var configuration = Self.configuration()
        freshCredentials(
            &configuration, freshKey: { "k\(count.add(1, ordering: .relaxed).newValue)" },
            freshToken: { "t\(count.load(ordering: .relaxed))" })
        let url = "ws://127.0.0.1:\(listener.port)/ws"
        let feed = Task { [configuration] in
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                for try await _ in session.messages {}
            }
        }
        defer { feed.cancel() }
        for round in 1...3 {
            let peer = try await listener.accept()
            let head = try await peer.acceptHandshake()
            #expect(
                head.startLine == "GET /ws?listenKey=k\(round) HTTP/1.1" && head["Authorization"] == "Bearer t\(round)")
            peer.close()
        }
    }

    @Test func channelsGoInBatches() async throws {
        let listener = try WebSocketBytePeerListener()
        var configuration = Self.configuration()
        pacedSubscriptions(&configuration)
        let url = "ws://127.0.0.1:\(listener.port)/"
        let channels = (0..<120).map { "c\($0)" }
        let feed = Task { [configuration] in
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                try await session.subscribe(channels)
                for try await _ in session.messages {}
            }
        }
        defer { feed.cancel() }
        let peer = try await Self.accept(listener)
        for count in [50, 50, 20] { #expect(try await Self.text(peer).ranges(of: "\"c").count == count) }
        peer.close()
    }

    @Test func anOrderGetsItsOwnReply() async throws {
        let listener = try WebSocketBytePeerListener()
        let messages = Events<WebSocketMessage>()
        let url = "ws://127.0.0.1:\(listener.port)/"
        let trading = Task {
            try await WebSocketSession.withSession(
                to: url, configuration: Self.configuration(), whenConnected: true
            ) { session in
                let reply = try await order(7, on: session)
                messages.send(try await session.receive())
                return reply
            }
        }
        defer { trading.cancel() }
        let peer = try await Self.accept(listener)
        #expect(try await Self.text(peer) == "{\"id\":7,\"op\":\"buy\"}")
        try await peer.send(.text("data"), .text("{\"id\":70,\"ok\":true}"), .text("{\"id\":7,\"ok\":true}"))
        #expect(try await messages.next() == "data")
        #expect(try await peer.readFrame().closeCode == 1_000)
        try await peer.send(.close(1_000))
        #expect(try await trading.value == .text("{\"id\":7,\"ok\":true}"))
        peer.close()
    }

    @Test(arguments: [1_008, 4_001]) func badCredentialsEndTheSession(_ code: UInt16) async throws {
        let listener = try WebSocketBytePeerListener()
        var configuration = Self.configuration()
        fatalCredentials(&configuration)
        let url = "ws://127.0.0.1:\(listener.port)/"
        let feed = Task { [configuration] in
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                for try await _ in session.messages {}
            }
        }
        defer { feed.cancel() }
        let peer = try await Self.accept(listener)
        try await peer.send(.close(code, "bad credentials"))
        let error = await #expect(throws: WebSocketError.self) { try await feed.value }
        #expect(error?.code == .reconnectFailed && error?.closeInfo?.received?.code.rawValue == code, "\(error as Any)")
        peer.close()
    }

    @Test func eachPongIsALatency() async throws {
        let listener = try WebSocketBytePeerListener()
        let latencies = Events<Duration>()
        var configuration = Self.configuration()
        measuringLatency(&configuration) { latencies.send($0) }
        let url = "ws://127.0.0.1:\(listener.port)/"
        let feed = Task { [configuration] in
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                #expect(await session.waitConnected())
                _ = try await session.ping()
                for try await _ in session.messages {}
            }
        }
        defer { feed.cancel() }
        let peer = try await Self.accept(listener)
        let ping = try await peer.readFrame()
        try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, ping.payload))
        #expect(try await latencies.next() > .zero)
        peer.close()
    }
}
