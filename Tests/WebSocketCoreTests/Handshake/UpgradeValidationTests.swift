//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing

@testable import WebSocketCore

@Suite struct UpgradeValidationTests {
    static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    static let valid: [(String, String)] = [
        ("Host", "h"), ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]

    private static func head(
        _ method: String = "GET", _ target: String = "/", _ fields: [(String, String)] = valid
    ) -> HTTPRequestHead {
        var result = HTTPFields()
        for (name, value) in fields { result.append(HTTPField(name: HTTPField.Name(name)!, value: value)) }
        return HTTPRequestHead(method: method, target: target, fields: result)
    }

    /// The valid fields with one replaced (`nil` removes it) or added.
    private static func with(_ name: String, _ values: String?...) -> [(String, String)] {
        valid.filter { $0.0 != name } + values.compactMap { $0.map { (name, $0) } }
    }

    @Test func acceptsTheExampleOfTheRFC() throws {
        // RFC 6455 §1.2.
        let head = Self.head(
            "GET", "/chat",
            [
                ("Host", "server.example.com"), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
                ("Sec-WebSocket-Key", Self.key),
                ("Origin", "http://example.com"), ("Sec-WebSocket-Protocol", "chat, superchat"),
                ("Sec-WebSocket-Version", "13"),
            ])
        let upgrade = try ValidatedUpgrade(head)
        #expect(upgrade.head == head && upgrade.key == Self.key && upgrade.host == "server.example.com")
        #expect(upgrade.origin == "http://example.com" && upgrade.subprotocols == ["chat", "superchat"])
        #expect(upgrade.extensions == nil)
    }

    static let accepted: [[(String, String)]] = [
        valid, with("Upgrade", "WebSocket"), with("Upgrade", "h2c, websocket"), with("Upgrade", "h2c", "websocket"),
        with("Upgrade", "foo/1, websocket"), with("Connection", "keep-alive, Upgrade"),
        with("Connection", "keep-alive", "UPGRADE"),
        with("Connection", "upgrade,"), with("Content-Length", "0"), with("Host", "[::1]:80"), with("Origin", "null"),
        with("Sec-WebSocket-Protocol", "a", "b, c"), with("Sec-WebSocket-Extensions", "a; b=c", "d"),
    ]

    @Test(arguments: accepted.indices) func accepts(_ index: Int) throws {
        _ = try ValidatedUpgrade(Self.head("GET", "/", Self.accepted[index]))
    }

    @Test func listsAreJoined() throws {
        let fields =
            Self.with("Sec-WebSocket-Protocol", "a", "b, c") + [
                ("Sec-WebSocket-Extensions", "x; y"), ("Sec-WebSocket-Extensions", "z"),
            ]
        let upgrade = try ValidatedUpgrade(Self.head("GET", "/", fields))
        #expect(upgrade.subprotocols == ["a", "b", "c"] && upgrade.extensions == "x; y, z")
        #expect(upgrade.origin == nil)
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let status: Int
        let head: HTTPRequestHead

        init(_ text: String, _ status: Int, _ head: HTTPRequestHead) {
            testDescription = text
            self.status = status
            self.head = head
        }
    }

    static let bad: [Bad] = [
        Bad("POST", 405, head("POST")), Bad("HEAD", 405, head("HEAD")), Bad("get", 405, head("get")),
        Bad("CONNECT", 405, head("CONNECT", "h:80")),
        Bad("asterisk", 400, head("GET", "*")), Bad("absolute form of another scheme", 400, head("GET", "ftp://h/")),
        Bad("a fragment", 400, head("GET", "/#x")),
        Bad("HTTP/1.0", 426, HTTPRequestHead(method: "GET", target: "/", fields: head("GET").fields, isHTTP10: true)),
        Bad("authority form", 400, head("GET", "h:80")), Bad("empty target", 400, head("GET", "")),
        Bad("no Host", 400, head("GET", "/", with("Host", nil))),
        Bad("empty Host", 400, head("GET", "/", with("Host", ""))),
        Bad("two Hosts", 400, head("GET", "/", with("Host", "h", "h"))),
        Bad("two different Hosts", 400, head("GET", "/", with("Host", "h", "i"))),
        Bad("space in Host", 400, head("GET", "/", with("Host", "a b"))),
        Bad("non-ASCII Host", 400, head("GET", "/", with("Host", "ü"))),
        Bad("slash in Host", 400, head("GET", "/", with("Host", "a/b"))),
        Bad("user in Host", 400, head("GET", "/", with("Host", "a@b"))),
        Bad("comma in Host", 400, head("GET", "/", with("Host", "a,b"))),
        Bad("two ports in Host", 400, head("GET", "/", with("Host", "a:1:2"))),
        Bad("no Upgrade", 426, head("GET", "/", with("Upgrade", nil))),
        Bad("h2c", 426, head("GET", "/", with("Upgrade", "h2c"))),
        Bad("websocketx", 426, head("GET", "/", with("Upgrade", "websocketx"))),
        Bad("empty Upgrade", 426, head("GET", "/", with("Upgrade", ""))),
        Bad("quoted Upgrade", 400, head("GET", "/", with("Upgrade", "\"websocket\""))),
        Bad("two words", 400, head("GET", "/", with("Upgrade", "websocket websocket"))),
        Bad("no Connection", 426, head("GET", "/", with("Connection", nil))),
        Bad("Connection: close", 426, head("GET", "/", with("Connection", "close"))),
        Bad("malformed Connection", 400, head("GET", "/", with("Connection", "Upgrade;"))),
        Bad("no version", 426, head("GET", "/", with("Sec-WebSocket-Version", nil))),
        Bad("version 8", 426, head("GET", "/", with("Sec-WebSocket-Version", "8"))),
        Bad("version 12", 426, head("GET", "/", with("Sec-WebSocket-Version", "12"))),
        Bad("version 013", 426, head("GET", "/", with("Sec-WebSocket-Version", "013"))),
        Bad("version 13, 8", 426, head("GET", "/", with("Sec-WebSocket-Version", "13, 8"))),
        Bad("two versions", 400, head("GET", "/", with("Sec-WebSocket-Version", "13", "13"))),
        Bad("no key", 400, head("GET", "/", with("Sec-WebSocket-Key", nil))),
        Bad("5-byte key", 400, head("GET", "/", with("Sec-WebSocket-Key", "aGVsbG8="))),
        Bad("15-byte key", 400, head("GET", "/", with("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA"))),
        Bad("17-byte key", 400, head("GET", "/", with("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA="))),
        Bad("two keys", 400, head("GET", "/", with("Sec-WebSocket-Key", key, key))),
        Bad("two origins", 400, head("GET", "/", with("Origin", "http://h", "http://h"))),
        Bad("a body", 400, head("GET", "/", with("Content-Length", "5"))),
        Bad("two lengths", 400, head("GET", "/", with("Content-Length", "0", "0"))),
        Bad("odd length", 400, head("GET", "/", with("Content-Length", "-0"))),
        Bad("chunked", 400, head("GET", "/", with("Transfer-Encoding", "chunked"))),
        Bad("identity", 400, head("GET", "/", with("Transfer-Encoding", "identity"))),
        Bad("subprotocol twice", 400, head("GET", "/", with("Sec-WebSocket-Protocol", "a, b, a"))),
        Bad("subprotocol twice, two lines", 400, head("GET", "/", with("Sec-WebSocket-Protocol", "a", "a"))),
        Bad("subprotocol with space", 400, head("GET", "/", with("Sec-WebSocket-Protocol", "a b"))),
        Bad("quoted subprotocol", 400, head("GET", "/", with("Sec-WebSocket-Protocol", "\"a\""))),
        Bad("non-ASCII subprotocol", 400, head("GET", "/", with("Sec-WebSocket-Protocol", "ü"))),
        Bad("malformed extensions", 400, head("GET", "/", with("Sec-WebSocket-Extensions", "a;"))),
        Bad("unclosed quote", 400, head("GET", "/", with("Sec-WebSocket-Extensions", "a;b=\"c"))),
    ]

    @Test(arguments: bad) func refuses(_ bad: Bad) {
        do {
            _ = try ValidatedUpgrade(bad.head)
            Issue.record("accepted")
        } catch {
            #expect(error.status == bad.status, "\(error.explanation)")
        }
    }

    // MARK: Key

    @Test func keysOfSixteenBytesAreValid() throws {
        var random = SplitMix64(seed: 111)
        for round in 0..<500 {
            let key = HandshakeText.base64(random.bytes(16))
            try check(ValidatedUpgrade.isValidKey(key), "round \(round): \(key)")
        }
        for byte: UInt8 in [0, 0xFF] {
            #expect(ValidatedUpgrade.isValidKey(HandshakeText.base64([UInt8](repeating: byte, count: 16))))
        }
        for count in 0...40 where count != 16 {
            #expect(!ValidatedUpgrade.isValidKey(HandshakeText.base64(random.bytes(count))), "\(count) bytes")
        }
    }

    /// Every byte in every place: the alphabet and the two padding characters. RFC 6455 §4.2.1: a value “that, when
    /// decoded, is 16 bytes”; what is in the bits that carry no data is a decoder's choice (RFC 4648 §3.5).
    @Test func everyCharacterOfAKeyRFC6455Section4_2_1() throws {
        let alphabet = Set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".unicodeScalars.map(\.value))
        for place in 0..<24 {
            for value in UInt32(0)..<0x180 {
                var scalars = Array(Self.key.unicodeScalars)
                scalars[place] = UnicodeScalar(value)!
                let key = scalars.reduce(into: "") { $0.unicodeScalars.append($1) }
                let expected =
                    switch place {
                    case 22, 23: value == 0x3D
                    default: alphabet.contains(value)
                    }
                try check(ValidatedUpgrade.isValidKey(key) == expected, "\(key)")
            }
        }
        for key in ["", "=", String(repeating: "=", count: 24), Self.key + "=", Self.key + " ", " " + Self.key] {
            #expect(!ValidatedUpgrade.isValidKey(key))
        }
    }

    // MARK: Refusals

    @Test(arguments: [
        (UpgradeRefusal.badRequest("why"), "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n", "why\n"),
        (
            .methodNotAllowed, "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\n",
            "a WebSocket handshake is a GET request\n"
        ),
        (
            .uriTooLong(.init()), "HTTP/1.1 414 URI Too Long\r\nConnection: close\r\n",
            "the request line has more than 8192 bytes, the server's limit\n"
        ),
        (
            .headTooLarge(.init()), "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n",
            "the request's head has more than 65536 bytes, the server's limit\n"
        ),
        (.versionNotSupported, "HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n", "use HTTP/1.1\n"),
        (.forbiddenOrigin, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n", "the origin is not allowed\n"),
        (
            .unavailable, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n",
            "the server is shutting down or full\n"
        ),
        (
            .upgradeRequired,
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Version: 13\r\n",
            "this is a WebSocket server; send Upgrade: websocket and Sec-WebSocket-Version: 13\n"
        ),
    ])
    func responses(_ refusal: UpgradeRefusal, _ head: String, _ body: String) throws {
        let answer = String(decoding: refusal.responseBytes, as: UTF8.self)
        let expected =
            head + "Content-Type: text/plain; charset=utf-8\r\nContent-Length: \(body.utf8.count)\r\n\r\n" + body
        // The order of the fields means nothing (RFC 9110 §5.3).
        #expect(answer.split(separator: "\r\n").sorted() == expected.split(separator: "\r\n").sorted())
        #expect(answer.hasPrefix(head.prefix { $0 != "\r\n" }) && answer.hasSuffix("\r\n\r\n" + body))
        // A client's parser agrees.
        var reader = HTTPResponseHeadReader(limits: .init())
        let (taken, result) = withExactBytes(refusal.responseBytes) { reader.receive($0) }
        guard case .head(let parsed) = result else {
            Issue.record("\(result)")
            return
        }
        #expect(parsed.status == refusal.status && taken + body.utf8.count == refusal.responseBytes.count)
    }
}

@Suite struct OriginCheckTests {
    static let table: [(String?, String, Bool)] = [
        // No browser sends none.
        (nil, "example.com", true),
        // The host's default port is that of the origin's scheme (RFC 6454 §4), whatever the connection is.
        ("https://example.com:443", "example.com:443", true), ("https://EXAMPLE.com", "example.com:443", true),
        ("https://[::1]", "[::1]:443", true), ("http://example.com", "example.com:443", false),
        ("https://example.com", "example.com:80", false), ("http://example.com", "example.com:80", true),
        ("https://example.com", "example.com", true), ("http://example.com", "example.com", true),
        // Case.
        ("HTTPS://EXAMPLE.com", "example.COM", true),
        // Ports: default ones may be left out, others may not.
        ("https://example.com:443", "example.com", true), ("https://example.com", "example.com:443", true),
        ("http://example.com:80", "example.com", true),
        ("http://example.com:8080", "example.com:8080", true),
        ("https://example.com:8443", "example.com", false),
        ("https://example.com", "example.com:8443", false),
        ("http://example.com:443", "example.com", false), ("https://example.com:80", "example.com", false),
        ("http://example.com:8080", "example.com:8081", false),
        ("http://example.com:", "example.com", false),
        ("http://example.com:80:80", "example.com", false),
        // What is left of a second port after the default one must not count for a host with the first.
        ("http://example.com:80:80", "example.com:80", false),
        ("https://example.com:80", "example.com:80:80", false),
        // Names that begin, end or contain ours.
        ("https://evil-example.com", "example.com", false),
        ("https://example.com.evil.com", "example.com", false),
        ("https://www.example.com", "example.com", false),
        ("https://example.com", "www.example.com", false),
        ("https://example.co", "example.com", false), ("https://example.comm", "example.com", false),
        ("https://example.com.", "example.com", false), ("https://xample.com", "example.com", false),
        // What is no origin at all.
        ("null", "example.com", false), ("NULL", "null", false), ("", "example.com", false),
        ("", "", false), ("example.com", "example.com", false),
        ("//example.com", "example.com", false),
        ("file://", "example.com", false), ("file://example.com", "example.com", false),
        ("chrome-extension://example.com", "example.com", false),
        ("ws://example.com", "example.com", false),
        ("https://user@example.com", "example.com", false),
        ("https://example.com@evil.com", "example.com", false),
        ("https://example.com/", "example.com", false), ("https://example.com/path", "example.com", false),
        ("https://evil.com/https://example.com", "example.com", false),
        ("https://example.com https://evil.com", "example.com", false),
        ("https://example.com, https://evil.com", "example.com", false),
        (" https://example.com", "example.com", false),
        ("https://example.com\\evil.com", "example.com", false), ("https://", "example.com", false),
        // Characters that Unicode takes for ASCII ones: U+212A is canonically K, and its lower case is k.
        ("https://\u{212A}ey.example", "key.example", false),
        ("https://\u{212A}ey.example", "Key.example", false),
        ("http\u{17F}://example.com", "example.com", false),
        ("https://example\u{FF0E}com", "example.com", false),
        // Addresses.
        ("http://127.0.0.1:8080", "127.0.0.1:8080", true), ("http://[::1]", "[::1]:80", true),
        ("http://[::1]:80", "[::1]", true), ("http://[::80]", "[::80]", true),
        ("http://[::80]", "[:]", false),
    ]

    @Test(arguments: table.indices) func sameHost(_ index: Int) {
        let (origin, host, expected) = Self.table[index]
        #expect(OriginCheck.isSameHost(origin: origin, host: host) == expected, "\(origin ?? "nil") at \(host)")
    }
}
