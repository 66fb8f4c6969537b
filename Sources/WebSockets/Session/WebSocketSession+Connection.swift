//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
import Synchronization
public import WebSocketCore
public import WebSocketLoop

/// The connection whose messages flow at present. A renewal changes all of it at once, but from one of these to the next the
/// session may have another connection: what belongs together is in `prepare`, whose parameter has its new connection's.
extension WebSocketSession {
    private var present: WebSocketConnection? {
        core.coordinator.withLock { $0.machine.openConnection?.1 }?.underlying
    }

    /// The server's answer to the handshake, with all its headers; nil without a connection.
    public var response: WebSocketError.Response? { present?.response }
    /// The headers that the handshake was asked with, credentials included; none without a connection.
    public var requestHeaders: HTTPFields { present?.requestHeaders ?? [:] }
    /// The URL that is connected to: one of several, ``WebSocketClientConfiguration/beforeConnect``'s, or a redirect's. nil
    /// without a connection.
    public var connectedURL: WebSocketURL? { present?.url }
    /// The subprotocol agreed on, if any; nil without a connection.
    public var subprotocol: String? { present?.subprotocol }
    /// permessage-deflate's parameters, if it was agreed on; nil without a connection.
    public var deflate: WebSocketNegotiatedDeflate? { present?.deflate }
    /// What TLS negotiated; nil without TLS and without a connection.
    public var tls: WebSocketTLSInfo? { present?.tls }
    /// This end's address; nil without a connection.
    public var localAddress: WebSocketAddress? { present?.localAddress }
    /// The peer's address; nil without a connection.
    public var remoteAddress: WebSocketAddress? { present?.remoteAddress }
    /// The round trip of the last ping that was answered; nil without a connection and before the first pong.
    public var latency: Duration? { present?.latency }
}
