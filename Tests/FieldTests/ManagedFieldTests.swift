//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Synchronization
import TestSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// What users of a managed connection met, each as a test of its number.
@Suite(.timeLimit(.minutes(5)))
struct ManagedFieldTests {
    private static func with(
        _ options: WebSocketManagedConnection.Options = .init(idleTimeout: nil), handler: @escaping Handler = echo,
        _ body: (WebSocketManagedConnection, Loopback) async throws -> Void
    ) async throws {
        try await withLoopback(handler: handler) { loopback in
            let connection = try WebSocketManagedConnection(
                to: loopback.url, configuration: loopback.client, options: options)
            do {
                try await body(connection, loopback)
                try await connection.close()
            } catch {
                connection.abort()
                throw error
            }
        }
    }

    /// A managed connection and its peer, which does nothing by itself.
    private static func withPeer(
        closeTimeout: Duration = .seconds(60),
        _ body: (WebSocketManagedConnection, WebSocketBytePeer, WebSocketEventLoop) async throws -> Void
    ) async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(on: loops)
            configuration.options.closeTimeout = closeTimeout
            let listener = try WebSocketBytePeerListener()
            let connection = try WebSocketManagedConnection(
                to: "ws://127.0.0.1:\(listener.port)", configuration: configuration, options: .init(idleTimeout: nil))
            async let connecting: Void = connection.connect()
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            try await connecting
            do {
                try await body(connection, peer, loops.loops[0])
            } catch {
                connection.abort()
                throw error
            }
            connection.abort()
            peer.close()
        }
    }

    @Test func d1_closesAreValidatedAndAnIllegalOneChangesNothing() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await Self.with(handler: report(closes)) { connection, _ in
            for code in [1004, 1006, 1015, 999, 5000] as [UInt16] {
                let error = try await failure { try await connection.close(code: .init(rawValue: code)) }
                #expect(error.code == .invalidCloseCode)
            }
            try await connection.connect()
            let error = try await failure { try await connection.close(reason: String(repeating: "x", count: 200)) }
            #expect(error.code == .closeReasonTooLong)
            #expect(connection.isConnected && connection.endReason == nil)
            let info = try await connection.close(code: .init(rawValue: 4001), reason: "good")
            #expect(info?.sent == WebSocketCloseFrame(code: .init(rawValue: 4001), reason: "good"))
            #expect(try await closes.next().received?.reason == "good")
            #expect(connection.closeInfo == info)
            #expect(try await connection.close() == nil, "there was nothing to close any more")
        }
    }

    @Test func d2_aSecondReleaseLeavesTheDrainAlone() async throws {
        let drain = WebSocketManagedConnection.DrainPolicy(timeout: .seconds(600), quietPeriod: .seconds(600))
        try await Self.with(.init(idleTimeout: nil, drain: drain)) { connection, loopback in
            connection.release()
            try await connection.acquire()
            let releasing = Task { try await connection.drainAndRelease() }
            try await loopback.loop.reaches("it drains") { $0.pendingContinuations == 1 }
            connection.release()
            try await connection.drainAndRelease()
            #expect(connection.isDraining)
            connection.abort()
            #expect(try await failure { try await releasing.value }.code == .connectionClosed)
        }
    }

    @Test func d3_idlenessNeverCutsWhatHasJustBeenAcquired() async throws {
        try await withLoopback(handler: echo) { loopback in
            var outcomes = [true: 0, false: 0]
            for _ in 0..<100 {
                let clock = WebSocketManualClock()
                let connection = try WebSocketManagedConnection(
                    to: loopback.url, configuration: loopback.client, options: .init(idleTimeout: .seconds(30)),
                    clock: clock)
                try await connection.connect()
                try await clock.waitForSleepers()
                async let passes: Void = Task.detached { clock.advance(by: .seconds(30)) }.value
                do {
                    try await connection.acquire()
                    await passes
                    try await connection.send("mine")
                    #expect(try await connection.receive() == "mine")
                    outcomes[true, default: 0] += 1
                } catch let error as WebSocketError {
                    #expect(error.code == .connectionUnavailable && error.message.contains("idleTimeout"))
                    outcomes[false, default: 0] += 1
                }
                try await connection.close()
            }
            #expect(outcomes[true]! + outcomes[false]! == 100)
        }
    }

    /// The caller's executor is held from before the pong until after the deadline.
    @Test func d4_aPingsTimeIsTheLoops() async throws {
        try await Self.withPeer { connection, peer, _ in
            try await withLoops { others in
                let other = others.loops[0]
                let timeout = Duration.seconds(2)
                let pinging = Task(executorPreference: other.taskExecutor) {
                    try await connection.ping(timeout: timeout)
                }
                let frame = try await peer.readFrame()
                let isHeld = Mutex(true)
                Task(executorPreference: other.taskExecutor) { while isHeld.withLock({ $0 }) { usleep(1_000) } }
                try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, frame.payload))
                try await Task.sleep(for: timeout + .milliseconds(300))
                isHeld.withLock { $0 = false }
                #expect(try await pinging.value < timeout)
                #expect(connection.isConnected)
            }
        }
    }

    /// The connection's own loop is held: it reads the pong before it judges.
    @Test func d4_aHeldLoopReadsBeforeItJudges() async throws {
        try await Self.withPeer { connection, peer, loop in
            let timeout = Duration.seconds(1)
            let pinging = Task { try await connection.ping([1, 2], timeout: timeout) }
            let frame = try await peer.readFrame()
            #expect(frame.payload == [1, 2])
            let isHeld = Events<Void>()
            let holding = Task(executorPreference: loop.taskExecutor) {
                isHeld.send()
                usleep(1_300_000)
            }
            try await isHeld.next()
            try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, frame.payload))
            await holding.value
            #expect(try await pinging.value > .zero)
            #expect(connection.isConnected)
        }
    }

    @Test(arguments: [Duration.zero, .seconds(-1)])
    func d17_aWrongArgumentKillsNoConnection(_ timeout: Duration) async throws {
        try await Self.with { connection, _ in
            let early = try await failure { try await connection.ping() }
            #expect(early.code == .connectionUnavailable && early.message.contains("acquire()"))
            try await connection.connect()
            let error = try await failure { try await connection.ping(timeout: timeout) }
            #expect(error.code == .invalidConfiguration && error.message.contains("positive"))
            #expect(connection.isConnected)
        }
    }

    @Test func d8_theWholeOfAConnectionIsThere() async throws {
        try await withLoopback(
            server: { $0.subprotocols = ["rpc"] }, handler: echo
        ) { loopback in
            var configuration = loopback.client
            configuration.subprotocols = ["rpc"]
            let managed = try WebSocketManagedConnection(
                to: loopback.url + "/path", headers: [.authorization: "me"], configuration: configuration)
            #expect(managed.url.target == "/path" && managed.options.idleTimeout == .seconds(30))
            #expect(managed.configuration.headers[.authorization] == "me")
            #expect(managed.closeInfo == nil && managed.response == nil && managed.remoteAddress == nil)
            try await managed.acquire()
            #expect(managed.subprotocol == "rpc" && managed.response?.status == 101)
            #expect(managed.remoteAddress != nil && managed.localAddress != nil)
            #expect(managed.tls == nil && managed.deflate == nil)
            #expect(managed.requestHeaders[.authorization] == "me")
            try await managed.send([1, 2][...])
            #expect(try await managed.receive(within: .seconds(60)) == .binary([1, 2]))
            #expect(try await managed.receive(within: .zero) == nil)
            try await managed.send(Array("text".utf8), as: .text, compression: .never)
            #expect(try await managed.receiveStream().collect() == "text")
            #expect(try await managed.request("question") { $0 == "question" } == "question")
            try await managed.withMessageWriter(as: .text) { writer in
                try await writer.write("in ")
                try await writer.write("parts")
            }
            for try await message in try managed.messages {
                #expect(message == "in parts")
                break
            }
            #expect(try await managed.ping([7]) > .zero)
            #expect(managed.latency != nil)
            try await managed.pong()
            let beneath = try managed.connection
            #expect(try managed.connection === beneath)
            try await beneath.send("beneath")
            #expect(try await managed.receive() == "beneath")
            managed.release()
            #expect(try await failure { try await beneath.send("too late") }.code == .leaseEnded)
            let unused = try await failure { _ = try managed.messages }
            #expect(unused.code == .notAcquired)
            async let end = managed.closed()
            try await loopback.loop.reaches("the end is waited for") { $0.pendingContinuations == 1 }
            try await managed.close(code: .goingAway)
            #expect(try await end.sent?.code == .goingAway)
        }
    }

    @Test func d9_turnsAreWaitedForInOrder() async throws {
        try await Self.with { connection, loopback in
            try await connection.acquire()
            let order = Events<Int>()
            var tasks: [Task<Void, any Error>] = []
            for number in 0..<8 {
                tasks.append(
                    Task {
                        try await connection.withConnection(timeout: .seconds(120)) { connection in
                            order.send(number)
                            try await connection.send("\(number)")
                            #expect(try await connection.receive() == .text("\(number)"))
                        }
                    })
                try await loopback.loop.reaches("\(number) waits") { $0.pendingContinuations == number + 1 }
            }
            #expect(try await failure { try await connection.acquire() }.code == .connectionBusy)
            tasks[3].cancel()
            #expect(try await failure { try await tasks[3].value }.code == .cancelled)
            connection.release()
            for (number, task) in tasks.enumerated() where number != 3 { try await task.value }
            for number in [0, 1, 2, 4, 5, 6, 7] { #expect(try await order.next() == number) }
            #expect(!connection.isBusy)
        }
    }

    @Test func d9_aTurnThatDoesNotComeIsNotWaitedForLonger() async throws {
        try await Self.with { connection, _ in
            try await connection.acquire(timeout: .seconds(120))
            for timeout in [Duration.zero, .milliseconds(20)] {
                let error = try await failure { try await connection.acquire(timeout: timeout) }
                #expect(error.code == .acquireTimedOut && error.isSentence)
            }
            let negative = try await failure { try await connection.acquire(timeout: .seconds(-1)) }
            #expect(negative.code == .invalidConfiguration)
            #expect(connection.isBusy, "the one who has it keeps it")
            connection.release()
            #expect(!connection.isBusy, "no turn went to those who had given up")
            try await connection.acquire(timeout: .zero)
            connection.release()
        }
    }

    @Test func d9_aSilentServerIsNotWaitedForLonger() async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            let connection = try WebSocketManagedConnection(
                to: "ws://127.0.0.1:\(listener.port)", configuration: try clientConfiguration(on: loops))
            let error = try await failure { try await connection.acquire(timeout: .milliseconds(50)) }
            #expect(error.code == .acquireTimedOut && error.message.contains("server"))
            #expect(!connection.isBusy)
            try await connection.close()
        }
    }

    @Test func d11_aCloseCanBeCancelledAndGoesOn() async throws {
        try await Self.withPeer { connection, peer, _ in
            try await connection.acquire()
            let closing = Task { try await connection.close() }
            #expect(try await peer.readFrame().opcode == WebSocketWireFrame.close)
            closing.cancel()
            #expect(try await failure { try await closing.value }.code == .cancelled)
            #expect(connection.endReason == .closed)
            connection.abort()
            _ = try await peer.readToEnd()
        }
    }

    @Test func d11_abortEndsAtOnceAndForGood() async throws {
        try await Self.withPeer { connection, peer, _ in
            let ends = Events<WebSocketCloseInfo>()
            connection.onDisconnect { ends.send($0) }
            try await connection.acquire()
            let receiving = Task { try await connection.receive() }
            let waiting = Task { try await connection.acquire(timeout: .seconds(120)) }
            connection.abort()
            #expect(try await ends.next().cause == .aborted)
            _ = try await failure { try await receiving.value }
            #expect(try await failure { try await waiting.value }.code == .connectionUnavailable)
            #expect(try await peer.readToEnd().isEmpty, "no close frame")
            #expect(try await failure { try await connection.acquire() }.code == .connectionUnavailable)
        }
    }

    @Test func d12_aScopesResultDoesNotWaitForTheDrain() async throws {
        let drain = WebSocketManagedConnection.DrainPolicy(timeout: .seconds(600), quietPeriod: .seconds(600))
        try await Self.with(.init(idleTimeout: nil, drain: drain)) { connection, loopback in
            let result = try await connection.withConnection { connection in
                try await connection.send("question")
                return try await connection.receive()
            }
            #expect(result == "question")
            #expect(connection.isDraining)
            // The next scope waits for the drain.
            let next = Task { try await connection.withConnection { _ in } }
            try await loopback.loop.reaches("the drain, and the scope") { $0.pendingContinuations == 2 }
            connection.abort()
            #expect(try await failure { try await next.value }.code == .connectionUnavailable)
        }
    }

    @Test func d12_aDrainThatFailsTakesNoResultAway() async throws {
        let opened = Atomic<Int>(0)
        let drain = WebSocketManagedConnection.DrainPolicy(shouldDiscard: { _ in false })
        try await Self.with(
            .init(idleTimeout: nil, drain: drain),
            handler: { socket in
                opened.add(1, ordering: .relaxed)
                try await echo(socket)
            }
        ) { connection, loopback in
            for round in 1...3 {
                let result = try await connection.withConnection(timeout: .seconds(120)) { connection in
                    try await connection.send("left behind")
                    return round
                }
                #expect(result == round)
            }
            try await loopback.loop.reaches("the drains have ended") { _ in !connection.isDraining }
            #expect(!connection.isConnected)
            #expect(opened.load(ordering: .relaxed) == 3, "each scope had a fresh one")
        }
    }

    @Test(arguments: [false, true])
    func d12_aBodyThatBreaksOffLeavesNothingToTheNext(byCancellation: Bool) async throws {
        struct Mishap: Error {}
        let closes = Events<WebSocketCloseInfo>()
        try await Self.with(
            handler: { socket in
                try await echo(socket)
                closes.send(try await socket.closed())
            }
        ) { connection, _ in
            let entered = Events<Void>()
            let broken = Task {
                try await connection.withConnection { connection in
                    try await connection.send("of user 1")
                    entered.send()
                    if !byCancellation { throw Mishap() }
                    try await Task.sleep(for: .seconds(600))
                }
            }
            try await entered.next()
            if byCancellation { broken.cancel() }
            await #expect(throws: (any Error).self) { try await broken.value }
            let reply = try await connection.withConnection(timeout: .seconds(120)) { connection in
                try await connection.send("of user 2")
                return try await connection.receive()
            }
            #expect(reply == "of user 2")
        }
    }

    /// A receiver that its user has left behind would take the next user's reply.
    @Test func aReceiverThatIsLeftBehindTakesNothingOfTheNextUser() async throws {
        try await Self.with { connection, loopback in
            try await connection.acquire()
            let kept = try connection.connection
            let straggler = Task { try await kept.receive() }
            try await loopback.loop.reaches("it waits") { $0.pendingContinuations == 1 }
            connection.release()
            try await connection.acquire()
            try await connection.send("mine")
            #expect(try await connection.receive() == "mine")
            #expect(try await failure { try await straggler.value }.code == .connectionClosed)
        }
    }

    @Test func d16_theNearerHeaderWins() async throws {
        let seen = Events<[String]>()
        try await withLoopback(handler: { socket in
            seen.send(socket.requestHeaders.filter { $0.name == .authorization }.map(\.value))
            await drain(socket)
        }) { loopback in
            var configuration = loopback.client
            configuration.headers[.authorization] = "Bearer conf"
            try await WebSocketManagedConnection.withConnection(
                to: loopback.url, headers: [.authorization: "Bearer arg"], configuration: configuration
            ) { _ in }
            #expect(try await seen.next() == ["Bearer arg"])
        }
    }

    @Test func d18_anEmptyLeftoverIsNoReasonToClose() async throws {
        let drain = WebSocketManagedConnection.DrainPolicy(quietPeriod: .milliseconds(100))
        try await Self.with(.init(idleTimeout: nil, drain: drain)) { connection, _ in
            try await connection.acquire()
            try await connection.send("")
            try await connection.drainAndRelease()
            #expect(connection.isConnected)
        }
    }

    @Test func d19_whatCouldNeverConnectIsRefusedWhenItIsMade() throws {
        typealias Options = WebSocketManagedConnection.Options
        func refusal(
            _ options: Options = .init(), _ change: (inout WebSocketClientConfiguration) -> Void = { _ in }
        ) -> WebSocketError? {
            var configuration = WebSocketClientConfiguration()
            change(&configuration)
            return #expect(throws: WebSocketError.self) {
                try WebSocketManagedConnection(
                    to: "ws://localhost/", configuration: configuration, options: options)
            }
        }
        for error in [
            refusal { $0.openTimeout = .zero }, refusal { $0.headers[.init("Host")!] = "x" },
            refusal { $0.options.maximumMessageSize = 0 }, refusal(.init(idleTimeout: .seconds(-1))),
            refusal(.init(drain: .init(timeout: .seconds(1), quietPeriod: .seconds(2)))),
        ] {
            #expect(error?.code == .invalidConfiguration)
        }
        #expect(throws: WebSocketError.self) { try WebSocketManagedConnection(to: "http//nowhere") }
    }
}
