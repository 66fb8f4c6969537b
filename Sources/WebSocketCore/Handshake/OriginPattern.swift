//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// An `Origin` (RFC 6454 §6.2) or a pattern of them, with default ports left out.
package struct OriginPattern: Sendable, Hashable {
    private let scheme: String
    /// Without the `*.` of a pattern for subdomains. IPv6 addresses keep their brackets.
    private let host: String
    private let port: Port
    private let isSubdomains: Bool
    /// The origin of sandboxed pages and files, which says nothing about who they are.
    private let isNull: Bool

    private enum Port: Hashable { case any, number(Int) }

    private static let defaultPorts = ["http": 80, "https": 443, "ws": 80, "wss": 443]

    /// `https://example.com`, `https://*.example.com` for every subdomain but not `example.com` itself,
    /// `http://localhost:*` for every port, or `null`.
    package init?(pattern: String) { self.init(pattern, isPattern: true) }

    /// What a browser sent.
    package init?(origin: String) { self.init(origin, isPattern: false) }

    private init?(_ text: String, isPattern: Bool) {
        // Strings are equal by canonical equivalence, which takes U+212A for a K.
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        if text == "null" {
            (scheme, host, port, isSubdomains, isNull) = ("", "", .any, false, true)
            return
        }
        isNull = false
        guard let separator = text.firstRange(of: "://") else { return nil }
        scheme = text[..<separator.lowerBound].lowercased()
        guard let first = scheme.utf8.first, (0x61...0x7A).contains(first),
            scheme.utf8.allSatisfy({
                (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || "+-.".utf8.contains($0)
            })
        else { return nil }
        var authority = text[separator.upperBound...].lowercased()[...]
        guard !authority.contains(where: { "/?#@\\".contains($0) }) else { return nil }
        var portText: Substring?
        if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
            portText = authority[authority.index(after: colon)...]
            authority = authority[..<colon]
        }
        switch portText {
        case nil: port = .number(Self.defaultPorts[scheme] ?? 0)
        case "*" where isPattern: port = .any
        case .some(let digits):
            guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let number = Int(digits), number <= 65_535
            else { return nil }
            port = .number(number)
        }
        isSubdomains = isPattern && authority.hasPrefix("*.")
        if isSubdomains { authority.removeFirst(2) }
        let isBracketed = authority.hasPrefix("[") && authority.hasSuffix("]")
        if isBracketed {
            guard !isSubdomains, IPAddress.isIPv6(authority.dropFirst().dropLast()) else { return nil }
        } else {
            guard !authority.isEmpty, !authority.contains(where: { ":[]*".contains($0) }) else { return nil }
        }
        host = String(authority)
    }

    /// Whether an origin is this one, or one of this pattern's.
    package func matches(_ origin: OriginPattern) -> Bool {
        guard isNull == origin.isNull else { return false }
        if isNull { return true }
        guard scheme == origin.scheme, port == .any || port == origin.port else { return false }
        // With its dot, or `evil-example.com` would be a subdomain of `example.com`.
        return isSubdomains
            ? origin.host.hasSuffix("." + host) && origin.host.utf8.count > host.utf8.count + 1
            : origin.host == host
    }
}
