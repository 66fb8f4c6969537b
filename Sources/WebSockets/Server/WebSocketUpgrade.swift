//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
public import WebSocketCore
public import WebSocketLoop

/// A request to a server, as the one who decides about it sees it.
public struct WebSocketUpgradeRequest: Sendable {
    private let wire: UpgradeRequest
    /// What the route's pattern took out of the path, decoded.
    public internal(set) var parameters: [String: String] = [:]
    /// Who the client is, when the configuration's authentication has found out.
    public internal(set) var user: String?
    /// What the hook leaves for the connection.
    var attachment: (any AnyObject & Sendable)?

    init(_ wire: UpgradeRequest) { self.wire = wire }

    /// Such as `GET`.
    public var method: String { wire.head.method }
    /// The target of the request line, byte for byte: path and query. Of a whole URL, as clients send it to a proxy, only
    /// those; its host is ``host`` then, and the `Host` of ``headers``.
    public var target: String { wire.head.target }
    /// The target up to its question mark, byte for byte.
    public var path: Substring { target.prefix { $0 != "?" } }
    /// The target behind its question mark, byte for byte; `nil` without one.
    public var query: Substring? {
        guard let mark = target.firstIndex(of: "?") else { return nil }
        return target[target.index(after: mark)...]
    }
    /// All header fields, in the order in which they came.
    public var headers: HTTPFields { wire.head.fields }
    /// The host that the client asked for, with the port where it gave one; as a trusted proxy says, if there is one. Empty
    /// in HTTP/1.0 without a `Host`.
    public var host: String { wire.host ?? "" }
    /// The page that a browser's script belongs to (RFC 6454); other clients rarely send one.
    public var origin: String? { headers[.origin] }
    /// What the client offers, in its order; empty when this is no WebSocket handshake.
    public var subprotocols: [String] { (try? wire.upgrade.get())?.subprotocols ?? [] }
    /// Whether this is a WebSocket handshake. Other requests can only be answered with
    /// ``WebSocketUpgradeDecision/respond(status:headers:body:)``; accepting one sends what it gets by default, 426 or 405.
    public var isWebSocket: Bool { if case .success = wire.upgrade { true } else { false } }
    /// Whether the client used TLS, here or, as it says, at a trusted proxy.
    public var isSecure: Bool { wire.isSecure }
    /// The server's end.
    public var localAddress: WebSocketAddress? { wire.localAddress }
    /// The client's end; as a trusted proxy says, if there is one.
    public var remoteAddress: WebSocketAddress? { wire.remoteAddress }
    /// What TLS negotiated; `nil` without TLS here.
    public var tls: WebSocketTLSInfo? { wire.tls }
    /// The client's certificate, verified; `nil` when it showed none.
    public var clientCertificate: WebSocketTLSClientCertificate? { wire.clientCertificate }
}

/// What becomes of a request.
public enum WebSocketUpgradeDecision: Sendable {
    /// It becomes a WebSocket connection. The headers are added to the 101 answer; they may not be those of the handshake
    /// itself. `options` replace the server's for this connection.
    case accept(
        subprotocol: Subprotocol = .automatic, headers: HTTPFields = [:], options: WebSocketOptions? = nil)
    /// It gets this answer, and the connection ends. Length and connection headers are added.
    case respond(status: Int, headers: HTTPFields = [:], body: [UInt8] = [])

    /// The subprotocol of an accepted connection (RFC 6455 §4.2.2).
    public enum Subprotocol: Sendable, Hashable, ExpressibleByStringLiteral {
        /// The client's first one that the configuration lists.
        case automatic
        /// This one; the client must have offered it.
        case named(String)
        /// None.
        case none

        /// The subprotocol with this name.
        public init(stringLiteral value: String) { self = .named(value) }
    }

    /// An answer with a text for a person.
    public static func respond(status: Int, headers: HTTPFields = [:], text: String) -> Self {
        var headers = headers
        if headers[.contentType] == nil { headers[.contentType] = "text/plain; charset=utf-8" }
        return .respond(status: status, headers: headers, body: Array((text + "\n").utf8))
    }
}

/// Decides about a request.
///
/// Runs where the configuration's ``WebSocketServerConfiguration/executor`` says. It may take its time, up to the
/// handshake's timeout, after which the client gets 503; it is cancelled then, and when the client leaves. When it throws,
/// the client gets 500 and the error is logged.
public typealias WebSocketUpgradeHook =
    @Sendable @concurrent (WebSocketUpgradeRequest) async throws -> WebSocketUpgradeDecision

/// A decision that leaves something for the connection.
package struct WebSocketAttachingDecision: Sendable {
    package var decision: WebSocketUpgradeDecision
    /// Who the client is.
    package var user: String?
    /// Is released with the connection, or at once where there will be none.
    package var attachment: (any AnyObject & Sendable)?

    package init(
        _ decision: WebSocketUpgradeDecision, user: String? = nil, attachment: (any AnyObject & Sendable)? = nil
    ) {
        self.decision = decision
        self.user = user
        self.attachment = attachment
    }
}

/// As ``WebSocketUpgradeHook``.
package typealias WebSocketAttachingHook =
    @Sendable @concurrent (WebSocketUpgradeRequest) async throws -> WebSocketAttachingDecision

extension WebSocketConnection {
    /// On a server whose hook leaves something: that.
    package var attachment: (any AnyObject & Sendable)? { wire.details.upgrade?.attachment }
    /// On a server with routes: what the pattern took out of the path, decoded.
    public var routeParameters: [String: String] { wire.details.upgrade?.parameters ?? [:] }
    /// On a server with authentication: who the client is.
    public var user: String? { wire.details.upgrade?.user }
    /// On a server that asks for them: the client's certificate, verified.
    public var clientCertificate: WebSocketTLSClientCertificate? { wire.details.upgrade?.clientCertificate }
}
