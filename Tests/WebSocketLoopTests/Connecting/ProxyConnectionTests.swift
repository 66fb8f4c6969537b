//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop

/// Through a proxy whose every byte the test decides.
@Suite(.timeLimit(.minutes(5))) struct ProxyConnectionTests {
    private static func request(
        _ proxy: String, url: String = "ws://example.test:81/path", openTimeout: Duration = .seconds(60)
    ) throws -> ClientRequest {
        var way = ClientRequest.Way()
        way.proxy = try WebSocketProxy(proxy)
        return try ClientRequest(
            url: WebSocketURL(url), fields: [.userAgent: "me/1"], subprotocols: [], options: .quiet,
            openTimeout: openTimeout, tls: WebSocketTLSClientConfiguration(), way: way)
    }

    private static let established = Array("HTTP/1.1 200 Connection established\r\n\r\n".utf8)

    /// The attempt must fail, and nothing be left.
    private func failure(
        _ scheme: String = "http", openTimeout: Duration = .seconds(60),
        _ script: @escaping @Sendable (WebSocketBytePeer) async throws -> Void
    ) async throws -> WebSocketError {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request("\(scheme)://u:secret@127.0.0.1:\(listener.port)", openTimeout: openTimeout)
            async let connecting = error { await (try group.loops[0].connect(request)).end() }
            let peer = try await listener.accept()
            try await script(peer)
            let error = try await connecting
            peer.close()
            #expect(!"\(error)".contains("secret"))
            return error
        }
    }

    @Test(arguments: [WebSocketEventLoop.Backend.libuv, .poll], [false, true])
    func messagesGoThroughTheTunnel(backend: WebSocketEventLoop.Backend, inSingleBytes: Bool) async throws {
        try await withLoops(backend: backend) { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request("http://u:p@127.0.0.1:\(listener.port)")
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            let connect = try await peer.readHead()
            #expect(connect.startLine == "CONNECT example.test:81 HTTP/1.1")
            #expect(connect["Host"] == "example.test:81")
            #expect(connect["User-Agent"] == "me/1")
            #expect(connect["Proxy-Authorization"] == "Basic dTpw")
            #expect(connect.fields.count == 3)
            if inSingleBytes {
                for byte in Self.established { try await peer.write([byte]) }
            } else {
                try await peer.write(Self.established)
            }
            let head = try await peer.acceptHandshake(behind: [0x81, 2, 0x68, 0x69])
            #expect(head.startLine == "GET /path HTTP/1.1")
            #expect(head["Host"] == "example.test:81")
            #expect(head["Proxy-Authorization"] == nil && head["Authorization"] == nil)
            let client = try await connecting
            #expect(try await client.receive() == "hi")
            #expect(client.details.remoteAddress?.port == listener.port)
            #expect(client.details.url?.host == "example.test")
            for text in ["one", String(repeating: "x", count: 100_000)] {
                try await client.send(.text(text))
                let payload = try await peer.read(text.utf8.count + (text.utf8.count > 125 ? 14 : 6))
                #expect(payload[0] == 0x81)
            }
            peer.close()
            let info = try await client.closed()
            #expect(info.cause == .connectionLost)
        }
    }

    @Test func socksOpensATunnelToo() async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request("socks5h://u:p@127.0.0.1:\(listener.port)")
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            #expect(try await peer.read(4) == [5, 2, 0, 2])
            try await peer.write([5, 2])
            #expect(try await peer.read(5) == [1, 1, 117, 1, 112])
            try await peer.write([1, 0])
            #expect(try await peer.read(19) == [5, 1, 0, 3, 12] + Array("example.test".utf8) + [0, 81])
            try await peer.write([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
            _ = try await peer.acceptHandshake()
            let client = try await connecting
            peer.close()
            await client.end()
        }
    }

    /// SOCKS 4a leaves the name to the proxy, SOCKS 4 looks it up and takes an IPv4 address.
    @Test(
        arguments: [
            ("socks4a", "example.test", [0, 0, 0, 1], Array("example.test".utf8) + [0]),
            ("socks4", "127.0.0.9", [127, 0, 0, 9], []), ("socks4", "localhost", [127, 0, 0, 1], []),
        ] as [(String, String, [UInt8], [UInt8])])
    func socks4OpensATunnelToo(scheme: String, host: String, address: [UInt8], name: [UInt8]) async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request("\(scheme)://me:@127.0.0.1:\(listener.port)", url: "ws://\(host):81/")
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            let expected = [4, 1, 0, 81] + address + [109, 101, 0] + name
            #expect(try await peer.read(expected.count) == expected)
            try await peer.write([0, 90, 0, 0, 0, 0, 0, 0])
            _ = try await peer.acceptHandshake()
            let client = try await connecting
            peer.close()
            await client.end()
        }
    }

    @Test func socks4CarriesNoIPv6() {
        let error = #expect(throws: WebSocketError.self) {
            try Self.request("socks4a://127.0.0.1:9", url: "ws://[::1]/")
        }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("IPv6") == true)
    }

    @Test func socks5ResolvesTheNameHere() async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request(
                "socks5://127.0.0.1:\(listener.port)", url: "ws://127.0.0.9:82/", openTimeout: .seconds(60))
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            #expect(try await peer.read(3) == [5, 1, 0])
            try await peer.write([5, 0])
            #expect(try await peer.read(10) == [5, 1, 0, 1, 127, 0, 0, 9, 0, 82])
            try await peer.write([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
            _ = try await peer.acceptHandshake()
            let client = try await connecting
            peer.close()
            await client.end()
        }
        let error = try await error {
            try await withLoops { group in
                let request = try Self.request("socks5://127.0.0.1:9", url: "ws://name.invalid/")
                await (try group.loops[0].connect(request)).end()
            }
        }
        #expect(error.code == .nameNotFound)
    }

    @Test func aProxyThatIsNotThereIsTold() async throws {
        let port = try WebSocketBytePeerListener().port
        for proxy in ["http://127.0.0.1:\(port)", "socks5h://127.0.0.1:\(port)"] {
            let error = try await error {
                try await withLoops { group in await (try group.loops[0].connect(Self.request(proxy))).end() }
            }
            #expect(error.code == .proxyFailed && error.phase == .proxy)
            #expect(error.systemError == 111)
            #expect(error.message.contains("127.0.0.1:\(port)"))
        }
    }

    @Test func aRefusalIsTold() async throws {
        let error = try await failure { peer in
            _ = try await peer.readHead()
            try await peer.write(Array("HTTP/1.1 403 No\r\nX-Why: rules\r\nContent-Length: 2\r\n\r\nno".utf8))
        }
        #expect(error.code == .proxyFailed)
        #expect(error.response?.status == 403)
        #expect(error.response?.headers[HTTPField.Name("X-Why")!] == "rules")
    }

    @Test(arguments: ["http", "socks5h"])
    func anEndBeforeTheTunnelIsTold(scheme: String) async throws {
        let ended = try await failure(scheme) { peer in
            _ = try await peer.read(4)
            peer.halfClose()
        }
        #expect(ended.code == .proxyFailed && ended.phase == .proxy, "\(ended)")
        let reset = try await failure(scheme) { peer in
            _ = try await peer.read(4)
            peer.reset()
        }
        #expect(reset.code == .proxyFailed && reset.phase == .proxy, "\(reset)")
    }

    @Test(arguments: ["http", "socks5h"])
    func aSilentProxyTimesOut(scheme: String) async throws {
        let error = try await failure(scheme, openTimeout: .seconds(2)) { peer in _ = try await peer.read(4) }
        #expect(error.code == .timedOut && error.phase == .proxy)
    }

    @Test func anEndBehindTheTunnelIsTheServers() async throws {
        let error = try await failure { peer in
            _ = try await peer.readHead()
            try await peer.write(Self.established)
            _ = try await peer.readHead()
            peer.halfClose()
        }
        #expect(error.code == .handshakeInvalid && error.phase == .upgrade, "\(error)")
    }

    @Test func aServersRefusalComesThroughTheTunnel() async throws {
        let error = try await failure { peer in
            _ = try await peer.readHead()
            try await peer.write(Self.established)
            _ = try await peer.readHead()
            try await peer.write(Array("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n".utf8))
        }
        #expect(error.code == .handshakeRejected)
        #expect(error.response?.headers[.retryAfter] == "7")
    }

    @Test func tlsIsSpokenThroughTheTunnel() async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request("http://127.0.0.1:\(listener.port)", url: "wss://example.test/")
            async let connecting = error { await (try group.loops[0].connect(request)).end() }
            let peer = try await listener.accept()
            #expect(try await peer.readHead().startLine == "CONNECT example.test:443 HTTP/1.1")
            try await peer.write(Self.established)
            // A record with a ClientHello.
            #expect(try await peer.read(2) == [22, 3])
            try await peer.write(Array("this is not TLS\r\n".utf8))
            let error = try await connecting
            #expect(error.code == .tlsFailed && error.tlsFailure == .notTLS, "\(error)")
            peer.close()
        }
    }

    @Test func aCancelledAttemptLeavesNothing() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request("http://127.0.0.1:\(listener.port)")
            let attempt = Task { try await loop.connect(request) }
            let peer = try await listener.accept()
            _ = try await peer.readHead()
            attempt.cancel()
            let error = try await error { _ = try await attempt.value }
            #expect(error.code == .cancelled)
            #expect(try await peer.readToEnd().isEmpty)
        }
    }

    @Test func aLoopThatEndsTakesTheTunnelAlong() async throws {
        let group = try WebSocketEventLoopGroup(count: 1, logger: silentLogger)
        let loop = group.loops[0]
        let listener = try WebSocketBytePeerListener()
        let request = try Self.request("http://127.0.0.1:\(listener.port)")
        let attempt = Task { try await loop.connect(request) }
        let peer = try await listener.accept()
        _ = try await peer.readHead()
        await group.shutDown()
        let error = try await error { _ = try await attempt.value }
        #expect(error.code == .shutDown)
        #expect(try await peer.readToEnd().isEmpty)
        #expect(loop.diagnostics.isZero, "\(loop.diagnostics)")
    }

    @Test func twoPlacesToConnectToAreOneTooMany() throws {
        var way = ClientRequest.Way()
        way.connectTo = .host("127.0.0.1", port: 1)
        way.proxy = try WebSocketProxy("http://proxy")
        let error = #expect(throws: WebSocketError.self) {
            try ClientRequest(
                url: WebSocketURL("ws://host"), fields: [:], subprotocols: [], options: .quiet,
                openTimeout: .seconds(1), tls: WebSocketTLSClientConfiguration(), way: way)
        }
        #expect(error?.code == .invalidConfiguration && error?.message.contains("proxy") == true)
    }
}
