//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes

/// Through which proxy a client connects.
public struct WebSocketProxy: Sendable, Hashable {
    package enum Choice: Sendable, Hashable {
        case none, environment
        case fixed(ProxyEndpoint)
    }
    package let choice: Choice

    /// No proxy, whatever the environment says. The default.
    public static let none = Self(choice: .none)

    /// What the environment says, as other programs read it: for `wss` the first of `wss_proxy`, `socks_proxy`,
    /// `https_proxy` and `all_proxy`, for `ws` the first of `ws_proxy`, `socks_proxy`, `https_proxy`, `http_proxy` and
    /// `all_proxy` that is set; in lower case, or in upper case, but never `HTTP_PROXY`, which a web server's client
    /// can set (CVE-2016-5385). None for the hosts in `no_proxy`: names with their subdomains, addresses, address
    /// ranges such as `10.0.0.0/8`, each with or without a port, or `*` for all.
    public static let environment = Self(choice: .environment)

    package init(choice: Choice) { self.choice = choice }

    /// This proxy, for every host.
    ///
    /// - Parameters:
    ///   - url: `http://host:port` speaks CONNECT (RFC 9110 §9.3.6), `socks5h://host:port` SOCKS 5 (RFC 1928). Both take
    ///     credentials, `user:password@host:port`, percent-encoded. With `socks5h` the proxy looks the name up, with
    ///     `socks5` this side does, and the first address is taken. `socks4a` and `socks4` are the same for SOCKS 4,
    ///     which carries no IPv6 address, and a user without a password: `user:@host`. Default ports: 80 and 1080.
    ///   - headers: Additional headers of CONNECT, in place of `User-Agent` and `Proxy-Authorization` if they are among
    ///     them. Default: none.
    /// - Throws: `invalidConfiguration`, also for `https` proxies, which are not supported.
    public init(_ url: String, headers: HTTPFields = [:]) throws(WebSocketError) {
        choice = .fixed(try ProxyEndpoint(url, headers: headers, source: "proxy"))
    }

    /// The proxy for a URL; `nil` for none.
    ///
    /// - Parameter variable: Reads the environment.
    /// - Throws: `invalidConfiguration`, if it is the environment's and cannot be used.
    package func endpoint(
        for url: WebSocketURL, variable: (String) -> String?
    ) throws(WebSocketError) -> ProxyEndpoint? {
        switch choice {
        case .none: nil
        case .fixed(let endpoint): endpoint
        case .environment: try ProxyEnvironment.endpoint(for: url, variable: variable)
        }
    }
}

extension WebSocketProxy: CustomStringConvertible, CustomReflectable {
    /// Without credentials.
    public var description: String {
        switch choice {
        case .none: "none"
        case .environment: "environment"
        case .fixed(let endpoint): endpoint.description
        }
    }

    /// Nothing but the description: `dump` and test frameworks print mirrors.
    public var customMirror: Mirror { Mirror(self, children: [:], displayStyle: .struct) }
}

/// A proxy that can be used.
package struct ProxyEndpoint: Sendable, Hashable {
    package enum Kind: String, Sendable {
        case http, socks4, socks4a, socks5, socks5h
    }
    package let kind: Kind
    package let host: String
    package let port: Int
    /// `user:password`. Never printed.
    package let userInfo: [UInt8]?
    /// Of CONNECT. Never printed.
    package let headers: HTTPFields

    /// Whether this side looks the target's name up.
    package var resolvesHere: Bool { kind == .socks4 || kind == .socks5 }
    /// Whether a target's IPv6 address can be said to it.
    package var carriesIPv6: Bool { kind != .socks4 && kind != .socks4a }

    /// - Parameter source: Where the text is from, for the error.
    package init(_ text: String, headers: HTTPFields = [:], source: String) throws(WebSocketError) {
        func invalid(_ what: String) -> WebSocketError {
            WebSocketError(.invalidConfiguration, "\(source): the URL \(what)")
        }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") }) else {
            throw invalid(
                "has a space, a control character, a backslash or a character outside ASCII; percent-encode it")
        }
        guard let separator = text.firstRange(of: "://") else {
            throw invalid("has no scheme; begin it with http:// or socks5h://")
        }
        switch text[..<separator.lowerBound].lowercased() {
        case "http": kind = .http
        case "socks4": kind = .socks4
        case "socks4a": kind = .socks4a
        case "socks5": kind = .socks5
        case "socks5h": kind = .socks5h
        case "https":
            throw invalid("is an https one; proxies are spoken to without TLS only, use http:// or socks5h://")
        default: throw invalid("has an unknown scheme; use http://, socks5h://, socks5://, socks4a:// or socks4://")
        }
        var rest = text[separator.upperBound...]
        if rest.last == "/" { rest = rest.dropLast() }
        guard !rest.contains(where: { "/?#".contains($0) }) else {
            throw invalid("has a path; a proxy has a host and a port only")
        }
        let authority: URLAuthority
        do throws(URLProblem) {
            authority = try URLAuthority(rest)
        } catch {
            throw invalid(error.text)
        }
        host = authority.host
        port = authority.port ?? (kind == .http ? 80 : 1_080)
        userInfo = authority.userInfo
        self.headers = headers
        if let userInfo {
            let parts = userInfo.split(separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false)
            switch kind {
            case .http: break
            case .socks4, .socks4a:
                // The user ends with a zero byte, which no user has.
                guard parts[0].count <= 255, parts[1].isEmpty else {
                    throw invalid("has a password, or a user of more than 255 bytes; SOCKS 4 knows a user only, user:@")
                }
            case .socks5, .socks5h:
                // RFC 1929 counts both in one byte.
                guard parts.allSatisfy({ (1...255).contains($0.count) }) else {
                    throw invalid("has a user or a password that SOCKS 5 cannot carry; each has 1 to 255 bytes")
                }
            }
        }
        guard headers.isEmpty || kind == .http else {
            throw WebSocketError(
                .invalidConfiguration,
                "\(source): there are headers for a SOCKS proxy, which takes none; leave them out")
        }
        do throws(WebSocketError) {
            try HandshakeText.validate(fields: headers)
        } catch {
            throw WebSocketError(.invalidConfiguration, "\(source): \(error.message)")
        }
    }
}

extension ProxyEndpoint: CustomStringConvertible, CustomReflectable {
    package var description: String {
        "\(kind.rawValue)://\(host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host):\(port)"
    }
    package var customMirror: Mirror { Mirror(self, children: [:], displayStyle: .struct) }
}

/// How the variables `http_proxy`, `no_proxy` and their like are read.
enum ProxyEnvironment {
    static func endpoint(
        for url: WebSocketURL, variable: (String) -> String?
    ) throws(WebSocketError) -> ProxyEndpoint? {
        func value(_ name: String) -> String? {
            // An empty lower-case variable switches the upper-case one off.
            if let value = variable(name) { return value }
            return name == "http_proxy" ? nil : variable(name.uppercased())
        }
        if let exceptions = value("no_proxy"), isExempt(url, exceptions) { return nil }
        let names =
            url.isSecure
            ? ["wss_proxy", "socks_proxy", "https_proxy", "all_proxy"]
            : ["ws_proxy", "socks_proxy", "https_proxy", "http_proxy", "all_proxy"]
        for name in names {
            guard var text = value(name), !text.isEmpty else { continue }
            if text.firstRange(of: "://") == nil { text = "http://" + text }
            // That is how some systems write it.
            if name == "socks_proxy", text.hasPrefix("http://") { text = "socks5h://" + text.dropFirst(7) }
            return try ProxyEndpoint(text, source: "the environment's \(name)")
        }
        return nil
    }

    static func isExempt(_ url: WebSocketURL, _ exceptions: String) -> Bool {
        exceptions.split { $0 == "," || $0 == " " || $0 == "\t" }.contains { matches(url, $0.lowercased()[...]) }
    }

    private static func matches(_ url: WebSocketURL, _ entry: Substring) -> Bool {
        if entry == "*" { return true }
        if let range = entry.firstIndex(of: "/") {
            return isInRange(url.host, entry[..<range], bits: Int(entry[entry.index(after: range)...]))
        }
        var name = entry
        if entry.first == "[" || entry.count(where: { $0 == ":" }) == 1, let colon = entry.lastIndex(of: ":"),
            entry[colon...].allSatisfy({ $0 != "]" })
        {
            guard Int(entry[entry.index(after: colon)...]) == url.port else { return false }
            name = entry[..<colon]
        }
        if name.first == "[", name.last == "]" { name = name.dropFirst().dropLast() }
        if let address = IPAddress.bytes(name) { return IPAddress.bytes(url.host) == address }
        if name.first == "*" { name = name.dropFirst() }
        if name.first == "." { name = name.dropFirst() }
        return !name.isEmpty && (url.host == name || url.host.hasSuffix("." + name))
    }

    private static func isInRange(_ host: String, _ network: Substring, bits: Int?) -> Bool {
        guard let bits, let address = IPAddress.bytes(host), let network = IPAddress.bytes(network),
            address.count == network.count, (0...(address.count * 8)).contains(bits)
        else { return false }
        return (0..<bits).allSatisfy { bit in
            // In one expression the compiler needs fourteen seconds for the types.
            let difference = address[bit / 8] ^ network[bit / 8]
            let mask: UInt8 = 0x80 >> (bit % 8)
            return difference & mask == 0
        }
    }
}
