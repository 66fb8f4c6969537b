//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Through a proxy that is spoken to in TLS: Python's `ssl`, with TLS to the server inside or without.
@Suite(.timeLimit(.minutes(5)))
struct TLSProxyTests {
    private func withProxy(
        _ certificate: String = "valid", _ options: [String] = [], _ body: (Peer.Running) async throws -> Void
    ) async throws {
        try await Peer.server(
            try TestEnvironment.python,
            [
                try TestEnvironment.peer("tls_proxy.py"), try TestEnvironment.certificate(certificate),
                try TestEnvironment.key(certificate),
            ] + options, body)
    }

    private func connect(
        _ loopback: Loopback, _ port: Int, userInfo: String = "",
        _ change: (inout WebSocketTLSClientConfiguration) -> Void = { _ in }
    ) async throws -> WebSocketConnection {
        let proxy = try WebSocketProxy("https://\(userInfo)localhost:\(port)")
        let ca = try TestEnvironment.certificate("ca")
        return try await loopback.connect {
            $0.proxy = proxy
            $0.proxyTLS.trust = .certificates(.file(ca))
            change(&$0.proxyTLS)
        }
    }

    @Test(arguments: Transport.all, ["1.2", "1.3"])
    func messagesGoThrough(_ transport: Transport, version: String) async throws {
        try await withLoopback(transport, handler: echo) { loopback in
            try await withProxy("valid", ["--maximum-version", version]) { proxy in
                let socket = try await connect(loopback, proxy.port)
                #expect(try await proxy.next("connect")["target"] as? String == "127.0.0.1:\(loopback.server.port)")
                #expect(socket.remoteAddress?.port == proxy.port && socket.localAddress?.port != nil)
                // The server's, not the proxy's.
                #expect((socket.tls != nil) == transport.isSecure)
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

    /// More than every buffer on the way holds, both ways at once.
    @Test(arguments: [false, true])
    func megabytesGoThroughWhole(isSecure: Bool) async throws {
        try await withLoopback(Transport(isSecure: isSecure), handler: echo) { loopback in
            try await withProxy { proxy in
                let socket = try await connect(loopback, proxy.port)
                let payload = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
                async let sending: Void = {
                    for _ in 0..<8 { try await socket.send(payload) }
                }()
                for _ in 0..<8 { #expect(try await socket.receive() == .binary(payload)) }
                try await sending
                #expect(try await socket.close().isNormal)
            }
        }
    }

    @Test func aServersCloseAndALostServerArrive() async throws {
        try await withLoopback(
            handler: { socket in
                if try await socket.receive() == "close" {
                    try await socket.close(code: .goingAway, reason: "bye")
                } else {
                    socket.abort()
                }
            }
        ) { loopback in
            try await withProxy { proxy in
                let closed = try await connect(loopback, proxy.port)
                try await closed.send("close")
                #expect(try await closed.closed().received == WebSocketCloseFrame(code: .goingAway, reason: "bye"))
                let lost = try await connect(loopback, proxy.port)
                try await lost.send("abort")
                #expect(try await lost.closed().cause == .connectionLost)
            }
        }
    }

    @Test(arguments: [
        ("expired", WebSocketError.TLSFailure.expired, "expired"), ("wrong-host", .hostMismatch, "localhost"),
        ("untrusted", .untrusted, "proxyTLS.trust"), ("self-signed", .selfSigned, "proxyTLS.trust"),
    ])
    func aProxyWithAWrongCertificateIsRefused(
        _ certificate: String, _ failure: WebSocketError.TLSFailure, _ text: String
    ) async throws {
        try await withLoopback(handler: echo) { loopback in
            try await withProxy(certificate) { proxy in
                let error = try await LoopbackSupport.failure { try await connect(loopback, proxy.port) }
                #expect(error.code == .proxyFailed && error.phase == .proxy && error.tlsFailure == failure, "\(error)")
                #expect(error.message.hasPrefix("the proxy's ") && error.message.contains(text), "\(error)")
                #expect(error.isSentence)
                // Without verification the connection opens all the same.
                let socket = try await connect(loopback, proxy.port) { $0.verification = .insecureNoVerification }
                #expect(try await socket.close().isNormal)
            }
        }
    }

    @Test func theServersTrustIsNotTheProxys() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            try await withProxy("untrusted") { proxy in
                let error = try await failure { try await connect(loopback, proxy.port) }
                #expect(error.code == .proxyFailed && error.tlsFailure == .untrusted)
            }
            // And the other way round: the proxy is trusted, the server is not.
            try await withProxy { proxy in
                let url = try WebSocketProxy("https://localhost:\(proxy.port)")
                let ca = try TestEnvironment.certificate("ca")
                let error = try await failure {
                    try await loopback.connect {
                        $0.proxy = url
                        $0.proxyTLS.trust = .certificates(.file(ca))
                        $0.tls = .init()
                    }
                }
                #expect(error.code == .tlsFailed && error.tlsFailure == .untrusted && error.phase == .tls, "\(error)")
            }
        }
    }

    @Test func theNameOfTheProxyCanBeSaid() async throws {
        try await withLoopback(handler: echo) { loopback in
            try await withProxy("wrong-host") { proxy in
                let error = try await failure {
                    try await connect(loopback, proxy.port) { $0.serverName = "nowhere.example" }
                }
                #expect(error.tlsFailure == .hostMismatch && error.message.contains("proxyTLS.serverName"), "\(error)")
            }
        }
    }

    @Test func aClientCertificateIsShown() async throws {
        try await withLoopback(handler: echo) { loopback in
            try await withProxy("valid", ["--client-ca", try TestEnvironment.certificate("ca")]) { proxy in
                let certificate = try TestEnvironment.certificate("client")
                let key = try TestEnvironment.key("client")
                let socket = try await connect(loopback, proxy.port) {
                    $0.identity = .files(certificate: certificate, key: key)
                }
                #expect(try await proxy.next("connect")["subject"] as? String != nil)
                #expect(try await socket.close().isNormal)
                let error = try await failure { try await connect(loopback, proxy.port) }
                #expect(error.code == .proxyFailed && error.phase == .proxy, "\(error)")
            }
        }
    }

    @Test func credentialsGoToTheProxyInTLS() async throws {
        try await withLoopback(handler: echo) { loopback in
            try await withProxy("valid", ["--credentials", "user:pass"]) { proxy in
                let error = try await failure { try await connect(loopback, proxy.port, userInfo: "user:secret@") }
                #expect(error.code == .proxyFailed && error.response?.status == 407, "\(error)")
                #expect(!error.message.contains("secret"))
                let socket = try await connect(loopback, proxy.port, userInfo: "user:pass@")
                #expect(try await socket.close().isNormal)
            }
        }
    }

    @Test(arguments: ["--cut-after", "--end-after"], [Transport.plain, .secure])
    func aProxyThatDiesTakesTheConnectionWithIt(_ how: String, _ transport: Transport) async throws {
        try await withLoopback(transport, handler: echo) { loopback in
            try await withProxy("valid", [how, "200000"]) { proxy in
                let socket = try await connect(loopback, proxy.port)
                let payload = [UInt8](repeating: 7, count: 300_000)
                try await socket.send(payload)
                let info = try await socket.closed()
                #expect(info.cause == .connectionLost)
            }
        }
    }

    @Test func aPeerWithoutTLSIsNoProxy() async throws {
        try await withLoopback(handler: echo) { loopback in
            let peer = try RawPeer()
            async let connecting = failure { try await connect(loopback, peer.port) }
            let descriptor = await peer.accept()
            peer.write(descriptor, Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
            let error = try await connecting
            #expect(error.code == .proxyFailed && error.tlsFailure == .notTLS, "\(error)")
            peer.close(descriptor)
        }
    }

    @Test func aSilentProxyIsGivenUp() async throws {
        try await withLoopback(handler: echo) { loopback in
            let peer = try RawPeer()
            let proxy = try WebSocketProxy("https://127.0.0.1:\(peer.port)")
            let error = try await failure {
                try await loopback.connect {
                    $0.proxy = proxy
                    $0.openTimeout = .seconds(2)
                }
            }
            #expect(error.code == .timedOut && error.phase == .proxy, "\(error)")
        }
    }
}
