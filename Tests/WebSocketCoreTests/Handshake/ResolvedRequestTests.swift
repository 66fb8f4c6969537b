//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

@Suite struct ResolvedRequestTests {
    private func head(
        _ target: String, host: String? = "sent.example", method: String = "GET", isHTTP10: Bool = false
    ) -> HTTPRequestHead {
        var fields: HTTPFields = [.userAgent: "x"]
        if let host { fields[.hostField] = host }
        return HTTPRequestHead(method: method, target: target, fields: fields, isHTTP10: isHTTP10)
    }

    private func status(_ head: HTTPRequestHead) -> Int? {
        do {
            _ = try head.resolved()
            return nil
        } catch {
            return error.status
        }
    }

    /// RFC 9112 §3.2.2: a server takes the absolute form, and its authority instead of `Host`.
    @Test(arguments: [
        ("http://h/chat?x=1", "/chat?x=1", "h"), ("ws://127.0.0.1:81/chat", "/chat", "127.0.0.1:81"),
        ("wss://H.example", "/", "H.example"), ("HTTPS://h?x=/y", "/?x=/y", "h"),
        ("http://[::1]:80//a", "//a", "[::1]:80"),
        ("http://h:/", "/", "h:"),
        // A path that looks like one is a path.
        ("/http://h/", "/http://h/", "sent.example"), ("//h/", "//h/", "sent.example"),
    ])
    func theAuthorityOfTheTargetReplacesHostRFC9112Section3_2_2(
        _ target: String, _ path: String, _ host: String
    ) throws {
        let resolved = try head(target).resolved()
        #expect(resolved.target == path)
        #expect(resolved.fields[values: .hostField] == [host])
        #expect(resolved.fields[.userAgent] == "x" && resolved.method == "GET")
        #expect(try resolved.resolved() == resolved)
    }

    @Test(arguments: [
        "", "*", "h:80", "chat", "ftp://h/", "http:/h", "http:h", "http://", "http:///a", "http://?x", "http://u@h/",
        "http://u:p@h/", "http://h:x/", "http://h:65536/", "http://a,b/", "http://[::1/", "/#x", "http://h/#x",
        "http://h#x",
    ])
    func otherTargetsAreRefused(_ target: String) {
        #expect(status(head(target)) == 400)
    }

    @Test func otherFormsBelongToOtherMethods() {
        #expect(status(head("*", method: "OPTIONS")) == 405)
        #expect(status(head("h:443", method: "CONNECT")) == 405)
    }

    /// RFC 9112 §3.2: HTTP/1.1 has exactly one valid `Host`; HTTP/1.0 may have none.
    @Test func hostIsAHostRFC9112Section3_2() {
        for host in ["h", "h:80", "h:", "H.example.", "a_b-c.d", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443", "xn--a"] {
            #expect(status(head("/", host: host)) == nil, "\(host)")
        }
        for host in [
            "", "a/b", "a@b", "u:p@b", "a,b", "a b", "a:1:2", "a:x", "a:0", "::1", "[::1", "[x]", "a?b", "a#b", "ü",
        ] {
            #expect(status(head("/", host: host)) == 400, "\(host)")
            #expect(status(head("/", host: host, isHTTP10: true)) == 400, "\(host)")
            // An absolute target does not make it right.
            #expect(status(head("http://h/", host: host)) == 400, "\(host)")
        }
        #expect(status(head("/", host: nil)) == 400)
        #expect(status(head("http://h/", host: nil)) == 400)
        #expect(status(head("/", host: nil, isHTTP10: true)) == nil)
        var twice = head("/", isHTTP10: true)
        twice.fields.append(HTTPField(name: .hostField, value: "h"))
        #expect(status(twice) == 400)
    }
}
