//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// The examples of the article on sessions, run against peers that go by a script.
@Suite(.timeLimit(.minutes(5)))
struct SessionExampleTests {
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

    private static func delta(_ sequence: Int) -> WebSocketWireFrame { .text("{\"sequence\":\(sequence)}") }

    /// A connection breaks, and the venue has not kept what was missed.
    @Test func theBookIsNotThawedBeforeItsSnapshot() async throws {
        let listener = try WebSocketBytePeerListener()
        let snapshots = Events<Int>()
        let book = Book { (try? await snapshots.next()) ?? 0 }
        let feed = Task { try await tradingFeed(from: "ws://127.0.0.1:\(listener.port)/", into: book) }
        defer { feed.cancel() }
        let first = try await Self.accept(listener)
        #expect(try await Self.text(first).contains("btcusdt@trade"))
        #expect(try await Self.text(first).contains("ethusdt@trade"))
        #expect(try await book.journal.next() == "asks for a snapshot")
        #expect(await book.isFrozen)
        snapshots.send(10)
        for event in ["loaded 10", "thawed"] { #expect(try await book.journal.next() == event) }
        try await first.send(Self.delta(11))
        #expect(try await book.journal.next() == "applied 11")
        first.close()
        #expect(try await book.journal.next() == "frozen")

        let second = try await Self.accept(listener)
        for _ in 0..<2 { _ = try await Self.text(second) }
        #expect(try await Self.text(second) == "{\"op\":\"replay\",\"after\":11}")
        try await second.send(.text("{\"op\":\"gone\"}"), Self.delta(20))
        #expect(try await book.journal.next() == "asks for a snapshot")
        // Connected, with a delta waiting, and still frozen for as long as the snapshot takes.
        #expect(await book.isFrozen)
        snapshots.send(19)
        for event in ["loaded 19", "thawed", "applied 20"] { #expect(try await book.journal.next() == event) }
        #expect(await !book.isFrozen)
        second.close()
    }

    /// The same with a venue that replays: the book is whole at the end of the replay.
    @Test func theBookIsThawedAtTheEndOfAReplay() async throws {
        let listener = try WebSocketBytePeerListener()
        let book = Book { 10 }
        let feed = Task { try await tradingFeed(from: "ws://127.0.0.1:\(listener.port)/", into: book) }
        defer { feed.cancel() }
        let first = try await Self.accept(listener)
        for event in ["asks for a snapshot", "loaded 10", "thawed"] { #expect(try await book.journal.next() == event) }
        first.close()
        #expect(try await book.journal.next() == "frozen")
        let second = try await Self.accept(listener)
        for _ in 0..<3 { _ = try await Self.text(second) }
        try await second.send(Self.delta(11), Self.delta(12), .text("{\"op\":\"replayed\"}"), Self.delta(13))
        for event in ["applied 11", "applied 12", "thawed", "applied 13"] {
            #expect(try await book.journal.next() == event)
        }
        second.close()
    }

    @Test func everyReadingArrives() async throws {
        let listener = try WebSocketBytePeerListener()
        let (readings, sensor) = AsyncStream.makeStream(of: Reading.self)
        // Before there is a connection.
        for number in 0..<5 { sensor.yield(Reading(bytes: [UInt8(number)])) }
        let url = "ws://127.0.0.1:\(listener.port)/"
        let uplink = Task {
            let gauge = Gauge()
            try await telemetryUplink(to: url, from: Sensor(readings: readings), gauge: gauge)
            return (gauge.pending, gauge.lost)
        }
        let peer = try await Self.accept(listener)
        for number in 0..<5 { #expect(try await peer.readFrame().payload == [UInt8(number)]) }
        sensor.yield(Reading(bytes: [5]))
        #expect(try await peer.readFrame().payload == [5])
        sensor.finish()
        let close = try await peer.readFrame()
        #expect(close.opcode == WebSocketWireFrame.close)
        try await peer.send(close)
        peer.close()
        #expect(try await uplink.value.1 == 0)
    }

    /// A line that is connected and says nothing is an alarm, again and again, and the watch goes on.
    @Test func theWatchdogAlarmsInAQuietHalfMinute() async throws {
        let listener = try WebSocketBytePeerListener()
        let alarms = Events<String>()
        let url = "ws://127.0.0.1:\(listener.port)/"
        // Half a minute of a test.
        let patience = Duration.milliseconds(300)
        let watch = Task {
            try await watchdog(over: url, patience: patience, maintenance: Maintenance()) { alarms.send($0) }
        }
        let peer = try await Self.accept(listener)
        #expect(try await alarms.next() == "silence")
        #expect(try await alarms.next() == "silence")
        try await peer.send(.text("emergency"))
        while try await alarms.next() != "emergency" {}
        #expect(try await alarms.next() == "silence")
        watch.cancel()
        _ = await watch.result
        peer.close()
    }
}
