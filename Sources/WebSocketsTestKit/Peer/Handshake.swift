//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// An HTTP head as it was read.
public struct WebSocketWireHead: Sendable, Hashable {
    /// All of it, with the empty line.
    public let bytes: [UInt8]
    /// The request line or the status line.
    public let startLine: String
    /// Names and values in their order.
    public let fields: [Field]

    /// One line of a head.
    public struct Field: Sendable, Hashable {
        /// As it was written.
        public let name: String
        /// Without the spaces in front.
        public let value: String
    }

    /// Parses a head that ends in an empty line; every line must end in CRLF.
    public init(_ bytes: [UInt8]) throws(WebSocketBytePeerError) {
        self.bytes = bytes
        let text = String(decoding: bytes, as: UTF8.self)
        var lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)[...]
        guard lines.count >= 3, let first = lines.popFirst(), !lines.contains(where: { $0.contains("\n") }) else {
            throw .handshake("this is not a head: \(text)")
        }
        startLine = String(first)
        var fields: [Field] = []
        for line in lines where !line.isEmpty {
            guard let colon = line.firstIndex(of: ":") else { throw .handshake("a line without a colon: \(line)") }
            fields.append(
                Field(
                    name: String(line[..<colon]),
                    value: String(line[line.index(after: colon)...].drop { $0 == " " })))
        }
        self.fields = fields
    }

    /// The only value of a header; `nil` when there is none or more than one.
    public subscript(_ name: String) -> String? {
        let values = fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
        return values.count == 1 ? values[0] : nil
    }

    /// The status of a response.
    public var status: Int? {
        startLine.hasPrefix("HTTP/1.1 ") ? Int(startLine.dropFirst(9).prefix(3)) : nil
    }
}

extension WebSocketBytePeer {
    /// Reads an HTTP head.
    public func readHead() async throws -> WebSocketWireHead {
        try WebSocketWireHead(await read(through: Array("\r\n\r\n".utf8)))
    }

    // MARK: The server's side

    /// The right answer to a request (RFC 6455 §4.2.2).
    public static func answer(
        to request: WebSocketWireHead, extensions: String? = nil, subprotocol: String? = nil, fields: [String] = []
    ) -> [UInt8] {
        var lines = [
            "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Accept: \(WebSocketHandshakeKey.accept(for: request["Sec-WebSocket-Key"] ?? ""))",
        ]
        if let extensions { lines.append("Sec-WebSocket-Extensions: \(extensions)") }
        if let subprotocol { lines.append("Sec-WebSocket-Protocol: \(subprotocol)") }
        return Array(((lines + fields).joined(separator: "\r\n") + "\r\n\r\n").utf8)
    }

    /// Reads a client's request and answers it rightly.
    ///
    /// - Parameters:
    ///   - extensions: The value of `Sec-WebSocket-Extensions`; nil for none.
    ///   - subprotocol: The value of `Sec-WebSocket-Protocol`; nil for none.
    ///   - fields: Further lines of the answer's head, without their ends.
    ///   - behind: Bytes in the same segment as the answer.
    @discardableResult
    public func acceptHandshake(
        extensions: String? = nil, subprotocol: String? = nil, fields: [String] = [], behind: [UInt8] = []
    ) async throws -> WebSocketWireHead {
        let request = try await readHead()
        try await write(
            Self.answer(to: request, extensions: extensions, subprotocol: subprotocol, fields: fields) + behind)
        return request
    }

    // MARK: The client's side

    /// A right request (RFC 6455 §4.1).
    public static func request(
        target: String = "/", host: String = "127.0.0.1", key: String = WebSocketHandshakeKey.sample,
        extensions: String? = nil,
        fields: [String] = []
    ) -> [UInt8] {
        var lines = [
            "GET \(target) HTTP/1.1", "Host: \(host)", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Key: \(key)", "Sec-WebSocket-Version: 13",
        ]
        if let extensions { lines.append("Sec-WebSocket-Extensions: \(extensions)") }
        return Array(((lines + fields).joined(separator: "\r\n") + "\r\n\r\n").utf8)
    }

    /// Sends a right request and checks the answer.
    ///
    /// - Parameters:
    ///   - target: What is asked for.
    ///   - extensions: The value of `Sec-WebSocket-Extensions`; nil for none.
    ///   - fields: Further lines of the request's head, without their ends.
    ///   - behind: Bytes in the same segment as the request.
    @discardableResult
    public func openHandshake(
        target: String = "/", extensions: String? = nil, fields: [String] = [], behind: [UInt8] = []
    ) async throws -> WebSocketWireHead {
        try await write(Self.request(target: target, extensions: extensions, fields: fields) + behind)
        return try Self.check(answer: await readHead())
    }

    /// Checks a server's answer to ``request(target:host:key:extensions:fields:)``.
    public static func check(answer: WebSocketWireHead) throws(WebSocketBytePeerError) -> WebSocketWireHead {
        guard answer.status == 101, answer["Upgrade"]?.lowercased() == "websocket",
            answer["Connection"]?.lowercased() == "upgrade",
            answer["Sec-WebSocket-Accept"] == WebSocketHandshakeKey.accept(for: WebSocketHandshakeKey.sample)
        else { throw .handshake(String(decoding: answer.bytes, as: UTF8.self)) }
        return answer
    }
}

/// `Sec-WebSocket-Key` and what answers it.
public enum WebSocketHandshakeKey {
    /// The key of RFC 6455 §1.3.
    public static let sample = "dGhlIHNhbXBsZSBub25jZQ=="

    /// `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
    public static func accept(for key: String) -> String {
        base64(sha1(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)))
    }

    /// FIPS 180-4, plainly, so that a peer shares no code with what it tests.
    static func sha1(_ message: [UInt8]) -> [UInt8] {
        var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
        var padded = message + [0x80]
        while padded.count % 64 != 56 { padded.append(0) }
        let bits = UInt64(message.count) * 8
        padded += (0..<8).map { UInt8(truncatingIfNeeded: bits >> UInt64(56 - 8 * $0)) }
        func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
        for block in stride(from: 0, to: padded.count, by: 64) {
            var words = (0..<16).map { index in
                padded[(block + 4 * index)..<(block + 4 * index + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            }
            for index in 16..<80 {
                words.append(rotate(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1))
            }
            var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
            for index in 0..<80 {
                let (mix, constant): (UInt32, UInt32) =
                    switch index {
                    case ..<20: (b & c | ~b & d, 0x5A82_7999)
                    case ..<40: (b ^ c ^ d, 0x6ED9_EBA1)
                    case ..<60: (b & c | b & d | c & d, 0x8F1B_BCDC)
                    default: (b ^ c ^ d, 0xCA62_C1D6)
                    }
                (a, b, c, d, e) = (rotate(a, 5) &+ mix &+ e &+ constant &+ words[index], a, rotate(b, 30), c, d)
            }
            for (index, word) in [a, b, c, d, e].enumerated() { state[index] &+= word }
        }
        return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(24 - 8 * $0)) } }
    }

    static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        var text = ""
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let word = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
            for position in 0..<4 {
                text.append(position <= group.count ? alphabet[word >> (18 - 6 * position) & 63] : "=")
            }
        }
        return text
    }
}
