//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSocketCore
import WebSockets
import WebSocketsTestKit

/// Reports of other libraries on proxies.
@Suite(.timeLimit(.minutes(5)))
struct ProxyReportTests {
    /// A client that goes through a proxy which the test plays.
    private func withProxy(
        _ proxy: (Int) -> String, to url: String,
        _ change: (inout WebSocketClientConfiguration) throws -> Void = { _ in },
        _ body: (WebSocketBytePeer, Task<WebSocketConnection, any Error>) async throws -> Void
    ) async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = try clientConfiguration(on: loops)
            configuration.proxy = try WebSocketProxy(proxy(listener.port))
            try change(&configuration)
            let client = configuration
            let connecting = Task { try await WebSocketClient.connect(to: url, configuration: client) }
            let peer = try await listener.accept()
            try await body(peer, connecting)
            peer.close()
        }
    }

    private func base64(_ text: String) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var (result, bytes): ([UInt8], [UInt8]) = ([], Array(text.utf8))
        while !bytes.isEmpty {
            let three = bytes.prefix(3) + [0, 0, 0].prefix(3 - min(3, bytes.count))
            let number = three.reduce(0) { $0 << 8 | Int($1) }
            let four = [18, 12, 6, 0].map { digits[number >> $0 & 63] }
            result +=
                bytes.count >= 3 ? four[...] : four.prefix(bytes.count + 1) + Array("==".utf8).prefix(3 - bytes.count)
            bytes.removeFirst(min(3, bytes.count))
        }
        return String(decoding: result, as: UTF8.self)
    }

    // python-websockets/websockets#1761, erebe/wstunnel#183, websocket-client/websocket-client#722: the proxy was sent the
    // percent signs of the URL. apify/proxy-chain#548: right for HTTP, and wrong for SOCKS.
    @Test(arguments: [
        ("user", "p%40ss", "user", "p@ss"), ("me%40corp.test", "a%3Ab%2Fc%23d%3F", "me@corp.test", "a:b/c#d?"),
        ("DOMAIN%5Cuser", "100%25", "DOMAIN\\user", "100%"), ("%C3%A9", "%E2%82%AC", "\u{E9}", "\u{20AC}"),
        ("user", "it's!$&()*+,;=", "user", "it's!$&()*+,;="), ("user", "", "user", ""), ("a+b", "c+d", "a+b", "c+d"),
    ])
    func aProxyGetsTheCredentialsThatAreMeant(
        _ user: String, _ password: String, _ plainUser: String, _ plainPassword: String
    ) async throws {
        try await withProxy({ "http://\(user):\(password)@127.0.0.1:\($0)" }, to: "ws://venue.test/") {
            peer, connecting in
            let head = try await peer.readHead()
            #expect(head["Proxy-Authorization"] == "Basic " + base64("\(plainUser):\(plainPassword)"))
            try await peer.write(Array("HTTP/1.1 200 OK\r\n\r\n".utf8))
            #expect(try await peer.acceptHandshake()["Proxy-Authorization"] == nil)
            try await connecting.value.abort()
        }
        // RFC 1929 has no empty password.
        guard !password.isEmpty else { return }
        try await withProxy({ "socks5h://\(user):\(password)@127.0.0.1:\($0)" }, to: "ws://venue.test/") {
            peer, connecting in
            #expect(try await peer.read(4) == [5, 2, 0, 2])
            try await peer.write([5, 2])
            let (name, secret) = (Array(plainUser.utf8), Array(plainPassword.utf8))
            let expected = [1, UInt8(name.count)] + name + [UInt8(secret.count)] + secret
            #expect(try await peer.read(expected.count) == expected)
            peer.close()
            _ = try? await connecting.value
        }
    }

    // websocket-client/websocket-client#968, #671 and #1041, eclipse-ditto/ditto-clients#278, request/request#2194,
    // kubernetes-client/javascript#233: lists that other programs of the same machine understood.
    @Test(arguments: [
        ("corp.example.com", "wss://ditto.corp.example.com", true),
        ("corp.example.com", "wss://corp.example.com", true),
        ("corp.example.com", "wss://evilcorp.example.com", false), (".example.org", "wss://api.example.org", true),
        ("foo, bar", "wss://bar", true), ("foo bar", "wss://bar", true), ("foo,,bar,", "wss://bar", true),
        ("*.cnn.com", "wss://www.cnn.com", true), ("*", "wss://anything", true),
        ("10.96.0.0/12", "wss://10.96.0.1", true),
        ("10.96.0.0/12", "wss://10.112.0.1", false), ("Corp.Example.COM", "wss://a.corp.example.com", true),
        ("corp.example.com.", "wss://a.corp.example.com", true), ("localhost,127.0.0.0/8", "wss://127.3.2.1:9", true),
        // What no program takes for a range or a name, nor does this one.
        ("10.96.", "wss://10.96.0.1", false), ("10.96.*", "wss://10.96.0.1", false),
    ])
    func exceptionsMeanWhatOtherProgramsTakeThemFor(_ list: String, _ url: String, _ isExempt: Bool) throws {
        for name in ["no_proxy", "NO_PROXY"] {
            let variables = ["https_proxy": "http://proxy:3128", name: list]
            let endpoint = try WebSocketProxy.environment.endpoint(for: WebSocketURL(url)) { variables[$0] }
            #expect((endpoint == nil) == isExempt, "\(name)=\(list)")
        }
    }

    // OpenIdentityPlatform/OpenICF#123, TakahikoKawasaki/nv-websocket-client#107: behind a proxy the certificate was held
    // against the proxy's name, or against none. Its neighbour: an IPv6 target has its brackets.
    @Test(arguments: [("localhost", "dns-only", true), ("localhost", "wrong-host", false), ("[::1]", "ip-only", true)])
    func behindAProxyTheServersOwnNameIsVerified(_ host: String, _ certificate: String, _ isRight: Bool) async throws {
        try await withLoopback(
            .secure,
            server: {
                $0.tls = try TestEnvironment.identity(certificate)
                $0.addresses = [.tcp(host: "127.0.0.1", port: 0)]
            }, handler: echo
        ) { loopback in
            let listener = try WebSocketBytePeerListener()
            var client = loopback.client
            client.proxy = try WebSocketProxy("http://127.0.0.1:\(listener.port)")
            let configuration = client
            let connecting = Task {
                try await WebSocketClient.connect(to: "wss://\(host):4430/", configuration: configuration)
            }
            let proxy = try await listener.accept()
            #expect(try await proxy.readHead().startLine == "CONNECT \(host):4430 HTTP/1.1")
            let server = try await WebSocketBytePeer.connect(port: loopback.server.port)
            try await proxy.write(Array("HTTP/1.1 200 OK\r\n\r\n".utf8))
            let joining = Task {
                await withTaskGroup(of: Void.self) { group in
                    for (from, to) in [(proxy, server), (server, proxy)] {
                        group.addTask {
                            while let bytes = try? await from.readSome(), !bytes.isEmpty { try? await to.write(bytes) }
                            to.halfClose()
                        }
                    }
                }
            }
            if isRight {
                let socket = try await connecting.value
                try await socket.send("through")
                #expect(try await socket.receive() == "through")
                try await socket.close()
            } else {
                let error = try await failure { try await connecting.value }
                #expect(error.code == .tlsFailed && error.tlsFailure == .hostMismatch, "\(error)")
            }
            await joining.value
            proxy.close()
            server.close()
        }
    }
}
