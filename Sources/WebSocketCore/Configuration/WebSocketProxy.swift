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
    ///
    /// Values are those of ``init(_:headers:)``, and what desktops write: without a scheme `http` is meant, in `socks_proxy`
    /// `http` means `socks5h`, and a user needs no password. A variable that cannot be used is passed over with a warning
    /// in the log, once for each value, and the next one counts; if none is left, the connection is direct. Where that must
    /// not happen, give the proxy itself.
    public static let environment = Self(choice: .environment)

    package init(choice: Choice) { self.choice = choice }

    /// This proxy, for every host.
    ///
    /// - Parameters:
    ///   - url: `http://host:port` speaks CONNECT (RFC 9110 §9.3.6), `https://host:port` the same in TLS to the proxy, which
    ///     goes by the client configuration's `proxyTLS`, `socks5h://host:port` SOCKS 5 (RFC 1928). All take credentials, `user:password@host:port`, percent-encoded. With `socks5h` the proxy looks the name up, with
    ///     `socks5` this side does, and the first address is taken. `socks4a` and `socks4` are the same for SOCKS 4,
    ///     which carries no IPv6 address, and a user without a password: `user:@host`. `socks` is `socks5h`, as browsers and
    ///     desktops mean it. Default ports: 80, 443 and 1080.
    ///   - headers: Additional headers of CONNECT, in place of `User-Agent` and `Proxy-Authorization` if they are among
    ///     them. Default: none.
    /// - Throws: `invalidConfiguration`.
    public init(_ url: String, headers: HTTPFields = [:]) throws(WebSocketError) {
        choice = .fixed(try ProxyEndpoint(url, headers: headers, source: "proxy"))
    }

    /// The proxy for a URL; `nil` for none.
    ///
    /// - Parameter variable: Reads the environment.
    package func endpoint(
        for url: WebSocketURL, variable: (String) -> String?
    ) throws(WebSocketError) -> ProxyEndpoint? {
        switch choice {
        case .none: nil
        case .fixed(let endpoint): endpoint
        case .environment: ProxyEnvironment.endpoint(for: url, variable: variable) { _ in }
        }
    }

    /// What is wrong with the variables of the environment that are passed over for a URL.
    package func unusableVariables(for url: WebSocketURL, variable: (String) -> String?) -> [WebSocketError] {
        guard choice == .environment else { return [] }
        var errors: [WebSocketError] = []
        _ = ProxyEnvironment.endpoint(for: url, variable: variable) { errors.append($0) }
        return errors
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
        case http, https, socks4, socks4a, socks5, socks5h

        fileprivate var speaksCONNECT: Bool { self == .http || self == .https }
        fileprivate var defaultPort: Int {
            switch self {
            case .http: 80
            case .https: 443
            case .socks4, .socks4a, .socks5, .socks5h: 1_080
            }
        }
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
        case "socks5h", "socks": kind = .socks5h
        case "https": kind = .https
        default:
            throw invalid(
                "has an unknown scheme; use http://, https://, socks5h://, socks5://, socks4a:// or socks4://")
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
        port = authority.port ?? kind.defaultPort
        userInfo = authority.userInfo
        self.headers = headers
        if let userInfo {
            let parts = userInfo.split(separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false)
            switch kind {
            case .http, .https: break
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
        guard headers.isEmpty || kind.speaksCONNECT else {
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
    /// - Parameter skipped: Is told what is wrong with a variable that is passed over.
    static func endpoint(
        for url: WebSocketURL, variable: (String) -> String?, skipped: (WebSocketError) -> Void
    ) -> ProxyEndpoint? {
        func value(_ name: String) -> String? {
            // An empty lower-case variable switches the upper-case one off.
            if let value = variable(name) { return trimmed(value) }
            return name == "http_proxy" ? nil : variable(name.uppercased()).map(trimmed)
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
            if name == "socks_proxy", text.lowercased().hasPrefix("http://") { text = "socks5h://" + text.dropFirst(7) }
            do throws(WebSocketError) {
                return try ProxyEndpoint(withPassword(text), source: "the environment's \(name)")
            } catch {
                skipped(error)
            }
        }
        return nil
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    private static func trimmed(_ text: String) -> String {
        var bytes = Array(text.utf8)[...]
        while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// With an empty password where there is a user alone, as curl takes it.
    private static func withPassword(_ text: String) -> String {
        guard let separator = text.firstRange(of: "://"), let at = text.utf8.firstIndex(of: UInt8(ascii: "@")),
            separator.upperBound < at, !text[separator.upperBound..<at].utf8.contains(UInt8(ascii: ":"))
        else { return text }
        return "\(text[..<at]):\(text[at...])"
    }

    static func isExempt(_ url: WebSocketURL, _ exceptions: String) -> Bool {
        // As bytes: CR and LF together are one Character.
        exceptions.lowercased().utf8.split { $0 == UInt8(ascii: ",") || isSpace($0) }
            .contains { matches(url, Substring($0)) }
    }

    private static func matches(_ url: WebSocketURL, _ entry: Substring) -> Bool {
        var name = entry
        if let colon = portColon(of: entry) {
            guard Int(entry[entry.index(after: colon)...]) == url.port else { return false }
            name = entry[..<colon]
        }
        if name == "*" { return true }
        let host = bare(url.host[...])
        // IPv6 addresses stand in brackets or without.
        let address = String(name.filter { $0 != "[" && $0 != "]" })
        if let range = AddressRange(address) { return AddressBytes(host).map(range.contains) ?? false }
        if name.first == "*" { name = name.dropFirst() }
        if name.first == "." { name = name.dropFirst() }
        name = bare(name)
        return !name.isEmpty && (host == name || host.hasSuffix("." + name))
    }

    /// Where the port of an entry begins: behind a range, behind brackets, or behind a name or an IPv4 address.
    private static func portColon(of entry: Substring) -> Substring.Index? {
        guard let colon = entry.lastIndex(of: ":") else { return nil }
        if let slash = entry.lastIndex(of: "/") { return slash < colon ? colon : nil }
        if let bracket = entry.lastIndex(of: "]") { return bracket < colon ? colon : nil }
        return entry.firstIndex(of: ":") == colon ? colon : nil
    }

    /// Without the dot at the end that says that a name is whole.
    private static func bare(_ host: Substring) -> Substring { host.last == "." ? host.dropLast() : host }
}
