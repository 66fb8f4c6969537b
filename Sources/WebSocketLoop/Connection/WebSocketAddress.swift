//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The address of a socket's end.
public enum WebSocketAddress: Sendable, Hashable, CustomStringConvertible {
    /// An IPv4 or IPv6 address, with its zone if it has one.
    case ip(address: String, port: Int)
    /// A path; an abstract name begins with `@`; empty for an unnamed socket, which a client's usually is.
    case unix(path: String)

    /// The port of an IP address.
    public var port: Int? { if case .ip(_, let port) = self { port } else { nil } }

    /// `host:port`, an IPv6 host in brackets.
    public var description: String {
        switch self {
        case .ip(let address, let port): address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}
