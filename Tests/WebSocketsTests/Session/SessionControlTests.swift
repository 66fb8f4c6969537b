//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketCore

@testable import WebSockets

/// When a session is connected, why it ends, and what ends it.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct SessionControlTests {
    // MARK: Reasons

    @Test(arguments: WebSocketDisconnectReason.allCases)
    func everyReasonIsReallyEmitted(reason: WebSocketDisconnectReason) throws {
        try withFakeSession(
            seeds: 0..<4,
            { configuration in
                configuration.reconnect.strategy = .fixed(.seconds(1))
                configuration.shouldReconnect = { _ in .now }
                switch reason {
                case .callbackTriggered: configuration.shouldDisconnect = { _ in true }
                case .connectionLimit: configuration.maximumConnectionAge = .seconds(100)
                case .silence: configuration.silenceTimeout = .seconds(20)
                case .preparationFailed:
                    configuration.prepare = { preparation in
                        if preparation.lastDisconnect == nil {
                            throw WebSocketError(.handshakeRejected, "log in first")
                        }
                    }
                case .overflow:
                    configuration.overflow = .disconnect
                    configuration.inboundMessages = 1
                default: break
                }
            }
        ) { fixture in
            if reason != .preparationFailed { try await fixture.untilConnected() }
            switch reason {
            case .userRequested: try await fixture.session.disconnect(reconnectAfter: .seconds(1))
            case .scheduled: try fixture.session.scheduleDisconnect(after: .seconds(7))
            case .serverClosed: fixture.server.last.close(.goingAway, "restart")
            case .networkError: fixture.server.last.cut()
            case .pingTimeout: fixture.server.last.cut(.pingTimeout)
            case .protocolError: fixture.server.last.cut(.peerViolation)
            case .killed: await fixture.session.kill()
            case .overflow: fixture.server.last.say("a", "b")
            case .callbackTriggered, .connectionLimit, .preparationFailed, .silence: break
            }
            try await fixture.until("ended") { fixture.session.lastDisconnect != nil }
            let end = try #require(fixture.session.lastDisconnect)
            #expect(end.reason == reason)
            #expect(fixture.session.statistics.proactiveDisconnects == (reason.isProactive ? 1 : 0))
            if reason == .serverClosed { #expect(end.closeInfo?.received?.reason == "restart") }
            if reason == .preparationFailed { #expect(end.error?.message == "log in first") }
            try await fixture.until("back") { fixture.session.state == .connected }
        }
    }

    // MARK: Proactive

    @Test func shouldDisconnectIsAskedAgainAndAgain() throws {
        struct Failure: Error {}
        let answers = Mutex<[Duration]>([])
        try withFakeSession({ configuration in
            configuration.disconnectCheckInterval = .seconds(10)
            configuration.shouldDisconnect = { snapshot in
                let count = answers.withLock { answers in
                    answers.append(snapshot.statistics.uptime)
                    return answers.count
                }
                if count == 1 { throw Failure() }
                return count == 3
            }
        }) { fixture in
            answers.withLock { $0 = [] }
            try await fixture.untilConnected()
            await fixture.simulation.pass(.seconds(60))
            // Without `shouldReconnect` it stays disconnected.
            #expect(fixture.session.state == .disconnected)
            #expect(fixture.session.isDead && fixture.session.isRecoverable && !fixture.session.isShutdown)
            #expect(fixture.session.lastDisconnect?.reason == .callbackTriggered)
            let times = answers.withLock { $0 }
            #expect(times.count == 3)
            #expect(zip(times.dropFirst(), times).allSatisfy { $0 - $1 >= .seconds(10) })
            await fixture.session.shutDown()
            let alerts = try await fixture.drainEvents().compactMap { event -> WebSocketSessionAlert? in
                if case .alert(let alert) = event { alert } else { nil }
            }
            #expect(alerts.map(\.kind) == [.callbackFailed])
        }
    }

    @Test func shouldReconnectDecidesWhen() throws {
        let script = Mutex<[WebSocketReconnectWindow]>([])
        let asked = Mutex(0)
        try withFakeSession({ configuration in
            configuration.reconnectCheckInterval = .seconds(5)
            configuration.shouldReconnect = { _ in
                asked.withLock { $0 += 1 }
                return script.withLock { $0.isEmpty ? .never : $0.removeFirst() }
            }
        }) { fixture in
            script.withLock { $0 = [.notYet, .notYet, .after(.seconds(30))] }
            asked.withLock { $0 = 0 }
            try await fixture.untilConnected()
            let before = fixture.simulation.elapsed
            try await fixture.session.disconnect()
            #expect(fixture.session.state == .reconnecting)
            try await fixture.untilConnected(2)
            // Two intervals and the wait, and nobody was asked after it.
            #expect(fixture.simulation.elapsed - before >= .seconds(40))
            #expect(asked.withLock { $0 } == 3)
            try await fixture.session.disconnect()
            try await fixture.until("rested") { fixture.session.state == .disconnected }
            #expect(fixture.server.attempts.count == 2)
            let error = try await webSocketFailure { try await fixture.session.receive() }
            #expect(error.code == .connectionClosed)
        }
    }

    @Test func callbackControlledAsksAlsoAfterAFailure() throws {
        let isOpen = Mutex(false)
        try withFakeSession({ configuration in
            configuration.reconnect.strategy = .callbackControlled
            configuration.shouldReconnect = { _ in isOpen.withLock { $0 } ? .now : .notYet }
        }) { fixture in
            isOpen.withLock { $0 = false }
            try await fixture.untilConnected()
            fixture.server.last.cut()
            await fixture.simulation.pass(.seconds(100))
            #expect(fixture.session.state == .reconnecting)
            #expect(fixture.server.attempts.count == 1)
            isOpen.withLock { $0 = true }
            try await fixture.untilConnected(2)
        }
    }

    @Test func waitingForTheReconnectWindowConnectsNothing() throws {
        let script = Mutex<[WebSocketReconnectWindow]>([])
        try withFakeSession({
            $0.shouldReconnect = { _ in script.withLock { $0.isEmpty ? .notYet : $0.removeFirst() } }
        }) {
            fixture in
            try await fixture.untilConnected()
            try await fixture.session.close()
            script.withLock { $0 = [.notYet, .after(.seconds(3)), .now] }
            #expect(await fixture.session.waitForReconnectWindow(timeout: .seconds(60)))
            #expect(await fixture.session.waitForReconnectWindow(timeout: .seconds(60)) == false)
            script.withLock { $0 = [.never] }
            #expect(await fixture.session.waitForReconnectWindow() == false)
            #expect(fixture.server.attempts.count == 1)
            #expect(fixture.session.state == .disconnected)
        }
        try withFakeSession(seeds: 0..<1) { #expect(await $0.session.waitForReconnectWindow() == false) }
    }

    @Test func aRequestedReconnectComesInItsTime() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            let before = fixture.simulation.elapsed
            try await fixture.session.disconnect(reconnectAfter: .seconds(90))
            // The call does not wait for the reconnect.
            #expect(fixture.simulation.elapsed - before < .seconds(1))
            #expect(fixture.server.connections[0].closeFrame?.code == .normalClosure)
            try await fixture.untilConnected(2)
            #expect(fixture.simulation.elapsed - before >= .seconds(90))
            let error = try await webSocketFailure {
                try await fixture.session.close()
                try await fixture.session.disconnect()
            }
            #expect(error.code == .notConnected)
        }
    }

    // MARK: Ending

    enum Ending: CaseIterable { case close, shutdown, abort, kill, cancel }
    enum Moment: CaseIterable { case connecting, preparing, connected, waiting, asking, closing, renewing }

    /// S5: every way to end, at every moment, ends in time.
    @Test(arguments: Ending.allCases, Moment.allCases)
    func everyWayToEndAtEveryMomentEndsInTime(ending: Ending, moment: Moment) throws {
        try withFakeSession(
            seeds: 0..<5,
            { configuration in
                configuration.reconnect.strategy = .fixed(.seconds(100))
                if moment == .asking { configuration.shouldReconnect = { _ in .notYet } }
                if moment == .preparing {
                    configuration.preparationTimeout = .seconds(300)
                    configuration.prepare = { _ = try await $0.receive() }
                }
            }
        ) { fixture in
            let session = fixture.session
            if moment == .connecting { fixture.server.answer(otherwise: .hang) }
            switch moment {
            case .connecting: try await fixture.until("attempt") { fixture.server.attempts.count == 1 }
            case .preparing: try await fixture.until("open") { fixture.server.connections.count == 1 }
            case .connected: try await fixture.untilConnected()
            case .waiting:
                try await fixture.untilConnected()
                fixture.server.last.cut()
                try await fixture.until("waiting") { session.state == .reconnecting }
            case .asking:
                try await fixture.untilConnected()
                try await session.disconnect()
                try await fixture.until("asking") { session.state == .reconnecting }
            case .closing:
                try await fixture.untilConnected()
                fixture.server.last.setAnswersClose(false)
                session.core.perform { $0.close(WebSocketCloseFrame(code: .normalClosure), at: $1) }
                #expect(session.state == .closing)
            case .renewing:
                try await fixture.untilConnected()
                fixture.server.answer(otherwise: .hang)
                try session.renew()
                await fixture.simulation.pass(.milliseconds(100))
            }
            let before = fixture.simulation.elapsed
            switch ending {
            case .close: try await session.close()
            case .shutdown: await session.shutDown()
            case .abort: await session.abort()
            case .kill: await session.kill()
            case .cancel:
                await withTaskGroup { group in
                    group.addTask { await session.shutDown() }
                    group.cancelAll()
                }
            }
            #expect(fixture.simulation.elapsed - before <= .seconds(11))
            switch ending {
            case .close: #expect(session.state == .disconnected)
            case .shutdown, .abort, .cancel:
                #expect(session.state == .closed)
                #expect(session.isShutdown && session.isDead && !session.isRecoverable)
            case .kill: #expect(session.state != .closing)
            }
            if ending != .kill {
                let attempts = fixture.server.attempts.count
                await fixture.simulation.pass(.seconds(1_000))
                #expect(fixture.server.attempts.count == attempts, "something came back")
            }
        }
    }

    @Test func cancellingRunEndsEverything() throws {
        try Simulation.run { simulation in
            let server = FakeServer(simulation)
            defer { server.dismiss() }
            let session = WebSocketSession(
                configuration: .init(), clock: simulation, seed: 0, name: "ws://fake.test/", open: server.open)
            try await withThrowingTaskGroup { group in
                group.addTask { try await session.run() }
                #expect(await session.waitConnected())
                group.cancelAll()
                try await group.waitForAll()
            }
            #expect(session.state == .closed)
            #expect(server.last.wasAborted)
        }
    }

    @Test func aSessionThatNeverRanCanBeShutDown() throws {
        try Simulation.run { simulation in
            let server = FakeServer(simulation)
            defer { server.dismiss() }
            let session = WebSocketSession(
                configuration: .init(), clock: simulation, seed: 0, name: "ws://fake.test/", open: server.open)
            await session.shutDown()
            #expect(session.state == .closed)
            try await session.run()
            let error = try await webSocketFailure { try await session.connect() }
            #expect(error.code == .connectionClosed)
            #expect(server.attempts.isEmpty)
        }
    }

    @Test func anErrorThatWouldComeAgainEndsTheSessionAtOnce() throws {
        let refusal = WebSocketError(
            .handshakeRejected, "the server answered 404", response: .init(status: 404, headers: [:]))
        try withFakeSession(expectsFailure: true) { fixture in
            fixture.server.answer(otherwise: .refuse(refusal))
            let error = try await webSocketFailure { try await fixture.session.connect() }
            #expect(error.code == .handshakeRejected)
            #expect(fixture.server.attempts.count == 1)
        }
    }

    /// A gateway restarts, a certificate is renewed late, a file is being written: the session lives on, and says so.
    @Test(arguments: [
        WebSocketError(.handshakeRejected, "the server answered 404", response: .init(status: 404, headers: [:])),
        WebSocketError(.tlsFailed, "the certificate has expired", phase: .tls, tlsFailure: .expired),
        WebSocketError(.invalidConfiguration, "tls.trust: the file “ca.pem” cannot be read: No such file or directory"),
    ]) func onceConnectedAFaultThatPassesEndsNothing(_ fault: WebSocketError) throws {
        try withFakeSession({ $0.reconnect.strategy = .fixed(.milliseconds(300)) }) { fixture in
            try await fixture.untilConnected()
            fixture.server.answer(.refuse(fault), .refuse(fault))
            let before = fixture.simulation.elapsed
            fixture.server.last.close(.goingAway)
            try await fixture.untilConnected(2)
            #expect(fixture.simulation.elapsed - before < .seconds(2))
            await fixture.session.shutDown()
            let alerts = try await fixture.drainEvents().compactMap { event -> WebSocketSessionAlert? in
                if case .alert(let alert) = event, alert.kind == .attemptFailed { alert } else { nil }
            }
            // The second one is held back, and its count is told at the end.
            #expect(alerts.map(\.suppressed) == [0, 1])
            #expect(alerts.allSatisfy { $0.message.contains(fault.message) }, "\(alerts)")
        }
    }

    @Test func withoutReconnectingTheSessionRests() throws {
        try withFakeSession({ $0.reconnectsAutomatically = false }) { fixture in
            try await fixture.untilConnected()
            fixture.server.last.close(.internalError, "oops")
            let error = try await webSocketFailure { try await fixture.session.receive() }
            #expect(error.code == .connectionClosed)
            #expect(error.closeInfo?.code == .internalError)
            #expect(fixture.session.isRecoverable)
            try await fixture.session.connect()
            #expect(fixture.session.isConnected)
        }
    }

    // MARK: Waiting

    @Test func waitingHasDeadlines() throws {
        try withFakeSession { fixture in
            #expect(await fixture.session.waitConnected(timeout: .seconds(5)))
            #expect(await fixture.session.waitDisconnected(timeout: .seconds(5)) == false)
            let timedOut = try await webSocketFailure { try await fixture.session.receive(timeout: .seconds(5)) }
            #expect(timedOut.code == .timedOut)
            try await fixture.session.close()
            #expect(await fixture.session.waitDisconnected(timeout: .zero))
            #expect(await fixture.session.waitConnected(timeout: .seconds(5)) == false)
            await fixture.session.shutDown()
            #expect(await fixture.session.waitDisconnected())
            #expect(await fixture.session.waitConnected() == false)
        }
    }

    @Test func aCancelledReceiveTakesNoMessage() throws {
        try withFakeSession(seeds: 0..<50) { fixture in
            try await fixture.untilConnected()
            let first: WebSocketMessage? = await withTaskGroup(of: WebSocketMessage?.self) { group in
                group.addTask { try? await fixture.session.receive() }
                group.addTask {
                    fixture.server.last.say("one")
                    return nil
                }
                group.cancelAll()
                return await group.reduce(nil) { $0 ?? $1 }
            }
            if first == nil { #expect(try await fixture.session.receive() == .text("one")) }
            #expect(first == nil || first == .text("one"))
        }
    }

    /// S6: a clock that leaps fires nothing early and everything once.
    @Test func aClockThatLeapsFiresNothingEarlyAndEverythingOnce() throws {
        try withFakeSession({ configuration in
            configuration.maximumConnectionAge = .seconds(3_600)
            configuration.disconnectMargin = .seconds(60)
        }) { fixture in
            await fixture.simulation.pass(.seconds(1_000))
            try await fixture.untilConnected()
            let age = try #require(fixture.session.connectionDuration)
            #expect(age <= .seconds(1_001))
            await fixture.simulation.pass(.seconds(3_530) - age)
            #expect(fixture.session.statistics.connects == 1)
            await fixture.simulation.pass(.seconds(3_600))
            #expect(fixture.session.statistics.connects == 3)
            #expect(fixture.session.statistics.failedAttempts == 0)
        }
    }

    /// S6: after an hour of sleep everything that was due happens once.
    @Test(arguments: [0, 3_600, 86_400])
    func afterAnHourOfSleepEverythingThatWasDueHappensOnce(slept: Int) throws {
        let asked = Mutex(0)
        try withFakeSession(
            seeds: 0..<5,
            { configuration in
                configuration.disconnectCheckInterval = .seconds(10)
                configuration.outboundQueue = 10
                configuration.shouldDisconnect = { _ in
                    asked.withLock { $0 += 1 }
                    return false
                }
            }
        ) { fixture in
            asked.withLock { $0 = 0 }
            // The clock starts anywhere, and leaps before the session has begun to look at it.
            fixture.simulation.leap(.seconds(1_000))
            try await fixture.untilConnected()
            await fixture.simulation.pass(.seconds(25))
            #expect(asked.withLock { $0 } == 2)
            #expect(fixture.session.connectionDuration.map { $0 < .seconds(30) } == true)
            fixture.simulation.leap(.seconds(slept))
            await fixture.simulation.pass(.seconds(6))
            #expect(asked.withLock { $0 } == 3)
            await fixture.simulation.pass(.seconds(10))
            #expect(asked.withLock { $0 } == 4)
            #expect(fixture.server.attempts.count == 1 && fixture.session.isConnected)
            // Asleep while it waits to reconnect: one attempt, not one for each that would have been due.
            fixture.server.answer(.refuse(WebSocketError(.connectFailed, "down")))
            fixture.server.last.cut()
            try await fixture.until("waits") { fixture.session.state == .reconnecting }
            let outcome = Task(executorPreference: fixture.simulation) { [session = fixture.session] in
                try await session.sendConfirmed("kept", deadline: .seconds(1_000_000))
            }
            fixture.simulation.leap(.seconds(slept))
            try await fixture.untilConnected(2)
            #expect(fixture.server.attempts.count == 3)
            #expect(try await outcome.value == .written)
        }
    }

    @Test func presets() {
        func pings(_ configuration: WebSocketSessionConfiguration) -> [Duration?] {
            [configuration.client.options.keepAlive?.interval, configuration.client.options.keepAlive?.timeout]
        }
        #expect(pings(.init()) == [.seconds(20), .seconds(10)])
        let trading = WebSocketSessionConfiguration.trading
        #expect(pings(trading) == [.seconds(15), .seconds(10)])
        #expect(trading.reconnect.maximumAttempts == 20)
        #expect([trading.disconnectCheckInterval, trading.reconnectCheckInterval] == [.seconds(5), .seconds(2)])
        let monitoring = WebSocketSessionConfiguration.monitoring
        #expect(pings(monitoring) == [.seconds(30), .seconds(15)])
        #expect(monitoring.reconnect.maximumAttempts == 50)
        #expect(
            [monitoring.disconnectCheckInterval, monitoring.reconnectCheckInterval] == [.seconds(30), .seconds(10)])
        guard case .fullJitter(.milliseconds(500), .seconds(30)) = trading.reconnect.strategy,
            case .fullJitter(.seconds(5), .seconds(120)) = monitoring.reconnect.strategy
        else {
            Issue.record("\(trading.reconnect.strategy) \(monitoring.reconnect.strategy)")
            return
        }
    }

    @Test func theNameHasNoSecrets() throws {
        let session = try WebSocketSession(to: "wss://user:s3cret@fake.test/feed?token=s3cret&plain")
        #expect(session.url.contains("fake.test/feed") && !session.url.contains("s3cret"))
        let keyed = try WebSocketSession(to: "wss://fake.test/ws/pqia91ma19a5s61cv6a81va65sd")
        #expect(keyed.url == "wss://fake.test/ws/…")
    }

    @Test func whatIsOutOfRangeIsRefusedWithItsNameAndItsRange() throws {
        typealias Change = (inout WebSocketSessionConfiguration) -> Void
        let changes: [(String, Change)] = [
            ("client.options.keepAlive.interval", { $0.client.options.keepAlive = .init(interval: .zero) }),
            ("client.options.keepAlive.timeout", { $0.client.options.keepAlive?.timeout = .seconds(10_000) }),
            ("client.openTimeout", { $0.client.openTimeout = .zero }),
            ("disconnectCheckInterval", { $0.disconnectCheckInterval = .zero }),
            ("reconnectCheckInterval", { $0.reconnectCheckInterval = .seconds(10_000) }),
            ("disconnectMargin", { $0.disconnectMargin = .seconds(-1) }),
            ("maximumConnectionAge", { $0.maximumConnectionAge = .milliseconds(1) }),
            ("handoverTimeout", { $0.handoverTimeout = .seconds(61) }),
            ("silenceTimeout", { $0.silenceTimeout = .zero }),
            ("preparationTimeout", { $0.preparationTimeout = .zero }),
            ("subscriptions.replyTimeout", { $0.subscriptions.replyTimeout = .zero }),
            ("subscriptions.retryDelay", { $0.subscriptions.retryDelay = .seconds(-1) }),
            ("subscriptions.interval", { $0.subscriptions.interval = .seconds(-1) }),
            ("subscriptions.attempts", { $0.subscriptions.attempts = 0 }),
            ("subscriptions.batchSize", { $0.subscriptions.batchSize = 0 }),
            ("inboundMessages", { $0.inboundMessages = 0 }), ("inboundBytes", { $0.inboundBytes = 0 }),
            ("outboundQueue", { $0.outboundQueue = .max }),
            ("outboundDeadline", { $0.outboundDeadline = .seconds(-1) }),
            ("alertInterval", { $0.alertInterval = .seconds(-1) }),
            ("alertIntervals[.gaveUp]", { $0.alertIntervals = [.gaveUp: .seconds(-1)] }),
            ("reconnect.stableTime", { $0.reconnect.stableTime = .seconds(-1) }),
            ("reconnect.maximumAttempts", { $0.reconnect.maximumAttempts = -1 }),
            ("reconnect.strategy's delay", { $0.reconnect.strategy = .fixed(.seconds(-1)) }),
        ]
        for (name, change) in changes {
            var configuration = WebSocketSessionConfiguration()
            change(&configuration)
            let error = try #require(throws: WebSocketError.self) {
                _ = try WebSocketSession(to: "ws://fake.test", configuration: configuration)
            }
            #expect(error.code == .invalidConfiguration)
            #expect(error.message.hasPrefix("\(name) is ") && error.message.contains("..."), "\(error)")
        }
        for preset in [WebSocketSessionConfiguration.trading, .monitoring, .init()] { try preset.validate() }
    }

    @Test func limitsAreLowEnoughForTrading() throws {
        var configuration = WebSocketSessionConfiguration.trading
        configuration.client.options.keepAlive = .init(interval: .milliseconds(500), timeout: .milliseconds(400))
        configuration.client.openTimeout = .milliseconds(300)
        configuration.disconnectCheckInterval = .milliseconds(10)
        configuration.alertInterval = .zero
        configuration.maximumConnectionAge = .seconds(1)
        configuration.disconnectMargin = .zero
        let session = try WebSocketSession(to: "ws://fake.test", configuration: configuration)
        #expect(session.configuration.client.options.keepAlive?.interval == .milliseconds(500))
        #expect(session.configuration.client.openTimeout == .milliseconds(300))
    }
}
