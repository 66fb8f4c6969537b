//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
import WebSocketConcurrency
public import WebSocketCore
public import WebSocketLoop

/// A connection that another server has accepted, whose request that server has read, and that it can part with. What
/// a web framework's adapter provides.
public protocol WebSocketUpgradeSource {
    /// The request as the other server has read it: method, target, `Host` (or the authority) and all headers. A scheme
    /// of `https` or `wss` says that the client came over TLS that the other server has ended.
    var upgradeRequest: HTTPRequest { get }
    /// What the other server has read behind the request: a client may send frames early.
    var bytesBehindRequest: [UInt8] { get }
    /// The socket. Afterwards the other server must neither read nor write; one that closes its descriptor in any case
    /// gives a duplicate (``WebSocketConnectedSocket/init(duplicating:)``).
    ///
    /// It must be the client's own TCP or unix socket. One that carries TLS cannot be taken over in the middle.
    func takeSocket() throws -> WebSocketConnectedSocket
}

extension WebSocketServer {
    /// Takes over a socket whose request another server has read, and makes it a connection of this server: hooks,
    /// origins, limits, ``connections``, ``broadcast(_:except:)`` and ``shutDown(code:reason:timeout:spread:)`` apply as to any other. The server
    /// need not listen, nor run.
    ///
    /// - Parameters:
    ///   - socket: The client's socket. From here on it is this server's, whatever happens.
    ///   - request: The request as it was read. `authority` counts as `Host` where there is no such header.
    ///   - bytesBehind: What was read behind it.
    /// - Returns: The open connection. It is the caller's: close it when you are done.
    /// - Throws: `handshakeRejected` when the request was answered with another status than 101, which the error has, with
    ///   the beginning of the answer's body and, where the server refused by itself, the reason;
    ///   `invalidConfiguration` for a request that cannot be written in HTTP/1.1; `connectionClosed` when the client left;
    ///   `timedOut`; `shutDown`; `cancelled`: the client gets 503 if it was waiting for a decision, and is cut off before.
    public func accept(
        _ socket: consuming WebSocketConnectedSocket, request: HTTPRequest, bytesBehind: [UInt8] = []
    ) async throws(WebSocketError) -> WebSocketConnection {
        let preread = try Self.preread(request, bytesBehind)
        return try await take(socket.handOver(), preread)
    }

    /// Takes over a socket that has not been read from: the handshake is done here, with TLS if the configuration has it.
    /// Otherwise as ``accept(_:request:bytesBehind:)``.
    ///
    /// - Throws: As ``accept(_:request:bytesBehind:)``; also `tlsFailed`.
    public func accept(_ socket: consuming WebSocketConnectedSocket) async throws(WebSocketError) -> WebSocketConnection
    {
        try await take(socket.handOver(), nil)
    }

    /// Takes over what a framework's adapter hands over. See ``accept(_:request:bytesBehind:)``.
    public func accept(_ source: some WebSocketUpgradeSource) async throws -> WebSocketConnection {
        let preread = try Self.preread(source.upgradeRequest, source.bytesBehindRequest)
        // Its number and not its owner goes on: Swift 6.3.1's optimiser crashes when a noncopyable value reaches an await
        // in a generic function.
        let descriptor = try source.takeSocket().handOver()
        return try await take(descriptor, preread)
    }

    private static func preread(
        _ request: HTTPRequest, _ bytesBehind: [UInt8]
    ) throws(WebSocketError) -> ServerUpgrade.Preread {
        var fields = request.headerFields
        if fields[.hostField] == nil, let authority = request.authority { fields[.hostField] = authority }
        let target = request.path ?? "/"
        guard target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw WebSocketError(
                .invalidConfiguration,
                "the request's path has characters that a path cannot have; hand it over as it came, percent-encoded")
        }
        return ServerUpgrade.Preread(
            head: HTTPRequestHead(method: request.method.rawValue, target: target, fields: fields),
            behind: bytesBehind, isSecure: ["https", "wss"].contains(request.scheme?.lowercased()))
    }

    /// - Parameter descriptor: Handed over: it is closed in any case.
    private func take(
        _ descriptor: CInt, _ preread: ServerUpgrade.Preread?
    ) async throws(WebSocketError) -> WebSocketConnection {
        let queue = state.nextQueue()
        var policy = policy
        let state = state
        policy.established = { connection in
            state.noteAccepted()
            queue.open.insert(connection)
        }
        let taken = policy
        let cancellation = UpgradeCancellation(loop: queue.loop)
        let result: Result<Connection, WebSocketError> = await withTaskCancellationHandler {
            await suspend { continuation in
                let begun = queue.loop.execute {
                    ServerUpgrade.begin(
                        descriptor, on: queue.loop, policy: taken, register: queue.open, preread: preread,
                        cancellation: cancellation, outcome: { continuation.resume(returning: $0) })
                }
                guard !begun else { return }
                state.closeOrphan(descriptor)
                continuation.resume(
                    returning: .failure(
                        WebSocketError(
                            .shutDown, "the server's event loop has been shut down; accept with one that runs")))
            }
        } onCancel: {
            cancellation.cancel()
        }
        let connection = WebSocketConnection(try result.get())
        queue.list(connection)
        return connection
    }
}
