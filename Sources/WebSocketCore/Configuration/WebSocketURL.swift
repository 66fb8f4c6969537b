//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A WebSocket URL (RFC 6455 §3, RFC 3986), parsed strictly: what it accepts can go to the wire as it is.
public struct WebSocketURL: Sendable, Hashable {
    /// Whether the connection uses TLS: `wss` and `https`.
    public let isSecure: Bool
    /// The host without brackets, in lower case.
    public let host: String
    /// The port; 80 or 443 when the URL has none.
    public let port: Int
    /// Path and query as they go into the request line; at least `/`.
    public let target: String
    /// `user:password`, percent-decoded, for Basic authorization. Never printed.
    package let userInfo: [UInt8]?

    /// The default port of the scheme.
    package var defaultPort: Int { isSecure ? 443 : 80 }
    /// Whether the host is an IPv6 literal.
    package var isIPv6: Bool { host.utf8.contains(UInt8(ascii: ":")) }

    /// The `Host` header: the port only when it is not the default (RFC 6455 §4.1).
    package var hostHeader: String {
        let name = isIPv6 ? "[\(host)]" : host
        return port == defaultPort ? name : "\(name):\(port)"
    }

    /// Parses a URL. Schemes are `ws`, `wss`, `http` and `https`.
    ///
    /// - Throws: `invalidURL`, naming the part that is wrong. A fragment is refused (RFC 6455 §3), as are
    ///   spaces, control characters, backslashes and characters outside ASCII: percent-encode those, and
    ///   write internationalised names in their `xn--` form.
    public init(_ string: String) throws(WebSocketError) {
        func invalid(_ text: String) -> WebSocketError { WebSocketError(.invalidURL, "the URL \(text)") }
        for byte in string.utf8 where byte <= 0x20 || byte >= 0x7F || byte == UInt8(ascii: "\\") {
            throw invalid(
                byte > 0x7F
                    ? "has a character outside ASCII; percent-encode it, and write the host in its xn-- form"
                    : "has a space, a control character or a backslash; percent-encode it")
        }
        guard let separator = string.firstRange(of: "://") else {
            throw invalid("has no scheme; begin it with ws:// or wss://")
        }
        switch string[..<separator.lowerBound].lowercased() {
        case "ws", "http": isSecure = false
        case "wss", "https": isSecure = true
        default: throw invalid("has an unknown scheme; use ws:// or wss://")
        }
        let rest = string[separator.upperBound...]
        guard !rest.utf8.contains(UInt8(ascii: "#")) else {
            throw invalid("has a fragment; RFC 6455 §3 forbids it, percent-encode # as %23")
        }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        var authority = rest[..<end]
        let path = rest[end...]
        target = path.isEmpty ? "/" : path.first == "?" ? "/" + path : String(path)
        guard target.isValidPercentEncoding else { throw invalid("has a % that is not followed by two hex digits") }

        if let at = authority.firstIndex(of: "@") {
            let credentials = authority[..<at]
            authority = authority[authority.index(after: at)...]
            guard !authority.contains("@") else {
                throw invalid("has more than one @; percent-encode those in the password")
            }
            guard credentials.contains(":") else {
                throw invalid("has a user without a password; write user:password@")
            }
            guard let decoded = String(credentials).percentDecoded else {
                throw invalid("has an invalid percent-encoding in its user or password")
            }
            guard decoded.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
                throw invalid("has a control character in its user or password; RFC 7617 §2 forbids it")
            }
            guard String(credentials.prefix { $0 != ":" }).percentDecoded?.contains(UInt8(ascii: ":")) == false else {
                throw invalid("has a colon in its user; RFC 7617 §2 forbids it, only the password may have one")
            }
            userInfo = decoded
        } else {
            userInfo = nil
        }

        let hostText: Substring
        let portText: Substring?
        if authority.first == "[" {
            guard let close = authority.firstIndex(of: "]") else { throw invalid("has a [ without ]") }
            hostText = authority[authority.index(after: authority.startIndex)..<close]
            guard IPAddress.isIPv6(hostText) else { throw invalid("has an invalid IPv6 address in brackets") }
            let after = authority[authority.index(after: close)...]
            guard after.isEmpty || after.first == ":" else { throw invalid("has text behind the ] of its host") }
            portText = after.isEmpty ? nil : after.dropFirst()
        } else {
            let colon = authority.firstIndex(of: ":")
            hostText = authority[..<(colon ?? authority.endIndex)]
            portText = colon.map { authority[authority.index(after: $0)...] }
            guard !hostText.isEmpty else { throw invalid("has no host") }
            guard hostText.utf8.count <= 253, hostText.utf8.allSatisfy(\.isHostCharacter) else {
                throw invalid("has a host that is not a name or an address; IPv6 addresses go into brackets")
            }
        }
        host = hostText.lowercased()
        if let portText, !portText.isEmpty {
            guard portText.utf8.count <= 5, portText.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
                let number = Int(portText), (1...65_535).contains(number)
            else { throw invalid("has an invalid port; it must be in 1...65535") }
            port = number
        } else {
            port = isSecure ? 443 : 80
        }
    }
}

extension WebSocketURL: CustomStringConvertible {
    /// The URL without credentials and with the query's values hidden: queries carry tokens.
    public var description: String {
        let path: String
        if let question = target.firstIndex(of: "?") {
            let query = target[target.index(after: question)...].split(separator: "&", omittingEmptySubsequences: false)
            path =
                String(target[...question])
                + query.map { item in
                    item.firstIndex(of: "=").map { item[...$0] + "…" } ?? (item.isEmpty ? "" : "…")
                }.joined(separator: "&")
        } else {
            path = target
        }
        return "\(isSecure ? "wss" : "ws")://\(hostHeader)\(path)"
    }
}

extension WebSocketURL: CustomReflectable {
    /// Nothing but the description: `dump` and test frameworks print mirrors.
    public var customMirror: Mirror { Mirror(self, children: [:], displayStyle: .struct) }
}

extension UInt8 {
    fileprivate var isHostCharacter: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    fileprivate var hexValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

extension String {
    fileprivate var isValidPercentEncoding: Bool { percentDecoded != nil }

    /// The bytes behind a percent-encoded text; `nil` if an escape is broken.
    package var percentDecoded: [UInt8]? {
        var result: [UInt8] = []
        var iterator = utf8.makeIterator()
        while let byte = iterator.next() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            guard let high = iterator.next()?.hexValue, let low = iterator.next()?.hexValue else { return nil }
            result.append(high << 4 | low)
        }
        return result
    }
}

/// What a textual address is, without asking the system.
package enum IPAddress {
    package static func isIPv4(_ text: some StringProtocol) -> Bool {
        var dots = 0
        var digits = 0
        var value = 0
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "."):
                guard digits > 0 else { return false }
                dots += 1
                (digits, value) = (0, 0)
            case 0x30...0x39:
                // "01" would be octal to some.
                guard digits == 0 || value > 0 else { return false }
                digits += 1
                value = value * 10 + Int(byte - 0x30)
                guard value <= 255 else { return false }
            default: return false
            }
        }
        return dots == 3 && digits > 0
    }

    /// RFC 4291 §2.2, without a zone.
    package static func isIPv6(_ text: some StringProtocol) -> Bool {
        guard text.utf8.contains(UInt8(ascii: ":")) else { return false }
        var text = String(text)
        guard text.utf8.count >= 2, text.utf8.count <= 45 else { return false }
        // An embedded IPv4 tail counts as two groups.
        if let colon = text.lastIndex(of: ":"), text[colon...].contains(".") {
            guard isIPv4(text[text.index(after: colon)...]) else { return false }
            text = String(text[...colon]) + "0:0"
        }
        let halves = text.components(separatedBy: "::")
        guard halves.count <= 2 else { return false }
        var groups = 0
        for half in halves where !half.isEmpty {
            for group in half.split(separator: ":", omittingEmptySubsequences: false) {
                guard (1...4).contains(group.utf8.count), group.utf8.allSatisfy({ $0.hexValue != nil }) else {
                    return false
                }
                groups += 1
            }
        }
        return halves.count == 2 ? groups <= 7 : groups == 8
    }
}

extension String {
    fileprivate func components(separatedBy separator: String) -> [Substring] {
        var result: [Substring] = []
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            result.append(rest[..<range.lowerBound])
            rest = rest[range.upperBound...]
        }
        result.append(rest)
        return result
    }

    package func firstRange(of other: String) -> Range<String.Index>? { self[...].firstRange(of: other) }
}

extension Substring {
    /// The first place where `other` stands, compared by UTF-8.
    fileprivate func firstRange(of other: String) -> Range<String.Index>? {
        let needle = Array(other.utf8)
        var start = utf8.startIndex
        while start != utf8.endIndex {
            if utf8[start...].starts(with: needle) {
                return start..<utf8.index(start, offsetBy: needle.count)
            }
            start = utf8.index(after: start)
        }
        return nil
    }
}
