//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// Which proxies stand in front of a server and may say who the client is. The default trusts nobody.
package struct ForwardingTrust: Sendable, Hashable {
    package var ranges: [AddressRange] = []
    /// Whoever may open the server's unix socket may speak for others.
    package var trustsUnixSockets = false

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

    private struct Hop {
        var address: String?
        var port: Int?
        var proto: String?
        var host: String?
    }

    /// Reads the headers from the right, where the nearest proxy wrote, and goes left as long as the address there is a
    /// trusted one: what stands further left could be the client's invention. `nil` when no header says anything.
    ///
    /// `Forwarded` counts alone where it is present. A malformed header ends the walk.
    package init?(_ fields: HTTPFields, trust: ForwardingTrust) {
        let hops = fields[Self.forwarded].map(Self.forwardedHops) ?? Self.legacyHops(fields)
        guard !hops.isEmpty else { return nil }
        for hop in hops.reversed() {
            (address, port) = (hop.address, hop.port)
            if let proto = hop.proto { isSecure = ["https", "wss"].contains(proto.lowercased()) }
            if let host = hop.host { self.host = host }
            guard let address, trust.trusts(address) else { break }
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
        var hops = addresses.map { text in
            let node = node(text)
            return Hop(address: node.address, port: node.port)
        }
        if hops.isEmpty { hops = [Hop()] }
        hops[hops.count - 1].proto = proto
        hops[hops.count - 1].host = host
        return hops
    }

    private static func forwardedHops(_ text: String) -> [Hop] {
        var hops: [Hop] = []
        for element in split(text, at: UInt8(ascii: ",")) {
            var hop = Hop()
            for pair in split(element, at: UInt8(ascii: ";")) {
                guard let equals = pair.firstIndex(of: "=") else { continue }
                var value = String(pair[pair.index(after: equals)...])
                if value.hasPrefix("\""), value.hasSuffix("\""), value.utf8.count >= 2 {
                    value = String(value.dropFirst().dropLast()).unescaped
                }
                switch pair[..<equals].lowercased() {
                case "for": (hop.address, hop.port) = node(value)
                case "proto": hop.proto = value
                case "host": hop.host = value
                default: break
                }
            }
            hops.append(hop)
        }
        return hops
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
        return (String(address), Int(text[text.index(after: colon)...]))
    }

    /// Cuts at a character that is not inside quotes.
    private static func split(_ text: String, at separator: UInt8) -> [String] {
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
