//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

@Suite struct ProxyTunnelTests {
    private static func tunnel(
        _ proxy: String, to host: String = "example.com", port: Int = 443, userAgent: String? = nil
    ) throws -> ProxyTunnel {
        ProxyTunnel(
            try ProxyEndpoint(proxy, source: "proxy"), target: .init(host: host, port: port), userAgent: userAgent)
    }

    private static func receive(_ tunnel: inout ProxyTunnel, _ bytes: [UInt8]) -> (
        taken: Int, action: ProxyTunnel.Action
    ) {
        bytes.withUnsafeBytes { tunnel.receive($0) }
    }

    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func failure(_ action: ProxyTunnel.Action) throws -> WebSocketError {
        guard case .fail(let error) = action else {
            Issue.record("not a failure: \(action)")
            throw WebSocketError(.cancelled, "no failure")
        }
        #expect(error.code == .proxyFailed && error.phase == .proxy)
        return error
    }

    // MARK: CONNECT

    @Test func theRequestIsExact() throws {
        let plain = try Self.tunnel("http://proxy:3128")
        #expect(plain.greeting == Self.text("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"))
        let full = try Self.tunnel("http://user:pass@proxy:3128", to: "::1", port: 80, userAgent: "me/1")
        #expect(
            full.greeting
                == Self.text(
                    "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\nUser-Agent: me/1\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"
                ))
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 Connection established\r\nA: b\r\n\r\n", "HTTP/1.1 299 \r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: 5\r\nX:\ta\r\n b\r\n\r\n", "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 100\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ])
    func aTunnelOpensWhereverTheAnswerIsCut(_ answer: String) throws {
        let bytes = Self.text(answer)
        for cut in 0...bytes.count {
            var tunnel = try Self.tunnel("http://proxy")
            var taken = 0
            if cut > 0 {
                let first = Self.receive(&tunnel, Array(bytes[..<cut]))
                taken = first.taken
                #expect(first.action == (cut == bytes.count ? .open : .wait))
            }
            if cut < bytes.count {
                // What follows is the server's.
                let second = Self.receive(&tunnel, Array(bytes[cut...]) + Self.text("HTTP/1.1 101"))
                taken += second.taken
                #expect(second.action == .open)
            }
            #expect(taken == bytes.count)
        }
    }

    @Test func anInterimAnswerIsNotTheAnswer() throws {
        var tunnel = try Self.tunnel("http://proxy")
        let all = Self.text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        let result = Self.receive(&tunnel, all + [1, 2, 3])
        #expect(result.action == .open && result.taken == all.count)
    }

    @Test func aRefusalIsKeptWithItsHeaders() throws {
        var tunnel = try Self.tunnel("http://proxy")
        let action = Self.receive(
            &tunnel, Self.text("HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\nbody")
        ).action
        var error = try failure(action)
        #expect(error.response?.status == 407)
        #expect(error.response?.headers[.proxyAuthenticate] == "Basic realm=\"x\"")
        #expect(error.message.contains("user:password@"))

        var again = try Self.tunnel("http://user:secret@proxy")
        error = try failure(Self.receive(&again, Self.text("HTTP/1.1 407 Who\r\n\r\n")).action)
        #expect(!"\(error)".contains("secret"))
        var other = try Self.tunnel("http://proxy")
        error = try failure(Self.receive(&other, Self.text("HTTP/1.1 502 Bad\r\n\r\n")).action)
        #expect(error.response?.status == 502)
        #expect(error.message.contains("example.com:443"))
    }

    @Test(arguments: [
        "SSH-2.0-OpenSSH\r\n", "\u{5}\0", "HTTP/2 200\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\r\n\r\n", "HTTP/1.1 200 OK\r\nbroken\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
    ])
    func whatIsNotHTTPIsRefused(_ answer: String) throws {
        var tunnel = try Self.tunnel("http://proxy")
        _ = try failure(Self.receive(&tunnel, Self.text(answer)).action)
    }

    @Test func anEndlessHeadIsRefused() throws {
        var tunnel = try Self.tunnel("http://proxy")
        var action = Self.receive(&tunnel, Self.text("HTTP/1.1 200 OK\r\n")).action
        var rounds = 0
        while action == .wait, rounds < 100 {
            action = Self.receive(&tunnel, Self.text("X: " + String(repeating: "y", count: 1_000) + "\r\n")).action
            rounds += 1
        }
        _ = try failure(action)
        #expect(rounds < 40)
    }

    /// Rule 31: they end in an error, however small they are, and however they are cut.
    @Test(arguments: [
        "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 x\r\nX: \(String(repeating: "y", count: 9_000))\r\n\r\n",
    ])
    func endlessInterimAnswersAreRefused(_ interim: String) throws {
        for piece in [1, 7, 100_000] {
            var tunnel = try Self.tunnel("http://proxy")
            let bytes = Self.text(String(repeating: interim, count: 50))
            var result = (taken: 0, action: ProxyTunnel.Action.wait)
            var start = 0
            while result.action == .wait, start < bytes.count {
                result = Self.receive(&tunnel, Array(bytes[start..<min(bytes.count, start + piece)]))
                start += result.taken
            }
            let error = try failure(result.action)
            #expect(error.message.contains("interim"), "\(error)")
            #expect(start <= 34 << 10)
        }
    }

    /// RFC 9110 §9.3.6: only 2xx opens a tunnel.
    @Test(arguments: [101, 300, 404, 999]) func everyOtherStatusIsARefusal(_ status: Int) throws {
        var tunnel = try Self.tunnel("http://proxy")
        let result = Self.receive(&tunnel, Self.text("HTTP/1.1 \(status)\r\nX: y\r\n\r\nbody"))
        let error = try failure(result.action)
        #expect(error.response?.status == status)
        // It is said again; nothing more is taken.
        let again = Self.receive(&tunnel, Self.text("HTTP/1.1 200 OK\r\n\r\n"))
        #expect(again.taken == 0 && again.action == .fail(error))
    }

    /// After the end of the conversation every kind says it again and takes nothing.
    @Test func theEndIsTheEnd() throws {
        let rows: [(proxy: String, replies: [[UInt8]])] = [
            ("http://proxy", [Self.text("HTTP/1.1 200\r\n\r\n")]), ("http://proxy", [Self.text("SSH")]),
            ("socks4a://proxy", [[0, 90, 0, 0, 0, 0, 0, 0]]), ("socks4a://proxy", [[5]]),
            ("socks5h://proxy", [[5, 0], [5, 0, 0, 1, 1, 2, 3, 4, 0, 80]]), ("socks5h://proxy", [[4]]),
            ("socks5h://u:p@proxy", [[5, 2], [2]]), ("socks5h://proxy", [[5, 0], [4]]),
        ]
        for row in rows {
            var tunnel = try Self.tunnel(row.proxy)
            var last = ProxyTunnel.Action.wait
            for reply in row.replies { last = Self.receive(&tunnel, reply).action }
            for bytes in [[], [0], [5, 0, 0], Self.text("HTTP/1.1 200 OK\r\n\r\n")] {
                let result = Self.receive(&tunnel, bytes)
                #expect(result.taken == 0 && result.action == last, "\(row.proxy)")
            }
        }
    }

    // MARK: SOCKS 5

    /// Every reply comes in single bytes, followed by bytes that are not the proxy's.
    private func converse(_ tunnel: inout ProxyTunnel, _ steps: [(reply: [UInt8], ProxyTunnel.Action)]) {
        for (reply, expected) in steps {
            for byte in reply.dropLast() {
                let result = Self.receive(&tunnel, [byte])
                #expect(result.taken == 1 && result.action == .wait)
            }
            let last = Self.receive(&tunnel, [reply.last!, 99, 99])
            #expect(last.taken == 1)
            #expect(last.action == expected)
        }
    }

    @Test func aNameIsResolvedByTheProxy() throws {
        var tunnel = try Self.tunnel("socks5h://proxy")
        #expect(tunnel.greeting == [5, 1, 0])
        converse(
            &tunnel,
            [
                ([5, 0], .send([5, 1, 0, 3, 11] + Self.text("example.com") + [1, 0xBB])),
                ([5, 0, 0, 1, 1, 2, 3, 4, 0, 80], .open),
            ])
    }

    @Test func credentialsAreSentWhenTheProxyWantsThem() throws {
        var tunnel = try Self.tunnel("socks5h://user:pa%3Ass@proxy", to: "127.0.0.1", port: 80)
        #expect(tunnel.greeting == [5, 2, 0, 2])
        converse(
            &tunnel,
            [
                ([5, 2], .send([1, 4] + Self.text("user") + [5] + Self.text("pa:ss"))),
                ([1, 0], .send([5, 1, 0, 1, 127, 0, 0, 1, 0, 80])),
                ([5, 0, 0, 4] + [UInt8](repeating: 7, count: 16) + [0, 80], .open),
            ])
        var free = try Self.tunnel("socks5h://user:pass@proxy", to: "::1", port: 80)
        converse(
            &free,
            [
                ([5, 0], .send([5, 1, 0, 4] + [UInt8](repeating: 0, count: 15) + [1, 0, 80])),
                ([5, 0, 0, 3, 2, 65, 66, 0, 80], .open),
            ])
    }

    @Test func refusalsAreTold() throws {
        let rows: [(proxy: String, replies: [[UInt8]], text: String)] = [
            ("socks5h://proxy", [[5, 255]], "user:password@"),
            ("socks5h://proxy", [[5, 2]], "user:password@"),
            ("socks5h://u:p@proxy", [[5, 255]], "configuration"),
            ("socks5h://u:p@proxy", [[5, 2], [1, 1]], "refuses user and password"),
            ("socks5h://proxy", [[4, 0]], "SOCKS 5"),
            ("socks5h://proxy", [Self.text("HTTP/1.1 400")], "SOCKS 5"),
            ("socks5h://proxy", [[5, 0], [5, 5, 0, 1, 0, 0, 0, 0, 0, 0]], "connection refused"),
            ("socks5h://proxy", [[5, 0], [5, 4]], "host unreachable"),
            ("socks5h://proxy", [[5, 0], [5, 2]], "not allowed"),
            ("socks5h://proxy", [[5, 0], [5, 77]], "77"),
            ("socks5h://proxy", [[5, 0], [5, 0, 0, 9, 9]], "SOCKS 5"),
        ]
        for row in rows {
            var tunnel = try Self.tunnel(row.proxy)
            var action = ProxyTunnel.Action.wait
            for reply in row.replies { action = Self.receive(&tunnel, reply).action }
            let error = try failure(action)
            #expect(error.message.contains(row.text), "\(error)")
        }
        let ended = try Self.tunnel("socks5h://proxy").ended()
        #expect(ended.code == .proxyFailed && ended.phase == .proxy)
    }

    // MARK: SOCKS 4

    @Test func socks4SaysAnAddressOrAName() throws {
        var name = try Self.tunnel("socks4a://proxy")
        #expect(name.greeting == [4, 1, 1, 0xBB, 0, 0, 0, 1, 0] + Self.text("example.com") + [0])
        converse(&name, [([0, 90, 0, 0, 0, 0, 0, 0], .open)])
        var address = try Self.tunnel("socks4://me:@proxy", to: "127.0.0.9", port: 80)
        #expect(address.greeting == [4, 1, 0, 80, 127, 0, 0, 9] + Self.text("me") + [0])
        converse(&address, [([0, 90, 1, 2, 3, 4, 5, 6], .open)])
    }

    @Test(
        arguments: [
            ([0, 91, 0, 0, 0, 0, 0, 0], "rejected"), ([0, 92, 0, 0, 0, 0, 0, 0], "identd"),
            ([0, 93, 0, 0, 0, 0, 0, 0], "user"), ([0, 7, 0, 0, 0, 0, 0, 0], "reply 7"), ([5, 0], "SOCKS 4"),
        ] as [([UInt8], String)])
    func refusalsOfSOCKS4AreTold(_ reply: [UInt8], _ text: String) throws {
        var tunnel = try Self.tunnel("socks4a://proxy")
        let error = try failure(Self.receive(&tunnel, reply).action)
        #expect(error.message.contains(text), "\(error)")
    }

    @Test func headersOfOnesOwnGoIntoCONNECT() throws {
        let headers: HTTPFields = [
            .userAgent: "mine", .proxyAuthorization: "Bearer t", HTTPField.Name("X-Tenant")!: "seven",
        ]
        let tunnel = ProxyTunnel(
            try ProxyEndpoint("http://u:p@proxy", headers: headers, source: "proxy"),
            target: .init(host: "example.com", port: 443), userAgent: "theirs")
        let expected = """
            CONNECT example.com:443 HTTP/1.1\r
            Host: example.com:443\r
            User-Agent: mine\r
            Proxy-Authorization: Bearer t\r
            X-Tenant: seven\r
            \r\n
            """
        #expect(tunnel.greeting == Self.text(expected))
    }

    @Test(arguments: [("", []), ("AA==", [0]), ("AAE=", [0, 1]), ("+/8A", [0xFB, 0xFF, 0])] as [(String, [UInt8])])
    func base64IsRead(_ text: String, _ bytes: [UInt8]) {
        #expect(HandshakeText.bytes(base64: text) == bytes)
        #expect(HandshakeText.base64(bytes) == text)
    }

    @Test(arguments: ["A", "AA", "AAA", "A===", "AA=A", "AA==AAAA", "A-_A", "AA A", "===="])
    func whatIsNotBase64IsRefused(_ text: String) { #expect(HandshakeText.bytes(base64: text) == nil) }
}
