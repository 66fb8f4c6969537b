//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A WebSocket URL (RFC 6455 §3, RFC 3986), parsed strictly: what it accepts can go to the wire as it is.
public struct WebSocketURL: Sendable, Hashable {
    /// Whether the connection uses TLS: `wss` and `https`.
    public let isSecure: Bool
    /// The host without brackets, in lower case. Of an IPv6 address it may have a zone (RFC 4007 §11), such as
    /// `fe80::1%eth0`, which stays on this machine.
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
        let name = isIPv6 ? "[\(IPAddress.withoutZone(host))]" : host
        return port == defaultPort ? name : "\(name):\(port)"
    }

    /// Writes an internationalised host in ASCII (RFC 5891).
    package typealias HostConverter = (String) throws(URLProblem) -> String

    /// Parses a URL. Schemes are `ws`, `wss`, `http` and `https`.
    ///
    /// Spaces and characters outside ASCII in path and query are percent-encoded as UTF-8 (RFC 3987 §3.1).
    ///
    /// - Throws: `invalidURL`, naming the part that is wrong. A fragment is refused (RFC 6455 §3), as are control
    ///   characters, backslashes, and spaces elsewhere. An internationalised host must be in its `xn--` form here;
    ///   what connects to a URL given as a string finds that form by itself.
    public init(_ string: String) throws(WebSocketError) { try self.init(string, toASCII: nil) }

    /// The same for internationalised hosts too.
    package init(_ string: String, toASCII: HostConverter?) throws(WebSocketError) {
        func invalid(_ text: String) -> WebSocketError { WebSocketError(.invalidURL, "the URL \(text)") }
        for byte in string.utf8 where byte < 0x20 || byte == 0x7F || byte == UInt8(ascii: "\\") {
            throw invalid("has a control character or a backslash; percent-encode it")
        }
        guard let separator = string.firstRange(of: "://") else {
            throw invalid("has no scheme; begin it with ws:// or wss://")
        }
        let rest = string[separator.upperBound...]
        // As bytes: a combining character behind a slash makes another Character of it.
        let end = rest.utf8.firstIndex { [UInt8(ascii: "/"), UInt8(ascii: "?")].contains($0) } ?? rest.endIndex
        guard !string[..<end].utf8.contains(0x20), string.utf8.last != 0x20 else {
            throw invalid("has a space before its path or at its end; remove it")
        }
        switch string[..<separator.lowerBound].lowercased() {
        case "ws", "http": isSecure = false
        case "wss", "https": isSecure = true
        default: throw invalid("has an unknown scheme; use ws:// or wss://")
        }
        guard !rest.utf8.contains(UInt8(ascii: "#")) else {
            throw invalid("has a fragment; RFC 6455 §3 forbids it, percent-encode # as %23")
        }
        let path = String(rest[end...]).percentEncodedOutsideASCII
        target = path.isEmpty ? "/" : path.first == "?" ? "/" + path : path
        guard target.isValidPercentEncoding else {
            throw invalid("has a % that is not followed by two hex digits; write a bare one as %25")
        }

        let parsed: URLAuthority
        do throws(URLProblem) {
            parsed = try URLAuthority(rest[..<end], toASCII: toASCII)
        } catch {
            throw invalid(error.text)
        }
        host = parsed.host
        port = parsed.port ?? (isSecure ? 443 : 80)
        userInfo = parsed.userInfo
    }
}

extension WebSocketURL: CustomStringConvertible {
    /// The URL without credentials, with the query's values hidden, and with those parts of the path hidden that look like
    /// keys: 16 or more characters with a digit or with both cases, and what follows `=` or `:`.
    public var description: String { "\(isSecure ? "wss" : "ws")://\(hostHeader)\(ShownTarget.text(target))" }
}

extension WebSocketURL: CustomReflectable {
    /// Nothing but the description: `dump` and test frameworks print mirrors.
    public var customMirror: Mirror { Mirror(self, children: [:], displayStyle: .struct) }
}
