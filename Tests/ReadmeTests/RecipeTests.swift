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
        let feed = Task {
            try await WebSocketSession.withSession(to: url, configuration: Self.configuration()) { session in
                try await answeringHeartbeats(session) { handled.send($0) }
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
