//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSocketCore

@testable import WebSockets

#if Metrics
import MetricsTestKit
import SimulationSupport
#endif

/// What the application gives to a session, and the session calls.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct SessionObserverTests {
    /// Lines of what it was told, and a look at the session each time: under the session's lock that would not return.
    private final class Recorder: WebSocketSessionObserver {
        private struct State {
            var lines: [String] = []
            var session: WebSocketSession?
        }
        private let state = Mutex(State())

        var lines: [String] { state.withLock { $0.lines } }
        func watch(_ session: WebSocketSession?) { state.withLock { $0.session = session } }

        func note(_ line: String) {
            let session = state.withLock { state in
                state.lines.append(line)
                return state.session
            }
            _ = session?.statistics
        }

        func stateChanged(from old: WebSocketSessionState, to new: WebSocketSessionState) { note("\(old) → \(new)") }
        func connected(isReconnect: Bool, after downtime: Duration?) {
            note("connected \(isReconnect) \(downtime.map { $0 >= .seconds(1) } ?? false)")
        }
        func renewed() { note("renewed") }
        func attemptFailed(_ error: WebSocketError) { note("failed \(error.code)") }
        func disconnected(_ end: WebSocketSessionDisconnect) { note("disconnected \(end.reason)") }
        func gapped(_ gap: WebSocketSessionGap) { note("gap") }
        func alerted(_ alert: WebSocketSessionAlert) { note("alert \(alert.kind)") }
        func messagesLost(_ count: Int) { note("lost \(count)") }
        func messageDropped() { note("dropped") }
    }

    /// Has no method of its own: the defaults do nothing.
    private struct Indifferent: WebSocketSessionObserver {}

    @Test func everythingIsTold() throws {
        let recorders = Mutex<[Recorder]>([])
        try withFakeSession(
            seeds: 0..<3,
            { configuration in
                let recorder = Recorder()
                recorders.withLock { $0.append(recorder) }
                configuration.observers = [Indifferent(), recorder]
                configuration.reconnect.strategy = .fixed(.seconds(1))
                configuration.inboundMessages = 1
                configuration.overflow = .dropNewest
            }
        ) { fixture in
            let recorder = recorders.withLock { $0.last! }
            recorder.watch(fixture.session)
            defer { recorder.watch(nil) }
            try await fixture.untilConnected()
            try fixture.session.renew()
            try await fixture.until("renewed") { recorder.lines.contains("renewed") }
            for _ in 0..<2 { fixture.server.last.say("more") }
            try await fixture.until("dropped") { recorder.lines.contains("dropped") }
            fixture.server.setWritesByItself(false)
            try fixture.session.renew()
            try await fixture.until("renewed again") { fixture.session.statistics.renewals == 2 }
            await fixture.simulation.pass(.seconds(10))
            try await fixture.session.send("into the dark")
            fixture.server.answer(.refuse(WebSocketError(.connectFailed, "nobody listens")))
            fixture.server.last.cut()
            try await fixture.until("connected again") { recorder.lines.contains("connected true true") }
            await fixture.session.shutDown()
            let lines = recorder.lines
            for line in [
                "connecting → connected", "connected → reconnecting", "reconnecting → connected",
                "connected → closing", "connected false false", "failed connectFailed", "disconnected networkError",
                "disconnected userRequested", "gap", "alert inboundOverflow", "alert disconnected", "lost 1",
                "alert messagesNotSent",
            ] {
                #expect(lines.contains(line), "\(line) is not in \(lines)")
            }
        }
        #expect(recorders.withLock { $0.count } == 3)
    }

    /// None of them runs under the session's lock, where a look at the session would never return.
    @Test func theApplicationsClosuresMayLookAtTheirSession() throws {
        let watched = Mutex<WebSocketSession?>(nil)
        let looks = Mutex<Set<String>>([])
        @Sendable func look(_ name: String) {
            guard let session = watched.withLock({ $0 }) else { return }
            _ = (session.statistics, session.state, session.subscriptions)
            looks.withLock { _ = $0.insert(name) }
        }
        try withFakeSession(
            seeds: 0..<3,
            { configuration in
                configuration.reconnect.strategy = .custom { _ in
                    look("custom")
                    return .seconds(1)
                }
                configuration.reconnect.decision = { cause in
                    look("decision")
                    return WebSocketReconnectPolicy.classify(cause)
                }
                configuration.messageIdentity = { message in
                    look("identity")
                    return message
                }
                configuration.subscriptions.reply = { message, _ in
                    look("reply")
                    guard case .text(let text) = message, text.hasPrefix("ok ") else { return nil }
                    return .accepted(String(text.dropFirst(3)))
                }
                configuration.subscriptions.subscribe = { channel in
                    look("subscribe")
                    return .text(channel)
                }
                configuration.subscriptions.unsubscribe = { channel in
                    look("unsubscribe")
                    return .text(channel)
                }
                configuration.prepare = { preparation in
                    look("prepare")
                    // The server greets each connection.
                    preparation.deliver(try await preparation.receive())
                }
                configuration.resume = { _ in
                    look("resume")
                    return true
                }
                configuration.shouldDisconnect = { _ in
                    look("shouldDisconnect")
                    return false
                }
            }
        ) { fixture in
            watched.withLock { $0 = fixture.session }
            defer { watched.withLock { $0 = nil } }
            fixture.server.onConnect { $0.say("welcome") }
            fixture.server.onMessage { connection, message in
                if case .text(let channel) = message { connection.say("ok \(channel)") }
            }
            try await fixture.session.subscribe("a", "b")
            try await fixture.untilConnected()
            fixture.server.last.say("old")
            try fixture.session.renew()
            try await fixture.until("renewed") { fixture.session.statistics.renewals == 1 }
            try await fixture.session.unsubscribe("b")
            await fixture.simulation.pass(.seconds(30))
            fixture.server.last.cut()
            try await fixture.untilConnected(3)
            let all: Set = [
                "custom", "decision", "identity", "reply", "subscribe", "unsubscribe", "prepare", "resume",
                "shouldDisconnect",
            ]
            #expect(looks.withLock { $0 } == all)
            looks.withLock { $0 = [] }
        }
    }

    #if Metrics
    @Test func metricsCount() throws {
        let all = Mutex<[TestMetrics]>([])
        try withFakeSession(
            seeds: 0..<1,
            { configuration in
                let metrics = TestMetrics()
                all.withLock { $0.append(metrics) }
                configuration.observers = [WebSocketSessionMetrics(label: "feed", factory: metrics)]
                configuration.reconnect.strategy = .fixed(.seconds(2))
            }
        ) { fixture in
            let metrics = all.withLock { $0[0] }
            try await fixture.untilConnected()
            #expect(try metrics.expectMeter("feed_connected").lastValue == 1)
            await fixture.simulation.pass(.seconds(10))
            fixture.server.answer(.refuse(WebSocketError(.timedOut, "slow")))
            fixture.server.last.cut()
            try await fixture.until("lost") { !fixture.session.isConnected }
            #expect(try metrics.expectMeter("feed_connected").lastValue == 0)
            try await fixture.untilConnected(2)
            try fixture.session.renew()
            try await fixture.until("renewed") { fixture.session.statistics.renewals == 1 }
            await fixture.simulation.pass(.seconds(1))
            await fixture.session.shutDown()
            func count(_ name: String, _ dimension: (String, String)) throws -> Int64 {
                try metrics.expectCounter("feed_\(name)", [dimension]).totalValue
            }
            #expect(try count("connects", ("kind", "first")) == 1)
            #expect(try count("connects", ("kind", "reconnect")) == 1)
            #expect(try count("connects", ("kind", "renewal")) == 1)
            #expect(try count("attempts_failed", ("code", "timedOut")) == 1)
            #expect(try count("disconnects", ("reason", "networkError")) == 1)
            #expect(try count("disconnects", ("reason", "userRequested")) == 1)
            #expect(try count("alerts", ("kind", "disconnected")) == 1)
            #expect(try metrics.expectCounter("feed_gaps").totalValue == 1)
            #expect(try metrics.expectMeter("feed_connected").lastValue == 0)
            // Nanoseconds: two attempts with two seconds before each.
            let downtime = try metrics.expectTimer("feed_downtime").values
            #expect(downtime.count == 1 && downtime[0] >= 4_000_000_000 && downtime[0] < 5_000_000_000)
            let lives = try metrics.expectTimer("feed_connected_for").values
            #expect(lives.count == 2 && lives[0] >= 10_000_000_000 && lives[0] < 11_000_000_000)
        }
    }
    #endif
}
