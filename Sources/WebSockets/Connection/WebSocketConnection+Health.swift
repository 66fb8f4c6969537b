//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore
import WebSocketLoop

extension WebSocketConnection {
    /// The state of a connection.
    public enum State: Sendable, Hashable {
        /// Messages can be sent.
        case open
        /// A close is under way, or the connection has failed and is being torn down.
        case closing
        /// It has ended; ``WebSocketConnection/closeInfo`` says how.
        case closed
    }

    /// The connection's state a moment ago. From any thread.
    public var state: State {
        if wire.finalCloseInfo != nil { return .closed }
        return wire.isUsable ? .open : .closing
    }

    /// How the connection ended; nil while it has not. See ``closed()`` to wait for it.
    public var closeInfo: WebSocketCloseInfo? { wire.finalCloseInfo }

    /// The round trip of the last ping that was answered, the keepalive's or the user's; nil before the first pong.
    public var latency: Duration? {
        wire.latency.map { .nanoseconds(Int64(clamping: $0)) }
    }

    /// Sends a ping (RFC 6455 §5.5.2), waits for its pong and returns the round trip. A pong answers every earlier ping
    /// too (§5.5.3).
    ///
    /// - Parameters:
    ///   - payload: At most 125 bytes, not those of a ping that is still unanswered; nil, the default, for a number. A
    ///     server's empty one is replaced by a number, because libwebsockets 4.1.6 does not tell a server of empty pongs.
    ///   - timeout: How long the pong may take, on the loop's clock: one that has arrived counts, however late the caller
    ///     comes to hear of it. The connection goes on without one. Default nil: as long as the connection lives, which
    ///     ``WebSocketOptions/keepAlive`` bounds.
    /// - Throws: `timedOut` with phase `ping`; `connectionClosed` when the connection ends first; `cancelled`;
    ///   `invalidPing` and `invalidConfiguration`, before anything is sent.
    @discardableResult
    public func ping(
        _ payload: [UInt8]? = nil, timeout: Duration? = nil
    ) async throws(WebSocketError) -> Duration {
        if let timeout, timeout <= .zero {
            throw WebSocketError(.invalidConfiguration, "timeout is \(timeout); it must be positive")
        }
        return .nanoseconds(Int64(clamping: try await wire.ping(payload, timeout: timeout)))
    }

    /// Sends an unsolicited pong, as a sign of life in one direction (RFC 6455 §5.5.3).
    ///
    /// - Parameter payload: At most 125 bytes.
    /// - Throws: `invalidPing`, before anything is sent; `connectionClosed`.
    public func pong(_ payload: [UInt8] = []) async throws(WebSocketError) { try await wire.pong(payload) }

    /// Calls `handler` for every pong that arrives from now on, also for those that answer no ping of ours; those have
    /// no round trip. It runs on the connection's loop and must not block. Several handlers are called in turn.
    public func onPong(_ handler: @escaping @Sendable (_ payload: [UInt8], _ roundTrip: Duration?) -> Void) {
        wire.addPongHandler { payload, roundTrip in
            handler(payload, roundTrip.map { .nanoseconds(Int64(clamping: $0)) })
        }
    }
}
