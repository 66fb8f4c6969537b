//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// Which proxies stand in front of a server, and in which header they say who the client is. The default trusts none.
package struct ForwardingTrust: Sendable, Hashable {
    /// The one header that the proxies write. A client can send the other one, and most proxies pass that on.
    package enum Header: Sendable, Hashable {
        case xForwardedFor
        case forwarded
    }

    package var ranges: [AddressRange] = []
    /// Whether a peer on one of the server's unix sockets is a trusted proxy.
    package var trustsUnixSockets = false
    package var header = Header.xForwardedFor
    /// Whether the proxies also say for which host the request was, or over which scheme it came. Where they do not, a
    /// client's own words would be believed.
    package var tellsHost = false
    package var tellsScheme = false

    package init() {}

    package func trusts(_ address: String) -> Bool {
        guard !ranges.isEmpty, let bytes = AddressBytes(address) else { return false }
        return ranges.contains { $0.contains(bytes) }
    }
}

/// What a trusted proxy says about the client (RFC 7239, and the `X-Forwarded-` headers that came before it).
package struct ForwardedClient: Equatable, Sendable {
    /// The client's address; `nil` when the proxy hides it.
    package var address: String?
    package var port: Int?
    /// Whether the client used TLS; `nil` when not said.
    package var isSecure: Bool?
    /// The host that the client asked for; `nil` when not said.
    package var host: String?

    /// The header is not what a proxy would write. Nothing of it may be believed.
    package struct Malformed: Error, Equatable {}

    private struct Hop {
        var address: String?
        var port: Int?
        var proto: String?
        var host: String?
        /// The address is none, and no word for one that is hidden either.
        var isMalformed = false
    }

    /// Reads the header that `trust` names from the right, where the nearest proxy wrote, and goes left as long as the
    /// address there is a trusted one: what stands further left could be the client's invention. `nil` when it says
    /// nothing.
    package init?(_ fields: HTTPFields, trust: ForwardingTrust) throws(Malformed) {
        let hops =
            switch trust.header {
            case .forwarded: try fields[Self.forwarded].map(Self.forwardedHops) ?? []
            case .xForwardedFor: Self.legacyHops(fields)
            }
        guard !hops.isEmpty else { return nil }
        for hop in hops.reversed() {
            guard !hop.isMalformed else { throw Malformed() }
            (address, port) = (hop.address, hop.port)
            if trust.tellsScheme, let proto = hop.proto { isSecure = try Self.isSecure(proto) }
            if trust.tellsHost, let host = hop.host {
                guard URLAuthority.isHostAndPort(host[...]) else { throw Malformed() }
                self.host = host
            }
            guard let address, trust.trusts(address) else { break }
        }
    }

    private static func isSecure(_ scheme: String) throws(Malformed) -> Bool {
        switch scheme.lowercased() {
        case "https", "wss": true
        case "http", "ws": false
        default: throw Malformed()
        }
    }

    private static let forwarded = HTTPField.Name("Forwarded")!
    private static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
    private static let forwardedProto = HTTPField.Name("X-Forwarded-Proto")!
    private static let forwardedHost = HTTPField.Name("X-Forwarded-Host")!

    private static func list(_ fields: HTTPFields, _ name: HTTPField.Name) -> [String] {
        fields[name]?.split(separator: ",").map { $0.trimmed } ?? []
    }

    private static func legacyHops(_ fields: HTTPFields) -> [Hop] {
        let addresses = list(fields, forwardedFor)
        // Proxies overwrite these two more often than they append to them; the last value is the nearest proxy's.
        let proto = list(fields, forwardedProto).last
        let host = list(fields, forwardedHost).last
        guard !addresses.isEmpty || proto != nil || host != nil else { return [] }
        var hops = addresses.map(hop)
        if hops.isEmpty { hops = [Hop()] }
        hops[hops.count - 1].proto = proto
        hops[hops.count - 1].host = host
        return hops
    }

    /// RFC 7239 §4. A malformed header is refused whole, because an open quote may hide what a proxy has appended.
    private static func forwardedHops(_ text: String) throws(Malformed) -> [Hop] {
        var hops: [Hop] = []
        for element in try split(text, at: UInt8(ascii: ",")) {
            var hop = Hop()
            var seen: Set<String> = []
            for pair in try split(element, at: UInt8(ascii: ";")) {
                guard let equals = pair.firstIndex(of: "=") else { throw Malformed() }
                let name = pair[..<equals].lowercased()
                var value = String(pair[pair.index(after: equals)...])
                guard !name.isEmpty, name.utf8.allSatisfy(\.isTokenCharacter), seen.insert(name).inserted else {
                    throw Malformed()
                }
                if value.hasPrefix("\"") {
                    guard value.hasSuffix("\""), value.utf8.count >= 2 else { throw Malformed() }
                    value = String(value.dropFirst().dropLast()).unescaped
                } else {
                    // An unquoted IPv6 address or port is no token, but some proxies write one.
                    guard value.utf8.allSatisfy({ $0.isTokenCharacter || "[]:".utf8.contains($0) }) else {
                        throw Malformed()
                    }
                }
                switch name {
                case "for":
                    let node = self.hop(value)
                    (hop.address, hop.port, hop.isMalformed) = (node.address, node.port, node.isMalformed)
                case "proto": hop.proto = value
                case "host": hop.host = value
                // `by`, and what later documents add.
                default: break
                }
            }
            hops.append(hop)
        }
        return hops
    }

    /// An address, or one of the words for one that is hidden (RFC 7239 §6.2, §6.3).
    private static func hop(_ text: String) -> Hop {
        let node = node(text)
        let isHidden = text.lowercased().hasPrefix("unknown") || text.hasPrefix("_")
        return Hop(address: node.address, port: node.port, isMalformed: node.address == nil && !isHidden)
    }

    /// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`; names and `unknown` are no address.
    private static func node(_ text: String) -> (address: String?, port: Int?) {
        if AddressBytes(text) != nil { return (text, nil) }
        guard let colon = text.lastIndex(of: ":") else {
            let inner = text.dropFirst().dropLast()
            return text.hasPrefix("[") && text.hasSuffix("]") && AddressBytes(inner) != nil
                ? (String(inner), nil) : (nil, nil)
        }
        var address = text[..<colon]
        if address.hasPrefix("["), address.hasSuffix("]") {
            address = address.dropFirst().dropLast()
        } else if text.hasSuffix("]") {
            address = text.dropFirst().dropLast()
        }
        guard AddressBytes(address) != nil else { return (nil, nil) }
        // Digits, or a name in place of a port that is hidden.
        return (String(address), UInt16(text[text.index(after: colon)...]).map(Int.init))
    }

    /// Cuts at a character that is not inside quotes.
    private static func split(_ text: String, at separator: UInt8) throws(Malformed) -> [String] {
        var parts: [String] = []
        var current: [UInt8] = []
        var isQuoted = false
        var isEscaped = false
        for byte in text.utf8 {
            if isQuoted {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isQuoted = false
                }
            } else if byte == UInt8(ascii: "\"") {
                isQuoted = true
            } else if byte == separator {
                parts.append(String(decoding: current, as: UTF8.self).trimmed)
                current = []
                continue
            }
            current.append(byte)
        }
        guard !isQuoted else { throw Malformed() }
        parts.append(String(decoding: current, as: UTF8.self).trimmed)
        return parts.filter { !$0.isEmpty }
    }
}

extension StringProtocol {
    fileprivate var trimmed: String {
        var text = self[...]
        while let first = text.first, first == " " || first == "\t" { text = text.dropFirst() }
        while let last = text.last, last == " " || last == "\t" { text = text.dropLast() }
        return String(text)
    }
}

extension String {
    /// A quoted string's content without its backslashes.
    fileprivate var unescaped: String {
        var result = ""
        var isEscaped = false
        for character in self {
            if !isEscaped, character == "\\" {
                isEscaped = true
                continue
            }
            isEscaped = false
            result.append(character)
        }
        return result
    }
}
