//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore
public import WebSocketLoop

/// Receives what happens to connections: the seam for logs, metrics and traces.
///
/// Every method has a default that does nothing. They are called on the thread on which the event occurred, most of
/// them on the connection's loop, so they must not block. There is no event for each message: it would cost as much as
/// the message.
public protocol WebSocketObserver: Sendable {
    /// A client begins to connect.
    func connecting(to url: WebSocketURL)
    /// A connection was opened; on a client `duration` is how long that took, on a server zero.
    func opened(_ connection: WebSocketConnectionSummary, after duration: Duration)
    /// A client could not connect.
    func connectFailed(to url: WebSocketURL, error: WebSocketError, after duration: Duration)
    /// A step of a client's opening has succeeded, after this time: `nameResolution`, `connect`, `proxy`, `tls`, `upgrade`.
    /// A step that is not needed, such as looking an address up, is not told; of a redirect each step is told again.
    func passed(_ step: WebSocketError.Phase, to url: WebSocketURL, after duration: Duration)
    /// A server refused a request.
    func refused(_ refusal: WebSocketRefusal)
    /// A connection has ended, and this went over it. Told right behind `closed`.
    func transferred(_ connection: WebSocketConnectionSummary, traffic: WebSocketTraffic)
    /// A ping was answered, the keepalive's or the user's.
    func ponged(_ connection: WebSocketConnectionSummary, roundTrip: Duration)
    /// A connection ended, `duration` after it was opened.
    func closed(_ connection: WebSocketConnectionSummary, info: WebSocketCloseInfo, after duration: Duration)
}

extension WebSocketObserver {
    /// Does nothing: the default.
    public func connecting(to url: WebSocketURL) {}
    /// Does nothing: the default.
    public func opened(_ connection: WebSocketConnectionSummary, after duration: Duration) {}
    /// Does nothing: the default.
    public func connectFailed(to url: WebSocketURL, error: WebSocketError, after duration: Duration) {}
    /// Does nothing: the default.
    public func passed(_ step: WebSocketError.Phase, to url: WebSocketURL, after duration: Duration) {}
    /// Does nothing: the default.
    public func refused(_ refusal: WebSocketRefusal) {}
    /// Does nothing: the default.
    public func transferred(_ connection: WebSocketConnectionSummary, traffic: WebSocketTraffic) {}
    /// Does nothing: the default.
    public func ponged(_ connection: WebSocketConnectionSummary, roundTrip: Duration) {}
    /// Does nothing: the default.
    public func closed(_ connection: WebSocketConnectionSummary, info: WebSocketCloseInfo, after duration: Duration) {}
}

/// What an observer is told about a connection.
public struct WebSocketConnectionSummary: Sendable, Hashable, CustomStringConvertible {
    /// A number that no other connection of the process has: it joins the lines of a log.
    public let id: UInt64
    /// On a client: where it connected to. Its description hides credentials and the query's values.
    public let url: WebSocketURL?
    /// The peer's address.
    public let remoteAddress: WebSocketAddress?
    /// The subprotocol agreed on.
    public let subprotocol: String?
    /// The version of TLS; nil without TLS.
    public let tlsVersion: String?
    /// Whether permessage-deflate was agreed on.
    public let isCompressed: Bool

    init(_ wire: Connection) {
        let details = wire.details
        id = wire.number
        url = details.url
        remoteAddress = details.remoteAddress
        subprotocol = details.subprotocol
        tlsVersion = details.tls?.version
        isCompressed = details.deflate != nil
    }

    /// The number and the peer, without anything secret.
    public var description: String {
        "connection \(id) \(url.map { "to \($0)" } ?? "from \(remoteAddress.map { "\($0)" } ?? "a peer")")"
    }
}
