//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

@Suite struct WebSocketProxyTests {
    @Test(arguments: [
        ("http://proxy", "http://proxy:80", nil), ("http://proxy:3128/", "http://proxy:3128", nil),
        ("HTTP://Proxy:3128", "http://proxy:3128", nil), ("socks5h://proxy", "socks5h://proxy:1080", nil),
        ("socks5://127.0.0.1:9", "socks5://127.0.0.1:9", nil), ("http://[::1]:9", "http://[::1]:9", nil),
        ("http://u:p@proxy:9", "http://proxy:9", "u:p"),
        ("socks4://proxy", "socks4://proxy:1080", nil), ("socks4a://me:@proxy:9", "socks4a://proxy:9", "me:"),
        ("socks5h://us%20er:p%3Aw@proxy", "socks5h://proxy:1080", "us er:p:w"),
        // As Chrome and GNOME mean it: SOCKS 5, and the proxy looks the name up.
        ("socks://proxy:9/", "socks5h://proxy:9", nil), ("SOCKS://u:p@proxy", "socks5h://proxy:1080", "u:p"),
    ])
    func aURLIsTakenApart(_ text: String, _ description: String, _ userInfo: String?) throws {
        let proxy = try WebSocketProxy(text)
        #expect(proxy.description == description)
        guard case .fixed(let endpoint) = proxy.choice else { throw WebSocketError(.cancelled, "no endpoint") }
        #expect(endpoint.userInfo == userInfo.map { Array($0.utf8) })
    }

    @Test(arguments: [
        "", "proxy", "proxy:3128", "ftp://proxy", "socks4://u:p@proxy", "socks6://proxy", "http://",
        "http://:80", "http://proxy:0", "http://proxy:65536", "http://proxy/path", "http://proxy?x", "http://proxy#x",
        "http://user@proxy", "http://a b", "http://pr\u{F6}xy", "http://proxy\r\nX: y", "socks5h://:p@proxy",
        "socks5h://u:@proxy",
        "socks5h://\(String(repeating: "u", count: 256)):p@proxy",
        "socks5h://u:\(String(repeating: "p", count: 256))@proxy",
    ])
    func aURLThatCannotBeUsedIsRefused(_ text: String) {
        let error = #expect(throws: WebSocketError.self) { try WebSocketProxy(text) }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.hasPrefix("proxy: ") == true)
    }

    @Test func headersAreForCONNECTOnly() throws {
        let socks = #expect(throws: WebSocketError.self) {
            try WebSocketProxy("socks5h://proxy", headers: [.userAgent: "x"])
        }
        #expect(socks?.code == .invalidConfiguration)
        #expect(socks?.message.hasPrefix("proxy: there are headers") == true)
        let reserved = #expect(throws: WebSocketError.self) {
            try WebSocketProxy("http://proxy", headers: [HTTPField.Name("Host")!: "x"])
        }
        #expect(reserved?.message.hasPrefix("proxy: the header Host") == true)
        let proxy = try WebSocketProxy("http://proxy", headers: [.proxyAuthorization: "Bearer secret"])
        var text = "\(proxy) \(String(reflecting: proxy))"
        dump(proxy, to: &text)
        #expect(!text.contains("secret"))
    }

    @Test func credentialsAreNeverPrinted() throws {
        let proxy = try WebSocketProxy("http://user:secret@proxy:3128")
        var text = "\(proxy) \(String(reflecting: proxy))"
        dump(proxy, to: &text)
        dump(proxy.choice, to: &text)
        #expect(!text.contains("secret") && !text.contains("user"))
    }

    private func environment(_ variables: [String: String], _ url: String) throws -> String? {
        try WebSocketProxy.environment.endpoint(for: WebSocketURL(url)) { variables[$0] }?.description
    }

    @Test func theFirstVariableThatIsSetCounts() throws {
        var all = [
            "ws_proxy": "http://a", "wss_proxy": "http://b", "socks_proxy": "http://c", "https_proxy": "http://d",
            "http_proxy": "http://e", "all_proxy": "http://f",
        ]
        let plain = ["ws_proxy", "socks_proxy", "https_proxy", "http_proxy", "all_proxy"]
        for (name, expected) in zip(
            plain, ["http://a:80", "socks5h://c:1080", "http://d:80", "http://e:80", "http://f:80"])
        {
            #expect(try environment(all, "ws://host") == expected)
            all[name] = nil
        }
        #expect(try environment(all, "ws://host") == nil)
        #expect(try environment(["wss_proxy": "http://b", "http_proxy": "http://e"], "ws://host") == "http://e:80")
        #expect(try environment(["wss_proxy": "http://b", "http_proxy": "http://e"], "wss://host") == "http://b:80")
        #expect(try environment(["http_proxy": "http://e"], "wss://host") == nil)
        #expect(try environment(["all_proxy": "socks5://e"], "wss://host") == "socks5://e:1080")
    }

    @Test func upperCaseCountsToo() throws {
        #expect(try environment(["HTTPS_PROXY": "http://a"], "wss://host") == "http://a:80")
        #expect(try environment(["HTTPS_PROXY": "http://a", "https_proxy": ""], "wss://host") == nil)
        #expect(try environment(["HTTPS_PROXY": "http://a", "NO_PROXY": "host"], "wss://host") == nil)
        // A client can set that one through a web server (CVE-2016-5385).
        #expect(try environment(["HTTP_PROXY": "http://a"], "ws://host") == nil)
    }

    @Test func aProxyWithoutASchemeSpeaksHTTP() throws {
        #expect(try environment(["http_proxy": "proxy:3128"], "ws://host") == "http://proxy:3128")
    }

    /// One bad variable must not make every connection fail.
    @Test(arguments: [
        "ftp://x", "quic://x", "http://", "http://x:0", "http://x/path", "http://a b", "socks5h://:p@x",
        "http://pr\u{F6}xy", "://", "socks4://u:p@x",
    ])
    func aVariableThatCannotBeUsedIsPassedOver(_ bad: String) throws {
        #expect(
            try environment(["http_proxy": bad, "all_proxy": "socks://next"], "ws://host") == "socks5h://next:1080")
        #expect(try environment(["wss_proxy": bad, "https_proxy": "http://next"], "wss://host") == "http://next:80")
        #expect(try environment(["http_proxy": bad, "HTTPS_PROXY": bad, "all_proxy": bad], "ws://host") == nil)
        let variables = ["https_proxy": bad, "all_proxy": bad]
        let errors = WebSocketProxy.environment.unusableVariables(for: try WebSocketURL("ws://host")) { variables[$0] }
        #expect(errors.map(\.code) == [.invalidConfiguration, .invalidConfiguration])
        #expect(errors.first?.message.hasPrefix("the environment's https_proxy: the URL ") == true)
        // What is not looked at is not complained about.
        let good = ["http_proxy": "http://good", "all_proxy": bad]
        #expect(WebSocketProxy.environment.unusableVariables(for: try WebSocketURL("ws://host")) { good[$0] }.isEmpty)
        let exempt = ["http_proxy": bad, "no_proxy": "host"]
        #expect(WebSocketProxy.environment.unusableVariables(for: try WebSocketURL("ws://host")) { exempt[$0] }.isEmpty)
        #expect(WebSocketProxy.none.unusableVariables(for: try WebSocketURL("ws://host")) { _ in bad }.isEmpty)
    }

    /// What GNOME, KDE, Chrome, curl and Python write or read.
    @Test(
        arguments: [
            (["all_proxy": "socks://127.0.0.1:1080/"], "wss://host", "socks5h://127.0.0.1:1080"),
            (["ALL_PROXY": "SOCKS://127.0.0.1:1080/"], "ws://host", "socks5h://127.0.0.1:1080"),
            (["all_proxy": "socks5h://h"], "ws://host", "socks5h://h:1080"),
            (["all_proxy": "Socks4a://h"], "ws://host", "socks4a://h:1080"),
            (["socks_proxy": "HTTP://h:9"], "ws://host", "socks5h://h:9"),
            (["socks_proxy": "Http://h:9"], "wss://host", "socks5h://h:9"),
            (["socks_proxy": "h:9"], "wss://host", "socks5h://h:9"),
            (["SOCKS_PROXY": "socks://h:9"], "wss://host", "socks5h://h:9"),
            (["WSS_PROXY": "http://h"], "wss://host", "http://h:80"),
            (["WS_PROXY": "http://h"], "ws://host", "http://h:80"),
            (["https_proxy": " http://h:9/\n"], "wss://host", "http://h:9"),
            (
                ["https_proxy": "  ", "HTTPS_PROXY": "http://h", "all_proxy": "http://next"], "wss://host",
                "http://next:80"
            ),
            (["https_proxy": "http://user@h:9"], "wss://host", "http://h:9"),
            (["all_proxy": "socks4://user@h"], "wss://host", "socks4://h:1080"),
        ] as [([String: String], String, String?)])
    func whatDesktopsWriteIsRead(_ variables: [String: String], _ url: String, _ proxy: String?) throws {
        #expect(try environment(variables, url) == proxy)
        let errors = WebSocketProxy.environment.unusableVariables(for: try WebSocketURL(url)) { variables[$0] }
        #expect(errors.isEmpty)
    }

    @Test func aUserOfTheEnvironmentNeedsNoPassword() throws {
        let endpoint = try WebSocketProxy.environment.endpoint(for: WebSocketURL("ws://host")) { name in
            ["http_proxy": "http://us%20er@proxy"][name]
        }
        #expect(endpoint?.userInfo == Array("us er:".utf8))
    }

    @Test func othersDoNotAskTheEnvironment() throws {
        let url = try WebSocketURL("ws://host")
        #expect(try WebSocketProxy.none.endpoint(for: url) { _ in "http://proxy" } == nil)
        let fixed = try WebSocketProxy("http://mine").endpoint(for: url) { _ in "http://proxy" }
        #expect(fixed?.description == "http://mine:80")
    }

    @Test(arguments: [
        ("*", "ws://host", true), ("", "ws://host", false), ("host", "ws://host", true), ("host", "ws://a.host", true),
        ("host", "ws://ahost", false), (".host", "ws://a.host", true), (".host", "ws://host", true),
        ("*.host", "ws://a.host", true), ("HOST", "ws://host", true), ("a, host ,b", "ws://host", true),
        ("a host", "ws://host", true), ("host:80", "ws://host", true), ("host:81", "ws://host", false),
        ("host:443", "wss://host", true), ("127.0.0.1", "ws://127.0.0.1:9", true),
        ("127.0.0.1:9", "ws://127.0.0.1:9", true),
        ("127.0.0.1:8", "ws://127.0.0.1:9", false), ("27.0.0.1", "ws://127.0.0.1", false),
        ("10.0.0.0/8", "ws://10.1.2.3", true), ("10.0.0.0/8", "ws://11.1.2.3", false),
        ("10.0.0.0/8", "ws://host", false),
        ("10.1.2.128/25", "ws://10.1.2.127", false), ("0.0.0.0/0", "ws://1.2.3.4", true),
        ("1.2.3.4/33", "ws://1.2.3.4", false),
        ("1.2.3.4/x", "ws://1.2.3.4", false), ("::1", "ws://[::1]", true), ("[::1]", "ws://[0:0::1]", true),
        ("[::1]:80", "ws://[::1]", true), ("[::1]:81", "ws://[::1]", false), ("fe80::/10", "ws://[fe80::1]", true),
        ("fe80::/10", "ws://[fe80::1%25eth0]", true), ("fe80::/10", "ws://[fec0::1]", false),
        ("fe80::/10", "ws://1.2.3.4", false),
        // Ranges with a port, and in brackets.
        ("127.0.0.0/8:9", "ws://127.0.0.1:9", true), ("127.0.0.0/8:8", "ws://127.0.0.1:9", false),
        ("[fe80::]/10", "ws://[fe80::1]", true), ("[fe80::]/10:9", "ws://[fe80::1]:9", true),
        ("[fe80::]/10:9", "ws://[fe80::1]:8", false), ("fe80::/10:9", "ws://[fe80::1]:9", true),
        ("[::]/0", "ws://[2001:db8::1]", true), ("[::]/0", "ws://1.2.3.4", false),
        ("10.0.0.0/8:", "ws://10.0.0.1", false),
        // Line ends, as in a list over lines.
        ("127.0.0.1\n", "ws://127.0.0.1:9", true), ("a\r\nhost\r\nb", "ws://host", true),
        ("a,\nhost", "ws://host", true),
        ("*:80", "ws://host", true), ("*:81", "ws://host", false), (" * ", "ws://host", true),
        // A dot at the end says that a name is whole, and changes nothing.
        ("host.", "ws://host", true), ("host", "ws://host.", true), (".host.", "ws://a.host", true),
        (".", "ws://host", false),
        ("::ffff:127.0.0.1", "ws://127.0.0.1", true), ("127.0.0.0/8", "ws://[::ffff:127.0.0.1]", true),
        ("host:x", "ws://host", false), ("host:", "ws://host", false), ("[host]", "ws://host", false),
    ])
    func exceptionsAreMatched(_ list: String, _ url: String, _ isExempt: Bool) throws {
        let variables = ["ws_proxy": "http://proxy", "wss_proxy": "http://proxy", "no_proxy": list]
        #expect((try environment(variables, url) == nil) == isExempt)
    }

    @Test(
        arguments: [
            ("1.2.3.4", [1, 2, 3, 4]), ("::", [UInt8](repeating: 0, count: 16)),
            ("::1", [UInt8](repeating: 0, count: 15) + [1]),
            ("1::", [0, 1] + [UInt8](repeating: 0, count: 14)),
            ("1:2:3:4:5:6:7:89aB", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0x89, 0xAB]),
            ("::ffff:1.2.3.4", [UInt8](repeating: 0, count: 10) + [255, 255, 1, 2, 3, 4]), ("host", nil),
            ("1.2.3", nil), ("1:2", nil),
        ] as [(String, [UInt8]?)])
    func addressesHaveBytes(_ text: String, _ bytes: [UInt8]?) {
        #expect(IPAddress.bytes(text) == bytes)
    }

    @Test func whereToConnectIsChecked() throws {
        for good: WebSocketEndpoint in [
            .host("h", port: 1), .host("::1", port: 65_535), .host("127.0.0.1", port: 80), .unix(path: "/a"),
            .unix(path: "@a"),
            .unix(path: String(repeating: "a", count: 107)),
        ] {
            try good.validate()
        }
        for bad: WebSocketEndpoint in [
            .host("", port: 1), .host("h", port: 0), .host("h", port: 65_536), .host("h", port: -1),
            .host("[::1]", port: 1),
            .host("a b", port: 1), .host("h\r\n", port: 1), .unix(path: ""), .unix(path: "@"), .unix(path: "/a\0b"),
            .unix(path: String(repeating: "a", count: 108)),
        ] {
            let error = #expect(throws: WebSocketError.self) { try bad.validate() }
            #expect(error?.code == .invalidConfiguration)
            #expect(error?.message.hasPrefix("connectTo") == true)
        }
    }
}
