//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Where a client connects to, when it is not where its URL says.
public enum WebSocketEndpoint: Sendable, Hashable {
    /// Another host, a name or an address without brackets, and port. An IPv6 address may have a zone, such as
    /// `fe80::1%eth0` (RFC 4007 §11).
    case host(String, port: Int)
    /// A Unix socket: a path, or an abstract name with `@` in front. At most 107 bytes.
    case unix(path: String)

    /// Refuses what cannot be connected to.
    package func validate() throws(WebSocketError) {
        switch self {
        case .host(let host, let port):
            guard (1...65_535).contains(port) else {
                throw WebSocketError(.invalidConfiguration, "connectTo has the port \(port); it must be in 1...65535")
            }
            let isHost =
                IPAddress.isAddress(host)
                || (!host.isEmpty && host.utf8.count <= 253 && host.utf8.allSatisfy(\.isHostCharacter)
                    && !host.hasEmptyLabel)
            guard isHost else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "connectTo has a host that is not a name or an address: “\(host.escapedForLog)”; write it without brackets, scheme and port"
                )
            }
        case .unix(let path):
            guard path.utf8.count <= 107, !path.isEmpty, path != "@", !path.utf8.contains(0) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "connectTo: the Unix socket's path must have 1 to 107 bytes, none of them zero; use a shorter one")
            }
        }
    }
}
