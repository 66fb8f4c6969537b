//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

#if ServiceLifecycle
import ServiceLifecycle
import ServiceLifecycleTestKit

@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolServiceTests {
    @Test
    func aGracefulShutdownOfTheServiceEndsThePoolAndWaitsForLeases() async throws {
        try await withPoolFixture { fixture in
            let pool = try WebSocketConnectionPool(to: fixture.relay.url, configuration: fixture.configuration(2))
            try await testGracefulShutdown { trigger in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await (pool as any Service).run() }
                    let lease = try await pool.acquire()
                    trigger.triggerGracefulShutdown()
                    await eventually { pool.tryAcquire() == nil }
                    let refused = await webSocketError { try await pool.acquire() }
                    #expect(refused?.code == .poolClosed)
                    let reply = try await lease.socket.exchange("a")
                    #expect(reply == .text("a"))
                    lease.release()
                    try await group.waitForAll()
                }
            }
            #expect(pool.statistics.counts.total == 0)
        }
    }

    @Test
    func aServerWithItsHandlerIsAService() async throws {
        let loops = try WebSocketEventLoopGroup(count: 1)
        var configuration = WebSocketServerConfiguration()
        configuration.eventLoopGroup = loops
        let server = try WebSocketServer(configuration: configuration)
        let service = WebSocketServerService(server) { socket in
            for try await message in socket.messages { try await socket.send(message) }
        }
        var client = WebSocketClientConfiguration()
        client.eventLoop = loops.loops[0]
        let configured = client
        try await testGracefulShutdown { trigger in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await service.run() }
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(server.port)/", configuration: configured)
                let reply = try await socket.exchange("a")
                #expect(reply == .text("a"))
                trigger.triggerGracefulShutdown()
                let info = try await socket.closed()
                #expect(info.received?.code == .goingAway)
                try await group.waitForAll()
            }
        }
        await loops.shutDown()
        #expect(loops.loops[0].diagnostics.isZero)
    }
}
#endif

#if Metrics
import MetricsTestKit

@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolMetricsTests {
    @Test
    func leasesWaitsAndFailuresBecomeMetrics() async throws {
        try await withPoolFixture { fixture in
            let recorded = TestMetrics()
            var configuration = fixture.configuration(1)
            configuration.observers = [WebSocketPoolMetrics(label: "p", factory: recorded)]
            try await fixture.withPool(configuration) { pool in
                for _ in 0..<3 { try await pool.withConnection { _ in } }
                let lease = try await pool.acquire()
                #expect(try recorded.expectMeter("p_active").lastValue == 1)
                _ = await webSocketError { try await pool.acquire(timeout: .milliseconds(5)) }
                lease.release(discard: true)
            }
            #expect(try recorded.expectTimer("p_wait").values.count == 4)
            #expect(try recorded.expectTimer("p_usage").values.count == 4)
            #expect(try recorded.expectTimer("p_creation").values.count == 1)
            #expect(try recorded.expectMeter("p_connections").lastValue == 0)
            #expect(try recorded.expectMeter("p_active").lastValue == 0)
            #expect(try recorded.expectMeter("p_pending").lastValue == 0)
            #expect(try recorded.expectCounter("p_acquires_failed", [("code", "acquireTimedOut")]).totalValue == 1)
            #expect(try recorded.expectCounter("p_connections_closed", [("reason", "discarded")]).totalValue == 1)
        }
    }
}
#endif

#if Tracing
import InMemoryTracing
import Tracing

@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolTracingTests {
    /// An attempt to connect and an acquire that waits are spans, a lease from an idle pool is none.
    @Test
    func anAttemptToConnectAndAnAcquireThatWaitsAreSpans() async throws {
        let tracer = InMemoryTracer()
        InstrumentationSystem.bootstrap(tracer)
        try await withPoolFixture { fixture in
            let url = fixture.relay.url
            try await fixture.withPool(fixture.configuration(1)) { pool in
                for _ in 0..<3 { try await pool.withConnection { _ in } }
            }
            // Other tests run at the same time, on other ports.
            let port = url.split(separator: ":").last!.dropLast()
            let connects = tracer.finishedSpans.filter {
                $0.operationName == "websocket connect" && "\($0.attributes.get("server.port")!)".contains(port)
            }
            #expect(connects.count == 1)
            #expect(tracer.finishedSpans.contains { $0.operationName == "websocket pool acquire" })
            // Without a pool too.
            let socket = try await WebSocketClient.connect(to: url, configuration: fixture.configuration(1).client)
            socket.abort()
            let all = tracer.finishedSpans.filter {
                $0.operationName == "websocket connect" && "\($0.attributes.get("server.port")!)".contains(port)
            }
            #expect(all.count == 2)
        }
        try await servedConnectionsBelongToTheClientsTrace(tracer)
    }

    /// In the same test, because a tracer is set for the process, and once.
    private func servedConnectionsBelongToTheClientsTrace(_ tracer: InMemoryTracer) async throws {
        let name = "/t-\(UInt32.random(in: 0 ... .max))"
        let path = "\(name)/listen/pqia91ma19a5s61cv6a8"
        let port = try await withLoopback(handler: { try await echo($0) }) { loopback in
            let socket = try await loopback.connect(path + "?token=secret")
            try await socket.send("hello")
            _ = try await socket.receive()
            try await socket.close()
            _ = try await failure {
                try await loopback.connect(path) { $0.headers[.origin] = "https://elsewhere.example" }
            }
            return try WebSocketURL(loopback.url).port
        }
        let served = tracer.finishedSpans.filter { $0.attributes.get("url.path") == .string("\(name)/listen/…") }
        #expect(served.count == 1 && served.first?.operationName == "websocket connection")
        let span = try #require(served.first)
        #expect(span.attributes.get("network.protocol.name") == .string("websocket"))
        #expect(span.attributes.get("url.scheme") == .string("ws"))
        #expect(span.attributes.get("client.address") == .string("127.0.0.1"))
        #expect(span.attributes.get("websocket.close.code") == .int64(1_000))
        let connects = tracer.finishedSpans.filter { $0.operationName == "websocket connect" }
        #expect(connects.contains { $0.traceID == span.traceID && $0.spanID == span.parentSpanID })
        // Other tests are refused at the same time, by other servers.
        let failed = connects.first {
            $0.attributes.get("error.type") == .string("handshakeRejected")
                && $0.attributes.get("server.port") == .int64(Int64(port))
        }
        #expect(failed?.attributes.get("http.response.status_code") == .int64(403))
    }
}
#endif
