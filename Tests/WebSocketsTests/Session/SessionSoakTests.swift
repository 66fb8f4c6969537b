//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Logging
import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// A session on a bad network. `scripts/trust/soak` makes it last.
@Suite(.timeLimit(.minutes(600)))
struct SessionSoakTests {
    /// What the server got, by connection.
    private final class Received: Sendable {
        private let numbers = Mutex<[[Int]]>([])
        func open() -> Int {
            numbers.withLock { numbers in
                numbers.append([])
                return numbers.count - 1
            }
        }
        func add(_ number: Int, on connection: Int) { numbers.withLock { $0[connection].append(number) } }
        var all: [[Int]] { numbers.withLock { $0 } }
    }

    private static func setting(_ name: String, _ otherwise: Double) -> Double {
        getenv(name).flatMap { Double(String(cString: $0)) } ?? otherwise
    }

    /// Resident memory in bytes.
    private static func memory() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let words = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            .split(separator: " ")
        return (Int(words[1]) ?? 0) * Int(getpagesize())
    }

    @Test func theLedgerIsExactOnABadNetwork() async throws {
        let seconds = Self.setting("WSX_SOAK_SECONDS", 1)
        let seed = UInt64(Self.setting("WSX_SOAK_SEED", 1))
        let received = Received()
        try await withLoopback { socket in
            let connection = received.open()
            for try await message in socket.messages {
                if case .text(let text) = message, let number = Int(text) { received.add(number, on: connection) }
                try await socket.send(message)
            }
        } _: { loopback in
            try await withWebSocketFaultProxy(to: loopback.server.port) { proxy in
                var configuration = WebSocketSessionConfiguration()
                configuration.client = loopback.client
                configuration.logger.logLevel = .critical
                configuration.outboundQueue = 2_000
                configuration.outboundDeadline = nil
                configuration.reconnect.strategy = .fixed(.milliseconds(10))
                configuration.reconnect.maximumAttempts = nil
                let statistics = try await WebSocketSession.withSession(
                    to: "ws://127.0.0.1:\(proxy.port)/", configuration: configuration
                ) { session in
                    #expect(await session.waitConnected())
                    let sent = try await Self.soak(session, proxy, for: .seconds(seconds), seed: seed)
                    proxy.kill()
                    try await until("the cut is noticed", on: loopback.loop) {
                        session.statistics.reactiveDisconnects > 0
                    }
                    // A calm network at the end: everything that was kept arrives.
                    try await until("everything has its outcome", on: loopback.loop) {
                        session.statistics.messagesPending == 0
                    }
                    let statistics = session.statistics
                    #expect(statistics.messagesSubmitted == sent + statistics.messagesRefused)
                    return statistics
                }
                #expect(statistics.isBalanced)
                #expect(statistics.messagesNotSent == 0 && statistics.messagesCancelled == 0)
                #expect(statistics.reactiveDisconnects > 0)
                let all = received.all
                for numbers in all {
                    #expect(numbers == numbers.sorted(), "a connection brought messages out of order")
                }
                let arrived = all.flatMap { $0 }
                #expect(Set(arrived).count == arrived.count, "a message came twice")
                // What did not arrive was written or unknown when a connection broke, and the session says so.
                #expect(arrived.count <= statistics.messagesWritten + statistics.messagesUnknown)
                #expect(statistics.gaps == statistics.connects - 1)
            }
        }
    }

    // MARK: A venue

    /// A venue that sends numbered deltas on three channels, takes orders, and asks for signs of life.
    private final class Venue: Sendable {
        static let channels = ["a", "b", "c"]
        let topics = WebSocketTopics()
        private struct State {
            var number = 0
            var orders: [String: Int] = [:]
            var pongs = 0
            var opened = 0
            var refusals = 0
        }
        private let state = Mutex(State())
        var number: Int { state.withLock { $0.number } }
        var orders: [String: Int] { state.withLock { $0.orders } }
        var pongs: Int { state.withLock { $0.pongs } }
        var opened: Int { state.withLock { $0.opened } }

        /// The next requests are refused for maintenance.
        func refuse(_ count: Int) { state.withLock { $0.refusals = count } }

        func decide() -> WebSocketUpgradeDecision {
            state.withLock { state in
                guard state.refusals > 0 else {
                    state.opened += 1
                    return .accept()
                }
                state.refusals -= 1
                return .respond(status: 503, headers: [.retryAfter: "0"])
            }
        }

        func tick() {
            let number = state.withLock { state in
                state.number += 1
                return state.number
            }
            for channel in Self.channels { topics.publish(.text("\(channel) \(number)"), to: channel) }
            if number % 100 == 0 { for channel in Self.channels { topics.publish("ping", to: channel) } }
        }

        func serve(_ socket: WebSocketConnection) async throws {
            for try await message in socket.messages {
                guard let text = message.text else { continue }
                if text == "pong" {
                    state.withLock { $0.pongs += 1 }
                } else if text.hasPrefix("order ") {
                    state.withLock { $0.orders[text, default: 0] += 1 }
                } else if let channel = Self.channels.first(where: { text.contains("\"\($0)\"") }) {
                    try await socket.send("ok \(channel)?")
                    topics.subscribe(socket, to: channel)
                }
            }
        }
    }

    /// With the default settings but for the waits between attempts: nothing is missing that no gap told of, nothing comes
    /// twice, every order has an outcome that is true, and the counters agree with the events.
    @Test func theVenuesLedgerIsExact() async throws {
        let duration = Duration.seconds(Self.setting("WSX_SOAK_SECONDS", 1))
        let seed = UInt64(Self.setting("WSX_SOAK_SEED", 1))
        let venue = Venue()
        try await withLoopback(
            server: { $0.onRequest = { _ in venue.decide() } }, handler: { try await venue.serve($0) }
        ) { loopback in
            try await withWebSocketFaultProxy(to: loopback.server.port) { proxy in
                var configuration = WebSocketSessionConfiguration()
                let keepAlive = configuration.client.options.keepAlive
                configuration.client = loopback.client
                configuration.client.options.keepAlive = keepAlive
                configuration.logger.logLevel = .critical
                configuration.outboundQueue = 1_000
                configuration.reconnect.strategy = .fullJitter(base: .milliseconds(10), maximum: .milliseconds(200))
                configuration.reconnect.maximumAttempts = nil
                configuration.maximumConnectionAge = .seconds(17)
                configuration.makesBeforeBreaking = true
                configuration.answer = { $0 == "ping" ? "pong" : nil }
                configuration.subscriptions.reply = { message, channels in
                    guard let text = message.text, text.hasPrefix("ok ") else { return nil }
                    return channels.first { text == "ok \($0)?" }.map { .accepted($0) }
                }
                let session = try WebSocketSession(to: proxy.url, configuration: configuration)
                try await session.subscribe(Venue.channels)
                let ledger = Box(SessionLedger())
                let outcomes = Box<[String: WebSocketSendOutcome]>([:])
                let isOver = Box(false)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await session.run() }
                    group.addTask { for try await event in session.events { ledger.change { $0.take(event) } } }
                    group.addTask {
                        while !isOver.value {
                            venue.tick()
                            try await Task.sleep(for: .milliseconds(3))
                        }
                    }
                    for trader in 0..<2 {
                        group.addTask {
                            var number = 0
                            while !isOver.value {
                                number += 1
                                let order = "order \(trader).\(number)"
                                let outcome = try await session.sendConfirmed(.text(order))
                                outcomes.change { $0[order] = outcome }
                                try await Task.sleep(for: .milliseconds(10))
                            }
                        }
                    }
                    #expect(await session.waitConnected())
                    try await Self.harm(session, loopback.server, venue, proxy, for: duration, seed: seed)
                    // A calm end: whatever comes of the last connection has to come.
                    venue.refuse(0)
                    try await until("the session is connected", on: loopback.loop) { session.state == .connected }
                    let number = venue.number
                    try await until("the last deltas have come", on: loopback.loop) {
                        venue.pongs > 0 && Venue.channels.allSatisfy { ledger.value.last[$0[...]] ?? 0 > number + 10 }
                    }
                    isOver.change { $0 = true }
                    try await until("every order has its outcome", on: loopback.loop) {
                        session.statistics.messagesPending == 0
                    }
                    await session.shutDown()
                    try await group.waitForAll()
                }
                Self.check(ledger.value, session.statistics, outcomes.value, venue)
            }
        }
    }

    private static func check(
        _ ledger: SessionLedger, _ statistics: WebSocketSessionStatistics, _ outcomes: [String: WebSocketSendOutcome],
        _ venue: Venue
    ) {
        let text = "\(ledger) \(statistics)"
        #expect(ledger.untold == 0 && ledger.doubled == 0, "\(text)")
        #expect(ledger.delivered > 30 && statistics.reactiveDisconnects > 0, "\(text)")
        #expect(statistics.isBalanced && statistics.messagesDropped == 0 && statistics.eventsDropped == 0, "\(text)")
        #expect(statistics.gaps == ledger.gaps && statistics.renewals == ledger.renewals, "\(text)")
        #expect(statistics.connects == ledger.connects + ledger.renewals, "\(text)")
        #expect(statistics.connects <= venue.opened, "\(text)")
        let arrived = venue.orders
        #expect(arrived.values.allSatisfy { $0 == 1 }, "an order came twice")
        for (order, outcome) in outcomes where outcome == .notSent || outcome == .cancelled {
            #expect(arrived[order] == nil, "\(order) is told to be \(outcome)")
        }
        // What the system has taken may be lost with its connection; more than that cannot have arrived.
        #expect(arrived.count <= statistics.messagesWritten + statistics.messagesUnknown, "\(text)")
    }

    private static func harm(
        _ session: WebSocketSession, _ server: WebSocketServer, _ venue: Venue, _ proxy: WebSocketFaultProxy,
        for duration: Duration, seed: UInt64
    ) async throws {
        let end = ContinuousClock.now + duration
        var generator = SessionRandom(seed: seed)
        func pause(_ range: ClosedRange<Int64>) async throws {
            try await Task.sleep(for: .milliseconds(Int64.random(in: range, using: &generator)))
        }
        // A loss there is in the shortest run too.
        proxy.kill()
        while ContinuousClock.now < end {
            try await pause(20...200)
            switch Int.random(in: 0..<10, using: &generator) {
            case 0: proxy.kill()
            case 1: await session.kill()
            case 2:
                for socket in server.connections {
                    _ = try? await socket.close(code: .serviceRestart, reason: "maintenance")
                }
            case 3: for socket in server.connections { socket.abort() }
            case 4, 5: try? session.renew()
            case 6:
                venue.refuse(2)
                proxy.kill()
            case 7:
                proxy.change { $0.isSilent = true }
                try await pause(10...100)
                proxy.change { $0.isSilent = false }
            case 8:
                proxy.refuse()
                proxy.kill()
                try await pause(10...100)
                proxy.listen()
            default: try? await session.disconnect(reconnectAfter: .milliseconds(20))
            }
        }
    }

    // MARK: A network

    /// Sends numbers and breaks the network; returns how many were sent.
    private static func soak(
        _ session: WebSocketSession, _ proxy: WebSocketFaultProxy, for duration: Duration, seed: UInt64
    ) async throws -> Int {
        let end = ContinuousClock.now + duration
        let isOver = Box(false)
        return try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                var generator = SessionRandom(seed: seed)
                while ContinuousClock.now < end {
                    try await Task.sleep(for: .milliseconds(Int64.random(in: 20...200, using: &generator)))
                    switch Int.random(in: 0..<4, using: &generator) {
                    case 0:
                        proxy.change { $0.isSilent = true }
                        try await Task.sleep(for: .milliseconds(Int64.random(in: 10...100, using: &generator)))
                        proxy.change { $0.isSilent = false }
                    case 1:
                        proxy.refuse()
                        try await Task.sleep(for: .milliseconds(Int64.random(in: 10...100, using: &generator)))
                        proxy.listen()
                    default: proxy.kill()
                    }
                }
                isOver.change { $0 = true }
                return 0
            }
            group.addTask {
                while !isOver.value { _ = try? await session.receive(timeout: .milliseconds(50)) }
                return 0
            }
            group.addTask {
                var number = 0
                var before = 0
                while !isOver.value {
                    do throws(WebSocketError) {
                        try await session.send("\(number)")
                        number += 1
                    } catch {
                        // The queue is full while there is no connection.
                        #expect(error.code == .sendQueueFull)
                        _ = await session.waitConnected(timeout: .seconds(10))
                    }
                    if number % 50 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                    if duration >= .seconds(60), before == 0, ContinuousClock.now > end - duration * 0.75 {
                        before = memory()
                    }
                }
                if before > 0 { #expect(memory() - before < 32 << 20, "memory grows") }
                return number
            }
            return try await group.reduce(0) { $0 + $1 }
        }
    }
}
