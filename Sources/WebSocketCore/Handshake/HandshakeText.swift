//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// The texts of the opening handshake that are ours to write.
package enum HandshakeText {
    /// A client's whole request up to, not including, the empty line.
    package static func request(
        url: WebSocketURL, key: String, fields: HTTPFields, subprotocols: [String], extensions: String?
    ) -> String {
        var text = "GET \(url.target) HTTP/1.1\r\nHost: \(url.hostHeader)\r\n"
        text +=
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \(key)\r\nSec-WebSocket-Version: 13\r\n"
        if !subprotocols.isEmpty { text += "Sec-WebSocket-Protocol: \(subprotocols.joined(separator: ", "))\r\n" }
        if let extensions { text += "Sec-WebSocket-Extensions: \(extensions)\r\n" }
        for field in fields { text += "\(field.name.rawName): \(field.value)\r\n" }
        return text
    }

    /// The head that libwebsockets' server parser gets to see instead of the client's: the least that makes
    /// it upgrade. Decisions were taken from the real one. (4.1.6 has a use-after-free in this parser,
    /// CVE-2025-11677, that such a head cannot reach.)
    package static func rebuiltHead(host: String, key: String, deflate: Bool) -> String {
        var head = ""
        head.reserveCapacity(192 + host.utf8.count + key.utf8.count)
        head += "GET / HTTP/1.1\r\nHost: "
        head += host
        head += "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        head += key
        head += deflate ? "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n" : "\r\n\r\n"
        return head
    }

    /// A key for a head that is built before the client's is known.
    package static let placeholderKey = "AAAAAAAAAAAAAAAAAAAAAA=="

    /// Header names that the handshake writes itself.
    package static let reserved: Set<HTTPField.Name> = [
        .hostField, .upgrade, .connection, .secWebSocketKey, .secWebSocketVersion, .secWebSocketAccept,
        .secWebSocketProtocol, .secWebSocketExtensions, .contentLength, .transferEncoding,
    ]

    /// Refuses what must not reach the wire. `HTTPField` already keeps CR, LF and NUL out of names and values.
    package static func validate(fields: HTTPFields) throws(WebSocketError) {
        for field in fields where reserved.contains(field.name) {
            throw WebSocketError(
                .invalidConfiguration,
                "the header \(field.name.rawName) belongs to the handshake; remove it from the additional headers")
        }
    }

    package static func validate(subprotocols: [String]) throws(WebSocketError) {
        var seen: Set<String> = []
        for name in subprotocols {
            guard name.isToken else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "the subprotocol “\(name.escapedForLog)” is not a token; use letters, digits and !#$%&'*+-.^_`|~")
            }
            guard seen.insert(name).inserted else {
                throw WebSocketError(.invalidConfiguration, "the subprotocol “\(name)” is listed twice; name it once")
            }
        }
    }

    /// Basic credentials (RFC 7617) from `user:password`.
    package static func basicAuthorization(_ userInfo: [UInt8]) -> String { "Basic " + base64(userInfo) }

    package static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let left = bytes.count - index
            let word =
                UInt32(bytes[index]) << 16 | (left > 1 ? UInt32(bytes[index + 1]) << 8 : 0)
                | (left > 2 ? UInt32(bytes[index + 2]) : 0)
            result.append(alphabet[Int(word >> 18)])
            result.append(alphabet[Int(word >> 12 & 63)])
            result.append(left > 1 ? alphabet[Int(word >> 6 & 63)] : UInt8(ascii: "="))
            result.append(left > 2 ? alphabet[Int(word & 63)] : UInt8(ascii: "="))
            index += 3
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// The bytes of a base64 text with its padding; `nil` for anything else.
    package static func bytes(base64 text: String) -> [UInt8]? {
        var result: [UInt8] = []
        var word: UInt32 = 0
        var digits = 0
        var padding = 0
        for byte in text.utf8 {
            let value: UInt8
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte - UInt8(ascii: "0") + 52
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="):
                value = 0
                padding += 1
            default: return nil
            }
            guard padding == 0 || byte == UInt8(ascii: "=") else { return nil }
            word = word << 6 | UInt32(value)
            digits += 1
            if digits % 4 == 0 {
                result += [UInt8(word >> 16 & 0xFF), UInt8(word >> 8 & 0xFF), UInt8(word & 0xFF)]
                word = 0
            }
        }
        guard digits % 4 == 0, padding <= 2 else { return nil }
        result.removeLast(padding)
        return result
    }
}
