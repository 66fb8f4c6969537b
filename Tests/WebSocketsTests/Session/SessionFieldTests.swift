//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import SimulationSupport
import Synchronization
import Testing
import WebSocketCore

@testable import WebSockets

/// What traders met who moved to sessions: each test is one report.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct SessionFieldTests {
    /// Answers `sub X` with `ok X`, or `no X reason` for those that begin with "bad".
    @Sendable private static func recognise(_ message: WebSocketMessage) -> WebSocketSubscriptionReply? {
        guard case .text(let text) = message else { return nil }
        let words = text.split(separator: " ").map(String.init)
        switch words.first {
        case "ok": return .accepted(words[1])
        case "no": return .rejected(words[1], reason: words[2])
        default: return nil
        }
    }

    @Sendable private static func acknowledge(_ connection: FakeConnection, _ message: WebSocketMessage) {
        guard case .text(let text) = message, text.hasPrefix("sub ") || text.hasPrefix("unsub ") else { return }
        for channel in text.split(separator: " ")[1].split(separator: ",") {
            connection.say(channel.hasPrefix("bad") ? "no \(channel) unknown" : "ok \(channel)")
        }
    }

    @Sendable private static func coded(_ configuration: inout WebSocketSessionConfiguration) {
        configuration.subscriptions.subscribe = { .text("sub \($0)") }
        configuration.subscriptions.unsubscribe = { .text("unsub \($0)") }
        configuration.subscriptions.reply = { message, _ in recognise(message) }
    }

    // MARK: Renewals

    @Test func aRenewalReadsWhileItPrepares() throws {
        try withFakeSession({ $0.subscriptions.subscribe = { .text("sub \($0)") } }) { fixture in
            let isBusy = Mutex(false)
            fixture.server.onConnect { connection in
                guard isBusy.withLock({ $0 }) else { return }
                connection.setPongsBehindMessages()
                for number in 0..<200 { connection.push(.text("\(number)")) }
            }
            try await fixture.session.subscribe("a")
            try await fixture.untilConnected()
            isBusy.withLock { $0 = true }
            let before = fixture.simulation.elapsed
            try fixture.session.renew()
            try await fixture.until("renewed") { fixture.session.statistics.renewals == 1 }
            #expect(fixture.simulation.elapsed - before < .seconds(1))
            for number in 0..<200 { #expect(try await fixture.session.receive() == .text("\(number)")) }
        }
    }

    @Test func anOldConnectionsEndHoldsTheNewOneUpForNoLongerThanAsked() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            let old = fixture.server.last
            old.setAnswersClose(false)
            try fixture.session.renew()
            try await fixture.until("renewed") { fixture.session.statistics.renewals == 1 }
            let before = fixture.simulation.elapsed
            fixture.server.last.say("5", "6")
            #expect(try await fixture.session.receive() == .text("5"))
            #expect(fixture.simulation.elapsed - before <= .milliseconds(1_100))
            #expect(try await fixture.session.receive() == .text("6"))
            // What the old one brings late was delivered, or is delivered now: once.
            old.say("6", "4")
            #expect(try await fixture.session.receive() == .text("4"))
            #expect(fixture.session.statistics.duplicatesDropped == 1)
        }
    }

    @Test func leavingADeadPeerForAnotherConnectionDoesNotTakeItsCloseTimeout() throws {
        try withFakeSession({ $0.shouldReconnect = { _ in .now } }) { fixture in
            try await fixture.untilConnected()
            fixture.server.last.setAnswersClose(false)
            let before = fixture.simulation.elapsed
            try await fixture.session.disconnect()
            try await fixture.untilConnected(2)
            #expect(fixture.simulation.elapsed - before <= .milliseconds(1_200))
            #expect(fixture.server.connections[0].wasAborted)
        }
    }

    @Test func renewalsFollowThePolicyAndRetryAfter() throws {
        let busy = WebSocketError(
            .handshakeRejected, "the server answered 429",
            response: .init(status: 429, headers: [.retryAfter: "60"]))
        try withFakeSession({ configuration in
            configuration.maximumConnectionAge = .seconds(3_600)
            configuration.disconnectMargin = .seconds(1_800)
            configuration.makesBeforeBreaking = true
            configuration.reconnect.strategy = .fixed(.seconds(1))
        }) { fixture in
            try await fixture.untilConnected()
            fixture.server.answer(.refuse(busy), .refuse(busy))
            await fixture.simulation.pass(.seconds(1_800 + 59))
            #expect(fixture.server.attempts.count == 2)
            await fixture.simulation.pass(.seconds(30))
            #expect(fixture.server.attempts.count == 3)
            await fixture.simulation.pass(.seconds(62))
            #expect(fixture.session.statistics.renewals == 1)
            #expect(fixture.session.statistics.disconnects == 0)
        }
    }

    @Test func theLastRenewalDoesNotAsk() throws {
        try withFakeSession(
            seeds: 0..<3,
            { configuration in
                configuration.maximumConnectionAge = .seconds(1_000)
                configuration.disconnectMargin = .seconds(100)
                configuration.makesBeforeBreaking = true
                configuration.shouldRenew = { _ in false }
            }
        ) { fixture in
            try await fixture.untilConnected()
            await fixture.simulation.pass(.seconds(980))
            #expect(fixture.session.statistics.renewals == 0)
            await fixture.simulation.pass(.seconds(30))
            #expect(fixture.session.statistics.renewals == 1)
            #expect(fixture.session.statistics.gaps == 0 && fixture.session.statistics.disconnects == 0)
        }
    }

    // MARK: Life

    @Test func closeDoesNotUndoAShutdown() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            fixture.server.last.setAnswersClose(false)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await fixture.session.shutDown() }
                try await fixture.until("closing") { fixture.session.state == .closing }
                group.addTask { try await fixture.session.close() }
                try await group.waitForAll()
            }
            #expect(fixture.session.state == .closed)
            let error = try await webSocketFailure { try await fixture.session.connect() }
            #expect(error.code == .connectionClosed)
        }
    }

    @Test func withoutRunCallersAreToldSo() throws {
        try Simulation.run { simulation in
            let server = FakeServer(simulation)
            defer { server.dismiss() }
            var configuration = WebSocketSessionConfiguration()
            configuration.logger.logLevel = .critical
            let session = WebSocketSession(
                configuration: configuration, clock: simulation, seed: 0, name: "ws://fake.test/", open: server.open)
            #expect(!session.isRunning)
            for error in [
                try await webSocketFailure { try await session.connect() },
                try await webSocketFailure { try await session.send("lost") },
                try await webSocketFailure { try await session.waitSubscribed(["a"]) },
                try await webSocketFailure { _ = try await session.sendConfirmed("kept") },
                try await webSocketFailure { _ = try await session.request("?", timeout: nil) { _ in true } },
            ] {
                #expect(error.code == .notConnected && error.message.contains("run()"), "\(error)")
            }
            #expect(await session.waitConnected() == false)
            #expect(simulation.elapsed <= .seconds(6))
            await withTaskGroup(of: WebSocketError.Code?.self) { group in
                group.addTask { (try? await webSocketFailure { try await session.waitSubscribed(["a"]) })?.code }
                group.cancelAll()
                #expect(await group.next() == .cancelled)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await session.run() }
                // Begun a moment ago in another task: that is no error.
                try await session.connect()
                #expect(session.isRunning)
                let again = try await webSocketFailure { try await session.run() }
                #expect(again.code == .invalidConfiguration && again.message.contains("run()"))
                await session.shutDown()
                try await group.waitForAll()
            }
            #expect(!session.isRunning)
        }
    }

    /// Consumers may begin first: they are not refused, but the log says what is missing.
    @Test func consumersWaitForRunAndTheLogSaysSo() throws {
        try Simulation.run { simulation in
            let server = FakeServer(simulation)
            defer { server.dismiss() }
            let said = Mutex<[String]>([])
            var configuration = WebSocketSessionConfiguration()
            configuration.logger = LogEntry.logger { entry in
                if entry.message.contains("run()") { said.withLock { $0.append(entry.message) } }
            }
            configuration.outboundQueue = 10
            let session = WebSocketSession(
                configuration: configuration, clock: simulation, seed: 0, name: "ws://fake.test/", open: server.open)
            // Kept, and told about in the statistics.
            try await session.send("kept")
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        let message = try await session.receive()
                        #expect(message == .text("hello"))
                    }
                }
                await simulation.pass(.seconds(3))
                #expect(said.withLock(\.count) == 1)
                group.addTask { try await session.run() }
                try await session.connect()
                for _ in 0..<2 { server.last.say("hello") }
                try await group.next()
                try await group.next()
                #expect(server.last.texts == ["kept"])
                await session.shutDown()
                try await group.waitForAll()
            }
        }
    }

    @Test func givingUpLeavesASessionThatConnectRevives() throws {
        let refusal = WebSocketError(
            .handshakeRejected, "the server answered 503", response: .init(status: 503, headers: [:]))
        try withFakeSession({ configuration in
            configuration.reconnect.strategy = .fixed(.seconds(1))
            configuration.reconnect.maximumAttempts = 1
        }) { fixture in
            let session = fixture.session
            try await fixture.untilConnected()
            fixture.server.answer(.refuse(refusal))
            fixture.server.last.close(.goingAway)
            let error = try await webSocketFailure { try await fixture.drainEvents() }
            #expect(error.code == .reconnectFailed && error.attempts == 1)
            #expect(error.sessionCause == refusal && error.response?.status == 503)
            #expect(error.message.contains("after 1 attempt to"), "\(error)")
            #expect(session.failure == error && session.isRunning)
            #expect(session.state == .disconnected && session.isRecoverable && !session.isShutdown)
            for other in [
                try await webSocketFailure { try await session.receive() },
                try await webSocketFailure { try await session.send("lost") },
            ] {
                #expect(other == error)
            }
            #expect(await session.waitConnected() == false)
            try await session.connect()
            #expect(session.isConnected && session.failure == nil)
            fixture.server.last.say("back")
            #expect(try await session.receive() == .text("back"))
        }
    }

    @Test func severalEndpointsAreTriedAtOnceAndThenByThePolicy() throws {
        let refusal = WebSocketError(.connectFailed, "nobody listens")
        try withFakeSession(
            endpoints: 3,
            { $0.reconnect.strategy = .fixed(.seconds(10)) }
        ) { fixture in
            fixture.server.answer(.refuse(refusal), .refuse(refusal), .refuse(refusal), .refuse(refusal))
            try await fixture.untilConnected()
            #expect(fixture.server.details.map(\.endpoint) == [0, 1, 2, 0, 1])
            let times = fixture.server.attempts
            #expect(times[2] - times[0] < .seconds(1) && times[3] - times[2] >= .seconds(10))
            // It closed: it is asked again. It vanished: the next one is.
            fixture.server.last.close(.goingAway)
            try await fixture.untilConnected(2)
            fixture.server.last.cut()
            try await fixture.untilConnected(3)
            #expect(fixture.server.details.map(\.endpoint).suffix(2) == [1, 2])
            #expect(fixture.server.details.last?.isReconnect == true)
        }
    }

    /// A renewal goes where the connection is, and from there on as an attempt does. What it finds out moves the connection
    /// only if it comes through.
    @Test func aRenewalTriesTheNextEndpoint() throws {
        let dead = WebSocketError(.connectFailed, "nobody listens")
        let busy = WebSocketError(
            .handshakeRejected, "the server answered 503", response: .init(status: 503, headers: [.retryAfter: "3600"]))
        try withFakeSession(endpoints: 3, { $0.reconnect.strategy = .fixed(.seconds(10)) }) { fixture in
            func endpoints() -> [Int] { fixture.server.details.map(\.endpoint) }
            try await fixture.untilConnected()
            fixture.server.answer(.refuse(dead))
            try fixture.session.renew()
            try await fixture.until("renewed elsewhere") { fixture.session.statistics.renewals == 1 }
            #expect(endpoints() == [0, 0, 1])

            fixture.server.answer(.refuse(dead), .refuse(dead), .refuse(dead))
            try fixture.session.renew()
            try await fixture.until("failed everywhere") { fixture.server.attempts.count == 6 }
            #expect(endpoints().suffix(3) == [1, 2, 0])
            await fixture.simulation.pass(.seconds(1))
            #expect(fixture.session.isConnected && fixture.session.statistics.renewals == 1)
            // It closed: it is asked again.
            fixture.server.last.close(.goingAway)
            try await fixture.untilConnected(3)
            #expect(endpoints().last == 1)

            fixture.server.answer(.refuse(busy), .refuse(dead))
            try fixture.session.renew()
            try await fixture.until("renewed at the third") { fixture.session.statistics.renewals == 2 }
            #expect(endpoints().suffix(3) == [1, 2, 0])
            fixture.server.answer(.refuse(dead), .refuse(dead))
            try fixture.session.renew()
            try await fixture.until("failed at all but the busy one") { fixture.server.attempts.count == 12 }
            await fixture.simulation.pass(.seconds(1))
            #expect(endpoints().suffix(2) == [0, 2] && fixture.session.isConnected)
        }
    }

    @Test func anEndpointWherePreparingFailsIsLeft() throws {
        let failures = Mutex(2)
        try withFakeSession(
            seeds: 0..<1, endpoints: 2,
            { configuration in
                configuration.reconnect.strategy = .fixed(.seconds(1))
                configuration.prepare = { _ in
                    let fails = failures.withLock { left in
                        left -= 1
                        return left >= 0
                    }
                    if fails { throw WebSocketError(.timedOut, "the login is not answered") }
                }
            }
        ) { fixture in
            try await fixture.untilConnected()
            #expect(fixture.server.details.map(\.endpoint) == [0, 1, 0])
            failures.withLock { $0 = 1 }
            try fixture.session.renew()
            try await fixture.until("renewed") { fixture.session.statistics.renewals == 1 }
            #expect(fixture.server.details.map(\.endpoint).suffix(2) == [0, 1])
        }
    }

    /// As a number, and as a date of a server that does not say what time it has.
    @Test(arguments: ["100", "Fri, 31 Dec 9999 23:59:59 GMT"])
    func anEndpointThatAskedForTimeIsPassedOver(retryAfter: String) throws {
        let busy = WebSocketError(
            .handshakeRejected, "the server answered 503",
            response: .init(status: 503, headers: [.retryAfter: retryAfter]))
        let dead = WebSocketError(.connectFailed, "nobody listens")
        try withFakeSession(
            endpoints: 2,
            { $0.reconnect.strategy = .fixed(.seconds(10)) }
        ) { fixture in
            fixture.server.answer(.refuse(busy), .refuse(dead), .refuse(dead), .refuse(dead))
            try await fixture.untilConnected()
            #expect(fixture.server.details.map(\.endpoint) == [0, 1, 1, 1, 1])
            #expect(fixture.simulation.elapsed < .seconds(60))
        }
    }

    @Test func aWatchdogForSilenceIsOneOption() throws {
        try withFakeSession({ configuration in
            configuration.silenceTimeout = .seconds(2)
            configuration.reconnect.strategy = .fixed(.zero)
            configuration.answer = { $0 == .text("ping") ? .text("pong") : nil }
        }) { fixture in
            try await fixture.untilConnected()
            for _ in 0..<4 {
                await fixture.simulation.pass(.seconds(1))
                fixture.server.last.say("data")
            }
            #expect(fixture.session.statistics.connects == 1)
            // Heartbeats are no messages, and a dead peer's end is not waited for.
            fixture.server.last.setAnswersClose(false)
            for _ in 0..<3 {
                await fixture.simulation.pass(.milliseconds(800))
                fixture.server.connections[0].say("ping")
            }
            try await fixture.untilConnected(2)
            #expect(fixture.session.lastDisconnect?.reason == .silence)
            #expect(fixture.session.statistics.reactiveDisconnects == 1)
        }
    }

    // MARK: Before all answers are in

    @Test func messagesFlowBeforeAllAnswersAreIn() throws {
        try withFakeSession({ Self.coded(&$0) }) { fixture in
            fixture.server.onConnect { $0.say("data") }
            try await fixture.session.subscribe("slow")
            #expect(try await fixture.session.receive(timeout: .seconds(1)) == .text("data"))
            try await fixture.session.send("answered")
            #expect(!fixture.session.isSubscribed("slow"))
            fixture.server.last.say("ok slow")
            try await fixture.session.waitSubscribed(timeout: .seconds(1))
            #expect(fixture.session.isSubscribed("slow"))
        }
    }

    @Test(arguments: WebSocketSubscriptionDelivery.allCases)
    func heartbeatsAreAnsweredAtAnyTime(delivery: WebSocketSubscriptionDelivery) throws {
        try withFakeSession({ configuration in
            Self.coded(&configuration)
            configuration.subscriptions.delivery = delivery
            configuration.answer = { $0 == .text("ping") ? .text("pong") : nil }
            configuration.prepare = { preparation in
                while try await preparation.receive() != .text("welcome") {}
            }
        }) { fixture in
            @Sendable func pongs() -> Int { fixture.server.last.texts.count { $0 == "pong" } }
            fixture.server.onConnect { $0.say("ping") }
            try await fixture.session.subscribe("a")
            // While the hook waits, while answers are awaited, and while a new connection is prepared.
            try await fixture.until("in the hook") { fixture.server.connections.count == 1 && pongs() == 1 }
            fixture.server.last.say("welcome", "ping")
            try await fixture.until("while subscribing") { pongs() == 2 }
            fixture.server.last.say("ok a")
            try await fixture.untilConnected()
            try fixture.session.renew()
            try await fixture.until("in a renewal") { fixture.server.connections.count == 2 && pongs() == 1 }
            fixture.server.last.say("welcome", "ping")
            try await fixture.until("in a renewal, subscribing") { pongs() == 2 }
            fixture.server.last.say("ok a")
            try await fixture.until("renewed") { fixture.session.statistics.renewals == 1 }
            try await fixture.session.send("last")
            try await fixture.until("written") { fixture.session.statistics.messagesPending == 0 }
        }
    }

    @Test func everyRefusedChannelIsNamed() throws {
        try withFakeSession({ configuration in
            Self.coded(&configuration)
            configuration.subscriptions.attempts = 1
        }) { fixture in
            fixture.server.onMessage(Self.acknowledge)
            try await fixture.untilConnected()
            try await fixture.session.subscribe("a", "bad1", "bad2", "bad3")
            let error = try await webSocketFailure { try await fixture.session.waitSubscribed() }
            #expect(error.code == .subscriptionRefused)
            for channel in ["bad1", "bad2", "bad3"] {
                #expect(error.message.contains("\(channel) (unknown)"), "\(error)")
            }
            try await fixture.session.waitSubscribed(["a"])
            await fixture.session.shutDown()
            let answers = try await fixture.drainEvents().compactMap { event -> WebSocketSubscriptionReply? in
                if case .subscription(let reply) = event { reply } else { nil }
            }
            // The server answers in an order of its own.
            let wanted: [WebSocketSubscriptionReply] = [
                .accepted("a"), .rejected("bad1", reason: "unknown"), .rejected("bad2", reason: "unknown"),
                .rejected("bad3", reason: "unknown"),
            ]
            #expect(answers.map { "\($0)" }.sorted() == wanted.map { "\($0)" }.sorted())
        }
    }

    @Test func channelsGoInBatchesAndAtAPace() throws {
        try withFakeSession({ configuration in
            Self.coded(&configuration)
            configuration.subscriptions.subscribeBatch = { .text("sub \($0.joined(separator: ","))") }
            configuration.subscriptions.batchSize = 4
            configuration.subscriptions.interval = .milliseconds(200)
        }) { fixture in
            fixture.server.onMessage(Self.acknowledge)
            try await fixture.session.subscribe((0..<10).map { "c\($0)" })
            let before = fixture.simulation.elapsed
            try await fixture.session.waitSubscribed(timeout: .seconds(10))
            #expect(fixture.simulation.elapsed - before >= .milliseconds(400))
            #expect(fixture.server.last.texts == ["sub c0,c1,c2,c3", "sub c4,c5,c6,c7", "sub c8,c9"])
        }
    }

    @Test func theAnswerToAnUnsubscribeIsNotDelivered() throws {
        try withFakeSession({ Self.coded(&$0) }) { fixture in
            fixture.server.onMessage(Self.acknowledge)
            try await fixture.session.subscribe("a")
            try await fixture.untilConnected()
            try await fixture.session.waitSubscribed()
            try await fixture.session.unsubscribe("a")
            await fixture.simulation.pass(.seconds(1))
            fixture.server.last.say("data")
            #expect(try await fixture.session.receive() == .text("data"))
        }
    }

    // MARK: Nothing is lost in silence

    @Test(arguments: [false, true]) func aConnectionThatEndsWhileItIsPreparedLosesNothing(sends: Bool) throws {
        try withFakeSession(
            seeds: 0..<30,
            { configuration in
                Self.coded(&configuration)
                configuration.subscriptions.delivery = .afterAnswers
                configuration.reconnect.strategy = .fixed(.seconds(1))
                configuration.prepare = { preparation in
                    if sends { return try await preparation.send("log in") }
                    while try await preparation.receive() != .text("welcome") {}
                }
            }
        ) { fixture in
            try await fixture.session.subscribe("a")
            fixture.server.onConnect { connection in
                connection.say("welcome", "1", "2")
                connection.close(.goingAway, "moving")
            }
            if sends { #expect(try await fixture.session.receive() == .text("welcome")) }
            #expect(try await fixture.session.receive() == .text("1"))
            #expect(try await fixture.session.receive() == .text("2"))
            try await fixture.until("noticed") { fixture.session.lastDisconnect != nil }
            // It was the server, not the hook, whatever came first.
            #expect(fixture.session.lastDisconnect?.reason == .serverClosed)
        }
    }

    @Test func whatAHookDoesNotReadOfALostConnectionIsCounted() throws {
        try withFakeSession({ configuration in
            configuration.reconnect.strategy = .fixed(.seconds(1))
            configuration.prepare = { preparation in
                guard preparation.lastDisconnect == nil else { return }
                _ = try await preparation.receive()
                throw WebSocketError(.handshakeRejected, "log in first")
            }
        }) { fixture in
            fixture.server.onConnect { $0.say("welcome", "1", "2") }
            try await fixture.untilConnected()
            for text in ["welcome", "1", "2"] { #expect(try await fixture.session.receive() == .text(text)) }
            let statistics = fixture.session.statistics
            #expect(statistics.messagesDiscarded == 2 && statistics.messagesReceived == 6)
        }
    }

    @Test func gapsOfBothCausesAreCounted() throws {
        try withFakeSession({ configuration in
            configuration.inboundMessages = 1
            configuration.overflow = .dropOldest
        }) { fixture in
            try await fixture.untilConnected()
            for number in 0..<16 { fixture.server.last.push(.text("\(number)")) }
            await fixture.simulation.pass(.seconds(1))
            let statistics = fixture.session.statistics
            #expect(statistics.messagesDropped == 15 && statistics.gaps == 1)
            #expect(statistics.latency == .milliseconds(1))
        }
    }

    @Test func theServersReasonIsInTheEventAndNotInTheLog() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            fixture.server.last.close(.policyViolation, "token abc of user 7 expired")
            try await fixture.untilConnected(2)
            #expect(fixture.session.lastDisconnect?.closeInfo?.reason == "token abc of user 7 expired")
            await fixture.session.shutDown()
            let alerts = try await fixture.drainEvents().compactMap { event -> String? in
                if case .alert(let alert) = event { alert.message } else { nil }
            }
            #expect(alerts.count == 1 && alerts[0].contains("1008") && !alerts[0].contains("abc"), "\(alerts)")
        }
    }

    // MARK: Requests

    @Test func requestsGetTheirRepliesOverReconnects() throws {
        try withFakeSession({ configuration in
            configuration.outboundQueue = 10
            configuration.reconnect.strategy = .fixed(.seconds(1))
        }) { fixture in
            let session = fixture.session
            try await fixture.untilConnected()
            let replies = try await withThrowingTaskGroup(of: (String, Result<WebSocketMessage, WebSocketError>).self) {
                group in
                for (name, isIdempotent) in [("order", false), ("query", true)] {
                    group.addTask {
                        do throws(WebSocketError) {
                            return (
                                name,
                                .success(
                                    try await session.request(.text(name), isIdempotent: isIdempotent) {
                                        $0 == .text("re \(name)")
                                    })
                            )
                        } catch {
                            return (name, .failure(error))
                        }
                    }
                }
                try await fixture.until("sent") { session.statistics.messagesWritten == 2 }
                fixture.server.last.say("other")
                #expect(try await session.receive() == .text("other"))
                fixture.server.last.close(.goingAway)
                try await fixture.untilConnected(2)
                try await fixture.until("sent again") { fixture.server.last.texts == ["query"] }
                fixture.server.last.say("re query")
                return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
            }
            #expect(replies["query"] == .success(.text("re query")))
            guard case .failure(let error) = replies["order"] else {
                Issue.record("an order was answered")
                return
            }
            #expect(error.code == .connectionClosed && error.closeInfo?.code == .goingAway)
            let late = try await webSocketFailure {
                try await session.request("slow", timeout: .seconds(2)) { _ in false }
            }
            #expect(late.code == .timedOut && late.phase == .receive)
        }
    }

    // MARK: Smaller ones

    @Test func messagesGoOnAfterADisconnect() throws {
        try withFakeSession { fixture in
            let session = fixture.session
            try await fixture.untilConnected()
            async let next = session.receive(timeout: .seconds(100))
            try await session.disconnect(reason: "between candles")
            #expect(fixture.server.last.closeFrame?.reason == "between candles")
            #expect(session.state == .disconnected)
            try session.scheduleReconnect(after: .seconds(5))
            try await fixture.untilConnected(2)
            fixture.server.last.say("later")
            #expect(try await next == .text("later"))
            let error = try await webSocketFailure { try await session.receive(timeout: .seconds(1)) }
            #expect(error.code == .timedOut && error.phase == .receive)
            #expect(await session.waitForReconnectWindow { _ in .now })
            #expect(await session.waitForReconnectWindow { _ in .never } == false)
        }
    }
}
