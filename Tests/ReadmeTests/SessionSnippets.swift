//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The code of the article on sessions, compiled, with what it takes for granted. `ReadmeTests` compares the two: change
// both. `SessionExampleTests` runs it.
import LoopbackSupport
import WebSockets

/// Orders and prices. Frozen while it may be wrong.
actor Book {
    private(set) var isFrozen = true
    private(set) var lastSequence = 0
    let hasNoOpenOrders = true
    /// What has happened, in order.
    nonisolated let journal = Events<String>()
    private let fetch: @Sendable () async -> Int

    init(fetchingSnapshots fetch: @escaping @Sendable () async -> Int) { self.fetch = fetch }

    func apply(_ message: WebSocketMessage) {
        if message == .text("{\"op\":\"replayed\"}") { return thaw() }
        guard let sequence = message.text.flatMap(Self.sequence) else { return }
        lastSequence = sequence
        journal.send("applied \(sequence)")
    }

    func loadSnapshot() async {
        journal.send("asks for a snapshot")
        lastSequence = await fetch()
        journal.send("loaded \(lastSequence)")
        thaw()
    }

    func freeze(because reason: WebSocketDisconnectReason) {
        isFrozen = true
        journal.send("frozen")
    }

    private func thaw() {
        isFrozen = false
        journal.send("thawed")
    }

    static func sequence(_ text: String) -> Int? {
        text.split(separator: "\"sequence\":").dropFirst().first.flatMap { Int($0.prefix { $0.isNumber }) }
    }
}

private func log(_ text: String) { print(text) }

func tradingFeed(from url: String, into book: Book) async throws {
    var configuration = WebSocketSessionConfiguration.trading
    configuration.maximumConnectionAge = .seconds(24 * 3_600)
    configuration.disconnectMargin = .seconds(1_800)
    configuration.makesBeforeBreaking = true
    configuration.shouldRenew = { _ in book.hasNoOpenOrders }
    configuration.resume = { connection in
        try await connection.send("{\"op\":\"replay\",\"after\":\(await book.lastSequence)}")
        while true {
            let message = try await connection.receive()
            if message == .text("{\"op\":\"gone\"}") { return false }
            connection.deliver(message)
            // Delivered as well: the book is whole again when it has come as far as this.
            if message == .text("{\"op\":\"replayed\"}") { return true }
        }
    }

    try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
        try await session.subscribe("btcusdt@trade", "ethusdt@trade")
        for try await event in session.events {
            switch event {
            case .message(let message): await book.apply(message)
            case .disconnected(let end): await book.freeze(because: end.reason)
            // A connection alone makes no book whole: only a snapshot does, or the end of a replay.
            case .connected(isReconnect: false), .gap: await book.loadSnapshot()
            case .connected, .renewed, .subscription: break
            case .alert(let alert): log(alert.message)
            }
        }
    }
}

struct Reading: Sendable { let bytes: [UInt8] }
struct Sensor: Sendable { let readings: AsyncStream<Reading> }

/// What was told last.
final class Gauge {
    private(set) var pending = 0
    private(set) var lost = 0
    func record(_ pending: Int, lost: Int) { (self.pending, self.lost) = (pending, lost) }
}

func telemetryUplink(to url: String, from sensor: Sensor, gauge: Gauge) async throws {
    var configuration = WebSocketSessionConfiguration.monitoring
    configuration.outboundQueue = 10_000
    configuration.outboundDeadline = .seconds(60)
    configuration.reconnect.maximumAttempts = nil

    try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
        for await reading in sensor.readings {
            try await session.send(reading.bytes, isIdempotent: true)
            let statistics = session.statistics
            gauge.record(statistics.messagesPending, lost: statistics.messagesNotSent + statistics.messagesUnknown)
        }
    }
}

actor Maintenance {
    var beginsSoon = false
    var isCancelled = false
    var isOver = true
}

func watchdog(
    over url: String, patience: Duration, maintenance: Maintenance, alarm: @escaping @Sendable (String) async -> Void
) async throws {
    var configuration = WebSocketSessionConfiguration()
    configuration.shouldDisconnect = { _ in await maintenance.beginsSoon }
    configuration.shouldReconnect = { _ in
        if await maintenance.isCancelled { return .never }
        return await maintenance.isOver ? .now : .notYet
    }

    let session = try WebSocketSession(to: url, configuration: configuration)
    try await withThrowingTaskGroup { group in
        group.addTask { try await session.run() }
        group.addTask {
            while !session.isShutdown {
                do throws(WebSocketError) {
                    if try await session.receive(timeout: patience) == .text("emergency") { await alarm("emergency") }
                } catch {
                    // Anything else is the session's end, which `run` explains.
                    guard error.code == .timedOut else { return }
                    if await maintenance.isOver { await alarm("silence") }
                }
            }
        }
        try await group.waitForAll()
    }
}
