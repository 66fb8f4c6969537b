//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Testing
import WebSockets

/// Debian's node-ws as a client, and haproxy and nginx in front, of a server of ours.
@Suite(.timeLimit(.minutes(5)))
struct ServerPeersTests {
    private func nodeClient(_ url: String, _ arguments: [String] = []) async throws -> [String: Any] {
        var arguments = [try TestEnvironment.peer("node_client.js"), url] + arguments
        if url.hasPrefix("wss:") { arguments += ["--ca", try TestEnvironment.certificate("ca")] }
        let outcome = try await Peer.run("node", arguments)
        return try object(outcome.output.split(separator: "\n").last.map(String.init))
    }

    @Test(arguments: Transport.all)
    func nodesClientGetsEveryMessageBack(_ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            transport, server: { $0.subprotocols = ["chat"] },
            handler: { socket in
                try await echo(socket)
                closes.send(try await socket.closed())
            }
        ) { loopback in
            let report = try await nodeClient(
                loopback.url, ["--subprotocol", "other", "--subprotocol", "chat"])
            #expect(report["ok"] as? Bool == true, "\(report)")
            #expect(report["messages"] as? Int == 18)
            #expect(report["subprotocol"] as? String == "chat")
            let hasDeflate = (report["extensions"] as? String)?.contains("permessage-deflate") == true
            #expect(hasDeflate == (transport.compression != .disabled))
            #expect(report["code"] as? Int == 1_000)
            let info = try await closes.next()
            #expect(info.received == WebSocketCloseFrame(code: .normalClosure, reason: "bye"))
        }
    }

    @Test(arguments: [1_001, 1_011, 1_012, 1_014, 3_000, 4_999])
    func nodesCloseCodesArrive(code: Int) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            handler: { socket in
                do { try await echo(socket) } catch {}
                closes.send(try await socket.closed())
            }
        ) { loopback in
            let report = try await nodeClient(loopback.url, ["--close", "\(code)"])
            #expect(report["code"] as? Int == code, "\(report)")
            #expect(try await closes.next().received?.code.rawValue == UInt16(code))
        }
    }

    // MARK: haproxy

    private func withHAProxy(
        _ mode: String, upstream: Int, _ body: (_ port: Int) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-haproxy-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try await Peer.server(
            try TestEnvironment.peer("run_haproxy.sh"),
            [
                "\(upstream)", mode, directory.path, try TestEnvironment.certificate("valid"),
                try TestEnvironment.key("valid"),
            ]
        ) { try await body($0.port) }
    }

    /// TLS ends at haproxy, or passes through it to us. Either way we know whom it speaks for.
    @Test(arguments: ["terminate", "pass"])
    func haproxyTellsWhoTheClientIs(mode: String) async throws {
        let seen = Events<(WebSocketAddress?, Bool)>()
        try await withLoopback(
            mode == "pass" ? .secure : .plain,
            server: {
                $0.trustedProxies = .init(addresses: ["127.0.0.1"])
                $0.trustedProxies.sendsProxyProtocol = true
                $0.trustedProxies.tellsScheme = true
                $0.onRequest = { request in
                    seen.send((request.remoteAddress, request.isSecure))
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            try await withHAProxy(mode, upstream: loopback.server.port) { port in
                var configuration = loopback.client
                configuration.tls.trust = .certificates(.file(try TestEnvironment.certificate("ca")))
                let socket = try await WebSocketClient.connect(
                    to: "wss://localhost:\(port)/", configuration: configuration)
                let (address, isSecure) = try await seen.next()
                guard case .ip(let host, let remotePort) = address else {
                    Issue.record("no address")
                    return
                }
                #expect(host == "127.0.0.1")
                // In front of HTTP haproxy speaks of the client twice, and in its header without the port.
                if mode == "pass" { #expect(remotePort == socket.localAddress?.port) }
                #expect(isSecure)
                for message in Payload.mixed {
                    try await socket.send(message)
                    #expect(try await socket.receive().isIdentical(to: message))
                }
                #expect(try await socket.close().isNormal)
            }
        }
    }
}
