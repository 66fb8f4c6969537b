//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

@Suite struct HandshakeTextTests {
    @Test func theSmallestRequest() throws {
        let text = HandshakeText.request(
            url: try WebSocketURL("ws://Example.com"), key: "dGhlIHNhbXBsZSBub25jZQ==", fields: [:], subprotocols: [],
            extensions: nil)
        #expect(
            text == "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n")
    }

    @Test func theWholeRequest() throws {
        var fields = HTTPFields()
        fields[.origin] = "https://example.com"
        fields.append(HTTPField(name: .cookie, value: "a=1"))
        fields.append(HTTPField(name: HTTPField.Name("X-TeSt")!, value: "ü"))
        let text = HandshakeText.request(
            url: try WebSocketURL("wss://u:p@[::1]:8443/chat?x=%20"), key: "KEY", fields: fields,
            subprotocols: ["chat", "superchat"], extensions: "permessage-deflate; client_max_window_bits")
        #expect(
            text == "GET /chat?x=%20 HTTP/1.1\r\nHost: [::1]:8443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Key: KEY\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
                + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin: https://example.com\r\n"
                + "Cookie: a=1\r\nX-TeSt: ü\r\n")
    }

    /// Whatever a caller puts into its header values, the request has only the lines it should have.
    @Test func valuesCannotAddLines() throws {
        for byte in UInt8.min...UInt8.max {
            var fields = HTTPFields()
            fields.append(HTTPField(name: HTTPField.Name("X-Test")!, value: [0x61, byte, 0x62]))
            fields.append(HTTPField(name: HTTPField.Name("X-Lenient")!, lenientValue: [0x61, byte, 0x62]))
            let text = HandshakeText.request(
                url: try WebSocketURL("ws://h"), key: "KEY", fields: fields, subprotocols: [], extensions: nil)
            let lines = text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false)
            #expect(lines.count == 9 && lines.last?.isEmpty == true, "byte \(byte)")
            #expect(text.utf8.count { $0 == 0x0D } == 8 && !text.utf8.contains(0), "byte \(byte)")
        }
    }

    @Test func namesAreTokens() {
        for byte in UInt8.min...UInt8.max {
            let name = "X" + String(UnicodeScalar(byte))
            #expect((HTTPField.Name(name) != nil) == name.isToken, "byte \(byte)")
        }
    }

    /// Our own server's parser reads what our client writes.
    @Test func theServerUnderstandsTheRequest() throws {
        var fields = HTTPFields()
        fields[.origin] = "http://h"
        let text = HandshakeText.request(
            url: try WebSocketURL("ws://h/p"), key: "dGhlIHNhbXBsZSBub25jZQ==", fields: fields,
            subprotocols: ["a", "b"],
            extensions: DeflateNegotiation.offer(.init()))
        let verdict = withExactBytes(Array((text + "\r\n").utf8)) { HTTPRequestHeadParser.parse($0) }
        guard case .head(let head, _) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        let upgrade = try ValidatedUpgrade(head)
        #expect(upgrade.key == "dGhlIHNhbXBsZSBub25jZQ==" && upgrade.host == "h" && upgrade.origin == "http://h")
        #expect(upgrade.subprotocols == ["a", "b"] && upgrade.head.target == "/p")
        #expect(upgrade.extensions == "permessage-deflate; client_max_window_bits")
    }

    @Test func theRebuiltHead() {
        let plain =
            "GET / HTTP/1.1\r\nHost: h:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            + "Sec-WebSocket-Key: KEY\r\n"
        #expect(HandshakeText.rebuiltHead(host: "h:1", key: "KEY", deflate: false) == plain + "\r\n")
        #expect(
            HandshakeText.rebuiltHead(host: "h:1", key: "KEY", deflate: true)
                == plain + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    }

    @Test(arguments: [
        "Host", "host", "UPGRADE", "Connection", "Sec-WebSocket-Key", "sec-websocket-version", "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding",
    ])
    func reservedHeadersAreRefused(_ name: String) {
        var fields: HTTPFields = [.userAgent: "x"]
        fields.append(HTTPField(name: HTTPField.Name(name)!, value: "S3CR3T"))
        expectError(.invalidConfiguration, name) { () throws(WebSocketError) in
            do throws(WebSocketError) {
                try HandshakeText.validate(fields: fields)
            } catch {
                #expect(!error.message.contains("S3CR3T"))
                throw error
            }
        }
    }

    @Test func otherHeadersAreAccepted() throws {
        try HandshakeText.validate(fields: [:])
        try HandshakeText.validate(fields: [
            .authorization: "Bearer x", .cookie: "a=b", .origin: "http://x", .userAgent: "y", .acceptLanguage: "de",
        ])
    }

    @Test func subprotocols() throws {
        try HandshakeText.validate(subprotocols: [])
        try HandshakeText.validate(subprotocols: ["chat", "chat.v2", "Chat", "mqtt", "!#$%&'*+-.^_`|~"])
        expectError(.invalidConfiguration, "“chat”", "twice") { () throws(WebSocketError) in
            try HandshakeText.validate(subprotocols: ["chat", "x", "chat"])
        }
    }

    @Test func subprotocolsAreTokens() {
        for byte in UInt8.min...UInt8.max where !byte.isTokenCharacter {
            expectError(.invalidConfiguration, "not a token") { () throws(WebSocketError) in
                try HandshakeText.validate(subprotocols: ["a\(UnicodeScalar(byte))b"])
            }
        }
        expectError(.invalidConfiguration, "not a token") { () throws(WebSocketError) in
            try HandshakeText.validate(subprotocols: [""])
        }
        expectError(.invalidConfiguration, #"“a\r\nX: y”"#) { () throws(WebSocketError) in
            try HandshakeText.validate(subprotocols: ["a\r\nX: y"])
        }
    }

    /// RFC 4648 §10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"), ("the sample nonce", "dGhlIHNhbXBsZSBub25jZQ=="),
    ])
    func base64(_ text: String, _ expected: String) { #expect(HandshakeText.base64(Array(text.utf8)) == expected) }

    @Test func base64OfEveryByteInEveryPlace() throws {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=".utf8)
        var random = SplitMix64(seed: 91)
        for count in 0...64 {
            let bytes = random.bytes(count) + [0xFF, 0x00, 0xFB]
            let text = Array(HandshakeText.base64(bytes).utf8)
            try check(text.count == (bytes.count + 2) / 3 * 4, "count \(count)")
            // Decoded bit by bit.
            var bits: [UInt8] = []
            for character in text where character != UInt8(ascii: "=") {
                let value = try #require(alphabet.firstIndex(of: character))
                for bit in (0..<6).reversed() { bits.append(UInt8(value >> bit & 1)) }
            }
            let decoded = (0..<bits.count / 8).map { byte in
                bits[(byte * 8)..<(byte * 8 + 8)].reduce(0) { $0 << 1 | $1 }
            }
            try check(decoded == bytes, "count \(count)")
        }
    }

    @Test func basicAuthorization() throws {
        // RFC 7617 §2 and §2.1.
        #expect(
            HandshakeText.basicAuthorization(Array("Aladdin:open sesame".utf8)) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        #expect(HandshakeText.basicAuthorization(Array("test:123£".utf8)) == "Basic dGVzdDoxMjPCow==")
        let url = try WebSocketURL("ws://Aladdin:open%20sesame@h")
        #expect(try HandshakeText.basicAuthorization(#require(url.userInfo)) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    }
}
