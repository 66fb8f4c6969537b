//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
import Synchronization
public import WebSocketCore
public import WebSocketLoop

extension WebSocketManagedConnection {
    // MARK: Health

    /// Asks the peer for a sign of life, and waits for it. The connection need not be acquired.
    ///
    /// The time is the loop's, not the caller's: a pong that has arrived counts, however late the caller comes to hear
    /// of it.
    ///
    /// - Parameters:
    ///   - payload: At most 125 bytes; nil, the default, for a number.
    ///   - timeout: How long the pong may take. A connection without one is aborted. Default 10 s.
    /// - Returns: The round trip.
    /// - Throws: `timedOut` with phase `ping`, `connectionUnavailable`, `connectionClosed`, `cancelled`; `invalidPing`
    ///   and `invalidConfiguration`, before anything is sent.
    @discardableResult
    public func ping(
        _ payload: [UInt8]? = nil, timeout: Duration = .seconds(10)
    ) async throws(WebSocketError) -> Duration {
        guard timeout > .zero else {
            throw WebSocketError(.invalidConfiguration, "timeout is \(timeout); it must be positive")
        }
        let socket = try present()
        touch()
        do throws(WebSocketError) {
            return .nanoseconds(Int64(clamping: try await socket.wire.ping(payload, timeout: timeout, late: .aborts)))
        } catch {
            throw error.ofManaged
        }
    }

    /// Sends a pong as a sign of life in one direction (RFC 6455 §5.5.3). The connection need not be acquired.
    ///
    /// - Parameter payload: At most 125 bytes.
    /// - Throws: `invalidPing`, before anything is sent; `connectionUnavailable`, `connectionClosed`.
    public func pong(_ payload: [UInt8] = []) async throws(WebSocketError) {
        let socket = try present()
        touch()
        do throws(WebSocketError) { try await socket.pong(payload) } catch { throw error.ofManaged }
    }

    /// Waits until the present connection has ended, from either side, and says how. The connection need not be acquired.
    ///
    /// - Throws: `connectionUnavailable` when there is none; `cancelled`.
    public func closed() async throws(WebSocketError) -> WebSocketCloseInfo { try await present().closed() }

    /// The connection, acquired or not.
    private func present() throws(WebSocketError) -> WebSocketConnection {
        let result: Result<WebSocketConnection, WebSocketError> = state.withLock { state in
            if let socket = state.socket { return .success(socket) }
            if let end = state.machine.end { return .failure(.refused(.closed(end))) }
            guard state.machine.isBusy else {
                return .failure(
                    WebSocketError(
                        .connectionUnavailable, "there is no connection at present; connect() or acquire() opens one"))
            }
            return .failure(.unavailable(nil))
        }
        return try result.get()
    }

    // MARK: The present connection

    private var socket: WebSocketConnection? { state.withLock { $0.socket } }

    /// How the last connection ended; nil before the first end.
    public var closeInfo: WebSocketCloseInfo? { state.withLock { $0.closeInfo } }
    /// The round trip of the last ping that was answered; nil without a connection and before the first pong.
    public var latency: Duration? { socket?.latency }
    /// The subprotocol agreed on, if any; nil without a connection.
    public var subprotocol: String? { socket?.subprotocol }
    /// permessage-deflate's parameters, if it was agreed on; nil without a connection.
    public var deflate: WebSocketNegotiatedDeflate? { socket?.deflate }
    /// What TLS negotiated; nil without TLS and without a connection.
    public var tls: WebSocketTLSInfo? { socket?.tls }
    /// This end's address; nil without a connection.
    public var localAddress: WebSocketAddress? { socket?.localAddress }
    /// The peer's address; nil without a connection.
    public var remoteAddress: WebSocketAddress? { socket?.remoteAddress }
    /// The server's answer to the handshake, with all its headers; nil without a connection.
    public var response: WebSocketError.Response? { socket?.response }
    /// The headers that the present connection's handshake was asked with, credentials included; none without a
    /// connection.
    public var requestHeaders: HTTPFields { socket?.requestHeaders ?? [:] }
}
