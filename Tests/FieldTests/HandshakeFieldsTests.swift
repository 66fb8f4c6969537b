//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import LoopbackSupport
import Synchronization
import Testing
import WebSockets

/// Servers tell in their 101 which node answered, how many requests are left and what was agreed on: whatever opens the
/// connection, its user can read it.
@Suite(.timeLimit(.minutes(5)))
struct HandshakeFieldsTests {
    private static let node = HTTPField.Name("X-Node")!

    /// A server whose every 101 has another number.
    private func withNumberedServer(_ body: (Loopback) async throws -> Void) async throws {
        let last = Mutex(0)
        try await withLoopback(
            server: { configuration in
                configuration.subprotocols = ["feed"]
                configuration.onRequest = { _ in
                    let number = last.withLock { last in
                        last += 1
                        return last
                    }
                    return .accept(subprotocol: "feed", headers: [Self.node: "\(number)"])
                }
            },
            handler: echo
        ) { loopback in
            var loopback = loopback
            loopback.client.subprotocols = ["feed"]
            try await body(loopback)
        }
    }

    @Test func ofASessionsPresentConnectionAndInItsHooks() async throws {
        try await withNumberedServer { loopback in
            let prepared = Mutex<[String?]>([])
            var configuration = WebSocketSessionConfiguration()
            configuration.client = loopback.client
            configuration.client.headers[.authorization] = "me"
            configuration.reconnect.strategy = .fixed(.zero)
            configuration.prepare = { connection in
                prepared.withLock { $0.append(connection.response?.headers[Self.node]) }
                #expect(connection.subprotocol == "feed" && connection.connectedURL?.target == "/feed")
            }
            let session = try WebSocketSession(to: loopback.url + "/feed", configuration: configuration)
            #expect(session.response == nil && session.remoteAddress == nil && session.requestHeaders.isEmpty)
            let running = Task { try await session.run() }
            for number in 1...3 {
                #expect(await session.waitConnected(timeout: .seconds(60)))
                #expect(session.response?.status == 101 && session.response?.headers[Self.node] == "\(number)")
                #expect(session.subprotocol == "feed" && session.connectedURL?.target == "/feed")
                #expect(session.tls == nil && session.deflate == nil && session.localAddress != nil)
                #expect(session.remoteAddress != nil && session.requestHeaders[.authorization] == "me")
                #expect(try await session.ping() > .zero)
                #expect(session.latency != nil)
                await session.kill()
            }
            await session.shutDown()
            try await running.value
            #expect(session.response == nil && session.latency == nil)
            #expect(prepared.withLock { $0.prefix(3) } == ["1", "2", "3"])
        }
    }

    @Test func ofAPoolsConnectionsInEveryScopeAndHook() async throws {
        try await withNumberedServer { loopback in
            let prepared = Mutex<[String?]>([])
            var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            configuration.client = loopback.client
            configuration.afterConnect = { socket in
                prepared.withLock { $0.append(socket.response?.headers[Self.node]) }
            }
            try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: configuration) { pool in
                try await pool.withConnection { #expect($0.response?.headers[Self.node] == "1") }
                let lease = try await pool.acquire()
                let socket = try lease.socket
                #expect(socket.response?.headers[Self.node] == "1" && socket.subprotocol == "feed")
                lease.release(discard: true)
                try await pool.withNewConnection { #expect($0.response?.headers[Self.node] == "2") }
            }
            #expect(prepared.withLock { $0 } == ["1", "2"])
        }
    }

    @Test func ofAManagedConnectionWhoeverHasIt() async throws {
        try await withNumberedServer { loopback in
            let managed = try WebSocketManagedConnection(to: loopback.url, configuration: loopback.client)
            let ends = Events<WebSocketCloseInfo>()
            managed.onDisconnect { ends.send($0) }
            for number in 1...2 {
                try await managed.withConnection { connection in
                    #expect(connection.response?.headers[Self.node] == "\(number)")
                    let beneath = try connection.connection
                    #expect(beneath.response?.headers[Self.node] == "\(number)")
                }
                #expect(managed.response?.headers[Self.node] == "\(number)", "also between turns")
                try await managed.withConnection { try $0.connection.abort() }
                _ = try await ends.next()
            }
            try await managed.close()
        }
    }
}
