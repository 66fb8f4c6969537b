//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HostContext
import LoopbackSupport
import Testing
import WebSockets

/// Connections, pools and sessions on a context that somebody else services.
@Suite struct AttachedLoopTests {
    @Test(arguments: Transport.all)
    func connectionsEcho(_ transport: Transport) async throws {
        try await withAttachedLoop { host, loop in
            #expect(loop.backend == .attached)
            try await withLoopback(transport, handler: echo) { loopback in
                let configuration = attached(loopback, loop)
                try await WebSocketClient.withConnection(to: loopback.url, configuration: configuration) { socket in
                    #expect(socket.eventLoop === loop)
                    #expect((socket.tls != nil) == transport.isSecure)
                    for size in [0, 1, 125, 126, 4_096, 70_000, 300_000] {
                        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: size), count: size)
                        try await socket.send(bytes)
                        #expect(try await socket.receive() == .binary(bytes))
                    }
                }
            }
        }
    }

    @Test func theBodyRunsOnTheHostsThread() async throws {
        try await withAttachedLoop { host, loop in
            try await withLoopback(handler: echo) { loopback in
                try await WebSocketClient.withConnection(
                    to: loopback.url, configuration: attached(loopback, loop), on: .loop
                ) { socket in
                    for number in 0..<200 {
                        #expect(loop.isOnLoop && loop.isOnServiceThread)
                        try await socket.send("\(number)")
                        #expect(try await socket.receive() == .text("\(number)"))
                    }
                }
            }
            #expect(!loop.isOnLoop && !loop.isOnServiceThread)
        }
    }

    @Test func theHostServesBeside() async throws {
        try await withAttachedLoop { host, loop in
            // Our client, on the host's context, of the host's own server on the same thread.
            var configuration = WebSocketClientConfiguration()
            configuration.eventLoop = loop
            configuration.options.keepAlive = nil
            configuration.subprotocols = ["echo"]
            var sockets: [WebSocketConnection] = []
            for _ in 0..<20 {
                sockets.append(try await WebSocketClient.connect(to: host.url, configuration: configuration))
            }
            try await host.checkEcho()
            for socket in sockets { try await socket.send("\(ObjectIdentifier(socket))") }
            for socket in sockets {
                #expect(try await socket.receive() == .text("\(ObjectIdentifier(socket))"))
                #expect(try await socket.close().isNormal)
            }
            #expect(host.messages == 21)
        }
    }

    @Test func aPoolLivesThere() async throws {
        try await withAttachedLoop { host, loop in
            try await withLoopback(.secure, handler: echo) { loopback in
                var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 4)
                configuration.client = attached(loopback, loop)
                try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: configuration) { pool in
                    try await withThrowingTaskGroup { group in
                        for task in 0..<8 {
                            group.addTask {
                                for round in 0..<10 {
                                    try await pool.withConnection { socket in
                                        try await socket.send("\(task) \(round)")
                                        #expect(try await socket.receive() == .text("\(task) \(round)"))
                                    }
                                }
                            }
                        }
                        try await group.waitForAll()
                    }
                    #expect(pool.statistics.counts.total <= 4)
                }
            }
        }
    }

    @Test func aSessionLivesThere() async throws {
        try await withAttachedLoop { host, loop in
            try await withLoopback(
                handler: { socket in
                    let first = try await socket.receive()
                    try await socket.send(first)
                    if first == .text("leave") { try await socket.close(code: .goingAway) }
                    for try await message in socket.messages { try await socket.send(message) }
                }
            ) { loopback in
                var configuration = WebSocketSessionConfiguration()
                configuration.client = attached(loopback, loop)
                configuration.reconnect.strategy = .fixed(.zero)
                try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                    var connects = 0
                    for try await event in session.events {
                        switch event {
                        case .connected:
                            connects += 1
                            try await session.send(connects == 1 ? "leave" : "stay")
                        case .message(let message) where message == .text("stay"):
                            #expect(connects == 2)
                            return
                        default: break
                        }
                    }
                    Issue.record("the session ended by itself")
                }
            }
        }
    }

    @Test func timersRunOnTheHostsTimers() async throws {
        try await withAttachedLoop { host, loop in
            let peer = try RawPeer()
            var configuration = WebSocketClientConfiguration()
            configuration.eventLoop = loop
            configuration.openTimeout = .milliseconds(50)
            let error = await #expect(throws: WebSocketError.self) {
                try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(peer.port)/", configuration: configuration)
            }
            #expect(error?.code == .timedOut)
            withExtendedLifetime(peer) {}
        }
    }

    @Test func callsAreCancelled() async throws {
        try await withAttachedLoop { host, loop in
            try await withLoopback(handler: { await drain($0) }) { loopback in
                let socket = try await WebSocketClient.connect(
                    to: loopback.url, configuration: attached(loopback, loop))
                let receiving = Task { try await socket.receive() }
                try await loop.reaches("the call waits") { $0.pendingContinuations == 1 }
                receiving.cancel()
                let error = await #expect(throws: WebSocketError.self) { try await receiving.value }
                #expect(error?.code == .cancelled)
                #expect(try await socket.close().isNormal)
            }
        }
    }

    @Test func certificatesAreVerified() async throws {
        try await withAttachedLoop { host, loop in
            try await withLoopback(.secure, handler: echo) { loopback in
                var untrusting = attached(loopback, loop)
                untrusting.tls.trust = .system
                let error = await #expect(throws: WebSocketError.self) {
                    try await WebSocketClient.connect(to: loopback.url, configuration: untrusting)
                }
                #expect(error?.code == .tlsFailed && error?.tlsFailure == .untrusted)

                var pinned = attached(loopback, loop)
                pinned.tls.publicKeyPins = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
                let pinError = await #expect(throws: WebSocketError.self) {
                    try await WebSocketClient.connect(to: loopback.url, configuration: pinned)
                }
                #expect(pinError?.tlsFailure == .pinMismatch)

                var careless = attached(loopback, loop)
                careless.tls.trust = .system
                careless.tls.verification = .insecureNoVerification
                let socket = try await WebSocketClient.connect(to: loopback.url, configuration: careless)
                #expect(try await socket.close().isNormal)
            }
        }
    }

    @Test func namesAreLookedUp() async throws {
        try await withAttachedLoop { host, loop in
            var configuration = WebSocketClientConfiguration()
            configuration.eventLoop = loop
            let url = host.url.replacing("127.0.0.1", with: "localhost")
            let socket = try await WebSocketClient.connect(to: url, configuration: configuration)
            #expect(try await socket.close().isNormal)
        }
    }

    /// The host's service buffer holds less than a TLS record.
    @Test func aPausedConnectionGoesOn() async throws {
        try await withAttachedLoop { host, loop in
            let message = WebSocketMessage.binary(Payload.noise(100_000))
            let count = 40
            try await withLoopback(.secure, handler: { for _ in 0..<count { try await $0.send(message) } }) {
                loopback in
                var configuration = attached(loopback, loop)
                configuration.options.inboundBuffer.highMessages = 2
                configuration.options.inboundBuffer.lowMessages = 1
                let socket = try await WebSocketClient.connect(to: loopback.url, configuration: configuration)
                for _ in 0..<count {
                    let isRight = try await socket.receive() == message
                    #expect(isRight)
                }
                #expect(try await socket.closed().isNormal)
            }
        }
    }
}
