//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Synchronization
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ServerTests {
    private struct Failure: Error {}

    @Test func theRealPortIsReported() async throws {
        try await withLoopback(handler: echo) { loopback in
            #expect(loopback.server.port > 0)
            #expect(loopback.server.address == .ip(address: "127.0.0.1", port: loopback.server.port))
        }
    }

    @Test func whereItCannotListenItSaysSo() async throws {
        try await withLoopback(handler: echo) { loopback in
            let taken = loopback.server.port
            let rows: [(host: String, port: Int, code: WebSocketError.Code, systemError: Int32?)] = [
                ("127.0.0.1", taken, .listenFailed, EADDRINUSE), ("203.0.113.1", 0, .listenFailed, EADDRNOTAVAIL),
                ("nonexistent.invalid", 0, .listenFailed, nil), ("127.0.0.1", 65_536, .invalidConfiguration, nil),
                ("127.0.0.1", -1, .invalidConfiguration, nil),
            ]
            for row in rows {
                let error = try await failure("\(row)") {
                    var configuration = WebSocketServerConfiguration(port: row.port)
                    configuration.host = row.host
                    configuration.eventLoopGroup = loopback.serverLoops
                    _ = try WebSocketServer(configuration: configuration)
                }
                #expect(error.code == row.code, "\(error)")
                #expect(error.systemError == row.systemError, "\(error)")
                #expect(error.isSentence)
            }
        }
    }

    @Test func aServerThatNeverRanLeavesNothing() async throws {
        try await withLoops { loops in
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            do { _ = try WebSocketServer(configuration: configuration) }
            let server = try WebSocketServer(configuration: configuration)
            await server.shutDown()
            // Whoever asked for the end was faster than whoever runs it: no failure, and no connection.
            try await server.run { _ in Issue.record("a server that was shut down accepts") }
            // The port is free again.
            configuration.port = server.port
            try await until("the port is free", on: loops.loops[0]) { [configuration] in
                (try? WebSocketServer(configuration: configuration)) != nil
            }
        }
    }

    @Test func aServerRunsOnce() async throws {
        try await withLoopback(handler: echo) { loopback in
            // `run` has begun when a connection is there.
            let socket = try await loopback.connect()
            let error = try await failure { try await loopback.server.run { _ in } }
            #expect(error.code == .shutDown)
            #expect(error.isSentence)
            try await socket.close()
        }
    }

    @Test(arguments: [WebSocketBodyExecutor.loop, .global], [Transport.plain, .secure])
    func handlersRunWhereTheConfigurationSays(
        _ executor: WebSocketBodyExecutor, _ transport: Transport
    ) async throws {
        try await withLoopback(
            transport, server: { $0.executor = executor },
            handler: { socket in
                #expect(socket.eventLoop.isOnLoop == (executor == .loop))
                _ = try await socket.receive()
                #expect(socket.eventLoop.isOnLoop == (executor == .loop))
                try await socket.send("done")
            }
        ) { loopback in
            let socket = try await loopback.connect()
            try await socket.send("x")
            #expect(try await socket.receive() == "done")
            #expect(try await socket.closed().received?.code == .normalClosure)
        }
    }

    @Test(arguments: [WebSocketBodyExecutor.loop, .global])
    func aHandlerThatThrowsEndsOnlyItsConnection(_ executor: WebSocketBodyExecutor) async throws {
        try await withLoopback(
            server: { $0.executor = executor },
            handler: { socket in
                for try await message in socket.messages {
                    if message == "throw" { throw Failure() }
                    if message == "return" { return }
                    try await socket.send(message)
                }
            }
        ) { loopback in
            let other = try await loopback.connect()
            let thrower = try await loopback.connect()
            try await thrower.send("throw")
            #expect(try await thrower.closed().received?.code == .internalError)
            let returner = try await loopback.connect()
            try await returner.send("return")
            #expect(try await returner.closed().received?.code == .normalClosure)
            try await other.send("still here")
            #expect(try await other.receive() == "still here")
            #expect(try await other.close().isNormal)
        }
    }

    /// How a server is told to stop.
    enum Stop: String, CaseIterable { case shutDown, cancellation }

    @Test(arguments: Stop.allCases, Transport.all)
    func aStopCloses1001AndWaitsForHandlers(_ stop: Stop, _ transport: Transport) async throws {
        let count = 5
        let ready = Events<Void>()
        let mayFinish = Events<Void>()
        let ended = Events<WebSocketCloseInfo>()
        try await withLoops(2) { loops in
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            configuration.options.compression = transport.compression
            if transport.isSecure { configuration.tls = try TestEnvironment.identity("valid") }
            let server = try WebSocketServer(configuration: configuration)
            let running = Task {
                try await server.run { socket in
                    ready.send()
                    await drain(socket)
                    // What a handler still has to do when its connection has ended.
                    ended.send(try await socket.closed())
                    if stop == .shutDown { try await mayFinish.next() }
                }
            }
            try await withLoops { clientLoops in
                let client = try clientConfiguration(transport, on: clientLoops)
                let url = "\(transport.isSecure ? "wss" : "ws")://127.0.0.1:\(server.port)"
                var sockets: [WebSocketConnection] = []
                for _ in 0..<count {
                    sockets.append(try await WebSocketClient.connect(to: url, configuration: client))
                    try await ready.next()
                }
                let stopping = Task {
                    switch stop {
                    case .shutDown: await server.shutDown()
                    case .cancellation: running.cancel()
                    }
                    try await running.value
                }
                for socket in sockets {
                    let info = try await socket.closed()
                    #expect(info.received?.code == .goingAway)
                    #expect(info.isNormal)
                }
                // Cancelled handlers are not asked to do anything more.
                if stop == .shutDown {
                    for _ in 0..<count { #expect(try await ended.next().sent?.code == .goingAway) }
                    // Nobody gets in any more, while the handlers still run.
                    let error = try await failure {
                        try await WebSocketClient.connect(to: url, configuration: client)
                    }
                    #expect([.connectFailed, .handshakeRejected, .handshakeInvalid].contains(error.code), "\(error)")
                    for _ in 0..<count { mayFinish.send() }
                }
                try await stopping.value
            }
        }
    }

    @Test func aClientThatNeverAnswersTheCloseIsCutOff() async throws {
        let ready = Events<Void>()
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            server: { $0.shutdownTimeout = .milliseconds(100) },
            handler: { socket in
                ready.send()
                await drain(socket)
                closes.send(try await socket.closed())
            }
        ) { loopback in
            let client = try RawClient(port: loopback.server.port)
            try await client.upgrade()
            try await ready.next()
            await loopback.server.shutDown()
            let info = try await closes.next()
            #expect(info.sent?.code == .goingAway)
            #expect(info.cause == .aborted)
            #expect(await client.readToEnd() == [0x88, 0x02, 0x03, 0xE9])
        }
    }

    /// It has a connection that is not a WebSocket yet.
    @Test(arguments: [Transport.plain, .secure])
    func aStopDropsHandshakesThatAreUnderWay(_ transport: Transport) async throws {
        try await withLoopback(
            transport, server: { $0.handshakeTimeout = .seconds(600) }, handler: echo
        ) { loopback in
            let client = try RawClient(port: loopback.server.port)
            let loop = loopback.serverLoops.loops[0]
            // The listener and the accepted socket.
            try await loop.reaches("accepted") { $0.timers == 1 }
            await loopback.server.shutDown()
            #expect(await client.readToEnd() == [])
            try await loop.reaches("nothing is left of the handshake") { $0.isZero }
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func aClientThatSaysNothingIsDropped(_ transport: Transport) async throws {
        try await withLoopback(
            transport, server: { $0.handshakeTimeout = .milliseconds(50) }, handler: echo
        ) { loopback in
            let silent = try RawClient(port: loopback.server.port)
            let halfway = try RawClient(port: loopback.server.port)
            halfway.write(Array("GET / HTTP/1.1\r\nHost: ".utf8))
            #expect(await silent.readToEnd() == [])
            _ = await halfway.readToEnd()
            try await loopback.serverLoops.loops[0].reaches("only the listener is left") {
                $0.descriptors == 1 && $0.timers == 0 && $0.connections == 0
            }
        }
    }

    @Test func aClientThatVanishesEndsOnlyItsConnection() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(handler: report(closes)) { loopback in
            do {
                let client = try RawClient(port: loopback.server.port)
                try await client.upgrade()
            }
            #expect(try await closes.next().cause == .connectionLost)
            let socket = try await loopback.connect()
            #expect(try await socket.close().isNormal)
        }
    }

    @Test(arguments: Transport.all)
    func twoHundredConnectionsAtOnce(_ transport: Transport) async throws {
        let count = 200
        let loopsUsed = Mutex<Set<String>>([])
        let open = Atomic<Int>(0)
        let all = Events<Void>()
        try await withLoopback(
            transport, serverLoops: 2,
            handler: { socket in
                let isNew = socket.eventLoop.name
                loopsUsed.withLock { _ = $0.insert(isNew) }
                if open.wrappingAdd(1, ordering: .relaxed).newValue == count { all.send() }
                try await echo(socket)
            }
        ) { loopback in
            try await withThrowingTaskGroup(of: Void.self) { group in
                let gate = Gate()
                for number in 0..<count {
                    group.addTask {
                        let socket = try await loopback.connect()
                        await gate.wait()
                        for round in 0..<3 {
                            try await socket.send("\(number) \(round)")
                            #expect(try await socket.receive() == .text("\(number) \(round)"))
                        }
                        #expect(try await socket.close().isNormal)
                    }
                }
                // A child of its own: the first connection that fails ends the test, and says why.
                group.addTask {
                    try await all.next()
                    gate.open()
                }
                try await group.waitForAll()
            }
            #expect(loopsUsed.withLock { $0.count } == 2)
        }
    }
}

/// Lets everybody through once it is open, or somebody who waits is cancelled.
private final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())

    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOpen = state.withLock { state in
                    if !state.isOpen { state.waiters.append(continuation) }
                    return state.isOpen
                }
                if isOpen { continuation.resume() }
            }
        } onCancel: {
            open()
        }
    }

    func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }
}
