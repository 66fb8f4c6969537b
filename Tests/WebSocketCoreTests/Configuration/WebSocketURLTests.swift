//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct WebSocketURLTests {
    struct Good: Sendable, CustomTestStringConvertible {
        let url: String
        var secure = false
        let host: String
        var port = 80
        var target = "/"
        var userInfo: String?
        let hostHeader: String
        var testDescription: String { url }

        init(
            _ url: String, secure: Bool = false, _ host: String, _ port: Int? = nil, _ target: String = "/",
            userInfo: String? = nil, hostHeader: String? = nil
        ) {
            self.url = url
            self.secure = secure
            self.host = host
            self.port = port ?? (secure ? 443 : 80)
            self.target = target
            self.userInfo = userInfo
            self.hostHeader = hostHeader ?? host
        }
    }

    static let longName = [String](repeating: String(repeating: "a", count: 62), count: 4).joined(separator: ".") + ".b"
    static let good: [Good] = [
        // Schemes and default ports.
        Good("ws://example.com", "example.com"),
        Good("wss://example.com", secure: true, "example.com"),
        Good("http://example.com", "example.com"),
        Good("https://example.com", secure: true, "example.com"),
        Good("WS://example.com", "example.com"),
        Good("wSs://EXAMPLE.com/Path", secure: true, "example.com", nil, "/Path"),
        // Ports.
        Good("ws://example.com:80", "example.com", 80),
        Good("ws://example.com:", "example.com", 80),
        Good("wss://example.com:/x", secure: true, "example.com", 443, "/x"),
        Good("ws://example.com:1", "example.com", 1, hostHeader: "example.com:1"),
        Good("ws://example.com:65535", "example.com", 65_535, hostHeader: "example.com:65535"),
        Good("ws://example.com:00080", "example.com", 80),
        Good("ws://example.com:443", "example.com", 443, hostHeader: "example.com:443"),
        Good("wss://example.com:443", secure: true, "example.com", 443),
        Good("wss://example.com:80", secure: true, "example.com", 80, hostHeader: "example.com:80"),
        // Targets.
        Good("ws://h/", "h"),
        Good("ws://h?", "h", nil, "/?"),
        Good("ws://h?a=b", "h", nil, "/?a=b"),
        Good("ws://h/?a=b/c?d", "h", nil, "/?a=b/c?d"),
        Good("ws://h//", "h", nil, "//"),
        Good("ws://h/a/../b;c=d,e!$&'()*+:@", "h", nil, "/a/../b;c=d,e!$&'()*+:@"),
        Good("ws://h/%20%0d%0A%00%FF%23", "h", nil, "/%20%0d%0A%00%FF%23"),
        Good("ws://h/%25zz", "h", nil, "/%25zz"),
        Good("ws://h/a://b", "h", nil, "/a://b"),
        // What is percent-encoded.
        Good("ws://h/a b?c d", "h", nil, "/a%20b?c%20d"),
        Good("ws://h/grüße?ü=日", "h", nil, "/gr%C3%BC%C3%9Fe?%C3%BC=%E6%97%A5"),
        Good("ws://h?\u{202E}", "h", nil, "/?%E2%80%AE"),
        Good("ws://h/\u{301}", "h", nil, "/%CC%81"),
        Good("ws://h/%C3ü\u{85}", "h", nil, "/%C3%C3%BC%C2%85"),
        // Hosts.
        Good("ws://127.0.0.1:8080/x", "127.0.0.1", 8_080, "/x", hostHeader: "127.0.0.1:8080"),
        Good("ws://xn--bcher-kva.example", "xn--bcher-kva.example"),
        Good("ws://a_b-c.1", "a_b-c.1"),
        Good("ws://example.com.", "example.com."),
        Good("ws://\(longName)", longName),
        // IPv6.
        Good("ws://[::1]", "::1", hostHeader: "[::1]"),
        Good("ws://[::]", "::", hostHeader: "[::]"),
        Good("ws://[::1]:", "::1", hostHeader: "[::1]"),
        Good("wss://[2001:DB8::A]:8443/x", secure: true, "2001:db8::a", 8_443, "/x", hostHeader: "[2001:db8::a]:8443"),
        Good("ws://[1:2:3:4:5:6:7:8]", "1:2:3:4:5:6:7:8", hostHeader: "[1:2:3:4:5:6:7:8]"),
        Good("ws://[::ffff:192.0.2.1]", "::ffff:192.0.2.1", hostHeader: "[::ffff:192.0.2.1]"),
        Good("ws://[1:2:3:4:5:6:1.2.3.4]", "1:2:3:4:5:6:1.2.3.4", hostHeader: "[1:2:3:4:5:6:1.2.3.4]"),
        Good("ws://[::1]?q", "::1", nil, "/?q", hostHeader: "[::1]"),
        // Zones (RFC 6874, and as they are written everywhere else): the server is not told.
        Good("ws://[FE80::1%25eth0]:81", "fe80::1%eth0", 81, hostHeader: "[fe80::1]:81"),
        Good("ws://[fe80::1%Eth0]/x", "fe80::1%Eth0", nil, "/x", hostHeader: "[fe80::1]"),
        Good("ws://[fe80::1%2]", "fe80::1%2", hostHeader: "[fe80::1]"),
        Good("ws://[fe80::1%25]", "fe80::1%25", hostHeader: "[fe80::1]"),
        Good("ws://[fe80::1%2525]", "fe80::1%25", hostHeader: "[fe80::1]"),
        // Credentials, and what merely looks like them.
        Good("ws://user:pass@h", "h", userInfo: "user:pass"),
        Good("ws://u:@h:1", "h", 1, userInfo: "u:", hostHeader: "h:1"),
        Good("ws://:p@[::1]:1/x", "::1", 1, "/x", userInfo: ":p", hostHeader: "[::1]:1"),
        Good("ws://u:a:b@h", "h", userInfo: "u:a:b"),
        Good("ws://u%40x:p%3Aq%2F%25@h", "h", userInfo: "u@x:p:q/%"),
        Good("ws://jürgen:grüß%20@h", "h", userInfo: "jürgen:grüß "),
        Good("ws://good.example:80@evil.example", "evil.example", userInfo: "good.example:80"),
        Good("ws://good.example/@evil.example", "good.example", nil, "/@evil.example"),
        Good("ws://good.example?@evil.example", "good.example", nil, "/?@evil.example"),
        Good("ws://good.example/u:p@evil.example", "good.example", nil, "/u:p@evil.example"),
    ]

    @Test(arguments: good) func accepts(_ good: Good) throws {
        let url = try WebSocketURL(good.url)
        #expect(url.isSecure == good.secure)
        #expect(url.host == good.host)
        #expect(url.port == good.port)
        #expect(url.target == good.target)
        #expect(url.userInfo.map { String(decoding: $0, as: UTF8.self) } == good.userInfo)
        #expect(url.hostHeader == good.hostHeader)
        #expect(url.isIPv6 == good.hostHeader.hasPrefix("["))
        #expect(url.defaultPort == (good.secure ? 443 : 80))
    }

    /// Each with a word of the sentence that says what is wrong.
    static let bad: [(String, String)] = [
        ("", "no scheme"), ("example.com", "no scheme"), ("//example.com", "no scheme"),
        ("ws:example.com", "no scheme"),
        ("ws:/example.com", "no scheme"), ("/path", "no scheme"),
        ("://example.com", "unknown scheme"), ("ftp://h", "unknown scheme"), ("wsss://h", "unknown scheme"),
        ("w s://h", "space"), ("xws://h", "unknown scheme"), ("example.com/?u=ws://h", "unknown scheme"),
        // What would split a request line.
        (" ws://h", "space"), ("ws://h ", "space"), ("ws://h/a ", "space"), ("ws://a b/", "space"),
        ("ws://u:p w@h", "space"), ("ws://h/\t", "control"),
        ("ws://h/\r\nX: y", "control"), ("ws://h/\n", "control"), ("ws://h/\r", "control"), ("ws://h\r\n", "control"),
        ("ws://h/\0", "control"), ("ws://h/\u{7F}", "control"), ("ws://h/\u{1B}[0m", "control"),
        // Names need a converter; delimiters stay delimiters whatever combines with them.
        ("ws://exämple.com", "outside ASCII"), ("ws://u:p@\u{301}h", "outside ASCII"), ("ws://h:８０", "port"),
        ("ws://h:80\u{301}", "port"), ("ws://[::1]\u{301}", "behind the ]"), ("wß://h", "unknown scheme"),
        // Backslashes: some parsers take them for slashes.
        ("ws://good.example\\@evil.example", "backslash"), ("ws:\\\\h", "backslash"), ("ws://h/a\\b", "backslash"),
        // Fragments.
        ("ws://h#", "fragment"), ("ws://h/#f", "fragment"), ("ws://h/p?q#f", "fragment"),
        ("ws://good.example#@evil.example", "fragment"), ("ws://u:p#@h", "fragment"),
        // Authorities.
        ("ws://", "no host"), ("ws:///p", "no host"), ("ws://?q", "no host"), ("ws://:80", "no host"),
        ("ws://u:p@", "no host"), ("ws://u:p@:80", "no host"), ("ws://::1/", "no host"),
        ("ws://a@b@c", "more than one @"), ("ws://u:p@evil.example@good.example", "more than one @"),
        ("ws://u@h", "user without a password"), ("ws://@h", "user without a password"),
        ("ws://u:%zz@h", "percent-encoding"), ("ws://u:%4@h", "percent-encoding"), ("ws://u%:p@h", "percent-encoding"),
        ("ws://a%3Ab:p@h", "user"), ("ws://a%0D%0A:p@h", "control"), ("ws://a:p%00@h", "control"),
        ("ws://a:p%7F@h", "control"),
        // Escapes.
        ("ws://h/%", "%"), ("ws://h/%4", "%"), ("ws://h/%zz", "%"), ("ws://h/%4g", "%"), ("ws://h/%+4", "%"),
        ("ws://h/?%", "%"), ("ws://h/%%34", "%"),
        // Ports.
        ("ws://h:0", "port"), ("ws://h:65536", "port"), ("ws://h:99999", "port"), ("ws://h:000080", "port"),
        ("ws://h:-1", "port"), ("ws://h:+1", "port"), ("ws://h:8a", "port"), ("ws://h:80:80", "port"),
        ("ws://h:80@", "no host"), ("ws://[::1]:x", "port"), ("ws://[::1]:0", "port"), ("ws://fe80::1/", "port"),
        // Hosts.
        ("ws://ex%61mple.com", "host"), ("ws://a,b", "host"), ("ws://a;b", "host"), ("ws://<h>", "host"),
        ("ws://h*", "host"), ("ws://a]b", "host"), ("ws://a[::1]", "host"), ("ws://" + longName + "a", "host"),
        ("ws://" + String(repeating: "a", count: 100_000), "host"),
        ("ws://.", "empty label"), ("ws://h..", "empty label"), ("ws://.h", "empty label"),
        ("ws://a..b", "empty label"),
        // IPv6.
        ("ws://[", "["), ("ws://[::1", "["), ("ws://[]", "IPv6"), ("ws://[:]", "IPv6"), ("ws://[:::]", "IPv6"),
        ("ws://[1::2::3]", "IPv6"), ("ws://[12345::]", "IPv6"), ("ws://[::g]", "IPv6"),
        ("ws://[1:2:3:4:5:6:7]", "IPv6"),
        ("ws://[1:2:3:4:5:6:7:8:9]", "IPv6"), ("ws://[1:2:3:4:5:6:7::8]", "IPv6"), ("ws://[:1:2:3:4:5:6:7]", "IPv6"),
        ("ws://[1:2:3:4:5:6:7:]", "IPv6"), ("ws://[::1%25lo]", "IPv6"), ("ws://[::1%lo]", "IPv6"),
        ("ws://[fe80::1%]", "IPv6"), ("ws://[fe80::1%25%25lo]", "IPv6"), ("ws://[fe80::1%25a%20b]", "IPv6"),
        ("ws://[2001:db8::1%25lo]", "IPv6"), ("ws://fe80::1%25lo/", "port"), ("ws://h%25lo/", "host"),
        ("ws://[::256.1.1.1]", "IPv6"), ("ws://[::1.2.3]", "IPv6"), ("ws://[::01.2.3.4]", "IPv6"),
        ("ws://[1.2.3.4]", "IPv6"), ("ws://[::1.2.3.4:5]", "IPv6"), ("ws://[1:2:3:4:5:6:7:1.2.3.4]", "IPv6"),
        ("ws://[::1.2.3.4.5]", "IPv6"), ("ws://[h]", "IPv6"), ("ws://[::1]x", "behind the ]"),
        ("ws://[::1]80", "behind the ]"), ("ws://[::1]]", "behind the ]"), ("ws://[::1].example", "behind the ]"),
    ]

    @Test(arguments: bad) func refuses(_ text: String, _ part: String) {
        expectError(.invalidURL, part) { () throws(WebSocketError) in _ = try WebSocketURL(text) }
    }

    /// What is accepted goes to the wire, so only printable ASCII may be in it.
    @Test func everyByteInEveryPlace() throws {
        for byte in UInt8.min...UInt8.max {
            let character = String(UnicodeScalar(byte))
            let printable = byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "\\")
            for prefix in ["/a", "/?a", "?a", "/a?b="] {
                let url = try? WebSocketURL("ws://h\(prefix)\(character)b")
                let isEncoded = byte == 0x20 || byte > 0x7F
                try check(
                    (url != nil) == ((printable || isEncoded) && !"#%".contains(character)),
                    "\(prefix) with byte \(byte)")
                let shown =
                    isEncoded
                    ? character.utf8.map { "%" + String($0, radix: 16, uppercase: true) }.joined() : character
                let target = (prefix.hasPrefix("/") ? "" : "/") + prefix + shown + "b"
                try check(url == nil || url?.target == target, "\(prefix) with byte \(byte)")
            }
            for (prefix, suffix) in [("u", "x:p"), ("u:p", "x")] {
                let url = try? WebSocketURL("ws://\(prefix)\(character)\(suffix)@h/")
                let plain = (printable || byte > 0x7F) && !"#%/?@".contains(character)
                try check(
                    !plain || url?.userInfo == Array("\(prefix)\(character)\(suffix)".utf8),
                    "user info with byte \(byte)")
                // The delimiters of the path end the authority before the @, with what looks like a bad port or a host.
                try check(plain || url == nil || "/?".contains(character), "user info with byte \(byte)")
            }
            let host = try? WebSocketURL("ws://a\(character)b/")
            switch character {
            case "/", "?": try check(host?.host == "a", character)
            default:
                let allowed =
                    printable && (character.allSatisfy { $0.isLetter || $0.isNumber } || "-._".contains(character))
                try check((host != nil) == allowed, "host with byte \(byte)")
            }
        }
    }

    // MARK: Internationalised hosts

    private func url(
        _ text: String, _ convert: (String) throws(URLProblem) -> String
    ) throws(WebSocketError) -> WebSocketURL {
        try withoutActuallyEscaping(convert) { (convert) throws(WebSocketError) in
            try WebSocketURL(text, toASCII: convert)
        }
    }

    @Test func anInternationalisedHostIsConverted() throws {
        var asked: [String] = []
        let converted = try url("wss://ü:p@BÜCHER.example:8443/ü") { (name) throws(URLProblem) in
            asked.append(name)
            return "XN--Bcher-kva.example"
        }
        #expect(asked == ["BÜCHER.example"])
        #expect(converted.host == "xn--bcher-kva.example")
        #expect(converted.hostHeader == "xn--bcher-kva.example:8443")
        #expect(converted.target == "/%C3%BC")
        for text in ["ws://h/ü", "ws://[::1]/", "ws://ü:p@h", "ws://127.0.0.1"] {
            _ = try url(text) { (_) throws(URLProblem) in throw URLProblem(text: "was asked") }
        }
        #expect(try converted.resolving("//ö/x") { (_) throws(URLProblem) in "o" }.host == "o")
        #expect(try converted.resolving("ws://ö/x") { (_) throws(URLProblem) in "o" }.host == "o")
    }

    @Test(arguments: ["", "a/b", "a@b", "a b", "a:80", "ü", "[::1]", "a%41", String(repeating: "a", count: 254)])
    func whatAConverterGivesIsChecked(_ name: String) {
        expectError(.invalidURL, "host") { () throws(WebSocketError) in
            _ = try url("ws://ü") { (_) throws(URLProblem) in name }
        }
    }

    @Test func aConverterMayRefuse() {
        expectError(.invalidURL, "the URL is odd") { () throws(WebSocketError) in
            _ = try url("ws://ü") { (_) throws(URLProblem) in throw URLProblem(text: "is odd") }
        }
        expectError(.invalidURL, "too long") { () throws(WebSocketError) in
            _ = try url("ws://" + String(repeating: "ü", count: 600)) { (_) throws(URLProblem) in "a" }
        }
    }

    @Test(arguments: [
        ("ws://h", "ws://h/"),
        ("http://H:80/x", "ws://h/x"),
        ("wss://user:S3CR3T@h:8443/p", "wss://h:8443/p"),
        ("ws://[::1]:9/", "ws://[::1]:9/"),
        ("ws://h/?token=S3CR3T", "ws://h/?token=…"),
        ("ws://h/p?a=S3CR3T&b=&c&=S3CR3T&&d=S3=CR3T", "ws://h/p?a=…&b=…&…&=…&&d=…"),
        ("ws://h/?S3CR3T", "ws://h/?…"),
        ("ws://h/?a?S3CR3T=S3CR3T", "ws://h/?a?S3CR3T=…"),
        ("ws://h?", "ws://h/?"),
        // What is no key.
        ("ws://h/api/v3/btcusdt@trade", "ws://h/api/v3/btcusdt@trade"),
        ("ws://h/market-data-subscriptions", "ws://h/market-data-subscriptions"),
        ("ws://h/%E6%88%BF%E9%97%B4/", "ws://h/%E6%88%BF%E9%97%B4/"), ("ws://h//a//", "ws://h//a//"),
        ("ws://h/r%C3%A4ume", "ws://h/r%C3%A4ume"), ("ws://h/v1/123456789012345", "ws://h/v1/123456789012345"),
        // Listen keys, tokens of bots and web hooks, identifiers.
        ("ws://h/ws/pqia91ma19a5s61cv6a81va65sd", "ws://h/ws/…"), ("ws://h/S3CR3TS3CR3TS3CR", "ws://h/…"),
        ("ws://h/bot12345:S3CR3T/get", "ws://h/bot12345:…/get"), ("ws://h/abcdefghIJKLMNOP/x", "ws://h/…/x"),
        ("ws://h/bot1234567890123:S3CR3T", "ws://h/:…"), ("ws://h/a;token=S3CR3T/b", "ws://h/a;token=…/b"),
        ("ws://h/550e8400-e29b-41d4-a716-446655440000/events?k=S3CR3T", "ws://h/…/events?k=…"),
        ("ws://h/abcdefghi%3Djklmno", "ws://h/abcdefghi%3Djklmno"),
    ])
    func descriptionHidesSecrets(_ text: String, _ expected: String) throws {
        let url = try WebSocketURL(text)
        #expect(url.description == expected)
        #expect("\(url)" == expected)
        #expect(String(reflecting: url) == expected)
    }

    @Test func reflectionHidesSecrets() throws {
        struct Holder { let url: WebSocketURL }
        let url = try WebSocketURL("wss://user:S3CR3T@h/?token=S3CR3T")
        var text = ""
        dump(url, to: &text)
        dump(Holder(url: url), to: &text)
        print(Holder(url: url), to: &text)
        let numbers = Array("S3CR3T".utf8).map { "\($0)" }
        #expect(!text.contains("S3CR3T"))
        #expect(!numbers.allSatisfy { text.contains("- \($0)") })
        #expect(text.contains("wss://h/?token=…"))
    }

    @Test(arguments: [
        "S3CR3T", "ftp://u:S3CR3T@h", "ws://u:S3CR3T@h:0", "ws://u:S3CR3T@", "ws://S3CR3T@h", "ws://u:S3CR3T@h@h",
        "ws://u:S3CR3T%@h", "ws://h/?S3CR3T#", "ws://h/S3CR3T%", "ws://u:S3CR3T@[::1", "ws://u:S3CR3T@h*",
        "ws://S3CR3T\n",
    ])
    func errorsDoNotRepeatTheURL(_ text: String) {
        do {
            _ = try WebSocketURL(text)
            Issue.record("accepted")
        } catch {
            #expect(!"\(error)".contains("S3CR3T"))
        }
    }

    @Test func equalityIsOfTheParts() throws {
        #expect(try WebSocketURL("WS://H") == WebSocketURL("http://h:80/"))
        #expect(try WebSocketURL("ws://h") != WebSocketURL("wss://h"))
        #expect(try WebSocketURL("ws://u:p@h") != WebSocketURL("ws://h"))
        #expect(try Set([WebSocketURL("ws://h"), WebSocketURL("ws://h/")]).count == 1)
    }
}

@Suite struct IPAddressTests {
    @Test(arguments: ["0.0.0.0", "127.0.0.1", "255.255.255.255", "1.20.200.9"])
    func isIPv4(_ text: String) { #expect(IPAddress.isIPv4(text)) }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.04", "00.1.1.1", "1..2.3", ".1.2.3", "1.2.3.", "a.b.c.d",
        "0x7f.0.0.1", "1.2.3.4 ", "+1.2.3.4", "1.2.3.1000", "1.2.3.٤",
    ])
    func isNotIPv4(_ text: String) { #expect(!IPAddress.isIPv4(text)) }

    /// Every number of groups on either side of `::`.
    @Test func groupsAroundTheGap() {
        for left in 0...9 {
            for right in 0...9 {
                func groups(_ count: Int) -> String { [String](repeating: "a1", count: count).joined(separator: ":") }
                #expect(IPAddress.isIPv6(groups(left) + "::" + groups(right)) == (left + right <= 7))
            }
            let text = [String](repeating: "0", count: left).joined(separator: ":")
            #expect(IPAddress.isIPv6(text) == (left == 8))
            #expect(IPAddress.isIPv6("::" + String(repeating: "0:", count: left) + "1.2.3.4") == (left <= 5))
        }
        #expect(!IPAddress.isIPv6(String(repeating: "1111:", count: 9) + "1"))
    }
}
