//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

#if Metrics
import MetricsTestKit
#endif

/// What an operator sees of clients and servers.
@Suite(.timeLimit(.minutes(5)))
struct ObservabilityTests {
    #if Metrics
    /// Reports to metrics, and says when a connection has been counted.
    private struct Counted: WebSocketObserver {
        let done = Events<WebSocketTraffic>()
        let refusals = Events<WebSocketRefusal>()
        func transferred(_ connection: WebSocketConnectionSummary, traffic: WebSocketTraffic) { done.send(traffic) }
        func refused(_ refusal: WebSocketRefusal) { refusals.send(refusal) }
    }

    @Test(arguments: [Transport.plain, .secure, Transport(compression: .deflate())])
    func bothSidesCountMessagesAndBytesEachWay(_ transport: Transport) async throws {
        let (atClient, atServer) = (TestMetrics(), TestMetrics())
        let (client, server) = (Counted(), Counted())
        let text = String(repeating: "x", count: 1_000)
        try await withLoopback(
            transport, server: { $0.observers = [WebSocketMetrics(label: "s", factory: atServer), server] },
            handler: echo
        ) { loopback in
            for _ in 0..<2 {
                let socket = try await loopback.connect {
                    $0.observers = [WebSocketMetrics(label: "c", factory: atClient), client]
                }
                for _ in 0..<3 {
                    try await socket.send(text)
                    _ = try await socket.receive()
                }
                try await socket.close()
            }
            for _ in 0..<2 {
                for traffic in [try await client.done.next(), try await server.done.next()] {
                    #expect(traffic.messagesReceived == 3 && traffic.messagesSent == 3)
                    let least = transport.compression == .disabled ? 3_000 : 10
                    let most = transport.compression == .disabled ? 3_100 : 1_000
                    #expect((least...most).contains(traffic.bytesReceived), "\(traffic)")
                    #expect((least...most).contains(traffic.bytesSent), "\(traffic)")
                }
            }
        }
        for (metrics, label) in [(atClient, "c"), (atServer, "s")] {
            #expect(try metrics.expectCounter("\(label)_messages_received").totalValue == 6)
            #expect(try metrics.expectCounter("\(label)_messages_sent").totalValue == 6)
            #expect(try metrics.expectCounter("\(label)_bytes_received").totalValue > 20)
            #expect(try metrics.expectCounter("\(label)_bytes_sent").totalValue > 20)
            #expect(try metrics.expectTimer("\(label)_lifetime").values.count == 2)
            #expect(try metrics.expectMeter("\(label)_connections").lastValue == 0)
            let closed = try metrics.expectCounter(
                "\(label)_closed", [("cause", "closingHandshake"), ("code", "1000")])
            #expect(closed.totalValue == 2)
        }
        #expect(try atServer.expectCounter("s_accepted").totalValue == 2)
        #expect(try atClient.expectCounter("c_accepted").totalValue == 0)
        // An address needs no look-up, and there is no proxy.
        let steps = transport.isSecure ? ["connect", "tls", "upgrade"] : ["connect", "upgrade"]
        for step in ["nameResolution", "connect", "proxy", "tls", "upgrade"] {
            let values = try atClient.expectTimer("c_open_step_duration", [("step", step)]).values
            #expect(values.count == (steps.contains(step) ? 2 : 0), "\(step)")
        }
    }

    /// Sends that wait for a slow reader, with how long they do, and broadcasts that one does not get.
    @Test func waitsForRoomAndDropsAreCounted() async throws {
        let (atClient, atServer) = (TestMetrics(), TestMetrics())
        let (client, server) = (Counted(), Counted())
        let mayRead = Events<Void>()
        let count = 400
        let message = [UInt8](repeating: 7, count: 64 << 10)
        try await withLoopback(
            server: {
                $0.observers = [WebSocketMetrics(label: "s", factory: atServer), server]
                $0.broadcastLimits = .init(maximumBufferedBytes: 1, slowPeer: .drop)
            },
            handler: { socket in
                guard socket.requestTarget == "/slow" else { return await drain(socket) }
                try await mayRead.next()
                for try await _ in socket.messages {}
            }
        ) { loopback in
            let socket = try await loopback.connect("/slow") {
                $0.observers = [WebSocketMetrics(label: "c", factory: atClient), client]
            }
            let sending = Task {
                for _ in 0..<count { try await socket.send(message) }
            }
            try await loopback.loop.reaches("a send waits for room") { $0.pendingContinuations > 0 }
            mayRead.send(())
            try await sending.value
            try await socket.close()
            let traffic = try await client.done.next()
            #expect(traffic.messagesSent == count && (1...count).contains(traffic.sendWaits), "\(traffic)")
            #expect(traffic.sendWaitTime > .zero && traffic.broadcastsDropped == 0)
            let received = try await server.done.next()
            #expect(received.messagesReceived == count && received.sendWaits == 0 && received.sendWaitTime == .zero)

            // A peer that reads nothing.
            let peer = try await WebSocketBytePeer.connect(port: loopback.server.port)
            _ = try await peer.openHandshake()
            try await until("it is open", on: loopback.loop) { loopback.server.connections.count == 1 }
            while loopback.server.statistics.broadcasts.dropped < 3 {
                loopback.server.broadcast(.binary(message))
                await Task.yield()
            }
            peer.close()
            let dropped = try await server.done.next().broadcastsDropped
            #expect(dropped >= 3 && dropped == loopback.server.statistics.broadcasts.dropped)
            #expect(try atServer.expectCounter("s_broadcasts_dropped").totalValue == Int64(dropped))
            #expect(try atClient.expectCounter("c_send_waits").totalValue == Int64(traffic.sendWaits))
            #expect(try atClient.expectCounter("c_send_wait_nanoseconds").totalValue > 0)
        }
    }

    @Test func refusalsAreCountedByStatus() async throws {
        let metrics = TestMetrics()
        let observer = Counted()
        try await withLoopback(
            server: {
                $0.observers = [WebSocketMetrics(label: "s", factory: metrics), observer]
                $0.onRequest = { request in
                    switch request.path {
                    case "/teapot": .respond(status: 418)
                    case "/health": .respond(status: 200)
                    default: .accept()
                    }
                }
            }, handler: echo
        ) { loopback in
            // A check that is answered well is no refusal.
            _ = try await failure { try await loopback.connect("/health") }
            for (target, origin, status) in [("/", "https://elsewhere.example", 403), ("/teapot", nil, 418)] {
                for _ in 0..<2 {
                    let error = try await failure {
                        try await loopback.connect(target) { configuration in
                            configuration.headers[.origin] = origin
                        }
                    }
                    #expect(error.response?.status == status)
                    let refusal = try await observer.refusals.next()
                    #expect(refusal.status == status && refusal.remoteAddress != nil)
                    // A hook's answers are its own.
                    #expect((refusal.reason != nil) == (status == 403))
                }
                #expect(try metrics.expectCounter("s_refused", [("status", "\(status)")]).totalValue == 2)
            }
        }
    }
    #endif

    /// Without observers nothing is told, and nothing kept: connections count as they always do.
    @Test func stepsAreToldInTheirOrder() async throws {
        final class Steps: WebSocketObserver {
            let seen = Mutex<[WebSocketError.Phase]>([])
            func passed(_ step: WebSocketError.Phase, to url: WebSocketURL, after duration: Duration) {
                seen.withLock { $0.append(step) }
                #expect(duration >= .zero)
            }
        }
        try await withLoopback(.secure, handler: echo) { loopback in
            let steps = Steps()
            let socket = try await loopback.connect { $0.observers = [steps] }
            #expect(steps.seen.withLock { $0 } == [.connect, .tls, .upgrade])
            try await socket.close()
            let named = Steps()
            var configuration = loopback.client
            configuration.observers = [named]
            let url = "wss://localhost:\(loopback.server.port)/"
            try await WebSocketClient.connect(to: url, configuration: configuration).close()
            #expect(named.seen.withLock { $0 } == [.nameResolution, .connect, .tls, .upgrade])
        }
    }
}
