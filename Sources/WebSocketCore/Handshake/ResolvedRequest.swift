//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes

extension HTTPRequestHead {
    /// The request with a path as its target, and in `Host` the host that it is for.
    ///
    /// A target in absolute form, as clients send it to a proxy, is taken apart; its authority replaces `Host`
    /// (RFC 9112 §3.2.2). `Host` is there once and is a host with or without a port (RFC 9112 §3.2); in HTTP/1.0 it may be
    /// missing.
    package func resolved() throws(UpgradeRefusal) -> HTTPRequestHead {
        let hosts = fields[values: .hostField]
        guard hosts.count <= 1 else { throw .badRequest("Host stands more than once") }
        if let host = hosts.first {
            guard !host.isEmpty else { throw .badRequest("the Host header is empty") }
            guard URLAuthority.isHostAndPort(host[...]) else {
                throw .badRequest("the Host header is not a host with or without a port")
            }
        } else if !isHTTP10 {
            throw .badRequest("the Host header is missing")
        }
        guard !target.utf8.contains(UInt8(ascii: "#")) else {
            throw .badRequest("the request target has a fragment; it ends before the #")
        }
        if target.utf8.first == UInt8(ascii: "/") { return self }
        guard let separator = target.firstRange(of: "://"),
            ["http", "https", "ws", "wss"].contains(target[..<separator.lowerBound].lowercased())
        else {
            // `*` and an authority belong to OPTIONS and CONNECT.
            throw method == "GET" ? .badRequest("the request target must be a path or a URL") : .methodNotAllowed
        }
        let rest = target[separator.upperBound...]
        let end = rest.utf8.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
        guard URLAuthority.isHostAndPort(rest[..<end]) else {
            throw .badRequest("the request target's authority is not a host with or without a port")
        }
        var result = self
        result.target = rest[end...].utf8.first == UInt8(ascii: "/") ? String(rest[end...]) : "/\(rest[end...])"
        result.fields[.hostField] = String(rest[..<end])
        return result
    }

    /// Whether this asks for a WebSocket, rightly or wrongly.
    package var attemptsWebSocket: Bool { fields[.upgrade]?.lowercased().contains("websocket") == true }
}
