//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ScopeTests {
    private struct Failure: Error, Equatable {}

    @Test(arguments: Transport.all, [WebSocketBodyExecutor.loop, .global])
    func returningCloses1000(_ transport: Transport, _ executor: WebSocketBodyExecutor) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(transport, handler: report(closes)) { loopback in
            let result = try await WebSocketClient.withConnection(
                to: loopback.url, configuration: loopback.client, on: executor
            ) { socket in
                #expect(socket.eventLoop.isOnLoop == (executor == .loop))
                try await socket.send("x")
                // Also after a suspension.
                _ = try await socket.ping()
                #expect(socket.eventLoop.isOnLoop == (executor == .loop))
                return 42
            }
            #expect(result == 42)
            let info = try await closes.next()
            #expect(info.received == WebSocketCloseFrame(code: .normalClosure))
            #expect(info.isNormal)
        }
    }

    @Test(arguments: Transport.all, [WebSocketBodyExecutor.loop, .global])
    func throwingCloses1011(_ transport: Transport, _ executor: WebSocketBodyExecutor) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(transport, handler: report(closes)) { loopback in
            await #expect(throws: Failure()) {
                try await WebSocketClient.withConnection(
                    to: loopback.url, configuration: loopback.client, on: executor
                ) { _ in throw Failure() }
            }
            let info = try await closes.next()
            #expect(info.received == WebSocketCloseFrame(code: .internalError))
            #expect(!info.isNormal)
        }
    }

    @Test func theScopeHasEndedTheConnectionWhenItReturns() async throws {
        try await withLoopback(handler: echo) { loopback in
            let socket = try await WebSocketClient.withConnection(
                to: loopback.url, configuration: loopback.client
            ) { $0 }
            // At once, without a wait.
            #expect(loopback.loop.diagnostics.connections == 0)
            #expect(try await socket.closed().sent?.code == .normalClosure)
        }
    }

    @Test func aBodyMayCloseByItself() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(handler: report(closes)) { loopback in
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                _ = try await socket.close(code: .init(rawValue: 4000), reason: "mine")
            }
            #expect(try await closes.next().received?.reason == "mine")
        }
    }

    @Test func aCancelledScopeStillCloses() async throws {
        let closes = Events<WebSocketCloseInfo>()
        let entered = Events<Void>()
        try await withLoopback(handler: report(closes)) { loopback in
            let scope = Task {
                try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                    entered.send()
                    _ = try await socket.receive()
                }
            }
            try await entered.next()
            scope.cancel()
            let error = await #expect(throws: WebSocketError.self) { try await scope.value }
            #expect(error?.code == .cancelled)
            #expect(try await closes.next().received?.code == .internalError)
        }
    }

    /// The close of a scope is bounded, also when the task is cancelled and the peer does not answer.
    @Test func aCancelledScopeIsBounded() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.closeTimeout = .milliseconds(50)
            let url = "ws://127.0.0.1:\(peer.port)"
            let scope = Task { [configuration] in
                try await WebSocketClient.withConnection(to: url, configuration: configuration) { socket in
                    _ = try await socket.receive()
                }
            }
            let descriptor = try await peer.acceptWebSocket()
            defer { peer.close(descriptor) }
            try await loops.loops[0].reaches("the body receives") { $0.pendingContinuations == 1 && $0.timers == 0 }
            scope.cancel()
            let error = await #expect(throws: WebSocketError.self) { try await scope.value }
            #expect(error?.code == .cancelled)
            #expect(await peer.readToEnd(descriptor).starts(with: [0x88, 0x82]))
        }
    }
}
