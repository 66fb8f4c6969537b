//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// What a pool does with new connections, and what it calls the places that they lead to.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolConnectionTests {
    @Test
    func eachNewConnectionIsPreparedOnceBeforeAnybodyBorrowsIt() async throws {
        try await withPoolFixture { fixture in
            let prepared = Box(0)
            let kept = Box<WebSocketConnection?>(nil)
            var configuration = fixture.configuration(2)
            configuration.afterConnect = { socket in
                #expect(socket.eventLoop.isOnLoop)
                let reply = try await socket.exchange("log in")
                #expect(reply == .text("log in"))
                prepared.change { $0 += 1 }
                kept.change { $0 = socket }
            }
            try await fixture.withPool(configuration) { pool in
                let first = try await pool.acquire()
                #expect(first.isNew && prepared.value == 1)
                #expect(try await first.socket.exchange("a") == .text("a"))
                first.release()
                let again = try await pool.acquire()
                let second = try await pool.acquire()
                #expect(!again.isNew && second.isNew && prepared.value == 2 && fixture.relay.accepted == 2)
                #expect(await webSocketError { try await kept.value?.send("x") }?.code == .leaseEnded)
                again.release()
                second.release()
            }
        }
    }

    @Test
    func aConnectionThatCannotBePreparedWasNotOpened() async throws {
        struct NoSuchUser: Error {}
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(2)
            configuration.circuitBreaker.failureThreshold = 1
            configuration.circuitBreaker.openDuration = .seconds(60)
            configuration.afterConnect = { _ in throw NoSuchUser() }
            try await fixture.withPool(configuration) { pool in
                let error = await webSocketError { try await pool.acquire() }
                #expect(error?.code == .poolUnavailable)
                #expect(error?.poolCause?.message.contains("NoSuchUser") == true)
                #expect(error?.message.contains("ws://127.0.0.1:\(fixture.relay.port)/") == true)
                #expect(pool.statistics.totals.connectsFailed == 1 && pool.statistics.counts.total == 0)
            }
        }
    }

    @Test
    func idleConnectionsOfADeadEndpointDoNotKeepAnAcquireFromThoseOfAnother() async throws {
        try await withPoolFixture { fixture in
            let other = try WebSocketFaultProxy(to: fixture.server.port)
            defer { other.stop() }
            var configuration = fixture.configuration(8)
            configuration.validationBypass = .zero
            configuration.keepaliveInterval = nil
            // Longer than an acquire waits: a validation that is waited for fails the test.
            configuration.validationTimeout = .seconds(60)
            configuration.patience = nil
            try await WebSocketConnectionPool.withPool(
                to: [fixture.relay.url, other.url], configuration: configuration
            ) { pool in
                var leases: [WebSocketLease] = []
                for _ in 0..<8 { leases.append(try await pool.acquire()) }
                for lease in leases { lease.release() }
                // About a half each; on a slow machine waiters lose patience with an attempt.
                #expect(pool.statistics.endpoints.allSatisfy { $0.total > 0 } && pool.statistics.counts.total == 8)
                fixture.relay.change { $0.isSilent = true }
                for round in 0..<4 {
                    let reply = try await pool.withConnection { try await $0.exchange("\(round)") }
                    #expect(reply == .text("\(round)"))
                }
                #expect(pool.statistics.endpoints.map(\.isSuspect) == [true, false])
                fixture.relay.change { $0.isSilent = false }
            }
        }
    }

    final class PlaceObserver: WebSocketPoolObserver {
        let opened = Mutex<[WebSocketPoolEndpoint]>([])
        let observesLeases = false
        func connectionOpened(endpoint: WebSocketPoolEndpoint, after duration: Duration) {
            opened.withLock { $0.append(endpoint) }
        }
    }

    @Test
    func endpointsAreCalledByTheirURLsWithoutCredentialsAndQuery() async throws {
        try await withPoolFixture { fixture in
            let observer = PlaceObserver()
            var configuration = fixture.configuration(1)
            configuration.name = "rpc"
            configuration.observers = [observer]
            let url = "ws://user:secret@127.0.0.1:\(fixture.relay.port)/chat?token=secret"
            let name = "ws://127.0.0.1:\(fixture.relay.port)/chat"
            try await WebSocketConnectionPool.withPool(to: [url, fixture.relay.url], configuration: configuration) {
                pool in
                try await pool.withConnection { _ in }
                #expect(pool.name == "rpc" && pool.isRunning && !pool.isClosed)
                #expect(pool.statistics.endpoints.map(\.name).first == name)
                #expect(observer.opened.withLock { $0 } == [WebSocketPoolEndpoint(index: 0, name: name)])
            }
        }
    }

    @Test
    func ofSeveralURLsTheWrongOneIsNamedAndSoIsASetting() async throws {
        let urls = ["ws://127.0.0.1:1", "ftp://127.0.0.1:1", "ws://127.0.0.1:2"]
        let wrong = #expect(throws: WebSocketError.self) { try WebSocketConnectionPool(to: urls) }
        #expect(wrong?.code == .invalidURL && wrong?.message.hasPrefix("URL 2 of 3: ") == true)
        var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 0)
        func problem() -> String? {
            do throws(WebSocketError) {
                _ = try WebSocketConnectionPool(to: urls[0], configuration: configuration)
            } catch {
                #expect(error.code == .invalidConfiguration)
                return error.message
            }
            return nil
        }
        #expect(problem()?.contains("maximumConnections is 0; it must be at least 1") == true)
        configuration.maximumConnections = 1
        configuration.connectTimeout = .zero
        #expect(problem()?.contains("connectTimeout is") == true)
        configuration.connectTimeout = .seconds(1)
        configuration.resolutionLifetime = .seconds(-1)
        #expect(problem()?.contains("resolutionLifetime is") == true)
        configuration.resolutionLifetime = .zero
        #expect(problem() == nil)
        let pool = try WebSocketConnectionPool(to: urls[0], configuration: configuration)
        #expect(throws: WebSocketError.self) { try pool.resize(maximumConnections: 0) }
        #expect(throws: WebSocketError.self) { try pool.resize(maximumConnections: 2, minimumIdle: 3) }
        await #expect(throws: WebSocketError.self) { try await pool.warmUp(-1) }
    }
}
