//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Every await of an open connection. Those of `connect` are in `OpenTests`, of `send` in `BackpressureTests`.
@Suite(.timeLimit(.minutes(5)))
struct CancellationTests {
    enum Call: String, CaseIterable {
        case receive, messages, ping, close, closed

        @Sendable func run(_ socket: WebSocketConnection) async throws {
            switch self {
            case .receive: _ = try await socket.receive()
            case .messages: for try await _ in socket.messages {}
            case .ping: _ = try await socket.ping()
            case .close: _ = try await socket.close()
            case .closed: _ = try await socket.closed()
            }
        }
    }

    /// Against a peer that says nothing, so that each call waits until it is cancelled.
    @Test(arguments: Call.allCases, [WebSocketBodyExecutor.loop, .global])
    func everyCallThatWaitsCanBeCancelled(_ call: Call, _ executor: WebSocketBodyExecutor) async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: clientConfiguration(on: loops))
            let descriptor = try await accepted
            defer { peer.close(descriptor) }
            let preference: (any TaskExecutor)? = executor == .loop ? socket.eventLoop.taskExecutor : nil
            let calls = (0..<3).map { _ in Task(executorPreference: preference) { try await call.run(socket) } }
            try await socket.eventLoop.reaches("all wait") { $0.pendingContinuations == 3 }
            // The second first: nobody is taken for somebody else.
            for index in [1, 0, 2] {
                calls[index].cancel()
                let error = await #expect(throws: WebSocketError.self) { try await calls[index].value }
                #expect(error?.code == .cancelled)
                #expect(error?.isSentence == true)
            }
            #expect(socket.eventLoop.diagnostics.pendingContinuations == 0)
            // And one that is cancelled before it begins.
            let late = Task(executorPreference: preference) {
                withUnsafeCurrentTask { $0?.cancel() }
                try await call.run(socket)
            }
            let error = await #expect(throws: WebSocketError.self) { try await late.value }
            #expect(error?.code == .cancelled)
            socket.abort()
            _ = try await socket.closed()
        }
    }

    /// Receives are cancelled at random while messages pour in. None may be lost or change places.
    @Test(arguments: Transport.all)
    func aCancelledReceiveLosesNoMessage(_ transport: Transport) async throws {
        let count = 400
        try await withLoopback(
            transport,
            handler: { socket in
                for number in 0..<count {
                    // One at a time, so that receives have to wait.
                    _ = try await socket.receive()
                    try await socket.send("\(number)")
                }
            }
        ) { loopback in
            let socket = try await loopback.connect()
            var next = 0
            var cancelled = 0
            while next < count {
                try await socket.send("go")
                // Several waiters, all but the last cancelled at some moment around the message's arrival.
                let executor: (any TaskExecutor)? = next.isMultiple(of: 2) ? loopback.loop.taskExecutor : nil
                let receiving = Task(executorPreference: executor) { try await socket.receive() }
                for _ in 0..<(next % 7) { await Task.yield() }
                receiving.cancel()
                do {
                    #expect(try await receiving.value == .text("\(next)"))
                } catch let error as WebSocketError where error.code == .cancelled {
                    cancelled += 1
                    #expect(try await socket.receive() == .text("\(next)"))
                }
                next += 1
            }
            #expect(cancelled > 0)
            #expect(try await socket.closed().isNormal)
        }
    }

    /// The close itself goes on.
    @Test func aCancelledCloseStillCloses() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: clientConfiguration(on: loops))
            let descriptor = try await accepted
            let closing = Task { try await socket.close(code: .goingAway) }
            #expect(await peer.read(descriptor) { $0.count >= 8 }.first == 0x88)
            closing.cancel()
            let error = await #expect(throws: WebSocketError.self) { _ = try await closing.value }
            #expect(error?.code == .cancelled)
            peer.write(descriptor, [0x88, 0x02, 0x03, 0xE9])
            let info = try await socket.closed()
            #expect(info.cause == .closingHandshake)
            #expect(info.received?.code == .goingAway)
            peer.close(descriptor)
        }
    }
}
