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
        let path = rest[end...]
        target = path.isEmpty ? "/" : path.first == "?" ? "/" + path : String(path)
        guard target.isValidPercentEncoding else { throw invalid("has a % that is not followed by two hex digits") }

        let parsed: URLAuthority
        do throws(URLAuthority.Problem) {
            parsed = try URLAuthority(rest[..<end])
        } catch {
            throw invalid(error.text)
        }
        host = parsed.host
        port = parsed.port ?? (isSecure ? 443 : 80)
        userInfo = parsed.userInfo
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
