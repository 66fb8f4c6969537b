//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketCore

@testable import WebSockets

/// Subscriptions, gaps, queues and the change from one connection to the next.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct SessionDeliveryTests {
    // MARK: Subscriptions and gaps

    @Test func subscriptionsGoBeforeUserMessages() throws {
        try withFakeSession({ $0.outboundQueue = 10 }) { fixture in
            try await fixture.session.subscribe("b", "a")
            try await fixture.session.send("first")
            try await fixture.untilConnected()
            try await fixture.session.send("second")
            try await fixture.until("sent") { fixture.server.last.texts.count == 4 }
            let expected = [
                #"{"type":"subscribe","channel":"b"}"#, #"{"type":"subscribe","channel":"a"}"#, "first", "second",
            ]
            #expect(fixture.server.last.texts == expected)
            try await fixture.until("written") { fixture.session.statistics.messagesPending == 0 }
            fixture.server.last.cut()
            try await fixture.session.send("third")
            try await fixture.untilConnected(2)
            try await fixture.until("sent") { fixture.server.last.texts.count == 3 }
            #expect(fixture.server.last.texts == Array(expected[..<2]) + ["third"])
        }
    }

    /// S4: a reconnect leaves a gap event before the next message.
    @Test func aReconnectLeavesAGapEventBeforeTheNextMessage() throws {
        try withFakeSession({ $0.reconnect.strategy = .fixed(.seconds(30)) }) { fixture in
            try await fixture.untilConnected()
            fixture.server.onConnect { $0.say("after") }
            fixture.server.last.say("before")
            fixture.server.last.cut()
            #expect(try await fixture.next() == .connected(isReconnect: false))
            #expect(try await fixture.next() == .message("before"))
            guard case .disconnected = try await fixture.next() else {
                Issue.record("no disconnected event")
                return
            }
            guard case .gap(let gap) = try await fixture.next(), case .reconnected(let time) = gap.cause else {
                Issue.record("no gap event")
                return
            }
            #expect(try await fixture.next() == .connected(isReconnect: true))
            #expect(time >= .seconds(30) && time < .seconds(31))
            #expect(try await fixture.next() == .message("after"))
            #expect(fixture.session.statistics.gaps == 1)
        }
    }

    @Test func resumingClosesTheGap() throws {
        let lastSeen = Mutex("none")
        try withFakeSession({ configuration in
            configuration.resume = { preparation in
                try await preparation.send("resume after \(lastSeen.withLock { $0 })")
                while true {
                    let message = try await preparation.receive()
                    if message == .text("caught up") { return true }
                    preparation.deliver(message)
                }
            }
        }) { fixture in
            fixture.server.onMessage { connection, message in
                if message == .text("resume after 1") { connection.say("2", "3", "caught up", "4") }
            }
            try await fixture.untilConnected()
            fixture.server.last.say("1")
            #expect(try await fixture.session.receive() == .text("1"))
            lastSeen.withLock { $0 = "1" }
            fixture.server.last.cut()
            for number in 2...4 { #expect(try await fixture.session.receive() == .text("\(number)")) }
            #expect(fixture.session.statistics.gaps == 0)
            #expect(fixture.session.statistics.connects == 2)
        }
    }

    /// S4: a refused subscription is told and tried again; answers are not delivered.
    @Test func aRefusedSubscriptionIsToldAndTriedAgain()
        throws
    {
        try withFakeSession({ configuration in
            configuration.subscriptions.subscribe = { .text("sub \($0)") }
            configuration.subscriptions.delivery = .afterAnswers
            configuration.subscriptions.unsubscribe = { _ in nil }
            configuration.subscriptions.reply = { message, _ in
                guard case .text(let text) = message else { return nil }
                let words = text.split(separator: " ").map(String.init)
                switch words.first {
                case "ok": return .accepted(words[1])
                case "no": return .rejected(words[1], reason: words[2])
                default: return nil
                }
            }
        }) { fixture in
            let refusals = Mutex(1)
            fixture.server.onMessage { connection, message in
                guard case .text(let text) = message else { return }
                let channel = text.dropFirst(4)
                let refuses = refusals.withLock { left in
                    defer { if channel == "b" { left -= 1 } }
                    return channel == "b" && left > 0
                }
                connection.say("data", refuses ? "no \(channel) busy" : "ok \(channel)")
            }
            try await fixture.session.subscribe("a", "b")
            try await fixture.untilConnected()
            #expect(fixture.session.isSubscribed("a"))
            try await fixture.until("tried again") { fixture.session.isSubscribed("b") }
            #expect(fixture.server.last.texts == ["sub a", "sub b", "sub b"])
            // One more while connected.
            try await fixture.session.subscribe("c")
            try await fixture.until("subscribed") { fixture.session.isSubscribed("c") }
            await fixture.session.shutDown()
            let events = try await fixture.drainEvents()
            let messages = events.filter { if case .message = $0 { true } else { false } }
            #expect(messages == Array(repeating: .message("data"), count: 4))
            let alerts = events.compactMap { if case .alert(let alert) = $0 { alert } else { nil } }
            #expect(alerts.map(\.kind) == [.subscriptionFailed])
            #expect(alerts.first?.message.contains("busy") == true)
        }
    }

    @Test func aServerThatNeverAnswersDelaysButDoesNotBlock() throws {
        try withFakeSession({ configuration in
            configuration.subscriptions.reply = { _, _ in nil }
            configuration.subscriptions.attempts = 2
        }) { fixture in
            try await fixture.session.subscribe("a")
            fixture.server.onConnect { $0.say("data") }
            #expect(try await fixture.session.receive() == .text("data"))
            try await fixture.until("tried twice") { fixture.server.last.texts.count == 2 }
            await fixture.simulation.pass(.seconds(100))
            #expect(fixture.server.last.texts.count == 2)
            #expect(!fixture.session.isSubscribed("a"))
            #expect(fixture.session.subscriptions == ["a"])
        }
    }

    @Test func preparingComesFirstAndIsBounded() throws {
        try withFakeSession({ configuration in
            configuration.reconnect.strategy = .fixed(.seconds(1))
            configuration.preparationTimeout = .seconds(20)
            configuration.prepare = { preparation in
                try await preparation.send("login")
                _ = try await preparation.receive()
            }
        }) { fixture in
            // The first connection never answers.
            let isFirst = Mutex(true)
            fixture.server.onMessage { connection, message in
                if message == .text("login"), !isFirst.withLock({ $0 }) { connection.say("welcome", "data") }
            }
            try await fixture.session.subscribe("a")
            try await fixture.until("gave up the first") { fixture.session.lastDisconnect != nil }
            isFirst.withLock { $0 = false }
            #expect(fixture.session.lastDisconnect?.reason == .preparationFailed)
            #expect(fixture.session.lastDisconnect?.error?.code == .timedOut)
            try await fixture.until("connected") { fixture.session.isConnected }
            #expect(fixture.server.last.texts.map { $0.prefix(6) } == ["login", "{\"type"])
            #expect(try await fixture.session.receive() == .text("data"))
        }
    }

    // MARK: Outbound

    @Test func withoutAQueueSendingNeedsAConnection() throws {
        try withFakeSession(seeds: 0..<3) { fixture in
            fixture.server.answer(otherwise: .hang)
            let error = try await webSocketFailure { try await fixture.session.send("lost") }
            #expect(error.code == .notConnected)
            #expect(fixture.session.statistics.messagesNotSent == 1)
        }
    }

    @Test func theQueueIsBoundedAndForgetsWhatIsTooOld() throws {
        try withFakeSession({ configuration in
            configuration.outboundQueue = 3
            configuration.outboundDeadline = .seconds(60)
        }) { fixture in
            try await fixture.untilConnected()
            try await fixture.session.disconnect(reconnectAfter: .seconds(30))
            try await fixture.session.send("old", deadline: .seconds(5))
            async let confirmed = fixture.session.sendConfirmed("confirmed", deadline: .seconds(10))
            await fixture.simulation.pass(.seconds(1))
            try await fixture.session.send("kept")
            let full = try await webSocketFailure { try await fixture.session.send("too many") }
            #expect(full.code == .sendQueueFull)
            #expect(try await confirmed == .notSent)
            try await fixture.untilConnected(2)
            try await fixture.until("sent") { fixture.session.statistics.messagesPending == 0 }
            #expect(fixture.server.last.texts == ["kept"])
            let statistics = fixture.session.statistics
            #expect(
                [
                    statistics.messagesSubmitted, statistics.messagesWritten, statistics.messagesNotSent,
                    statistics.messagesRefused,
                ] == [4, 1, 2, 1])
        }
    }

    /// S3: a connection that breaks while messages are under way.
    @Test func aConnectionThatBreaksWhileMessagesAreUnderWay() throws {
        try withFakeSession({ configuration in
            configuration.outboundQueue = 100
            configuration.reconnect.strategy = .fixed(.seconds(1))
        }) { fixture in
            fixture.server.setWritesByItself(false)
            try await fixture.untilConnected()
            try await withThrowingTaskGroup(of: (Int, WebSocketSendOutcome).self) { group in
                for number in 0..<6 {
                    group.addTask {
                        let outcome = try await fixture.session.sendConfirmed(
                            .text("\(number)"), isIdempotent: number == 3)
                        return (number, outcome)
                    }
                    // One after the other, so that their order is known.
                    try await fixture.until("taken") { fixture.server.connections[0].received.count == number + 1 }
                }
                let first = fixture.server.last
                first.write(2)
                first.setInDoubt(2)
                fixture.server.setWritesByItself(true)
                first.cut()
                let outcomes = try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
                #expect(outcomes == [0: .written, 1: .written, 2: .unknown, 3: .written, 4: .written, 5: .written])
            }
            #expect(fixture.server.last.texts == ["3", "4", "5"])
            #expect(fixture.session.statistics.messagesUnknown == 1)
        }
    }

    @Test func aFullConnectionSuspendsItsSenders() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            fixture.server.last.setFull(true)
            try await withThrowingTaskGroup { group in
                group.addTask {
                    for number in 0..<5 { try await fixture.session.send("\(number)") }
                }
                await fixture.simulation.pass(.seconds(5))
                #expect(fixture.server.last.received.isEmpty)
                fixture.server.last.setFull(false)
                try await group.waitForAll()
            }
            #expect(fixture.server.last.texts == ["0", "1", "2", "3", "4"])
        }
    }

    @Test func aCancelledSendIsNotSent() throws {
        try withFakeSession(seeds: 0..<30) { fixture in
            try await fixture.untilConnected()
            fixture.server.last.setFull(true)
            let codes = try await withThrowingTaskGroup(of: WebSocketError.Code?.self) { group in
                for number in 0..<3 {
                    group.addTask {
                        do throws(WebSocketError) {
                            try await fixture.session.send("\(number)")
                            return nil
                        } catch {
                            return error.code
                        }
                    }
                }
                await fixture.simulation.pass(.milliseconds(1))
                group.cancelAll()
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(codes == [.cancelled, .cancelled, .cancelled])
            fixture.server.last.setFull(false)
            try await fixture.session.send("last")
            try await fixture.until("written") { fixture.session.statistics.messagesPending == 0 }
            #expect(fixture.server.last.texts == ["last"])
            #expect(fixture.session.statistics.messagesCancelled == 3)
        }
    }

    @Test func encodableValuesAreSentByTheCallersEncoder() throws {
        struct Order: Encodable, Sendable { var price = 17 }
        try withFakeSession(seeds: 0..<1) { fixture in
            try await fixture.untilConnected()
            try await fixture.session.send(Order()) { .text("price \($0.price)") }
            try await fixture.until("sent") { !fixture.server.last.received.isEmpty }
            #expect(fixture.server.last.texts == ["price 17"])
        }
    }

    @Test func statisticsCanBeReset() throws {
        try withFakeSession(seeds: 0..<2) { fixture in
            try await fixture.untilConnected()
            try await fixture.session.send("one")
            fixture.server.last.say("two")
            _ = try await fixture.session.receive()
            #expect(try await fixture.session.ping() == .milliseconds(1))
            fixture.session.resetStatistics()
            let statistics = fixture.session.statistics
            #expect(statistics.connects == 0 && statistics.messagesReceived == 0 && statistics.bytesSent == 0)
            #expect(statistics.sinceConnect == nil && statistics.sinceMessage == nil)
            #expect(statistics.uptime == .zero)
            #expect(fixture.session.isConnected)
        }
    }

    // MARK: Make before break

    /// A feed of numbers to everybody who has subscribed, for some time.
    private func feed(_ fixture: SessionFixture, count: Int) async -> [Int] {
        let subscribed = Box<[FakeConnection]>([])
        // The connections hold the closure, and the closure holds them.
        defer { subscribed.change { $0 = [] } }
        fixture.server.onMessage { connection, message in
            if case .text(let text) = message, text.contains("subscribe") {
                subscribed.change { $0.append(connection) }
            }
        }
        return await withTaskGroup(of: [Int].self) { group in
            group.addTask {
                guard await fixture.session.waitConnected() else { return [] }
                await fixture.simulation.pass(.seconds(1))
                for number in 0..<count {
                    for connection in subscribed.value { connection.push(.text("\(number)")) }
                    await fixture.simulation.pass(.milliseconds(10))
                    if number == count / 2 { try? fixture.session.renew() }
                }
                return []
            }
            group.addTask {
                var seen: [Int] = []
                while seen.last != count - 1,
                    case .text(let text)? = try? await fixture.session.receive(timeout: .seconds(60))
                {
                    seen.append(Int(text) ?? -1)
                }
                return seen
            }
            return await group.reduce([]) { $0 + $1 }
        }
    }

    @Test func makeBeforeBreakNothingIsLostAndNothingComesTwice() throws {
        try withFakeSession(seeds: 0..<40) { fixture in
            try await fixture.session.subscribe("numbers")
            let seen = await feed(fixture, count: 60)
            #expect(seen == Array(0..<60))
            let statistics = fixture.session.statistics
            #expect(statistics.renewals == 1 && statistics.connects == 2)
            #expect(statistics.gaps == 0 && statistics.disconnects == 0)
            #expect(fixture.server.connections[0].closeFrame?.code == .normalClosure)
            await fixture.session.shutDown()
            #expect(try await fixture.drainEvents().contains(.renewed))
        }
    }

    @Test func aRenewalThatFailsLeavesTheOldConnection() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            fixture.server.answer(.refuse(WebSocketError(.connectFailed, "no room")))
            try fixture.session.renew()
            await fixture.simulation.pass(.seconds(1))
            #expect(fixture.session.isConnected)
            #expect(fixture.server.connections.count == 1)
            fixture.server.last.say("still here")
            #expect(try await fixture.session.receive() == .text("still here"))
            await fixture.session.shutDown()
            let alerts = try await fixture.drainEvents().compactMap {
                if case .alert(let alert) = $0 { alert } else { nil }
            }
            #expect(alerts.map(\.kind) == [.renewalFailed])
        }
    }

    @Test func aConnectionOfGreatAgeIsReplacedBeforeItIsClosed() throws {
        try withFakeSession(
            seeds: 0..<3,
            { configuration in
                configuration.maximumConnectionAge = .seconds(3_600)
                configuration.disconnectMargin = .seconds(60)
                configuration.makesBeforeBreaking = true
            }
        ) { fixture in
            try await fixture.untilConnected()
            await fixture.simulation.pass(.seconds(24 * 3_600))
            let statistics = fixture.session.statistics
            #expect(statistics.renewals == 24)
            #expect(statistics.disconnects == 0 && statistics.gaps == 0)
        }
    }

    @Test func messagesMoveToTheNewConnection() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            try await fixture.session.send("old")
            try fixture.session.renew()
            try await fixture.until("renewed") { fixture.session.statistics.renewals == 1 }
            try await fixture.session.send("new")
            try await fixture.until("written") { fixture.session.statistics.messagesWritten == 2 }
            #expect(fixture.server.connections.map(\.texts) == [["old"], ["new"]])
        }
    }
}
