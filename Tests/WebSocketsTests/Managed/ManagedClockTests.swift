//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// A managed connection's idleness, on a clock that a test moves.
@Suite(.timeLimit(.minutes(5)))
struct ManagedClockTests {
    @Test func idlenessFollowsTheClock() async throws {
        try await withLoopback(handler: echo) { loopback in
            let clock = WebSocketManualClock()
            let connection = try WebSocketManagedConnection(
                to: loopback.url, configuration: loopback.client, options: .init(idleTimeout: .seconds(30)),
                clock: clock)
            let ends = Events<WebSocketCloseInfo>()
            connection.onDisconnect { ends.send($0) }
            try await connection.acquire()
            // Busy connections are left alone.
            clock.advance(by: .seconds(3_600))
            try await connection.send("busy")
            #expect(try await connection.receive() == "busy")
            #expect(connection.idleDuration == .zero)
            connection.release()
            try await clock.waitForSleepers()
            clock.advance(by: .seconds(20))
            #expect(connection.idleDuration == .seconds(20))
            #expect(connection.endReason == nil)
            // Whoever uses it moves the moment.
            try await connection.ping()
            #expect(connection.idleDuration == .zero)
            clock.advance(by: .seconds(29))
            try await clock.waitForSleepers()
            #expect(connection.isConnected)
            clock.advance(by: .seconds(1))
            let info = try await ends.next()
            #expect(info.sent == WebSocketCloseFrame(code: .normalClosure, reason: "idle"))
            #expect(connection.endReason == .idleTimeout)
            #expect(clock.sleepers == 0)
            try await connection.close()
        }
    }

    @Test func theDefaultsAreThoseThatAreWritten() {
        let options = WebSocketManagedConnection.Options()
        #expect(options.idleTimeout == .seconds(30) && options.drain == nil)
        let drain = WebSocketManagedConnection.DrainPolicy()
        #expect(drain.timeout == .seconds(5) && drain.quietPeriod == .seconds(2))
        #expect(drain.shouldDiscard("data") && drain.shouldDiscard(""))
    }

    @Test func closingEndsTheSleep() async throws {
        try await withLoopback(handler: echo) { loopback in
            let clock = WebSocketManualClock()
            let connection = try WebSocketManagedConnection(
                to: loopback.url, configuration: loopback.client, clock: clock)
            try await connection.connect()
            try await clock.waitForSleepers()
            try await connection.close()
            try await until("nobody sleeps", on: loopback.loop) { clock.sleepers == 0 }
            #expect(connection.endReason == .closed)
        }
    }
}
