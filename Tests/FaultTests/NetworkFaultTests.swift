//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Our client and our server with a network between them that fails. Numbers are those of `catalogue.json`.
///
/// After each case nothing is left on any loop (`withLoopback`), and a connection beside it has worked all the time.
@Suite(.timeLimit(.minutes(5))) struct NetworkFaultTests {
    private struct Scene: Sendable {
        let loopback: Loopback
        let proxy: WebSocketFaultProxy

        /// Through the proxy.
        func connect(
            _ change: @Sendable (inout WebSocketClientConfiguration) -> Void = { _ in }
        ) async throws -> WebSocketConnection {
            var configuration = loopback.client
            change(&configuration)
            let scheme = loopback.url.prefix { $0 != ":" }
            return try await WebSocketClient.connect(
                to: "\(scheme)://127.0.0.1:\(proxy.port)/", configuration: configuration)
        }
    }

    private func withScene(
        _ transport: Transport, conditions: WebSocketFaultProxy.Conditions = .init(), seed: UInt64 = 1,
        sourceLocation: SourceLocation = #_sourceLocation, _ body: (Scene) async throws -> Void
    ) async throws {
        try await withLoopback(transport, handler: echo, sourceLocation: sourceLocation) { loopback in
            try await withWebSocketFaultProxy(to: loopback.server.port, seed: seed, conditions: conditions) { proxy in
                let healthy = try await loopback.connect()
                try await body(Scene(loopback: loopback, proxy: proxy))
                // Isolation: what happened to the others did not touch this one.
                try await healthy.send("still well")
                #expect(try await healthy.receive() == .text("still well"), sourceLocation: sourceLocation)
                try await healthy.close()
            }
        }
    }

    /// D10: cut into single bytes, everything still arrives as it was sent.
    @Test(arguments: Transport.all)
    func everyFrameIsCutAtEveryByte(_ transport: Transport) async throws {
        var conditions = WebSocketFaultProxy.Conditions()
        conditions.toServer.slicer = .init(size: 1)
        conditions.toClient.slicer = .init(size: 1)
        try await withScene(transport, conditions: conditions) { scene in
            let socket = try await scene.connect()
            for size in [0, 1, 125, 126, 1_000, 3_000] {
                let message = WebSocketMessage.text(Payload.text(size))
                try await socket.send(message)
                #expect(try await socket.receive().isIdentical(to: message))
            }
            try await socket.close()
        }
    }

    /// D11: flipped bits end in an error or in another message, never in a crash or a hang. TLS always notices.
    @Test(arguments: Transport.all)
    func flippedBitsNeverHang(_ transport: Transport) async throws {
        for seed in 1...6 as ClosedRange<UInt64> {
            try await withScene(transport, seed: seed) { scene in
                // A corrupted length makes a side wait for bytes that never come: only the keepalive ends that.
                let socket = try await scene.connect {
                    $0.options.closeTimeout = .milliseconds(100)
                    $0.options.keepAlive = .init(interval: .milliseconds(50), timeout: .milliseconds(200))
                }
                let message = WebSocketMessage.binary(Payload.noise(400))
                scene.proxy.change {
                    $0.toServer.corrupt = 300
                    $0.toClient.corrupt = 300
                }
                do {
                    for _ in 0..<20 {
                        try await socket.send(message)
                        let answer = try await socket.receive()
                        if transport.isSecure { #expect(answer == message) }
                    }
                } catch let error as WebSocketError {
                    #expect(error.isSentence)
                }
                scene.proxy.change { $0 = .init() }
                socket.abort()
                _ = try await socket.closed()
            }
        }
    }

    enum Silence: String, CaseIterable { case toServer, toClient, both }

    /// G3: one direction goes silent, or both. TCP says nothing; the keepalive does, and every call that waits ends.
    @Test(arguments: Silence.allCases, [Transport.plain, .secure])
    func aSilentDirectionIsNoticed(_ silence: Silence, _ transport: Transport) async throws {
        try await withScene(transport) { scene in
            let socket = try await scene.connect {
                // Before the silence each ping is answered in time, on a busy machine too.
                $0.options.keepAlive = .init(interval: .milliseconds(50), timeout: .seconds(5))
                $0.options.closeTimeout = .milliseconds(100)
            }
            try await socket.send("first")
            #expect(try await socket.receive() == .text("first"))
            scene.proxy.change {
                if silence != .toClient { $0.toServer.timeout = .silent }
                if silence != .toServer { $0.toClient.timeout = .silent }
            }
            let error = await #expect(throws: WebSocketError.self) { _ = try await socket.receive() }
            #expect(error?.closeInfo?.cause == .pingTimeout)
            #expect(try await socket.closed().cause == .pingTimeout)
            // The server hears of it by a reset at the latest.
            scene.proxy.kill()
        }
    }

    /// G5: a slow path with jitter is no dead one, and loses nothing.
    @Test(arguments: Transport.all)
    func aSlowPathIsNotTakenForADeadOne(_ transport: Transport) async throws {
        try await withScene(transport) { scene in
            let socket = try await scene.connect {
                $0.options.keepAlive = .init(interval: .milliseconds(20), timeout: .seconds(20))
            }
            scene.proxy.change {
                for path in [\WebSocketFaultProxy.Conditions.toServer, \.toClient] {
                    $0[keyPath: path].latency = .milliseconds(30)
                    $0[keyPath: path].jitter = .milliseconds(25)
                    $0[keyPath: path].bandwidth = 200_000
                }
            }
            for number in 0..<20 { try await socket.send("\(number) " + Payload.text(500)) }
            for number in 0..<20 { #expect(try await socket.receive() == .text("\(number) " + Payload.text(500))) }
            scene.proxy.change { $0 = .init() }
            #expect(try await socket.close().isNormal)
        }
    }

    /// F4: the connection is reset in the middle of a message; what was whole before is delivered first.
    @Test(arguments: Transport.all)
    func aResetInsideAMessageDeliversWhatWasWhole(_ transport: Transport) async throws {
        try await withScene(transport) { scene in
            let socket = try await scene.connect()
            try await socket.send("whole")
            #expect(try await socket.receive() == .text("whole"))
            scene.proxy.change { $0.toClient.limitData = .init(bytes: 150_000, then: .reset) }
            let message = WebSocketMessage.binary(Payload.noise(100_000))
            try await socket.send(message)
            try await socket.send(message)
            var received = 0
            let error = await #expect(throws: WebSocketError.self) {
                while true {
                    let next = try await socket.receive()
                    #expect(next == message)
                    received += 1
                }
            }
            #expect(received <= 1)
            #expect(error?.closeInfo?.cause == .connectionLost)
            #expect(error?.closeInfo?.code == .abnormalClosure)
        }
    }

    /// B14: the stream ends without a close frame, and over TLS without close_notify: nothing pretends to be complete.
    @Test(arguments: Transport.all)
    func aTruncatedStreamIsNoClose(_ transport: Transport) async throws {
        try await withScene(transport) { scene in
            let socket = try await scene.connect()
            try await socket.send("whole")
            #expect(try await socket.receive() == .text("whole"))
            scene.proxy.change { $0.toClient.limitData = .init(bytes: 0, then: .close) }
            let error = await #expect(throws: WebSocketError.self) { _ = try await socket.receive() }
            #expect(error?.code == .connectionClosed)
            #expect(error?.closeInfo?.cause == .connectionLost)
            #expect(try await socket.closed().isNormal == false)
        }
    }

    /// A9: the connection is reset after so many bytes of what the server answers.
    @Test(arguments: [Transport.plain, .secure], [0, 1, 20, 100])
    func aResetDuringTheHandshakeIsAnError(_ transport: Transport, _ bytes: Int) async throws {
        var conditions = WebSocketFaultProxy.Conditions()
        conditions.toClient.limitData = .init(bytes: bytes, then: .reset)
        try await withScene(transport, conditions: conditions) { scene in
            let error = await #expect(throws: WebSocketError.self) { _ = try await scene.connect() }
            #expect(error?.code != .timedOut && error?.isSentence == true)
        }
    }

    /// H2: a server whose answers nobody takes in presses back to the client's `send`, and goes on when they are.
    @Test(arguments: Transport.all)
    func pressureReachesTheSenderThroughTheNetwork(_ transport: Transport) async throws {
        try await withScene(transport) { scene in
            let socket = try await scene.connect()
            scene.proxy.change { $0.toServer.timeout = .silent }
            let message = WebSocketMessage.binary(Payload.noise(64 << 10))
            let count = 200
            let sender = Task { for _ in 0..<count { try await socket.send(message) } }
            try await socket.eventLoop.reaches("a send waits") { $0.pendingContinuations >= 1 }
            scene.proxy.change { $0.toServer.timeout = nil }
            for _ in 0..<count { #expect(try await socket.receive() == message) }
            try await sender.value
            #expect(try await socket.close().isNormal)
        }
    }
}
