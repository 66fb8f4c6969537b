//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import TestSupport
import Testing
import WebSockets

/// A single connection with exclusive use, and eight weaknesses of others' that it must not have, each as a test of its
/// name.
@Suite(.timeLimit(.minutes(5)))
struct ManagedConnectionTests {
    /// Counts the connections that a server sees.
    private final class Door: Sendable {
        let opened = Atomic<Int>(0)
        let sockets = Events<WebSocketConnection>()
    }

    private static func withServer(
        options: WebSocketManagedConnection.Options = .init(idleTimeout: nil), transport: Transport = .plain,
        handler: @escaping Handler = echo,
        _ body: @escaping (WebSocketManagedConnection, Door, Loopback) async throws -> Void
    ) async throws {
        let door = Door()
        try await withLoopback(
            transport,
            handler: { socket in
                door.opened.add(1, ordering: .relaxed)
                door.sockets.send(socket)
                try await handler(socket)
            }
        ) { loopback in
            let connection = try WebSocketManagedConnection(
                to: loopback.url, configuration: loopback.client, options: options)
            do {
                try await body(connection, door, loopback)
                _ = try await connection.close()
            } catch {
                connection.abort()
                throw error
            }
        }
    }

    // MARK: Rows

    @Test func nothingIsOpenedBeforeItIsNeeded() async throws {
        try await Self.withServer { connection, door, _ in
            #expect(!connection.isConnected && !connection.isBusy && !connection.isDraining)
            #expect(door.opened.load(ordering: .relaxed) == 0)
            #expect(connection.endReason == nil)
            #expect(connection == connection)
            #expect(Set([connection, connection]).count == 1)
        }
        #expect(throws: WebSocketError.self) { try WebSocketManagedConnection(to: "nonsense") }
        for options in [
            WebSocketManagedConnection.Options(idleTimeout: .zero), .init(drain: .init(timeout: .zero)),
            .init(drain: .init(quietPeriod: .seconds(-1))),
        ] {
            let error = #expect(throws: WebSocketError.self) {
                try WebSocketManagedConnection(to: "ws://localhost/", options: options)
            }
            #expect(error?.code == .invalidConfiguration)
        }
    }

    @Test(arguments: Transport.all)
    func aScopeAcquiresUsesAndReleases(_ transport: Transport) async throws {
        try await Self.withServer(transport: transport) { connection, door, _ in
            for number in 0..<3 {
                let reply = try await connection.withConnection { connection in
                    #expect(connection.isBusy && connection.isConnected)
                    try await connection.send("hello \(number)")
                    return try await connection.receive(timeout: .seconds(60))
                }
                #expect(reply == .text("hello \(number)"))
                #expect(!connection.isBusy && connection.isConnected)
            }
            #expect(door.opened.load(ordering: .relaxed) == 1, "one connection for all")
            struct Oops: Error {}
            await #expect(throws: Oops.self) {
                try await connection.withConnection(on: .global) { _ in throw Oops() }
            }
            #expect(!connection.isBusy)
            connection.release()
        }
    }

    @Test func theStaticScopeOpensAndCloses() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(handler: report(closes)) { loopback in
            try await WebSocketManagedConnection.withConnection(to: loopback.url, configuration: loopback.client) {
                connection in
                #expect(connection.isConnected && connection.isBusy)
            }
            #expect(try await closes.next().received?.code == .normalClosure)
            struct Oops: Error {}
            await #expect(throws: Oops.self) {
                try await WebSocketManagedConnection.withConnection(to: loopback.url, configuration: loopback.client) {
                    _ in
                    throw Oops()
                }
            }
            #expect(try await closes.next().received?.code == .internalError)
        }
    }

    @Test func headersGoWithTheHandshake() async throws {
        let targets = Events<String?>()
        try await withLoopback(handler: { socket in
            targets.send(socket.requestHeaders[.init("X-Tenant")!])
            await drain(socket)
        }) { loopback in
            let connection = try WebSocketManagedConnection(
                to: loopback.url, headers: [.init("X-Tenant")!: "seven"], configuration: loopback.client)
            try await connection.connect()
            #expect(try await targets.next() == "seven")
            try await connection.close()
        }
    }

    @Test func closingIsFinalAndIdempotent() async throws {
        try await Self.withServer { connection, _, _ in
            try await connection.acquire()
            try await connection.close()
            try await connection.close()
            #expect(!connection.isConnected && !connection.isBusy)
            #expect(connection.endReason == .closed)
            for call in Self.calls {
                let error = try await failure { try await call(connection) }
                #expect(error.code == .connectionUnavailable)
                #expect(error.isSentence)
            }
        }
    }

    private static let calls: [@Sendable (WebSocketManagedConnection) async throws -> Void] = [
        { try await $0.connect() }, { try await $0.acquire() }, { try await $0.send("x") },
        { _ = try await $0.receive() }, { _ = try await $0.ping() },
    ]

    @Test func aFailureToConnectHasItsCause() async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(on: loops)
            configuration.openTimeout = .seconds(60)
            let listener = try WebSocketBytePeerListener()
            let connection = try WebSocketManagedConnection(
                to: "ws://127.0.0.1:\(listener.port)", configuration: configuration)
            let acquiring = Task { try await connection.acquire() }
            let peer = try await listener.accept()
            _ = try await peer.readHead()
            try await peer.write(Array("HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n".utf8))
            let error = try await failure { try await acquiring.value }
            #expect(error.code == .connectionUnavailable)
            #expect(error.unavailableCause?.code == .handshakeRejected)
            #expect(error.response?.status == 503)
            #expect(!connection.isBusy, "who could not connect has acquired nothing")
            try await connection.close()
        }
    }

    @Test func itReconnectsInPlace() async throws {
        try await Self.withServer { connection, door, _ in
            let ends = Events<WebSocketCloseInfo>()
            connection.onDisconnect { ends.send($0) }
            try await connection.acquire()
            let first = try await door.sockets.next()
            first.abort()
            #expect(try await ends.next().cause == .connectionLost)
            let error = try await failure { try await connection.send("x") }
            #expect(error.code == .connectionUnavailable)
            connection.release()
            try await connection.withConnection { connection in
                try await connection.send("again")
                #expect(try await connection.receive() == "again")
            }
            #expect(door.opened.load(ordering: .relaxed) == 2)
        }
    }

    @Test func aCallThatIsCancelledGivesBackWhatItHas() async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            let listener = try WebSocketBytePeerListener()
            let connection = try WebSocketManagedConnection(
                to: "ws://127.0.0.1:\(listener.port)", configuration: configuration)
            let acquiring = Task { try await connection.acquire() }
            let peer = try await listener.accept()
            #expect(connection.isBusy)
            acquiring.cancel()
            let error = try await failure { try await acquiring.value }
            #expect(error.code == .cancelled)
            #expect(!connection.isBusy)
            // The attempt goes on, for whoever comes next.
            let next = Task { try await connection.acquire() }
            try await peer.acceptHandshake()
            try await next.value
            #expect(connection.isBusy && connection.isConnected)
            // Neither may a refused one give back what is not his, cancelled or not.
            let refused = Task { try await connection.acquire() }
            refused.cancel()
            await #expect(throws: WebSocketError.self) { try await refused.value }
            #expect(connection.isBusy)
            peer.close()
            try await connection.close()
        }
    }

    @Test func aClosedAttemptFailsThoseWhoWait() async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            let listener = try WebSocketBytePeerListener()
            let connection = try WebSocketManagedConnection(
                to: "ws://127.0.0.1:\(listener.port)", configuration: configuration)
            let acquiring = Task { try await connection.acquire() }
            _ = try await listener.accept()
            try await connection.close()
            let error = try await failure { try await acquiring.value }
            #expect(error.code == .connectionUnavailable)
        }
    }

    // MARK: Weaknesses

    /// (1) Two concurrent acquires both succeeded and opened two sockets, one of which leaked.
    @Test func weakness1_concurrentAcquiresShareOneSocketAndOneWins() async throws {
        for _ in 0..<20 {
            try await Self.withServer { connection, door, _ in
                let outcomes = await withTaskGroup(of: WebSocketError?.self) { group in
                    for number in 0..<8 {
                        group.addTask {
                            do throws(WebSocketError) {
                                if number % 2 == 0 {
                                    try await connection.acquire()
                                } else {
                                    try await connection.connect()
                                }
                                return nil
                            } catch {
                                return error
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                #expect(outcomes.count { $0?.code == .connectionBusy } == 3, "four acquire, one wins")
                #expect(outcomes.count { $0 == nil } == 5)
                #expect(door.opened.load(ordering: .relaxed) <= 1)
                _ = try await door.sockets.next()
                #expect(door.opened.load(ordering: .relaxed) == 1)
            }
        }
    }

    /// (2) A half-open connection passed for healthy.
    @Test func weakness2_aPingWaitsForItsPong() async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            let listener = try WebSocketBytePeerListener()
            let connection = try WebSocketManagedConnection(
                to: "ws://127.0.0.1:\(listener.port)", configuration: configuration)
            async let connecting: Void = connection.connect()
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            try await connecting
            let ends = Events<WebSocketCloseInfo>()
            connection.onDisconnect { ends.send($0) }
            let answered = Task { try await connection.ping() }
            let frame = try await peer.readFrame()
            try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, frame.payload))
            #expect(try await answered.value > .zero)
            let error = try await failure { try await connection.ping(timeout: .milliseconds(30)) }
            #expect(error.code == .timedOut)
            #expect(error.phase == .ping)
            _ = try await ends.next()
            #expect(!connection.isConnected)
            try await connection.close()
        }
    }

    /// (3) Idle time followed the wall clock, which jumps.
    @Test func weakness3_idleTimeIsMonotonic() async throws {
        try await Self.withServer { connection, _, _ in
            let before = connection.lastActivity
            try await connection.connect()
            #expect(connection.lastActivity > before)
            var last = connection.lastActivity
            try await connection.acquire()
            for action: @Sendable (WebSocketManagedConnection) async throws -> Void in [
                { try await $0.send("x") }, { _ = try await $0.receive() }, { _ = try await $0.ping() },
                { $0.release() },
            ] {
                try await action(connection)
                #expect(connection.lastActivity > last, "every use counts")
                last = connection.lastActivity
            }
            #expect(connection.idleDuration > .zero)
        }
    }

    /// (4) A task polled every second for each connection.
    @Test func weakness4_oneTimerAndNoTask() async throws {
        try await Self.withServer(options: .init(idleTimeout: .seconds(3_600))) { connection, _, loopback in
            try await connection.connect()
            try await loopback.loop.reaches("the idle timer") { $0.timers == 1 && $0.internalTasks == 0 }
            for _ in 0..<3 {
                try await connection.acquire()
                connection.release()
            }
            try await loopback.loop.reaches("still one timer") { $0.timers == 1 && $0.pendingContinuations == 0 }
            try await connection.close()
            try await loopback.loop.reaches("and none afterwards") { $0.isZero }
        }
    }

    /// (5) The monitor that closed an idle connection cancelled and awaited itself.
    @Test func weakness5_anIdleConnectionClosesForGood() async throws {
        try await Self.withServer(options: .init(idleTimeout: .milliseconds(30))) { connection, door, _ in
            let ends = Events<WebSocketCloseInfo>()
            connection.onDisconnect { ends.send($0) }
            try await connection.acquire()
            try await connection.send("busy ones are left alone")
            #expect(try await connection.receive() == "busy ones are left alone")
            _ = try await door.sockets.next()
            connection.release()
            let info = try await ends.next()
            #expect(info.sent == WebSocketCloseFrame(code: .normalClosure, reason: "idle"))
            #expect(info.isNormal)
            #expect(connection.endReason == .idleTimeout)
            let error = try await failure { try await connection.acquire() }
            #expect(error.code == .connectionUnavailable)
            #expect(error.message.contains("idleTimeout"))
        }
    }

    /// (6) “Busy” was raised for “not acquired”.
    @Test func weakness6_notAcquiredHasItsOwnCode() async throws {
        try await Self.withServer { connection, _, _ in
            try await connection.connect()
            for call in [Self.calls[2], Self.calls[3]] {
                let error = try await failure { try await call(connection) }
                #expect(error.code == .notAcquired)
                #expect(error.code.isBusy, "it belongs to the same family")
            }
            try await connection.acquire()
            let busy = try await failure { try await connection.acquire() }
            #expect(busy.code == .connectionBusy && busy.code.isBusy)
            #expect(!WebSocketError.Code.connectionClosed.isBusy)
        }
    }

    /// (7) `is_draining` was never true and DrainTimeout never raised.
    @Test(arguments: ["quiet", "endless", "precious"])
    func weakness7_drainingIsReal(_ peer: String) async throws {
        let seen = Events<Bool>()
        let box = Mutex<WebSocketManagedConnection?>(nil)
        let policy = WebSocketManagedConnection.DrainPolicy(
            timeout: peer == "endless" ? .milliseconds(50) : .seconds(60),
            quietPeriod: peer == "endless" ? .milliseconds(50) : .milliseconds(100),
            shouldDiscard: { message in
                seen.send(box.withLock { $0?.isDraining == true && $0?.isBusy == false })
                return message != "precious"
            })
        try await Self.withServer(
            options: .init(idleTimeout: nil, drain: policy),
            handler: { socket in
                _ = try await socket.receive()
                try await socket.send("left behind")
                try await socket.send(peer == "precious" ? "precious" : "and this")
                await LoopbackSupport.drain(socket)
            }
        ) { connection, door, _ in
            box.withLock { $0 = connection }
            defer { box.withLock { $0 = nil } }
            try await connection.acquire()
            try await connection.send("go")
            let releasing = Task { try await connection.drainAndRelease() }
            // With so short a time-out nothing may have been seen.
            if peer != "endless" { #expect(try await seen.next(), "it is draining, and nobody's") }
            switch peer {
            case "quiet":
                try await releasing.value
                #expect(connection.isConnected && !connection.isDraining)
                try await connection.acquire()
                #expect(door.opened.load(ordering: .relaxed) == 1, "the drained connection is used again")
            default:
                let error = try await failure { try await releasing.value }
                #expect(error.code == (peer == "endless" ? .drainTimedOut : .connectionClosed))
                #expect(error.isSentence)
                #expect(!connection.isConnected && !connection.isDraining && !connection.isBusy)
                try await connection.acquire()
                _ = try await door.sockets.next()
                _ = try await door.sockets.next()
                #expect(door.opened.load(ordering: .relaxed) == 2, "a fresh one")
            }
        }
    }

    @Test func weakness7_aConnectionThatIsBeingDrainedIsBusy() async throws {
        let policy = WebSocketManagedConnection.DrainPolicy(timeout: .seconds(600), quietPeriod: .seconds(600))
        try await Self.withServer(options: .init(idleTimeout: nil, drain: policy)) { connection, door, loopback in
            try await connection.acquire()
            let releasing = Task { try await connection.drainAndRelease() }
            try await loopback.loop.reaches("it drains") { $0.pendingContinuations == 1 }
            #expect(connection.isDraining && !connection.isBusy && connection.isConnected)
            let error = try await failure { try await connection.acquire() }
            #expect(error.code == .connectionBusy)
            #expect(error.message.contains("drained"))
            try await door.sockets.next().abort()
            let end = try await failure { try await releasing.value }
            #expect(end.code == .connectionClosed)
            #expect(!connection.isDraining && !connection.isConnected)
        }
    }

    /// (8) A remote close while idle was noticed on the next use only.
    @Test func weakness8_aRemoteCloseIsNoticedWhileIdle() async throws {
        try await Self.withServer(handler: { socket in _ = try await socket.receive() }) { connection, door, _ in
            let ends = Events<WebSocketCloseInfo>()
            connection.onDisconnect { ends.send($0) }
            try await connection.acquire()
            try await connection.send("bye")
            connection.release()
            let info = try await ends.next()
            #expect(info.received?.code == .normalClosure)
            #expect(!connection.isConnected)
            #expect(connection.endReason == nil, "it may connect again")
            try await connection.acquire()
            #expect(connection.isConnected)
            _ = try await door.sockets.next()
        }
    }

    /// One that is let go of ends its connection.
    @Test func aForgottenOneLeavesNothing() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(handler: report(closes)) { loopback in
            do {
                let connection = try WebSocketManagedConnection(to: loopback.url, configuration: loopback.client)
                try await connection.connect()
            }
            #expect(try await closes.next().cause == .connectionLost)
        }
    }
}
