//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct URLReferenceTests {
    /// RFC 3986 §5.4, as far as it applies to URLs that can be connected to, and what servers send as Location.
    static let rows: [(reference: String, result: String)] = [
        ("ws://other/x", "ws://other/x"),
        ("wss://other:444/x?y", "wss://other:444/x?y"),
        ("http://other/x", "ws://other/x"),
        ("HTTPS://Other", "wss://other/"),
        ("//other/x", "ws://other/x"),
        ("//other", "ws://other/"),
        ("/x", "ws://host:81/x"),
        ("/x?z", "ws://host:81/x?z"),
        ("g", "ws://host:81/b/c/g"),
        ("./g", "ws://host:81/b/c/g"),
        ("g/", "ws://host:81/b/c/g/"),
        ("?y", "ws://host:81/b/c/d?y"),
        ("g?y", "ws://host:81/b/c/g?y"),
        ("#s", "ws://host:81/b/c/d?q"),
        ("g#s", "ws://host:81/b/c/g"),
        ("g#s/../x", "ws://host:81/b/c/g"),
        ("g?y#s", "ws://host:81/b/c/g?y"),
        ("", "ws://host:81/b/c/d?q"),
        (".", "ws://host:81/b/c/"),
        ("./", "ws://host:81/b/c/"),
        ("..", "ws://host:81/b/"),
        ("../", "ws://host:81/b/"),
        ("../g", "ws://host:81/b/g"),
        ("../..", "ws://host:81/"),
        ("../../g", "ws://host:81/g"),
        ("../../../../g", "ws://host:81/g"),
        ("/./g", "ws://host:81/g"),
        ("/../g", "ws://host:81/g"),
        ("g.", "ws://host:81/b/c/g."),
        ("..g", "ws://host:81/b/c/..g"),
        ("g;x=1/./y", "ws://host:81/b/c/g;x=1/y"),
        ("g?y/../x", "ws://host:81/b/c/g?y/../x"),
        ("a//b", "ws://host:81/b/c/a//b"),
        ("x:80/y", ""),
        ("mailto:a@b", ""),
        ("ftp://other/", ""),
        ("http:/x", ""),
        ("//", ""),
        ("//user@other/", ""),
        ("/a b", "ws://host:81/a%20b"),
        ("/\u{E4}", "ws://host:81/%C3%A4"),
        ("//\u{E4}/", ""),
        ("/%zz", ""),
        ("/\r\nX: y", ""),
    ]

    @Test(arguments: rows)
    func aReferenceIsResolved(_ row: (reference: String, result: String)) throws {
        let base = try WebSocketURL("ws://host:81/b/c/d?q")
        guard !row.result.isEmpty else {
            let error = #expect(throws: WebSocketError.self) { try base.resolving(row.reference) }
            #expect(error?.code == .invalidURL)
            return
        }
        let resolved = try base.resolving(row.reference)
        let expected = try WebSocketURL(row.result)
        #expect(resolved == expected)
        #expect(resolved.target == expected.target)
    }

    @Test func theBaseKeepsItsSchemeAndHost() throws {
        #expect(try WebSocketURL("wss://[::1]:9/a").resolving("b") == WebSocketURL("wss://[::1]:9/b"))
        #expect(try WebSocketURL("wss://h/a").resolving("//other") == WebSocketURL("wss://other/"))
        // Credentials are the headers' by then.
        #expect(try WebSocketURL("ws://u:p@h/a").resolving("/b").userInfo == nil)
        #expect(try WebSocketURL("ws://h/a").resolving("http://u:p@h/b").userInfo == Array("u:p".utf8))
        #expect(try WebSocketURL("ws://h?q").resolving("x").target == "/x")
    }

    @Test func originsAreSchemeHostAndPort() throws {
        let url = try WebSocketURL("ws://host/a")
        #expect(url.hasSameOrigin(as: try WebSocketURL("http://HOST:80/b?c")))
        for other in ["wss://host/a", "ws://host:81/a", "ws://hosts/a", "wss://host:80/a"] {
            #expect(!url.hasSameOrigin(as: try WebSocketURL(other)), "\(other)")
        }
    }
}
