//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct CloseTests {
    static let frames: [WebSocketCloseFrame] =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map {
            WebSocketCloseFrame(code: .init(rawValue: $0), reason: $0.isMultiple(of: 2) ? "because \($0)" : "")
        } + [
            WebSocketCloseFrame(code: .noStatusReceived),
            WebSocketCloseFrame(code: .init(rawValue: 4000), reason: String(repeating: "漢", count: 41)),
        ]

    private func expect(_ closer: WebSocketCloseInfo, _ other: WebSocketCloseInfo, _ frame: WebSocketCloseFrame) {
        #expect(closer.sent == frame)
        #expect(closer.received == WebSocketCloseFrame(code: frame.code), "the answer repeats the code (§5.5.1)")
        #expect(closer.receivedFirst == false)
        #expect(other.received == frame)
        #expect(other.sent?.code == frame.code)
        #expect(other.receivedFirst == true)
        for info in [closer, other] {
            #expect(info.cause == .closingHandshake)
            #expect(info.code == frame.code)
            #expect(info.isNormal == frame.code.isNormal)
            #expect(info.unsentMessages == 0)
            #expect(info.droppedMessages == 0)
        }
    }

    @Test(arguments: frames, [Transport.plain, .secure])
    func bothSidesKnowWhatTheClientSaid(_ frame: WebSocketCloseFrame, _ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(transport, handler: report(closes)) { loopback in
            let socket = try await loopback.connect()
            let info = try await socket.close(code: frame.code, reason: frame.reason)
            expect(info, try await closes.next(), frame)
        }
    }

    @Test(arguments: frames, [Transport.plain, .secure])
    func bothSidesKnowWhatTheServerSaid(_ frame: WebSocketCloseFrame, _ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            transport,
            handler: { socket in closes.send(try await socket.close(code: frame.code, reason: frame.reason)) }
        ) { loopback in
            let socket = try await loopback.connect()
            expect(try await closes.next(), try await socket.closed(), frame)
        }
    }

    @Test func aClosedConnectionReturnsHowItEnded() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(handler: report(closes)) { loopback in
            let socket = try await loopback.connect()
            let code = WebSocketCloseCode(rawValue: 4001)
            async let first = socket.close(code: code, reason: "first")
            async let closed = socket.closed()
            let known = try await first
            #expect(try await closed == known)
            #expect(try await socket.close(code: .goingAway, reason: "second") == known)
            #expect(try await socket.closed() == known)
            #expect(try await closes.next().received == WebSocketCloseFrame(code: code, reason: "first"))
        }
    }

    @Test(arguments: Transport.all)
    func framesThatCrossAreOneClose(_ transport: Transport) async throws {
        let sockets = Events<WebSocketConnection>()
        try await withLoopback(
            transport,
            handler: { socket in
                sockets.send(socket)
                _ = try await socket.closed()
            }
        ) { loopback in
            let loop = loopback.serverLoops.loops[0]
            let mine = try await loopback.connect { $0.eventLoop = loop }
            let theirs = try await sockets.next()
            // Both in one turn of one loop: neither frame is read before the other is sent.
            let (first, second) = try await withTaskExecutorPreference(loop.taskExecutor) {
                async let first = mine.close(code: .init(rawValue: 4001), reason: "mine")
                async let second = theirs.close(code: .init(rawValue: 4002), reason: "theirs")
                return try await (first, second)
            }
            for info in [first, second] {
                #expect(info.cause == .closingHandshake)
                #expect(info.receivedFirst == false)
            }
            #expect(first.sent == second.received)
            #expect(second.sent == first.received)
            #expect(first.received?.reason == "theirs")
        }
    }

    @Test func aPeerThatNeverAnswersIsCutOffInTime() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.closeTimeout = .milliseconds(50)
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: configuration)
            let descriptor = try await accepted
            defer { peer.close(descriptor) }
            let receiving = Task { try await socket.receive() }
            let info = try await socket.close(reason: "bye")
            #expect(info.cause == .closeTimeout)
            #expect(info.sent == WebSocketCloseFrame(code: .normalClosure, reason: "bye"))
            #expect(info.received == nil)
            #expect(info.receivedFirst == nil)
            #expect(info.code == .abnormalClosure)
            #expect(!info.isNormal)
            let error = await #expect(throws: WebSocketError.self) { try await receiving.value }
            #expect(error?.code == .connectionClosed)
            #expect(error?.closeInfo == info)
            // FIN and CLOSE, masked, ten bytes… and then the end of file.
            #expect(await peer.readToEnd(descriptor).starts(with: [0x88, 0x85]))
        }
    }

    @Test func whatMayNotBeSentIsRefusedAndNothingIsSent() async throws {
        try await withLoopback(handler: echo) { loopback in
            let socket = try await loopback.connect()
            let invalid: [UInt16] = [0, 1, 999, 1004, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65_535]
            for code in invalid {
                let error = await #expect(throws: WebSocketError.self) {
                    try await socket.close(code: .init(rawValue: code))
                }
                #expect(error?.code == .invalidCloseCode, "\(code)")
                #expect(error?.isSentence == true)
            }
            for reason in [String(repeating: "x", count: 124), String(repeating: "漢", count: 42)] {
                let error = await #expect(throws: WebSocketError.self) { try await socket.close(reason: reason) }
                #expect(error?.code == .closeReasonTooLong)
                #expect(error?.isSentence == true)
            }
            let error = await #expect(throws: WebSocketError.self) {
                try await socket.close(code: .noStatusReceived, reason: "x")
            }
            #expect(error?.code == .invalidCloseCode)
            try await socket.send("still open")
            #expect(try await socket.receive() == "still open")
            #expect(try await socket.close().isNormal)
        }
    }

    @Test(arguments: Transport.all)
    func abortEndsEverythingAtOnce(_ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(transport, handler: report(closes)) { loopback in
            let socket = try await loopback.connect()
            let receiving = Task { try await socket.receive() }
            async let closed = socket.closed()
            try await loopback.loop.reaches("both wait") { $0.pendingContinuations == 2 }
            socket.abort()
            let info = try await closed
            #expect(info.cause == .aborted)
            #expect(info.sent == nil)
            #expect(info.received == nil)
            let error = await #expect(throws: WebSocketError.self) { try await receiving.value }
            #expect(error?.code == .connectionClosed)
            #expect(error?.closeInfo?.cause == .aborted)
            #expect(error?.isSentence == true)
            for call in try await Self.callsOnAClosedConnection(socket) {
                #expect(call.error?.code == .connectionClosed, "\(call.name)")
                #expect(call.error?.closeInfo?.cause == .aborted, "\(call.name)")
            }
            let theirs = try await closes.next()
            #expect(theirs.cause == .connectionLost)
            #expect(theirs.code == .abnormalClosure)
            #expect(theirs.received == nil)
        }
    }

    /// What each call throws, from the loop and from elsewhere.
    private static func callsOnAClosedConnection(
        _ socket: WebSocketConnection
    ) async throws -> [(name: String, error: WebSocketError?)] {
        @Sendable func error(of call: () async throws(WebSocketError) -> Void) async -> WebSocketError? {
            do throws(WebSocketError) { try await call() } catch { return error }
            return nil
        }
        @Sendable @concurrent func all() async -> [(name: String, error: WebSocketError?)] {
            [
                ("send text", await error { () throws(WebSocketError) in try await socket.send("x") }),
                ("send bytes", await error { () throws(WebSocketError) in try await socket.send([1]) }),
                ("receive", await error { () throws(WebSocketError) in _ = try await socket.receive() }),
                ("ping", await error { () throws(WebSocketError) in _ = try await socket.ping() }),
            ]
        }
        let elsewhere = await all()
        let onLoop = await withTaskExecutorPreference(socket.eventLoop.taskExecutor) { await all() }
        return elsewhere + onLoop.map { ($0.name + " on the loop", $0.error) }
    }

    @Test func callsAfterTheEndSayHowItEnded() async throws {
        try await withLoopback(handler: { _ in }) { loopback in
            let socket = try await loopback.connect()
            let info = try await socket.closed()
            #expect(info.isNormal)
            for call in try await Self.callsOnAClosedConnection(socket) {
                #expect(call.error?.code == .connectionClosed, "\(call.name)")
                #expect(call.error?.closeInfo == info, "\(call.name)")
                #expect(call.error?.isSentence == true, "\(call.name)")
            }
        }
    }

    @Test func abortCutsACloseShort() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: clientConfiguration(on: loops))
            let descriptor = try await accepted
            defer { peer.close(descriptor) }
            async let closing = socket.close()
            #expect(await peer.read(descriptor) { $0.count >= 8 }.first == 0x88)
            socket.abort()
            let info = try await closing
            #expect(info.cause == .aborted)
            #expect(info.sent?.code == .normalClosure)
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func aForgottenConnectionIsAborted(_ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(transport, handler: report(closes)) { loopback in
            _ = try await loopback.connect()
            let info = try await closes.next()
            #expect(info.cause == .connectionLost)
            #expect(info.code == .abnormalClosure)
        }
    }

    /// As a task does that is cancelled: it closes, cannot wait for the answer, and lets go of the connection.
    @Test(arguments: Transport.all)
    func aCloseGoesOnWhenTheConnectionIsForgotten(_ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(transport, handler: report(closes)) { loopback in
            let leaving = Task {
                let socket = try await loopback.connect()
                withUnsafeCurrentTask { $0?.cancel() }
                try await socket.close(code: .goingAway, reason: "cancelled")
            }
            let error = await #expect(throws: WebSocketError.self) { try await leaving.value }
            #expect(error?.code == .cancelled)
            let info = try await closes.next()
            #expect(info.received == WebSocketCloseFrame(code: .goingAway, reason: "cancelled"))
            #expect(info.cause == .closingHandshake)
        }
    }

    @Test(arguments: [true, false])
    func aLostConnectionIsNoClose(isReset: Bool) async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: clientConfiguration(on: loops))
            let descriptor = try await accepted
            if isReset { peer.reset(descriptor) } else { peer.close(descriptor) }
            let info = try await socket.closed()
            #expect(info.cause == .connectionLost)
            #expect(info.sent == nil)
            #expect(info.received == nil)
            let error = await #expect(throws: WebSocketError.self) { for try await _ in socket.messages {} }
            #expect(error?.code == .connectionClosed)
            #expect(error?.closeInfo == info)
        }
    }
}
