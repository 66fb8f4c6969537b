//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The code of the article on sessions, compiled, with what it takes for granted. `ReadmeTests` compares the two: change
// both.
import WebSockets

/// Orders and prices.
private actor Book {
    var hasNoOpenOrders = true
    var lastSequence = 0
    func apply(_ message: WebSocketMessage) {}
    func loadSnapshot() {}
    func freeze(because reason: WebSocketDisconnectReason) {}
    func thaw() {}
}

private func log(_ text: String) { print(text) }

func tradingFeed() async throws {
    let book = Book()
    var configuration = WebSocketSessionConfiguration.trading
    configuration.maximumConnectionAge = .seconds(24 * 3_600)
    configuration.disconnectMargin = .seconds(1_800)
    configuration.makesBeforeBreaking = true
    configuration.shouldRenew = { _ in await book.hasNoOpenOrders }
    configuration.silenceTimeout = .seconds(5)
    configuration.answer = { $0 == .text("{\"op\":\"ping\"}") ? .text("{\"op\":\"pong\"}") : nil }
    configuration.resume = { connection in
        try await connection.send("{\"op\":\"replay\",\"after\":\(await book.lastSequence)}")
        while true {
            let message = try await connection.receive()
            if message == .text("{\"op\":\"replayed\"}") { return true }
            connection.deliver(message)
        }
    }

    try await WebSocketSession.withSession(to: "wss://venue.example/feed", configuration: configuration) { session in
        try await session.subscribe("btcusdt@trade", "ethusdt@trade")
        for try await event in session.events {
            switch event {
            case .message(let message): await book.apply(message)
            case .disconnected(let end): await book.freeze(because: end.reason)
            case .gap: await book.loadSnapshot()
            case .connected: await book.thaw()
            case .renewed: break
            case .subscription(let reply): log("\(reply)")
            case .alert(let alert): log(alert.message)
            }
        }
    }
}

func telemetryUplink() async throws {
    struct Reading: Sendable { let bytes: [UInt8] }
    struct Sensor { let readings = AsyncStream<Reading> { $0.finish() } }
    struct Gauge { func record(_ pending: Int, lost: Int) {} }
    let sensor = Sensor()
    let gauge = Gauge()
    var configuration = WebSocketSessionConfiguration.monitoring
    configuration.outboundQueue = 10_000
    configuration.outboundDeadline = .seconds(60)
    configuration.reconnect.maximumAttempts = nil

    try await WebSocketSession.withSession(to: "wss://uplink.example/in", configuration: configuration) { session in
        for await reading in sensor.readings {
            try await session.send(reading.bytes, isIdempotent: true)
            let statistics = session.statistics
            gauge.record(statistics.messagesPending, lost: statistics.messagesNotSent + statistics.messagesUnknown)
        }
    }
}

func watchdog() async throws {
    actor Maintenance {
        var beginsSoon = false
        var isCancelled = false
        var isOver = true
    }
    let maintenance = Maintenance()
    @Sendable func alarm() async {}
    var configuration = WebSocketSessionConfiguration()
    configuration.shouldDisconnect = { _ in await maintenance.beginsSoon }
    configuration.shouldReconnect = { _ in
        if await maintenance.isCancelled { return .never }
        return await maintenance.isOver ? .now : .notYet
    }

    configuration.silenceTimeout = .seconds(30)

    try await WebSocketSession.withSession(to: "wss://plant.example/status", configuration: configuration) { session in
        for try await event in session.events {
            switch event {
            case .message(.text("emergency")): await alarm()
            case .disconnected(let end) where end.reason == .silence: await alarm()
            default: break
            }
        }
    }
}
