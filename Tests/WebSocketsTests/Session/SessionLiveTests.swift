//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import LoopbackSupport
import Synchronization
import Testing
import WebSockets

#if ServiceLifecycle
import ServiceLifecycle
import ServiceLifecycleTestKit
#endif

/// Sessions and the reconnecting iterator over real sockets.
@Suite(.timeLimit(.minutes(5)))
struct SessionLiveTests {
    private func configuration(_ loopback: Loopback) -> WebSocketSessionConfiguration {
        var configuration = WebSocketSessionConfiguration()
        configuration.client = loopback.client
        configuration.logger.logLevel = .critical
        configuration.reconnect.strategy = .fixed(.zero)
        return configuration
    }

    @Test(arguments: [Transport.plain, .secure]) func messagesGoBothWaysAcrossConnections(transport: Transport)
        async throws
    {
        try await withLoopback(transport, handler: echo) { loopback in
            var configuration = configuration(loopback)
            configuration.outboundQueue = 100
            try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                for round in 0..<4 {
                    try await session.send("text \(round)")
                    #expect(try await session.receive() == .text("text \(round)"))
                    try await session.send([1, 2, UInt8(round)])
                    #expect(try await session.receive() == .binary([1, 2, UInt8(round)]))
                    #expect(try await session.ping() > .zero)
                    await session.kill()
                    #expect(await session.waitConnected())
                }
                let statistics = session.statistics
                #expect(statistics.connects == 5)
                #expect(statistics.reactiveDisconnects == 4)
                #expect(statistics.messagesWritten == 8 && statistics.isBalanced)
            }
        }
    }

    @Test func anEndOfTheServersChoiceIsReported() async throws {
        let closes: [(WebSocketCloseCode, String)] = [
            (.normalClosure, "done"), (.goingAway, ""), (.internalError, "oops"),
        ]
        let turn = Mutex(0)
        try await withLoopback { socket in
            let index = turn.withLock { turn in
                defer { turn += 1 }
                return turn
            }
            if index < closes.count {
                try await socket.close(code: closes[index].0, reason: closes[index].1)
            } else {
                await drain(socket)
            }
        } _: { loopback in
            try await WebSocketSession.withSession(to: loopback.url, configuration: configuration(loopback)) {
                session in
                var ends: [WebSocketSessionDisconnect] = []
                for try await event in session.events {
                    if case .disconnected(let end) = event { ends.append(end) }
                    if case .connected = event, ends.count == closes.count { break }
                }
                #expect(ends.map(\.reason) == Array(repeating: .serverClosed, count: 3))
                #expect(ends.map { $0.closeInfo?.received?.code } == closes.map(\.0))
                #expect(ends.map { $0.closeInfo?.reason } == closes.map(\.1))
            }
        }
    }

    @Test func aServerThatIsKilledAndReturnsLosesNoMessageThatTheSessionKeeps()
        async throws
    {
        let received = Box<[String]>([])
        let handler: Handler = { socket in
            for try await message in socket.messages {
                if case .text(let text) = message { received.change { $0.append(text) } }
                try await socket.send(message)
            }
        }
        try await withLoops { serverLoops in
            try await withLoops { clientLoops in
                var server = WebSocketServerConfiguration()
                server.eventLoopGroup = serverLoops
                let first = try WebSocketServer(configuration: server)
                let serving = Task { try await first.run(handler) }
                var configuration = WebSocketSessionConfiguration()
                configuration.client = try clientConfiguration(on: clientLoops)
                configuration.logger.logLevel = .critical
                configuration.outboundQueue = 100
                configuration.reconnect.strategy = .fixed(.zero)
                configuration.reconnect.maximumAttempts = nil
                let port = first.port
                server.port = port
                let serverAgain = server
                let url = "ws://127.0.0.1:\(port)/"
                try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                    try await session.send("one")
                    #expect(try await session.receive() == .text("one"))
                    await first.shutDown()
                    try await serving.value
                    #expect(await session.waitDisconnected())
                    // Nobody is there.
                    try await session.send("two")
                    try await session.send("three")
                    let second = try WebSocketServer(configuration: serverAgain)
                    let servingAgain = Task { try await second.run(handler) }
                    #expect(try await session.receive() == .text("two"))
                    #expect(try await session.receive() == .text("three"))
                    #expect(session.lastDisconnect?.closeInfo?.received?.code == .goingAway)
                    await session.shutDown()
                    await second.shutDown()
                    try await servingAgain.value
                }
            }
        }
        #expect(received.value == ["one", "two", "three"])
    }

    /// Make before break over real sockets: an exact sequence, and never two connections for long.
    @Test
    func makeBeforeBreakOverRealSocketsAnExactSequence() async throws {
        let subscribers = Box<[WebSocketConnection]>([])
        let end = 300
        try await withLoopback { socket in
            _ = try await socket.receive()
            subscribers.change { $0.append(socket) }
            try await socket.send("subscribed")
            await drain(socket)
        } _: { loopback in
            var configuration = configuration(loopback)
            configuration.subscriptions.reply = { message, _ in
                message == .text("subscribed") ? .accepted("numbers") : nil
            }
            try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                try await session.subscribe("numbers")
                #expect(await session.waitConnected())
                try await until("subscribed", on: loopback.loop) { subscribers.value.count == 1 }
                try await withThrowingTaskGroup { group in
                    group.addTask {
                        for number in 0..<end {
                            for subscriber in subscribers.value { try? await subscriber.send("\(number)") }
                            if number == 50 { try session.renew() }
                            // The renewal happens in the middle of the sequence, however fast or slow it is.
                            if number == 100 {
                                try await until("renewed", on: loopback.loop) { session.statistics.renewals == 1 }
                            }
                        }
                    }
                    group.addTask {
                        for number in 0..<end {
                            guard case .text(let text) = try await session.receive() else {
                                Issue.record("binary")
                                return
                            }
                            try #require(text == "\(number)", "\(session.statistics)")
                        }
                    }
                    try await group.waitForAll()
                }
                let statistics = session.statistics
                #expect(statistics.connects == 2 && statistics.disconnects == 0 && statistics.gaps == 0)
            }
            subscribers.change { $0 = [] }
        }
    }

    @Test func slowReadersSlowTheServerDown() async throws {
        let count = 3_000
        try await withLoopback { socket in
            for number in 0..<count { try await socket.send("\(number) " + String(repeating: "x", count: 1_000)) }
            await drain(socket)
        } _: { loopback in
            var configuration = configuration(loopback)
            configuration.inboundMessages = 10
            try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                for number in 0..<count {
                    guard case .text(let text) = try await session.receive() else {
                        Issue.record("not a text")
                        return
                    }
                    #expect(text.hasPrefix("\(number) "))
                }
                #expect(session.statistics.messagesDropped == 0)
            }
        }
    }

    @Test func withSessionCanWaitForTheFirstConnection() async throws {
        try await withLoopback(handler: echo) { loopback in
            let session = try await WebSocketSession.withSession(
                to: loopback.url, configuration: configuration(loopback), whenConnected: true
            ) { session in
                try await session.send("at once")
                #expect(try await session.request("again") { $0 == .text("again") } == .text("again"))
                #expect(try await session.ping() > .zero && session.statistics.latency != nil)
                return session
            }
            #expect(!session.isRunning)
            var hopeless = configuration(loopback)
            hopeless.reconnect.maximumAttempts = 0
            let error = try await failure {
                try await WebSocketSession.withSession(
                    to: ["ws://127.0.0.1:1/", "ws://127.0.0.1:1/"], configuration: hopeless, whenConnected: true
                ) { _ in Issue.record("nothing listens there") }
            }
            #expect(error.code == .connectFailed)
        }
    }

    @Test func givingUpReachesTheScope() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            var configuration = WebSocketSessionConfiguration()
            configuration.client = try clientConfiguration(on: loops)
            configuration.logger.logLevel = .critical
            configuration.reconnect.maximumAttempts = 2
            configuration.reconnect.strategy = .fixed(.zero)
            let refusing = Task {
                for _ in 0..<3 {
                    let descriptor = await peer.accept()
                    _ = await peer.read(descriptor) { $0.suffix(4) == Array("\r\n\r\n".utf8)[...] }
                    peer.write(
                        descriptor, Array("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".utf8))
                    peer.close(descriptor)
                }
            }
            let error = try await failure {
                try await WebSocketSession.withSession(
                    to: "ws://127.0.0.1:\(peer.port)/", configuration: configuration
                ) { session in
                    for try await _ in session.messages {}
                }
            }
            await refusing.value
            #expect(error.code == .reconnectFailed)
            #expect(error.message.contains("503"))
        }
    }

    #if ServiceLifecycle
    @Test func aGracefulShutdownEndsTheService() async throws {
        try await withLoopback(handler: { await drain($0) }) { loopback in
            let session = try WebSocketSession(to: loopback.url, configuration: configuration(loopback))
            let service: any Service = session
            try await testGracefulShutdown { trigger in
                try await withThrowingTaskGroup { group in
                    group.addTask { try await service.run() }
                    #expect(await session.waitConnected())
                    trigger.triggerGracefulShutdown()
                    try await group.waitForAll()
                }
            }
            #expect(session.state == .closed)
            #expect(session.lastDisconnect?.reason == .userRequested)
            #expect(session.lastDisconnect?.closeInfo?.sent?.code == .normalClosure)
        }
    }
    #endif
}

/// Sleeps are noted and take no time.
final class NotingClock: Clock, Sendable {
    typealias Instant = ContinuousClock.Instant
    private let notes = Mutex<[Duration]>([])
    var sleeps: [Duration] { notes.withLock { $0 } }
    var now: Instant { .now }
    var minimumResolution: Duration { .nanoseconds(1) }
    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        notes.withLock { $0.append(deadline - .now) }
        try Task.checkCancellation()
    }
}

@Suite(.timeLimit(.minutes(5)))
struct ConnectionsTests {
    /// Each turn gets a new connection, after a delay that grows while they do not last.
    @Test func eachTurnGetsANewConnection() async throws {
        try await withLoopback(handler: echo) { loopback in
            let clock = NotingClock()
            var policy = WebSocketReconnectPolicy()
            policy.strategy = .exponential(base: .seconds(1), maximum: .seconds(60))
            var count = 0
            for try await socket in WebSocketClient.connections(
                to: loopback.url, configuration: loopback.client, reconnect: policy, clock: clock)
            {
                try await socket.send("\(count)")
                #expect(try await socket.receive() == .text("\(count)"))
                count += 1
                if count == 4 {
                    try await socket.close()
                    break
                }
            }
            #expect(clock.sleeps.map { ($0 / .seconds(1)).rounded() } == [1, 2, 4])
        }
    }

    @Test func retryAfterIsHonouredAndFatalErrorsAreThrown() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            let clock = NotingClock()
            let serving = Task {
                for answer in [
                    "503 Service Unavailable\r\nRetry-After: 120", "500 Internal Server Error", "403 Forbidden",
                ] {
                    let descriptor = await peer.accept()
                    _ = await peer.read(descriptor) { $0.suffix(4) == Array("\r\n\r\n".utf8)[...] }
                    peer.write(descriptor, Array("HTTP/1.1 \(answer)\r\nContent-Length: 0\r\n\r\n".utf8))
                    peer.close(descriptor)
                }
            }
            var policy = WebSocketReconnectPolicy()
            policy.strategy = .fixed(.seconds(5))
            let client = try clientConfiguration(on: loops)
            let error = try await failure {
                for try await _ in WebSocketClient.connections(
                    to: "ws://127.0.0.1:\(peer.port)/", configuration: client, reconnect: policy, clock: clock)
                {
                    Issue.record("no connection was to be had")
                }
            }
            await serving.value
            #expect(error.code == .handshakeRejected)
            #expect(error.response?.status == 403)
            #expect(clock.sleeps.map { ($0 / .seconds(1)).rounded() } == [125, 5])
        }
    }

    @Test func aCancelledLoopEnds() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            var client = try clientConfiguration(on: loops)
            client.openTimeout = .seconds(60)
            let task = Task { [client] in
                try await failure {
                    for try await _ in WebSocketClient.connections(
                        to: "ws://127.0.0.1:\(peer.port)/", configuration: client)
                    {}
                }
            }
            let descriptor = await peer.accept()
            task.cancel()
            #expect(try await task.value.code == .cancelled)
            peer.close(descriptor)
        }
    }
}
