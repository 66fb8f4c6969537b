//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import LoopbackSupport
import SimulationSupport
import Synchronization
import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSockets

/// kstlib's `WebSocketManager` had these weaknesses; each test is named after one and fails if we have it too.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct SessionWeaknessTests {
    /// 1: a close with 1000 or 1001 is noticed.
    @Test(arguments: [1000, 1001] as [UInt16])
    func aCloseWith1000Or1001IsNoticed(code: UInt16) throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            let code = WebSocketCloseCode(rawValue: code)
            fixture.server.last.close(code, "bye")
            #expect(try await fixture.next() == .connected(isReconnect: false))
            guard case .disconnected(let end) = try await fixture.next() else {
                Issue.record("no disconnected event")
                return
            }
            #expect(end.reason == .serverClosed)
            #expect(end.closeInfo?.received?.code == code)
            #expect(end.closeInfo?.reason == "bye")
            guard case .gap = try await fixture.next() else {
                Issue.record("no gap before the new connection")
                return
            }
            #expect(try await fixture.next() == .connected(isReconnect: true))
            #expect(fixture.server.connections.count == 2)
        }
    }

    /// 2: bytes are sent as bytes.
    @Test func bytesAreSentAsBytes() throws {
        try withFakeSession(seeds: 0..<2) { fixture in
            try await fixture.untilConnected()
            try await fixture.session.send([1, 2])
            try await fixture.until("sent") { !fixture.server.last.received.isEmpty }
            #expect(fixture.server.last.received == [.binary([1, 2])])
        }
    }

    /// 3: a full queue stops reading instead of dropping.
    @Test func aFullQueueStopsReadingInsteadOfDropping() throws {
        try withFakeSession({ $0.inboundMessages = 5 }) { fixture in
            try await fixture.untilConnected()
            for number in 0..<20 { fixture.server.last.push(.text("\(number)")) }
            await fixture.simulation.pass(.seconds(1))
            // Backpressure: the rest was not even read.
            #expect(fixture.server.last.unread >= 14)
            for number in 0..<20 {
                #expect(try await fixture.session.receive() == .text("\(number)"))
                await fixture.simulation.pass(.milliseconds(Int64(number % 3)))
            }
            #expect(fixture.session.statistics.messagesDropped == 0)
        }
    }

    /// 4: attempts are counted once.
    @Test func attemptsAreCountedOnce() throws {
        let refusal = WebSocketError(.connectFailed, "nobody listens on this port")
        try withFakeSession(expectsFailure: true, { $0.reconnect.maximumAttempts = 3 }) { fixture in
            fixture.server.answer(otherwise: .refuse(refusal))
            let error = try await webSocketFailure { try await fixture.session.receive() }
            #expect(error.code == .reconnectFailed)
            #expect(error.message.contains("3 attempts") && error.message.contains(refusal.message))
            #expect(fixture.server.attempts.count == 4)
        }
    }

    /// 5: a timeout while reconnecting is a failed attempt like any other.
    @Test func aTimeoutWhileReconnectingIsAFailedAttemptLikeAnyOther() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            fixture.server.answer(.refuse(WebSocketError(.timedOut, "the handshake took too long", phase: .upgrade)))
            fixture.server.last.cut()
            try await fixture.untilConnected(2)
            #expect(fixture.server.attempts.count == 3)
            #expect(fixture.session.statistics.failedAttempts == 1)
        }
    }

    /// 6: a flapping server is met with growing delays, and giving up reaches everybody.
    @Test
    func aFlappingServerIsMetWithGrowingDelays() throws {
        try withFakeSession(
            expectsFailure: true,
            { $0.reconnect.strategy = .exponential(base: .seconds(1), maximum: .seconds(30)) }
        ) { fixture in
            fixture.server.onConnect { connection in
                Task(executorPreference: connection.simulation) {
                    await connection.simulation.pass(.milliseconds(50))
                    connection.close(.normalClosure)
                }
            }
            let codes = try await withThrowingTaskGroup(of: WebSocketError.Code.self) { group in
                group.addTask { try await webSocketFailure { try await fixture.drainEvents() }.code }
                group.addTask { try await webSocketFailure { try await fixture.session.receive() }.code }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(codes == [.reconnectFailed, .reconnectFailed])
            #expect(fixture.session.state == .disconnected && fixture.session.isRecoverable)
            let attempts = fixture.server.attempts
            #expect(attempts.count == 11)
            let pauses = zip(attempts.dropFirst(), attempts).map { $0 - $1 }
            for (pause, next) in zip(pauses, pauses.dropFirst()) {
                #expect(next >= pause || pause >= .seconds(30))
            }
        }
    }

    /// 7: iteration ends when the session is shut down while disconnected.
    @Test func iterationEndsWhenTheSessionIsShutDownWhileDisconnected() throws {
        try withFakeSession({ $0.reconnectsAutomatically = false }) { fixture in
            try await fixture.untilConnected()
            try await withThrowingTaskGroup(of: Int.self) { group in
                group.addTask { @Sendable in
                    var count = 0
                    for try await _ in fixture.session.events { count += 1 }
                    return count
                }
                fixture.server.last.cut()
                try await fixture.until("disconnected") { fixture.session.state == .disconnected }
                await fixture.session.shutDown()
                let count = try #require(try await group.next())
                // Connected, disconnected and the alert about it.
                #expect(count == 3)
            }
            var messages = fixture.session.messages.makeAsyncIterator()
            #expect(try await messages.next() == nil)
        }
    }

    /// 8: receive on a closed session throws.
    @Test func receiveOnAClosedSessionThrows() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            try await fixture.session.close()
            #expect(fixture.session.state == .disconnected)
            let closed = try await webSocketFailure { try await fixture.session.receive() }
            #expect(closed.code == .connectionClosed)
            await fixture.session.shutDown()
            let ended = try await webSocketFailure { try await fixture.session.receive() }
            #expect(ended.code == .connectionClosed)
        }
    }

    /// 9: kill cuts the connection, and the session recovers.
    @Test func killCutsTheConnectionAndTheSessionRecovers() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            let first = fixture.server.last
            await fixture.session.kill()
            #expect(first.wasAborted)
            #expect(first.closeFrame == nil)
            #expect(fixture.session.lastDisconnect?.reason == .killed)
            #expect(fixture.session.statistics.reactiveDisconnects == 1)
            try await fixture.untilConnected(2)
        }
    }

    /// 10: bytes are counted in bytes.
    @Test func bytesAreCountedInBytes() throws {
        try withFakeSession(seeds: 0..<2) { fixture in
            try await fixture.untilConnected()
            try await fixture.session.send("é漢🙂")
            fixture.server.last.say("é漢🙂")
            _ = try await fixture.session.receive()
            #expect(fixture.session.statistics.bytesSent == 9)
            #expect(fixture.session.statistics.bytesReceived == 9)
        }
    }

    /// 11: text stays text, whatever it looks like.
    @Test(arguments: ["123", "true", "{\"a\":1}", "null", ""])
    func textStaysTextWhateverItLooksLike(text: String) throws {
        try withFakeSession(seeds: 0..<1) { fixture in
            try await fixture.untilConnected()
            fixture.server.last.push(.text(text))
            #expect(try await fixture.session.receive() == .text(text))
        }
    }

    /// 12: an application that fails on a message keeps its connection.
    @Test func anApplicationThatFailsOnAMessageKeepsItsConnection() throws {
        struct Failure: Error {}
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            fixture.server.last.say("bad", "good")
            func handle() async throws -> WebSocketMessage {
                let message = try await fixture.session.receive()
                if message == .text("bad") { throw Failure() }
                return message
            }
            await #expect(throws: Failure.self) { try await handle() }
            #expect(try await handle() == .text("good"))
            #expect(fixture.session.state == .connected)
            #expect(fixture.session.statistics.disconnects == 0)
        }
    }

    /// 13: the connection's duration ends with the connection.
    @Test func theConnectionsDurationEndsWithTheConnection() throws {
        try withFakeSession { fixture in
            #expect(fixture.session.connectionDuration == nil)
            try await fixture.untilConnected()
            await fixture.simulation.pass(.seconds(5))
            let duration = try #require(fixture.session.connectionDuration)
            #expect(duration >= .seconds(5) && duration < .seconds(6))
            try await fixture.session.close()
            #expect(fixture.session.connectionDuration == nil)
            #expect(fixture.session.statistics.connectionDuration == nil)
            #expect(fixture.session.lastDisconnect.map { $0.connectedFor >= .seconds(5) } == true)
        }
    }

    /// 14: the first alert is told, and the count of the rest is told too.
    @Test func theFirstAlertIsToldAndTheCountOfTheRestIsToldToo() throws {
        try withFakeSession(
            expectsFailure: false,
            {
                $0.reconnect.strategy = .fixed(.zero)
                $0.reconnect.maximumAttempts = nil
                $0.alertInterval = .seconds(60)
            }
        ) { fixture in
            for count in 1...4 {
                try await fixture.untilConnected(count)
                fixture.server.last.cut()
                try await fixture.until("noticed") { fixture.session.statistics.disconnects == count }
            }
            await fixture.simulation.pass(.seconds(120))
            var alerts: [WebSocketSessionAlert] = []
            await fixture.session.shutDown()
            for event in try await fixture.drainEvents() { if case .alert(let alert) = event { alerts.append(alert) } }
            #expect(alerts.map(\.kind) == [.disconnected, .disconnected])
            #expect(alerts.map(\.suppressed) == [0, 3])
        }
    }

    /// 15: subscriptions may change while they are replayed.
    @Test func subscriptionsMayChangeWhileTheyAreReplayed() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            try await fixture.session.subscribe("a", "b", "c")
            fixture.server.last.cut()
            try await fixture.until("reconnecting") { fixture.server.connections.count == 2 }
            // Somewhere in the middle of the replay, where the seed says.
            try await fixture.session.unsubscribe("b")
            try await fixture.session.subscribe("d")
            try await fixture.untilConnected(2)
            await fixture.simulation.pass(.seconds(1))
            #expect(fixture.session.subscriptions == ["a", "c", "d"])
            let texts = fixture.server.last.texts
            for channel in ["a", "c", "d"] {
                #expect(texts.filter { $0.contains("\"subscribe\"") && $0.contains("\"\(channel)\"") }.count == 1)
            }
            // What was wanted when the replay began and is not any more was taken back.
            let subscribes = texts.filter { $0.contains("\"subscribe\"") && $0.contains("\"b\"") }.count
            let unsubscribes = texts.filter { $0.contains("\"unsubscribe\"") && $0.contains("\"b\"") }.count
            #expect(subscribes == unsubscribes)
        }
    }

    /// 16: connect joins the attempt that is under way.
    @Test func connectJoinsTheAttemptThatIsUnderWay() throws {
        try withFakeSession { fixture in
            try await withThrowingTaskGroup { group in
                for _ in 0..<5 { group.addTask { try await fixture.session.connect() } }
                try await group.waitForAll()
            }
            #expect(fixture.server.attempts.count == 1)
            fixture.server.last.cut()
            try await fixture.until("reconnecting") { fixture.session.state == .reconnecting }
            try await withThrowingTaskGroup { group in
                for _ in 0..<5 { group.addTask { try await fixture.session.connect() } }
                try await group.waitForAll()
            }
            #expect(fixture.server.attempts.count == 2)
            #expect(fixture.server.mostConcurrentAttempts == 1)
        }
    }

    /// 17: a scheduled reconnect dies with close.
    @Test func aScheduledReconnectDiesWithClose() throws {
        try withFakeSession { fixture in
            try await fixture.untilConnected()
            try await fixture.session.disconnect(reconnectAfter: .seconds(60))
            #expect(fixture.session.state == .reconnecting)
            try await fixture.session.close()
            await fixture.simulation.pass(.seconds(600))
            #expect(fixture.server.attempts.count == 1)
            try fixture.session.scheduleReconnect(after: .seconds(60))
            try await fixture.session.close()
            await fixture.simulation.pass(.seconds(600))
            #expect(fixture.server.attempts.count == 1)
            #expect(fixture.session.state == .disconnected)
            try await fixture.session.connect()
            #expect(fixture.server.attempts.count == 2)
        }
    }

    /// 18: the client's options are the session's: headers and subprotocols reach the server.
    @Test
    func theClientsOptionsAreTheSessions() async throws {
        let requests = Mutex<[(String?, String?)]>([])
        try await withLoopback(server: { $0.subprotocols = ["feed.v2"] }) { socket in
            requests.withLock { $0.append((socket.requestHeaders[.authorization], socket.subprotocol)) }
            await drain(socket)
        } _: { loopback in
            var configuration = WebSocketSessionConfiguration()
            configuration.client = loopback.client
            configuration.client.headers[.authorization] = "Bearer s3cret"
            configuration.client.subprotocols = ["feed.v1", "feed.v2"]
            try await WebSocketSession.withSession(to: loopback.url + "/feed", configuration: configuration) {
                session in
                #expect(await session.waitConnected())
                await session.kill()
                #expect(await session.waitConnected())
            }
        }
        let seen = requests.withLock { $0 }
        #expect(seen.count == 2)
        #expect(seen.allSatisfy { $0.0 == "Bearer s3cret" && $0.1 == "feed.v2" })
    }

    /// 18: TLS options are the session's, and what they refuse ends it.
    @Test func tlsOptionsAreTheSessionsAndWhatTheyRefuseEndsIt() async throws {
        let subjects = Events<String?>()
        try await withLoopback(
            .secure,
            server: { $0.tls?.clientCertificates = .required(.file(try TestEnvironment.certificate("ca"))) }
        ) { socket in
            subjects.send(socket.clientCertificate?.subject)
            await drain(socket)
        } _: { loopback in
            var configuration = WebSocketSessionConfiguration()
            configuration.logger.logLevel = .critical
            configuration.reconnect.strategy = .fixed(.zero)
            configuration.client = loopback.client
            // Without a certificate the server ends the handshake, and would do so again.
            let refused = try await webSocketFailure {
                try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                    _ = try await session.receive()
                }
            }
            #expect(refused.code == .tlsFailed && refused.tlsFailure == .clientCertificate, "\(refused)")
            configuration.client.tls.identity = .init(
                certificateChain: .file(try TestEnvironment.certificate("client")),
                privateKey: .file(try TestEnvironment.key("client")))
            try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                #expect(await session.waitConnected())
                await session.kill()
                #expect(await session.waitConnected())
            }
            let first = try await subjects.next()
            #expect(first != nil)
            #expect(try await subjects.next() == first)
            // A name that the certificate does not have is refused, and not tried again.
            configuration.client.tls.serverName = "elsewhere.test"
            let mismatch = try await webSocketFailure {
                try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                    _ = try await session.receive()
                }
            }
            #expect(mismatch.tlsFailure == .hostMismatch)
        }
    }

    /// 18: each connection goes through the proxy.
    @Test func eachConnectionGoesThroughTheProxy() async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = WebSocketSessionConfiguration()
            configuration.logger.logLevel = .critical
            configuration.reconnect.strategy = .fixed(.zero)
            configuration.client = try clientConfiguration(on: loops)
            configuration.client.proxy = try WebSocketProxy("http://u:p@127.0.0.1:\(listener.port)")
            try await WebSocketSession.withSession(to: "ws://feed.test:81/", configuration: configuration) { session in
                for turn in 0..<2 {
                    let peer = try await listener.accept()
                    let connect = try await peer.readHead()
                    #expect(connect.startLine == "CONNECT feed.test:81 HTTP/1.1")
                    #expect(connect["Proxy-Authorization"] == "Basic dTpw")
                    try await peer.write(Array("HTTP/1.1 200 Connection established\r\n\r\n".utf8))
                    try await peer.acceptHandshake()
                    try await peer.send(.text("turn \(turn)"))
                    #expect(try await session.receive() == .text("turn \(turn)"))
                    peer.close()
                }
                await session.abort()
            }
        }
    }

    /// 19: a connection is left before its greatest age, at a moment that the application allows.
    @Test
    func aConnectionIsLeftBeforeItsGreatestAge() throws {
        let isBusy = Mutex(true)
        try withFakeSession({ configuration in
            configuration.maximumConnectionAge = .seconds(3_600)
            configuration.disconnectMargin = .seconds(600)
            configuration.disconnectCheckInterval = .seconds(10)
            configuration.shouldRenew = { _ in !isBusy.withLock { $0 } }
        }) { fixture in
            isBusy.withLock { $0 = true }
            try await fixture.untilConnected()
            await fixture.simulation.pass(.seconds(3_100))
            #expect(fixture.server.connections.count == 1)
            isBusy.withLock { $0 = false }
            await fixture.simulation.pass(.seconds(20))
            #expect(fixture.server.connections.count == 2)
            #expect(fixture.session.lastDisconnect?.reason == .connectionLimit)
            // Nobody allows anything: the age itself is the limit.
            isBusy.withLock { $0 = true }
            await fixture.simulation.pass(.seconds(3_590))
            #expect(fixture.server.connections.count == 2)
            await fixture.simulation.pass(.seconds(30))
            #expect(fixture.server.connections.count == 3)
            #expect(fixture.session.statistics.proactiveDisconnects == 2)
        }
    }
}

/// The error that `body` throws; the test fails when it throws none.
func webSocketFailure<Value>(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Value
) async throws -> WebSocketError {
    try await failure("the call", sourceLocation: sourceLocation, of: body)
}
