//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// The ends of loops that are attached to somebody else's context.
@Suite struct DetachTests {
    /// Whichever side ends it, those who wait are told, and what begins later is refused.
    private func checkIsOver(
        _ loop: WebSocketEventLoop, _ socket: WebSocketConnection, _ receiving: Task<WebSocketMessage, any Error>,
        _ configuration: WebSocketClientConfiguration, _ url: String
    ) async {
        let error = await #expect(throws: WebSocketError.self) { try await receiving.value }
        #expect(error?.code == .connectionClosed)
        let sendError = await #expect(throws: WebSocketError.self) { try await socket.send("late") }
        #expect(sendError?.code == .connectionClosed)
        let connectError = await #expect(throws: WebSocketError.self) {
            try await WebSocketClient.connect(to: url, configuration: configuration)
        }
        #expect(connectError?.code == .shutDown)
        #expect(loop.diagnostics.isZero, "\(loop.diagnostics)")
        await loop.detach()
    }

    /// Ends an attached loop while a call waits on a connection of it, in the way that `end` does.
    private func checkEnd(
        _ transport: Transport, of host: Host, _ end: (WebSocketEventLoop) async -> Void
    ) async throws {
        let loop = try WebSocketEventLoop(attachedTo: host.context)
        host.start()
        try await withLoopback(transport, handler: { await drain($0) }) { loopback in
            let configuration = attached(loopback, loop)
            let socket = try await WebSocketClient.connect(to: loopback.url, configuration: configuration)
            let receiving = Task { try await socket.receive() }
            try await loop.reaches("the call waits") { $0.pendingContinuations == 1 }
            await end(loop)
            await checkIsOver(loop, socket, receiving, configuration, loopback.url)
        }
    }

    @Test(arguments: Transport.all)
    func connectionsEndWhenTheLoopIsDetached(_ transport: Transport) async throws {
        try await withHost { host in
            try await checkEnd(transport, of: host) { await $0.detach() }
            try await host.checkEcho()
        }
    }

    @Test(arguments: Transport.all)
    func connectionsEndWhenTheHostDestroysItsContext(_ transport: Transport) async throws {
        try await withHost { host in
            try await checkEnd(transport, of: host) { loop in
                host.destroyContext()
                await loop.detach()
            }
        }
    }

    @Test func aContextIsDestroyedThatWasNeverServiced() async throws {
        try await withHost { host in
            let loop = try WebSocketEventLoop(attachedTo: host.context)
            var configuration = WebSocketClientConfiguration()
            configuration.eventLoop = loop
            let ready = configuration
            let url = host.url
            let connecting = Task { try await WebSocketClient.connect(to: url, configuration: ready) }
            host.destroyContext()
            let error = await #expect(throws: WebSocketError.self) { try await connecting.value }
            #expect(error?.code == .shutDown)
            await loop.detach()
            #expect(loop.diagnostics.isZero)
        }
    }

    @Test func attemptsEndWithTheContext() async throws {
        try await withHost { host in
            let loop = try WebSocketEventLoop(attachedTo: host.context)
            host.start()
            let peer = try RawPeer()
            var configuration = WebSocketClientConfiguration()
            configuration.eventLoop = loop
            let ready = configuration
            let port = peer.port
            let connecting = Task {
                try await WebSocketClient.connect(to: "ws://127.0.0.1:\(port)/", configuration: ready)
            }
            try await loop.reaches("an attempt") { $0.descriptors == 1 }
            host.destroyContext()
            let error = await #expect(throws: WebSocketError.self) { try await connecting.value }
            #expect(error?.code == .shutDown)
            await loop.detach()
            #expect(loop.diagnostics.isZero)
            withExtendedLifetime(peer) {}
        }
    }

    @Test func poolsEndWithTheContext() async throws {
        try await withHost { host in
            let loop = try WebSocketEventLoop(attachedTo: host.context)
            host.start()
            try await withLoopback(handler: echo) { loopback in
                var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 4)
                configuration.client = attached(loopback, loop)
                configuration.pool.acquireTimeout = .seconds(1)
                try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: configuration) { pool in
                    try await pool.withConnection { socket in
                        try await socket.send("first")
                        #expect(try await socket.receive() == .text("first"))
                    }
                    host.destroyContext()
                    await loop.detach()
                    await #expect(throws: WebSocketError.self) {
                        try await pool.withConnection { try await $0.send("late") }
                    }
                }
                #expect(loop.diagnostics.isZero)
            }
        }
    }

    @Test func aHundredLoopsComeAndGo() async throws {
        try await withHost { host in
            var loop = try WebSocketEventLoop(attachedTo: host.context)
            host.start()
            try await withLoopback(.secure, handler: echo) { loopback in
                for round in 0..<100 {
                    // Alternately with a connection that is closed and one that is not.
                    let socket = try await WebSocketClient.connect(
                        to: loopback.url, configuration: attached(loopback, loop))
                    try await socket.send("\(round)")
                    #expect(try await socket.receive() == .text("\(round)"))
                    if round.isMultiple(of: 2) { #expect(try await socket.close().isNormal) }
                    // The next one is made on the thread that services the context, by the one before.
                    let next = try await withTaskExecutorPreference(loop.taskExecutor) {
                        try WebSocketEventLoop(attachedTo: host.context)
                    }
                    await loop.detach()
                    #expect(loop.diagnostics.isZero, "round \(round): \(loop.diagnostics)")
                    loop = next
                }
            }
            await loop.detach()
            try await host.checkEcho()
        }
    }

    @Test func detachingTwiceIsOnce() async throws {
        try await withHost { host in
            let loop = try WebSocketEventLoop(attachedTo: host.context)
            host.start()
            async let first: Void = loop.detach()
            async let second: Void = loop.detach()
            _ = await (first, second)
            await loop.detach()
            #expect(loop.diagnostics.isZero)
        }
    }
}
