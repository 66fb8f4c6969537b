//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

@Suite struct OriginPatternTests {
    @Test(arguments: [
        ("https://example.com", "HTTPS://Example.COM:443", true),
        ("https://example.com:8443", "https://example.com", false),
        ("http://[::1]:80", "http://[::1]", true), ("http://[::1]", "http://[::2]", false),
        ("https://*.a.b", "https://x.a.b", true), ("https://*.a.b", "https://x.y.a.b", true),
        ("https://*.a.b", "https://a.b", false), ("https://*.a.b", "https://.a.b", false),
        ("https://*.a.b", "https://xa.b", false), ("http://a:*", "http://a:1", true),
        ("http://a:*", "https://a:1", false),
        ("null", "null", true), ("null", "http://null", false), ("http://null", "null", false),
        ("chrome-extension://abc", "chrome-extension://abc", true),
        ("chrome-extension://abc", "chrome-extension://abd", false),
    ])
    func patternsMatchWholeNames(pattern: String, origin: String, expected: Bool) throws {
        let pattern = try #require(OriginPattern(pattern: pattern))
        let origin = OriginPattern(origin: origin)
        #expect(origin.map(pattern.matches) ?? false == expected)
    }

    @Test(arguments: [
        "", "a", "//a", "://a", "1http://a", "http://", "http://a/", "http://a?b", "http://a#b", "http://a@b",
        "http://a:b", "http://a:", "http://a:65536", "http://a b", "http://*", "http://a.*", "http://*.*.a",
        "http://[a]",
        "http://*.[::1]", "http://a:1:2", "http://\u{212A}.com", "http://a\\b",
    ])
    func whatIsNoOriginIsRefused(text: String) { #expect(OriginPattern(pattern: text) == nil) }

    /// What a browser sends is never a pattern.
    @Test(arguments: ["http://*.a.b", "http://a:*"])
    func onlyPatternsHaveWildcards(text: String) { #expect(OriginPattern(origin: text) == nil) }
}

@Suite struct CredentialsTests {
    @Test func equalityLooksAtEverything() {
        for (offered, secret, expected) in [
            ("", "", true), ("a", "a", true), ("a", "b", false), ("ab", "a", false), ("a", "ab", false),
            ("", "a", false),
            ("a", "", false), ("aa", "a", false), ("abab", "ab", false),
        ] {
            #expect(ConstantTime.isEqual(Array(offered.utf8), Array(secret.utf8)) == expected)
        }
    }

    @Test func base64IsReadStrictly() {
        var random = SplitMix64(seed: 6)
        for size in 0..<200 {
            let bytes = random.bytes(size)
            #expect(Base64.decode(HandshakeText.base64(bytes)) == bytes)
        }
        for text in [
            "=", "A", "AA", "AAA", "A===", "====", "AA=A", "AB==", "AAB=", "A A=", "AA\n=", "AA--", "AAA=AAAA",
        ] {
            #expect(Base64.decode(text) == nil, "\(text)")
        }
    }

    @Test func malformedHeadersAreNoCredentials() {
        for text in ["", "Basic", "Basic ", "Basic AA", "Digest x", "Bearer", "Bearer ", "Bearer a,b", "Basic /w=="] {
            #expect(Credentials.parse([.authorization: text]) == nil, "\(text)")
        }
        #expect(Credentials.parse([:]) == nil)
        #expect(Credentials.parse([.authorization: "Basic Og=="]) == .basic(user: "", password: []))
        #expect(Credentials.parse([.authorization: "Bearer a.b-c_d~e+f/="]) == .bearer("a.b-c_d~e+f/="))
    }
}

@Suite struct RoutePatternTests {
    @Test(
        arguments: [
            ("/", "/", [:]), ("/", "//", nil), ("/a", "/a", [:]), ("/a", "/a/", nil), ("/a/", "/a/", [:]),
            ("/a/", "/a", nil),
            ("/:x", "/", nil), ("/:x", "/b", ["x": "b"]), ("/:x/c", "/b/c", ["x": "b"]),
            ("/:x", "/b%2Fc", ["x": "b/c"]),
            ("/:x", "/%", nil), ("/:x", "/%4", nil), ("/:x", "/%zz", nil), ("/:x", "/%FF", nil),
            ("/:x", "/%00", ["x": "\0"]),
            ("/a", "/%61", [:]), ("/a", "/A", nil), ("/*r", "/", ["r": ""]), ("/*r", "/a/b", ["r": "a/b"]),
            ("/a/*r", "/a", nil), ("/a/*r", "/a/", ["r": ""]), ("/a", "a", nil), ("/..", "/..", [:]),
        ] as [(String, String, [String: String]?)])
    func pathsMatch(pattern: String, path: String, expected: [String: String]?) throws {
        #expect(try RoutePattern(pattern).match(path) == expected)
    }
}

@Suite struct AddressRangeTests {
    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false), ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false), ("192.0.2.128/25", "192.0.2.127", false), ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false), ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/33", "2001:db8:8000::", false),
        ("::1", "0:0:0:0:0:0:0:1", true), ("::/0", "::", true), ("127.0.0.1", "::ffff:127.0.0.1", true),
        ("::ffff:10.0.0.0", "10.0.0.0", true), ("10.0.0.0/8", "nonsense", false), ("10.0.0.0/8", "10.0.0.1 ", false),
        // A zone says on which link, and is no part of the address; no other address has one.
        ("fe80::/10", "fe80::1%eth0", true), ("fe80::1", "fe80::1%2", true), ("fe80::/10", "fec0::1%eth0", false),
        ("::/0", "2001:db8::1%eth0", false), ("0.0.0.0/0", "192.0.2.1%eth0", false), ("::/0", "fe80::1%", false),
    ])
    func rangesHoldTheirAddresses(range: String, address: String, expected: Bool) throws {
        let range = try #require(AddressRange(range))
        #expect(AddressBytes(address).map(range.contains) ?? false == expected)
    }

    @Test(arguments: [
        "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "::/129", "a", "1.2.3", "1.2.3.4/8/8",
        "fe80::1%eth0", "fe80::%eth0/10",
    ])
    func whatIsNoRangeIsRefused(text: String) { #expect(AddressRange(text) == nil) }
}

@Suite struct ProxyHeaderTests {
    private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]

    @Test func everyPrefixOfAHeaderIsIncomplete() {
        let headers: [([UInt8], ProxyHeader)] = [
            (Array("PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n".utf8), .client(address: "192.0.2.1", port: 1)),
            (Array("PROXY TCP6 ::1 ::2 0 2\r\n".utf8), .client(address: "::1", port: 0)),
            (Array("PROXY UNKNOWN whatever it is\r\n".utf8), .unknown),
            (Self.signature + [0x20, 0x00, 0, 0], .local),
            (
                Self.signature + [0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 0],
                .client(address: "1.2.3.4", port: 80)
            ),
            (
                Self.signature + [0x21, 0x21, 0, 36] + [0x20, 1] + [UInt8](repeating: 0, count: 13) + [9]
                    + [UInt8](repeating: 0, count: 16) + [1, 2, 3, 4],
                .client(address: "2001:0:0:0:0:0:0:9", port: 258)
            ),
            // With an extension behind the addresses, and of a family without IP addresses.
            (
                Self.signature + [0x21, 0x11, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 0, 4, 0, 0],
                .client(address: "1.2.3.4", port: 80)
            ),
            (Self.signature + [0x21, 0x31, 0, 2, 0, 0], .unknown),
        ]
        for (bytes, expected) in headers {
            for count in 0..<bytes.count { #expect(ProxyHeader.parse(Array(bytes[..<count])) == .incomplete) }
            #expect(ProxyHeader.parse(bytes) == .header(expected, byteCount: bytes.count))
            #expect(ProxyHeader.parse(bytes + [1, 2, 3]) == .header(expected, byteCount: bytes.count))
        }
    }

    @Test func whatIsNoHeaderIsRefused() {
        for text in [
            "X", "PROXZ", "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY TCP4 a b 1 1\r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\rX",
            "PROXY UNKNOWN" + String(repeating: " x", count: 60),
        ] {
            #expect(ProxyHeader.parse(Array(text.utf8)) == .malformed, "\(text)")
        }
        for tail: [UInt8] in [
            [0x11, 0, 0, 0], [0x22, 0, 0, 0], [0x21, 0x11, 0, 4, 1, 2, 3, 4], [0x21, 0x11, 0xFF, 0xFF],
            [0x21, 0x21, 0, 12] + [UInt8](repeating: 0, count: 12),
        ] {
            #expect(ProxyHeader.parse(Self.signature + tail) == .malformed, "\(tail)")
        }
    }

    @Test func nothingTraps() throws {
        var random = SplitMix64(seed: 7)
        for _ in 0..<20_000 {
            var bytes = Self.signature + random.bytes(random.below(64))
            if random.below(2) == 0 { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
            if case .header(_, let count) = ProxyHeader.parse(bytes) {
                try check(count <= bytes.count, "\(bytes)")
            }
        }
    }
}

@Suite struct ForwardedClientTests {
    private static let trust: ForwardingTrust = {
        var trust = ForwardingTrust()
        trust.ranges = [AddressRange("10.0.0.0/8")!]
        (trust.tellsHost, trust.tellsScheme) = (true, true)
        return trust
    }()

    /// Reads the header that is there.
    private static func client(_ fields: HTTPFields) throws(ForwardedClient.Malformed) -> ForwardedClient? {
        var trust = trust
        if fields[.init("Forwarded")!] != nil { trust.header = .forwarded }
        return try ForwardedClient(fields, trust: trust)
    }

    @Test(
        arguments: [
            (["Forwarded": "for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60", nil, false, nil),
            (["Forwarded": #"for="192.0.2.60:47011""#], "192.0.2.60", 47011, nil, nil),
            (["Forwarded": #"For="[2001:db8:cafe::17]:4711""#], "2001:db8:cafe::17", 4711, nil, nil),
            (
                ["Forwarded": #"for=1.1.1.1, for=2.2.2.2;x="a;b,\"c";host="d\e:80", for=10.0.0.1"#],
                "2.2.2.2", nil, nil, "de:80"
            ),
            (["Forwarded": "for=_hidden, for=10.0.0.1"], nil, nil, nil, nil),
            (["X-Forwarded-For": "1.1.1.1,2.2.2.2 , 10.0.0.1,10.0.0.2"], "2.2.2.2", nil, nil, nil),
            (["X-Forwarded-For": "2.2.2.2:99"], "2.2.2.2", 99, nil, nil),
            (["X-Forwarded-For": "10.0.0.1"], "10.0.0.1", nil, nil, nil),
            (["X-Forwarded-Proto": "WSS"], nil, nil, true, nil),
        ] as [([String: String], String?, Int?, Bool?, String?)])
    func theNearestUntrustedHopIsTheClient(
        headers: [String: String], address: String?, port: Int?, isSecure: Bool?, host: String?
    ) throws {
        var fields = HTTPFields()
        for (name, value) in headers { fields[HTTPField.Name(name)!] = value }
        let client = try #require(try Self.client(fields))
        #expect(client.address == address)
        #expect(client.port == port)
        #expect(client.isSecure == isSecure)
        #expect(client.host == host)
    }

    @Test func noHeaderSaysNothing() throws {
        #expect(try ForwardedClient([.server: "x"], trust: Self.trust) == nil)
        // Neither does the header that the proxies do not write.
        #expect(try ForwardedClient([.init("Forwarded")!: "for=1.1.1.1"], trust: Self.trust) == nil)
    }

    @Test(
        arguments: [
            ("Forwarded", #"for=""#), ("Forwarded", #"for="x"y"#), ("Forwarded", "for"), ("Forwarded", "=1.1.1.1"),
            ("Forwarded", "for=1.1.1.1;for=2.2.2.2"), ("Forwarded", "for=nonsense"), ("Forwarded", "proto=gopher"),
            ("Forwarded", #"host="a/b""#), ("Forwarded", #"for="_x, for=10.0.0.1"#),
            ("X-Forwarded-For", "nonsense"), ("X-Forwarded-For", "nonsense, 10.0.0.1"),
            ("X-Forwarded-Host", "a:b:c"), ("X-Forwarded-Host", "me:secret"), ("X-Forwarded-Host", "a:99999"),
            ("X-Forwarded-Host", "[::1"), ("Forwarded", #"host="a:b""#),
            ("X-Forwarded-Host", "a,b c"), ("X-Forwarded-Proto", "gopher"),
        ])
    func whatNoProxyWritesIsMalformed(name: String, value: String) {
        #expect(throws: ForwardedClient.Malformed.self) { try Self.client([HTTPField.Name(name)!: value]) }
    }

    @Test func nothingTraps() {
        var random = SplitMix64(seed: 8)
        let alphabet = Array(#"for=;,"\[]:. _10host proto"#)
        for _ in 0..<20_000 {
            let text = String((0..<random.below(40)).map { _ in alphabet[random.below(alphabet.count)] })
            let name = HTTPField.Name(random.below(2) == 0 ? "Forwarded" : "X-Forwarded-For")!
            _ = try? Self.client([name: text])
        }
    }
}

@Suite struct PlainResponseTests {
    @Test func framingIsOurs() {
        let answer = PlainResponse(
            status: 200,
            fields: [.contentLength: "99", .transferEncoding: "chunked", .connection: "keep-alive", .server: "x"],
            body: Array("body".utf8))
        let head = "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
        #expect(String(decoding: answer.bytes(), as: UTF8.self) == head + "body")
        #expect(String(decoding: answer.bytes(isHead: true), as: UTF8.self) == head)
    }

    @Test func someAnswersHaveNoBody() {
        for status in [204, 304] {
            let text = String(decoding: PlainResponse(status: status, body: [1]).bytes(), as: UTF8.self)
            #expect(text == "HTTP/1.1 \(status) \(PlainResponse.phrase(of: status))\r\nConnection: close\r\n\r\n")
        }
        #expect(String(decoding: PlainResponse(status: 599).bytes(), as: UTF8.self).hasPrefix("HTTP/1.1 599 \r\n"))
    }
}

@Suite struct HostPatternTests {
    @Test(arguments: [
        ("example.com", "example.com", true), ("example.com", "EXAMPLE.com:8080", true),
        ("Example.com", "example.com.", true), ("example.com.", "example.com", true),
        ("example.com", "www.example.com", false), ("example.com", "evil-example.com", false),
        ("example.com", "example.com.evil.net", false), ("example.com", "", false),
        ("*.example.com", "a.example.com", true), ("*.example.com", "a.b.example.com:1", true),
        ("*.example.com", "example.com", false), ("*.example.com", ".example.com", false),
        ("*.example.com", "evil-example.com", false),
        ("example.com:8080", "example.com:8080", true), ("example.com:8080", "example.com", false),
        ("example.com:80", "example.com", true), ("example.com:443", "example.com", false),
        ("127.0.0.1", "127.0.0.1:9000", true), ("127.0.0.1", "127.0.0.2", false), ("127.0.0.1:9", "127.0.0.1:9", true),
        ("127.0.0.0/8", "127.1.2.3:9", true), ("127.0.0.0/8", "128.0.0.1", false), ("127.0.0.0/8", "localhost", false),
        ("::1", "[::1]:9", true), ("::1", "[0:0::1]", true), ("[::1]:9", "[::1]:9", true), ("[::1]:9", "[::1]", false),
        ("::/0", "[2001:db8::1]", true), ("::/0", "127.0.0.1", false), ("0.0.0.0/0", "[::ffff:10.0.0.1]", true),
        ("0.0.0.0/0", "evil.example", false), ("0.0.0.0/0", "1.2.3.4.evil.example", false),
    ])
    func hostsAreCompared(_ pattern: String, _ host: String, _ isMatch: Bool) throws {
        let pattern = try #require(HostPattern(pattern))
        #expect(pattern.matches(host, defaultPort: 80) == isMatch)
    }

    @Test(arguments: [
        "", "*", "*.", ".", "a b", "http://a", "a/b", "u@a", "u:p@a", "a:x", "a:1:2", "*.127.0.0.1", "a,b", "ü.example",
        "a.*", ".example.com", "10.0.0.0/33",
    ])
    func whatIsNoHostIsRefused(_ text: String) { #expect(HostPattern(text) == nil) }
}

@Suite struct ClientAddressTests {
    /// An IPv4 address that is mapped into IPv6 is that IPv4 address (RFC 4291 §2.5.5.2), and so is a network of them.
    @Test(arguments: [
        ("10.0.0.0/8", "::ffff:10.1.2.3", true), ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "11.1.2.3", false), ("::ffff:10.1.2.3", "10.1.2.3", true),
        ("::ffff:0:0/96", "192.0.2.1", true), ("::ffff:0:0/96", "2001:db8::1", false),
    ])
    func mappedAddressesAreIPv4(_ range: String, _ address: String, _ isInside: Bool) throws {
        let range = try #require(AddressRange(range))
        #expect(range.contains(try #require(AddressBytes(address))) == isInside)
    }

    @Test func aMappedNetworkIsNoWiderThanIPv4() {
        #expect(AddressRange("::ffff:10.0.0.0/95") == nil)
        #expect(AddressRange("::ffff:10.0.0.0/129") == nil)
        #expect(AddressRange("10.0.0.0/33") == nil)
    }

    @Test(arguments: [
        ("192.0.2.1", 64, "192.0.2.1"), ("192.0.2.1", 1, "192.0.2.1"), ("::ffff:192.0.2.1", 64, "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"), ("2001:db8:1:2:3:4:5:6", 56, "2001:db8:1::"),
        ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"), ("2001:db8:1:ff:3:4:5:6", 59, "2001:db8:1:e0::"),
        ("::1", 64, "::"),
    ])
    func clientsAreCountedByPrefix(_ address: String, _ bits: Int, _ prefix: String) throws {
        let address = try #require(AddressBytes(address))
        #expect(address.prefix(ofIPv6: bits) == AddressBytes(prefix)?.bytes)
    }
}
