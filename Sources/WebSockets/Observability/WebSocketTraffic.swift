//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
public import WebSocketLoop

/// What went over a connection, from its opening to its end.
public struct WebSocketTraffic: Sendable, Hashable {
    /// Messages that came whole, whether they were received or not.
    public let messagesReceived: Int
    /// Bytes that came, compressed as they were: on a client all of the frames, on a server their payloads.
    public let bytesReceived: Int
    /// Messages that the operating system took whole.
    public let messagesSent: Int
    /// Bytes of frames that the operating system took, compressed as they were.
    public let bytesSent: Int
    /// Sends that had to wait for room in the outbound buffer, because the peer read slowly.
    public let sendWaits: Int
    /// How long they waited, taken together.
    public let sendWaitTime: Duration
    /// On a server: broadcasts that the peer did not get, because it read too slowly for its limits.
    public let broadcastsDropped: Int

    init(_ traffic: ConnectionTraffic) {
        messagesReceived = traffic.messagesReceived
        bytesReceived = traffic.bytesReceived
        messagesSent = traffic.messagesSent
        bytesSent = traffic.bytesSent
        sendWaits = traffic.pressure.waits
        sendWaitTime = .nanoseconds(Int64(clamping: traffic.pressure.waitedNanoseconds))
        broadcastsDropped = traffic.pressure.broadcastsDropped
    }
}

/// A request that a server refused: by a rule of its own, or with a status of 400 and more of a hook's, a route's or an
/// authentication's. Health checks and pages that are answered well are none.
public struct WebSocketRefusal: Sendable, Hashable {
    /// The status of the answer.
    public let status: Int
    /// Why the server refused by itself, a sentence; nil for what a hook, a route or an authentication answered.
    public let reason: String?
    /// Who asked; as a trusted proxy says, if there is one.
    public let remoteAddress: WebSocketAddress?
}

extension Observation {
    /// An attempt that did not get as far as connecting.
    func failed(_ url: WebSocketURL, _ error: WebSocketError) {
        for observer in observers { observer.connectFailed(to: url, error: error, after: .zero) }
    }

    /// Tells what went over the connection, when it has ended.
    func watchTraffic(of wire: Connection) {
        guard !observers.isEmpty else { return }
        let summary = WebSocketConnectionSummary(wire)
        let observers = observers
        // The connection lets go of its observers when it has ended.
        wire.addEndObserver { _ in
            let traffic = WebSocketTraffic(wire.traffic)
            for observer in observers { observer.transferred(summary, traffic: traffic) }
        }
    }

    /// Tells how long the steps of an opening took; nil without observers.
    func timing(_ url: WebSocketURL) -> (@Sendable (WebSocketError.Phase, Duration) -> Void)? {
        guard !observers.isEmpty else { return nil }
        let observers = observers
        return { step, duration in
            for observer in observers { observer.passed(step, to: url, after: duration) }
        }
    }

    /// Tells of refusals; nil without observers.
    var refusals: (@Sendable (Int, String?, WebSocketAddress?) -> Void)? {
        guard !observers.isEmpty else { return nil }
        let observers = observers
        return { status, reason, address in
            guard reason != nil || status >= 400 else { return }
            let refusal = WebSocketRefusal(status: status, reason: reason, remoteAddress: address)
            for observer in observers { observer.refused(refusal) }
        }
    }
}
