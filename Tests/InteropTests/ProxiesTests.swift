//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Testing
import WebSockets

/// Through proxies that others wrote: tinyproxy speaks CONNECT, microsocks SOCKS 5.
@Suite(.timeLimit(.minutes(5)))
struct ProxiesTests {
    enum Kind: String, CaseIterable, Sendable {
        case tinyproxy, microsocks
        var schemes: [String] { self == .tinyproxy ? ["http"] : ["socks5h", "socks5"] }
    }

    private func withProxy(
        _ kind: Kind, _ credentials: [String] = [], _ body: (Int) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-proxy-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try await Peer.server(
            try TestEnvironment.python,
            [try TestEnvironment.peer("run_proxy.py"), kind.rawValue, directory.path] + credentials
        ) { try await body($0.port) }
    }

    @Test(arguments: Kind.allCases, [false, true])
    func messagesGoThrough(_ kind: Kind, isSecure: Bool) async throws {
        for credentials in [[], ["user", "pass"]] {
            try await withLoopback(Transport(isSecure: isSecure, compression: .deflate()), handler: echo) { loopback in
                try await withProxy(kind, credentials) { port in
                    for scheme in kind.schemes {
                        let userInfo = credentials.isEmpty ? "" : credentials.joined(separator: ":") + "@"
                        let proxy = try WebSocketProxy("\(scheme)://\(userInfo)127.0.0.1:\(port)")
                        let socket = try await loopback.connect { $0.proxy = proxy }
                        #expect(socket.remoteAddress?.port == port)
                        #expect((socket.tls != nil) == isSecure)
                        for message in Payload.mixed {
                            try await socket.send(message)
                            let received = try await socket.receive()
                            #expect(received.isIdentical(to: message), "\(message) became \(received)")
                        }
                        #expect(try await socket.ping() > .zero)
                        #expect(try await socket.close().isNormal)
                    }
                }
            }
        }
    }

    @Test(arguments: Kind.allCases)
    func whatTheProxyRefusesIsTold(_ kind: Kind) async throws {
        try await withLoopback(handler: echo) { loopback in
            try await withProxy(kind, ["user", "pass"]) { port in
                for userInfo in ["", "user:secret@", "other:pass@"] {
                    let error = try await failure(userInfo) {
                        let proxy = try WebSocketProxy("\(kind.schemes[0])://\(userInfo)127.0.0.1:\(port)")
                        return try await loopback.connect { $0.proxy = proxy }
                    }
                    #expect(error.code == .proxyFailed && error.phase == .proxy, "\(error)")
                    #expect(!error.message.contains("secret") && error.isSentence)
                    if kind == .tinyproxy { #expect([401, 407].contains(error.response?.status)) }
                }
            }
            try await withProxy(kind) { port in
                let error = try await failure {
                    let proxy = try WebSocketProxy("\(kind.schemes[0])://127.0.0.1:\(port)")
                    var configuration = loopback.client
                    configuration.proxy = proxy
                    // Nobody listens there.
                    return try await WebSocketClient.connect(to: "ws://127.0.0.1:1", configuration: configuration)
                }
                #expect(error.code == .proxyFailed && error.phase == .proxy, "\(error)")
                #expect(error.isSentence)
            }
        }
    }
}
