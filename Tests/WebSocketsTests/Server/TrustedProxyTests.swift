//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct TrustedProxyTests {
    /// Answers with what it thinks of the client.
    private func withServer(
        _ proxies: WebSocketTrustedProxies, on transport: Transport = .plain,
        _ change: @escaping (inout WebSocketServerConfiguration) -> Void = { _ in },
        _ body: (Loopback) async throws -> Void
    ) async throws {
        try await withLoopback(
            transport,
            server: {
                $0.trustedProxies = proxies
                $0.onRequest = { request in
                    .respond(
                        status: 200,
                        text: "\(request.remoteAddress?.description ?? "") \(request.isSecure) \(request.host)")
                }
                change(&$0)
            }, handler: echo, body)
    }

    @Test func nobodyIsTrustedByDefault() async throws {
        try await withServer(.init()) { loopback in
            let request = RawRequest.plain(
                "/", host: "here",
                ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Forwarded: for=192.0.2.2;host=evil"])
            let answer = try await loopback.answer(request)
            #expect(answer.body.hasPrefix("127.0.0.1:"))
            #expect(answer.body.hasSuffix(" false here\n"))
        }
    }

    private static let proxies = WebSocketTrustedProxies(addresses: ["127.0.0.0/8", "10.0.0.0/8"])

    /// Rule 27: what the proxy writes counts, and nothing that its client does.
    @Test(
        arguments: [
            (["X-Forwarded-For: 192.0.2.1"], "192.0.2.1:0 false here"),
            // The client's own invention stands on the left.
            (["X-Forwarded-For: 203.0.113.9, 192.0.2.1"], "192.0.2.1:0 false here"),
            (["X-Forwarded-For: nonsense, 192.0.2.1"], "192.0.2.1:0 false here"),
            (["X-Forwarded-For: 192.0.2.1, 10.1.2.3"], "192.0.2.1:0 false here"),
            (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.1.2.3"], "192.0.2.1:0 false here"),
            (["X-Forwarded-For: ::ffff:192.0.2.1"], "192.0.2.1:0 false here"),
            (["X-Forwarded-For: unknown"], "127.0.0.1:* false here"),
            // Proxies pass on what a client sends in headers that they do not know.
            (["X-Forwarded-For: 192.0.2.1", "Forwarded: for=6.6.6.6;host=evil;proto=https"], "192.0.2.1:0 false here"),
            (["X-Forwarded-For: 192.0.2.1", #"Forwarded: for=""#], "192.0.2.1:0 false here"),
            (["Forwarded: for=6.6.6.6"], "127.0.0.1:* false here"),
            // So with host and scheme, unless they say that they write them.
            (
                ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil"],
                "192.0.2.1:0 false here"
            ),
        ] as [([String], String)])
    func aTrustedProxySaysWhoTheClientIs(headers: [String], expected: String) async throws {
        try await expect(expected, of: headers, Self.proxies)
    }

    @Test(
        arguments: [
            (["X-Forwarded-For: 2001:DB8:0::1", "X-Forwarded-Proto: https"], "[2001:db8::1]:0 true here"),
            (["X-Forwarded-Proto: http, https", "X-Forwarded-Host: there"], "127.0.0.1:* true there"),
        ] as [([String], String)])
    func aProxyThatWritesHostAndSchemeIsBelieved(headers: [String], expected: String) async throws {
        var proxies = Self.proxies
        (proxies.tellsHost, proxies.tellsScheme) = (true, true)
        try await expect(expected, of: headers, proxies)
    }

    @Test(
        arguments: [
            (
                [#"Forwarded: for="[2001:db8::1]:4711";proto=https;host="there:8443""#],
                "[2001:db8::1]:4711 true there:8443"
            ),
            (["Forwarded: for=192.0.2.1;proto=http, for=10.0.0.1;proto=https"], "192.0.2.1:0 false here"),
            (["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.2"], "192.0.2.1:0 false here"),
            (["Forwarded: for=unknown"], "127.0.0.1:* false here"),
            (["Forwarded: for=_x"], "127.0.0.1:* false here"),
            (["X-Forwarded-For: 192.0.2.2"], "127.0.0.1:* false here"),
        ] as [([String], String)])
    func forwardedCountsWhereItIsTheProxysHeader(headers: [String], expected: String) async throws {
        var proxies = Self.proxies
        proxies.header = .forwarded
        (proxies.tellsHost, proxies.tellsScheme) = (true, true)
        try await expect(expected, of: headers, proxies)
    }

    private func expect(_ expected: String, of headers: [String], _ proxies: WebSocketTrustedProxies) async throws {
        try await withServer(proxies) { loopback in
            let body = try await loopback.answer(RawRequest.plain("/", host: "here", headers)).body
            let parts = expected.split(separator: "*", maxSplits: 1)
            #expect(body.hasPrefix(parts[0]) && body.hasSuffix(parts[parts.count - 1] + "\n"), "\(body)")
        }
    }

    @Test func whatNoProxyWritesIsABadRequest() async throws {
        try await withServer(Self.proxies) { loopback in
            for value in ["nonsense", "192.0.2.1, nonsense", "1.2.3.4.5", "[::1"] {
                let answer = try await loopback.answer(RawRequest.plain("/", ["X-Forwarded-For: \(value)"]))
                #expect(answer.status == 400, "\(value)")
            }
        }
        var proxies = Self.proxies
        proxies.header = .forwarded
        try await withServer(proxies) { loopback in
            for value in [#"for=""#, #"for="_x, for=192.0.2.1"#, "for", "=x", "for=a b", "for=1.1.1.1;for=2.2.2.2"] {
                let answer = try await loopback.answer(RawRequest.plain("/", ["Forwarded: \(value)"]))
                #expect(answer.status == 400, "\(value)")
            }
        }
    }

    /// Otherwise each client that the proxy does not name would pass by the limit.
    @Test(arguments: [["X-Forwarded-For: unknown"], ["Forwarded: for=_x"], []])
    func aHiddenClientCountsUnderItsProxy(headers: [String]) async throws {
        try await withServer(.init(addresses: ["127.0.0.1"])) {
            $0.maximumConnectionsPerAddress = 1
            $0.onRequest = nil
        } _: { loopback in
            let first = try RawClient(port: loopback.server.port)
            #expect(try await first.headOfAnswer(to: RawRequest.upgrade("/", headers)).status == 101)
            let second = try RawClient(port: loopback.server.port)
            #expect(try await second.headOfAnswer(to: RawRequest.upgrade("/", headers)).status == 429)
        }
    }

    /// A proxy on a Unix socket has no address that such a client could count under.
    @Test(arguments: [true, false])
    func hiddenClientsOfAUnixSocketCountAsOne(isTrusted: Bool) async throws {
        let name = "@wsx-hidden-\(UInt64.random(in: 0 ... .max))"
        try await withLoopback(
            server: {
                $0.addresses = [.unix(path: name)]
                $0.trustedProxies.trustsUnixSockets = isTrusted
                $0.maximumConnectionsPerAddress = 1
            }, handler: echo
        ) { loopback in
            func open(_ client: String?) async throws -> WebSocketConnection {
                var configuration = loopback.client
                if let client { configuration.headers[HTTPField.Name("X-Forwarded-For")!] = client }
                return try await WebSocketClient.connect(unixSocket: name, configuration: configuration)
            }
            var sockets = [try await open("unknown"), try await open("192.0.2.1"), try await open("192.0.2.2")]
            for hidden in ["unknown", nil] {
                if isTrusted {
                    let error = try await failure { try await open(hidden) }
                    #expect(error.response?.status == 429, "\(error)")
                } else {
                    // Without proxies all of them are programs of this machine.
                    sockets.append(try await open(hidden))
                }
            }
            for socket in sockets { try await socket.close() }
        }
    }

    /// The origin is compared with the host that the browser asked for.
    @Test func theOriginRuleSeesTheForwardedHost() async throws {
        try await withLoopback(
            server: {
                $0.trustedProxies = .init(addresses: ["127.0.0.1"])
                $0.trustedProxies.header = .forwarded
                $0.trustedProxies.tellsHost = true
                $0.trustedProxies.tellsScheme = true
            }, handler: echo
        ) { loopback in
            func status(_ host: String) async throws -> Int {
                try await loopback.status(
                    RawRequest.upgrade(
                        host: "backend", ["Origin: https://shop.example", "Forwarded: host=\(host);proto=https"]))
            }
            let found1 = try await status("shop.example")
            #expect(found1 == 101)
            let found2 = try await status("other.example")
            #expect(found2 == 403)
        }
    }

    @Test func limitsCountTheClientNotTheProxy() async throws {
        try await withServer(.init(addresses: ["127.0.0.1"])) {
            $0.maximumConnectionsPerAddress = 1
            $0.onRequest = nil
        } _: { loopback in
            func open(_ address: String) async throws -> (RawClient, Int) {
                let client = try RawClient(port: loopback.server.port)
                let answer = try await client.headOfAnswer(
                    to: RawRequest.upgrade("/", ["X-Forwarded-For: \(address)"]))
                return (client, answer.status)
            }
            let first = try await open("192.0.2.1")
            let second = try await open("192.0.2.2")
            #expect(first.1 == 101 && second.1 == 101)
            #expect(try await open("192.0.2.1").1 == 429)
        }
    }

    // MARK: PROXY protocol

    private static let binary: [UInt8] =
        [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x21, 0x11, 0x00, 0x0C]
        + [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x67, 0x01, 0xBB]

    @Test func aProxyHeaderComesFirst() async throws {
        var proxies = WebSocketTrustedProxies(addresses: ["127.0.0.1"])
        proxies.sendsProxyProtocol = true
        try await withServer(proxies) { loopback in
            let request = Array(RawRequest.plain("/", host: "here").utf8)
            let rows: [([UInt8], String)] = [
                (Array("PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n".utf8), "192.0.2.1:4711 false here\n"),
                (Array("PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".utf8), "[2001:db8::1]:4711 false here\n"),
                (Self.binary, "192.0.2.7:4711 false here\n"),
            ]
            for (header, expected) in rows {
                let client = try RawClient(port: loopback.server.port)
                client.write(header + request)
                #expect(try await RawAnswer(client.readToEnd()).body == expected)
                // In pieces.
                let slow = try RawClient(port: loopback.server.port)
                slow.write(Array(header.prefix(5)))
                try await loopback.serverLoops.loops[0].reaches("it has been looked at") { $0.timers >= 2 }
                slow.write(Array(header.dropFirst(5)) + request)
                #expect(try await RawAnswer(slow.readToEnd()).body == expected)
            }
            for header in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ::1 ::1 1 2\r\n"] {
                let client = try RawClient(port: loopback.server.port)
                client.write(Array(header.utf8) + request)
                #expect(try await RawAnswer(client.readToEnd()).body.hasPrefix("127.0.0.1:"))
            }
            for nonsense in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 a b c d\r\n", "PROXY nonsense\r\n"] {
                let client = try RawClient(port: loopback.server.port)
                client.write(Array(nonsense.utf8))
                #expect(await client.readToEnd() == [])
            }
        }
    }

    /// The first piece is there before the connection is accepted, and looked at once with it and once more when the socket
    /// is found readable. A second timer was started then, the first one forgotten, and the process ended when it fired.
    @Test func aProxyHeaderInPiecesStartsOneTimer() async throws {
        try await withLoops { loops in
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            configuration.trustedProxies = WebSocketTrustedProxies(addresses: ["127.0.0.1"])
            configuration.trustedProxies.sendsProxyProtocol = true
            configuration.onRequest = { .respond(status: 200, text: $0.remoteAddress?.description ?? "") }
            let server = try WebSocketServer(configuration: configuration)
            let client = try RawClient(port: server.port)
            client.write(Array(Self.binary.prefix(5)))
            let running = Task { try await server.run(echo) }
            // The handshake's deadline; the socket itself says when there is more to look at.
            let loop = loops.loops[0]
            try await loop.reaches("it has been looked at") { $0.timers == 1 }
            await withTaskExecutorPreference(loop.taskExecutor) {
                for _ in 0..<200 {
                    #expect(loop.diagnostics.timers <= 1)
                    // A turn of the loop.
                    await Task.yield()
                }
            }
            client.write(Array(Self.binary.dropFirst(5)) + Array(RawRequest.plain().utf8))
            #expect(try await RawAnswer(client.readToEnd()).body.hasPrefix("192.0.2.7:4711"))
            await server.shutDown()
            try await running.value
        }
    }

    @Test func aProxyHeaderOfAStrangerIsNotBelieved() async throws {
        var proxies = WebSocketTrustedProxies(addresses: ["192.0.2.0/24"])
        proxies.sendsProxyProtocol = true
        try await withServer(proxies) { loopback in
            let client = try RawClient(port: loopback.server.port)
            client.write(Self.binary + Array(RawRequest.plain().utf8))
            #expect(await client.readToEnd() == [])
        }
    }

    @Test func tlsComesBehindTheProxyHeader() async throws {
        var proxies = WebSocketTrustedProxies(addresses: ["127.0.0.1"])
        proxies.sendsProxyProtocol = true
        try await withServer(proxies, on: .secure) { loopback in
            let client = try RawTLSClient(port: loopback.server.port, preamble: Self.binary)
            let answer = await client.answer(to: RawRequest.plain())
            #expect(answer?.hasPrefix("HTTP/1.1 200 ") == true)
        }
    }
}
