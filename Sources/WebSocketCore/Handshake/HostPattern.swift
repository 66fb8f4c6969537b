//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Hosts that a server answers for, compared with what `Host` says.
package struct HostPattern: Sendable, Hashable {
    private enum Names: Hashable {
        case name(String)
        /// Every name that ends with a dot and this one.
        case subdomains(of: String)
        case addresses(AddressRange)
    }

    private let names: Names
    /// `nil` for every port.
    private let port: Int?

    /// `example.com`; `*.example.com` for every subdomain but not `example.com` itself; `127.0.0.1`, `::1` or a network
    /// such as `127.0.0.0/8`. A name, an IPv4 address and an IPv6 address in brackets may have a port, and else it is any.
    package init?(_ text: String) {
        if let range = AddressRange(text) {
            (names, port) = (.addresses(range), nil)
            return
        }
        let isSubdomains = text.hasPrefix("*.")
        guard let authority = try? URLAuthority(isSubdomains ? text.dropFirst(2) : text[...]),
            authority.userInfo == nil, let name = Self.bare(authority.host)
        else { return nil }
        port = authority.port
        if let address = AddressRange(name) {
            guard !isSubdomains else { return nil }
            names = .addresses(address)
        } else {
            names = isSubdomains ? .subdomains(of: name) : .name(name)
        }
    }

    /// - Parameters:
    ///   - host: As `Host` has it, with or without a port.
    ///   - defaultPort: The port of a host without one.
    package func matches(_ host: String, defaultPort: Int) -> Bool {
        guard let authority = try? URLAuthority(host[...]), let name = Self.bare(authority.host) else { return false }
        guard port == nil || port == (authority.port ?? defaultPort) else { return false }
        switch names {
        case .name(let own): return name == own
        // With its dot, or `evil-example.com` would be a subdomain of `example.com`.
        case .subdomains(let own): return name.hasSuffix("." + own) && name.utf8.count > own.utf8.count + 1
        case .addresses(let range): return AddressBytes(name).map(range.contains) ?? false
        }
    }

    /// Without the dot at the end that says that a name is whole.
    private static func bare(_ host: String) -> String? {
        let name = host.hasSuffix(".") ? String(host.dropLast()) : host
        return name.isEmpty || name.hasPrefix(".") ? nil : name
    }
}
