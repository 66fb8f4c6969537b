//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import HTTPTypes
import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// What was reported of other libraries in public, three reports and more for each kind, tried on this one. Each test names
/// the reports that it comes from; for kinds that are not here other suites have the tests.
@Suite(.timeLimit(.minutes(5)))
struct ReportsOfOthersTests {
    // MARK: Certificates

    // kube-rs/kube#1962, devsisters/checkpoint#58, cert-manager/cert-manager#1340: a volume's files are links through a
    // directory that is exchanged by a rename. The file's own link never changes.
    @Test func filesOfAVolumeAreExchangedBehindTheirLinks() async throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "wsx-volume-\(UUID().uuidString)").path()
        defer { try? FileManager.default.removeItem(atPath: root) }
        for (version, authority) in [("..1", "ca"), ("..2", "other-ca")] {
            try FileManager.default.createDirectory(atPath: "\(root)/\(version)", withIntermediateDirectories: true)
            try FileManager.default.copyItem(
                atPath: try TestEnvironment.certificate(authority), toPath: "\(root)/\(version)/ca.crt")
        }
        func pointTo(_ version: String) throws {
            symlink(version, "\(root)/..data_tmp")
            try #require(rename("\(root)/..data_tmp", "\(root)/..data") == 0)
        }
        try pointTo("..1")
        try #require(symlink("..data/ca.crt", "\(root)/ca.crt") == 0)
        try await withLoopback(.secure, handler: echo) { loopback in
            var client = loopback.client
            client.tls.trust = .certificates(.file("\(root)/ca.crt"))
            var pooled = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            pooled.client = client
            pooled.backoff = .init(base: .milliseconds(1), maximum: .milliseconds(1))
            pooled.circuitBreaker.failureThreshold = 1_000
            var persistent = WebSocketSessionConfiguration()
            persistent.client = client
            persistent.reconnect.strategy = .fixed(.zero)
            try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: pooled) { pool in
                try await pool.withConnection { _ in }
                try await WebSocketSession.withSession(
                    to: loopback.url, configuration: persistent, whenConnected: true
                ) { session in
                    try loopback.server.reloadTLS(try TestEnvironment.identity("untrusted"))
                    try pointTo("..2")
                    try await WebSocketClient.connect(to: loopback.url, configuration: client).close()
                    pool.reset()
                    try await pool.withConnection { _ in }
                    await session.kill()
                    #expect(await session.waitConnected(timeout: .seconds(60)))
                }
            }
        }
    }

    // agent-substrate/substrate#695: the authorities of a server's clients; kubernetes/kubernetes#136024.
    @Test func aServerWhoseNewAuthoritiesCannotBeReadKeepsTheOldOnes() async throws {
        func asking(_ authority: WebSocketPEMSource) throws -> WebSocketTLSServerConfiguration {
            var tls = try TestEnvironment.identity("valid")
            tls.clientCertificates = .required(authority)
            return tls
        }
        let ca = WebSocketPEMSource.file(try TestEnvironment.certificate("ca"))
        let identity = WebSocketTLSClientIdentity.files(
            certificate: try TestEnvironment.certificate("client"), key: try TestEnvironment.key("client"))
        try await withLoopback(.secure, server: { $0.tls = try asking(ca) }, handler: echo) { loopback in
            func connect() async throws -> WebSocketConnection {
                try await loopback.connect { $0.tls.identity = identity }
            }
            let first = try await connect()
            for broken in [
                WebSocketPEMSource.file("/nonexistent/ca.crt"), .bytes([]), .bytes(Array("-----BEGIN".utf8)),
            ] {
                let error = try await failure { try loopback.server.reloadTLS(try asking(broken)) }
                #expect(error.code == .invalidConfiguration && error.message.contains("; "), "\(error)")
                try await connect().close()
            }
            try loopback.server.reloadTLS(try asking(.file(try TestEnvironment.certificate("other-ca"))))
            let refused = try await failure {
                let socket = try await connect()
                _ = try await socket.receive()
            }
            #expect(refused.code != .cancelled)
            try await first.send("still open")
            #expect(try await first.receive() == "still open")
            try await first.close()
        }
    }

    // MARK: Servers

    // tarasko/picows#115 and crossbario/autobahn-python#408 (case), sitegui/nodejs-websocket#46 and
    // jerryscript-project/iotjs#1921 (lists), warmcat/libwebsockets#1435 (close beside Upgrade), warmcat/libwebsockets#244
    // (unknown and empty fields), oven-sh/bun#35870 (what must not open).
    @Test(arguments: [
        (["Upgrade: WebSocket", "Connection: Upgrade"], 101), (["Upgrade: WEBSOCKET", "Connection: UPGRADE"], 101),
        (["Upgrade: websocket", "Connection: Upgrade,Keep-Alive"], 101),
        (["Upgrade: websocket", "Connection: keep-alive,\tupgrade"], 101),
        (["Upgrade: websocket", "Connection: close, Upgrade"], 101),
        (["Upgrade: websocket", "Connection: keep-alive", "Connection: Upgrade"], 101),
        (["upgrade: websocket", "connection: upgrade", "X-CUST-Authorization: Basic MDA0"], 101),
        (["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Extensions: "], 101),
        (["Upgrade: websocket", "Connection: Upgrade", "Pragma: no-cache", "DNT: 1", "Cookie:"], 101),
        (["Upgrade: websocket", "Connection: close"], 426), (["Upgrade: websocket"], 426),
        (["Connection: Upgrade"], 426), (["Upgrade: websocket", "Connection: Upgraded"], 426),
        (["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA=="], 400),
    ])
    func requestsAsClientsInTheFieldWriteThem(_ lines: [String], _ status: Int) async throws {
        try await withLoopback(server: { $0.origins = .any }, handler: echo) { loopback in
            let head =
                [
                    "GET / HTTP/1.1", "Host: localhost", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                    "Sec-WebSocket-Version: 13",
                ] + lines
            let peer = try await WebSocketBytePeer.connect(port: loopback.server.port)
            try await peer.write(Array((head.joined(separator: "\r\n") + "\r\n\r\n").utf8))
            let answer = try await peer.readHead()
            #expect(answer.status == status, "\(lines): \(answer.status)")
            peer.close()
        }
    }

    // denoland/deno#31959, tylerstillwater/graceful#58, actionhero/keryx#180.
    @Test func socketsWithoutARequestDoNotHoldUpAShutDown() async throws {
        try await withLoopback(
            server: {
                // What waits for one of these fails by the suite's limit.
                $0.handshakeTimeout = .seconds(3_600)
                $0.shutdownTimeout = .seconds(3_600)
            }, handler: echo
        ) { loopback in
            let silent = try await WebSocketBytePeer.connect(port: loopback.server.port)
            let half = try await WebSocketBytePeer.connect(port: loopback.server.port)
            try await half.write(Array("GET / HTTP/1.1\r\nHost: x\r\n".utf8))
            let open = try await loopback.connect()
            try await until("all three are there", on: loopback.loop) { loopback.server.statistics.sockets == 3 }
            let stopping = Task { await loopback.server.shutDown() }
            #expect(try await open.closed().received?.code == .goingAway)
            await stopping.value
            _ = try? await silent.readToEnd()
            _ = try? await half.readToEnd()
            let late = try await failure { try await loopback.connect() }
            #expect(late.code == .connectFailed, "\(late)")
            silent.close()
            half.close()
        }
    }

    // MARK: Connecting

    // python-websockets/websockets#802, theturtle32/WebSocket-Node#303, lalinsky/dusty#183, zeroc-ice/ice#5084.
    @Test func anIPv6AddressKeepsItsBracketsAlsoBehindARedirect() async throws {
        let hosts = Mutex<[String]>([])
        try await withLoopback(
            server: { configuration in
                configuration.addresses = [.tcp(host: "127.0.0.1", port: 0), .tcp(host: "::1", port: 0)]
                configuration.onRequest = { request in
                    hosts.withLock { $0.append(request.host) }
                    guard request.path == "/there" else {
                        return .respond(status: 307, headers: [.location: request.path == "/" ? "/next" : "/there"])
                    }
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            let address = "\(loopback.server.addresses[1])"
            #expect(address.hasPrefix("[::1]:"))
            let socket = try await WebSocketClient.connect(
                to: "ws://\(address)/there", configuration: loopback.client)
            try await socket.close()
            #expect(hosts.withLock { $0 } == [address])
        }
        // The other server sends its clients to an address in brackets.
        try await withLoopback(
            server: { $0.addresses = [.tcp(host: "::1", port: 0)] }, handler: echo
        ) { target in
            let there = "ws://\(target.server.addresses[0])/x"
            try await withLoopback(
                server: { $0.onRequest = { _ in .respond(status: 302, headers: [.location: there]) } }, handler: echo
            ) { loopback in
                let socket = try await loopback.connect { $0.maximumRedirects = 1 }
                #expect(socket.url?.description == there)
                try await socket.close()
            }
        }
    }

    // beyond-all-reason/bar-lobby#715, gusavila92/java-android-websocket-client#25, BitMEX/api-connectors#275,
    // langchain-ai/langsmith-sdk#3493: a refusal, with nothing said of when to come back, and then all is well.
    @Test func aRefusalLeavesTheWayFreeForTheNextAttempt() async throws {
        for status in [429, 503, 502, 408] {
            let asked = Mutex(0)
            // Each way is refused once and then taken.
            try await withLoopback(
                server: { configuration in
                    configuration.onRequest = { _ in
                        let number = asked.withLock { asked in
                            asked += 1
                            return asked
                        }
                        return number % 2 == 1 ? .respond(status: status) : .accept()
                    }
                }, handler: echo
            ) { loopback in
                #expect(try await failure { try await loopback.connect() }.response?.status == status)
                try await loopback.connect().close()
                let managed = try WebSocketManagedConnection(to: loopback.url, configuration: loopback.client)
                let refused = try await failure { try await managed.acquire() }
                #expect(refused.code == .connectionUnavailable, "\(refused)")
                try await managed.acquire()
                managed.release()
                try await managed.close()
                var pooled = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
                pooled.client = loopback.client
                pooled.backoff = .init(base: .milliseconds(1), maximum: .milliseconds(1))
                try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: pooled) { pool in
                    try await pool.withConnection { _ in }
                }
                var persistent = WebSocketSessionConfiguration()
                persistent.client = loopback.client
                persistent.reconnect.strategy = .fixed(.milliseconds(1))
                try await WebSocketSession.withSession(
                    to: loopback.url, configuration: persistent, whenConnected: true
                ) { session in
                    #expect(session.statistics.failedAttempts == 1)
                }
            }
            #expect(asked.withLock { $0 } == 8)
        }
    }

    // MARK: How it ended

    /// A server's end of a raw connection.
    private func withPeer(
        _ change: (inout WebSocketClientConfiguration) -> Void = { _ in },
        _ body: (WebSocketConnection, WebSocketBytePeer) async throws -> Void
    ) async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = try clientConfiguration(on: loops)
            change(&configuration)
            let client = configuration
            async let connecting = WebSocketClient.connect(
                to: "ws://127.0.0.1:\(listener.port)/", configuration: client)
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            let socket = try await connecting
            try await body(socket, peer)
            peer.close()
        }
    }

    // python-websockets/websockets#877: what this side sent is known, whether the peer answers or not.
    @Test func aCloseThatIsNotAnsweredStillTellsWhatWasSent() async throws {
        try await withPeer({ $0.options.closeTimeout = .milliseconds(50) }) { socket, _ in
            let info = try await socket.close(code: .init(rawValue: 4_001), reason: "because")
            #expect(info.sent == WebSocketCloseFrame(code: .init(rawValue: 4_001), reason: "because"))
            #expect(info.received == nil && !info.isNormal && info.cause != .closingHandshake)
        }
    }

    // facebookincubator/SocketRocket#605, TooTallNate/Java-WebSocket#663: a loss has no close frame, and is told as one.
    @Test func aLossIsNoGoodbye() async throws {
        try await withPeer { socket, peer in
            peer.close()
            let info = try await socket.closed()
            #expect(info.code == .abnormalClosure && info.received == nil && info.sent == nil && !info.isNormal)
            #expect(info.cause == .connectionLost)
        }
    }

    // cesanta/mongoose#1502, vtortola/WebSocketListener#36: unasked pongs do not spoil the close that follows.
    @Test func aCloseBehindUnaskedPongsIsAnswered() async throws {
        try await withPeer { socket, peer in
            for _ in 0..<3 { try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [1, 2, 3])) }
            try await peer.send(.close(1_000, "Normalclose"))
            #expect(try await peer.readFrame().closeCode == 1_000)
            peer.close()
            let info = try await socket.closed()
            #expect(info.isNormal && info.cause == .closingHandshake)
            #expect(info.received == WebSocketCloseFrame(code: .normalClosure, reason: "Normalclose"))
        }
    }

    // theturtle32/WebSocket-Node#254, TooTallNate/Java-WebSocket#1459, python-websockets/websockets#1202: no endpoint may
    // send 1006, and refusing it changes nothing.
    @Test func codesThatMayNotBeSentAreRefusedAndTheConnectionGoesOn() async throws {
        try await withPeer { socket, peer in
            for code: UInt16 in [0, 999, 1_004, 1_006, 1_015, 1_016, 2_999, 5_000] {
                let error = try await failure { try await socket.close(code: .init(rawValue: code)) }
                #expect(error.code == .invalidCloseCode && error.message.contains("; "), "\(code): \(error)")
            }
            try await socket.send("still here")
            #expect(try await peer.readFrame().payload == Array("still here".utf8))
            // 1005 stands for no code, and is none on the wire.
            async let ended = socket.close(code: .noStatusReceived)
            #expect(try await peer.readFrame().payload.isEmpty)
            try await peer.send(WebSocketWireFrame(WebSocketWireFrame.close, []))
            peer.close()
            #expect(try await ended.isNormal)
        }
    }
}
