//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import WebSocketLoop
import WebSockets

/// Which hosts a request may ask for.
///
/// A web page can make its own name mean 127.0.0.1 (DNS rebinding). The browser then takes `wsx listen` for the page's
/// own server, so origins agree; what gives the page away is its name in `Host`.
struct HostNames: Sendable {
    /// What `--host-name` allows beside `localhost` and addresses: names, `*.` and a name, or `*`.
    let allowed: [String]

    /// `nil` for a request that may be answered. Only one that came over the loopback interface is judged, unless names
    /// are given: another one is exposed on purpose.
    func refusal(of request: WebSocketUpgradeRequest) -> WebSocketUpgradeDecision? {
        guard case .ip(let local, _) = request.localAddress else { return nil }
        guard Self.isLoopback(local) || !allowed.isEmpty, !allows(request.host) else { return nil }
        return .respond(
            status: 421, headers: [.xContentTypeOptions: "nosniff"],
            text: "This server answers to localhost and to addresses. For another name, such as that of a proxy in "
                + "front of it, start it with --host-name NAME.\n")
    }

    /// `host` may have a port.
    func allows(_ host: String) -> Bool {
        var name = host.lowercased()
        if name.hasPrefix("[") {
            guard let end = name.firstIndex(of: "]") else { return false }
            return Self.isAddress(String(name[name.index(after: name.startIndex)..<end]), AF_INET6)
        }
        if let colon = name.firstIndex(of: ":") { name = String(name[..<colon]) }
        if name.hasSuffix(".") { name.removeLast() }
        if name == "localhost" || name.hasSuffix(".localhost") || Self.isAddress(name, AF_INET) { return true }
        return allowed.contains { pattern in
            let pattern = pattern.lowercased()
            if pattern == "*" { return true }
            return pattern.hasPrefix("*.") ? name.hasSuffix(pattern.dropFirst()) : name == pattern
        }
    }

    private static func isAddress(_ text: String, _ family: CInt) -> Bool {
        var address = in6_addr()
        return inet_pton(family, text, &address) == 1
    }

    private static func isLoopback(_ address: String) -> Bool { address.hasPrefix("127.") || address == "::1" }
}
