//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Synchronization
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// A server of one loop, without the public API above it.
final class LoopServer: Sendable {
    let loop: WebSocketEventLoop
    private let listener: Listener
    private let connections: AsyncStream<Connection>

    var port: Int { listener.address.port! }

    init(
        loop: WebSocketEventLoop, options: WebSocketOptions = .quiet, tls: ServerTLSContext? = nil,
        handshakeTimeout: Duration = .seconds(60), limits: HTTPRequestHeadParser.Limits = .init(),
        decide: @escaping @Sendable (ValidatedUpgrade) -> Result<UpgradeResponse, UpgradeRefusal> = { _ in
            .success(UpgradeResponse())
        }
    ) throws {
        self.loop = loop
        let (stream, continuation) = AsyncStream.makeStream(of: Connection.self)
        connections = stream
        let seen = Seen()
        var policy = UpgradePolicy(
            options: options, handshakeTimeout: handshakeTimeout, tls: tls, decide: { request, _ in decide(request) },
            established: { connection in
                seen.all.withLock { $0.append(connection) }
                continuation.yield(connection)
            })
        policy.limits = limits
        self.seen = seen
        listener = try Listener(loop: loop, host: "127.0.0.1", port: 0, backlog: 256) { [policy] descriptor in
            ServerUpgrade.begin(descriptor, on: loop, policy: policy)
        }
    }

    private final class Seen: Sendable { let all = Mutex<[Connection]>([]) }
    private let seen: Seen

    /// The next established connection.
    func next() async throws -> Connection {
        var iterator = connections.makeAsyncIterator()
        guard let connection = await iterator.next() else { throw CancellationError() }
        return connection
    }

    func start() async { await loop.run { self.listener.start() } }

    /// Stops and ends all connections.
    func stop() async {
        await loop.run { self.listener.stop() }
        for connection in seen.all.withLock({ $0 }) { await connection.end() }
    }
}

/// Runs a server for the time of the body.
func withServer<Value: Sendable>(
    on loop: WebSocketEventLoop, options: WebSocketOptions = .quiet, tls: ServerTLSContext? = nil,
    handshakeTimeout: Duration = .seconds(60), limits: HTTPRequestHeadParser.Limits = .init(),
    decide: @escaping @Sendable (ValidatedUpgrade) -> Result<UpgradeResponse, UpgradeRefusal> = { _ in
        .success(UpgradeResponse())
    },
    _ body: (LoopServer) async throws -> Value
) async throws -> Value {
    let server = try LoopServer(
        loop: loop, options: options, tls: tls, handshakeTimeout: handshakeTimeout, limits: limits, decide: decide)
    await server.start()
    do {
        let value = try await body(server)
        await server.stop()
        return value
    } catch {
        await server.stop()
        throw error
    }
}

extension ClientRequest {
    /// A request to a port of this machine.
    init(
        port: Int, target: String = "/", fields: HTTPFields = [:], subprotocols: [String] = [],
        options: WebSocketOptions = .quiet, openTimeout: Duration = .seconds(60)
    ) throws {
        try self.init(
            url: WebSocketURL("ws://127.0.0.1:\(port)\(target)"), fields: fields, subprotocols: subprotocols,
            options: options, openTimeout: openTimeout, tls: WebSocketTLSClientConfiguration())
    }
}

/// Which side of a connection is ours.
enum Side: String, CaseIterable, Sendable { case client, server }

/// Whether permessage-deflate is agreed on.
enum Compression: String, CaseIterable, Sendable {
    case plain, deflate
    static let agreement = "permessage-deflate"
}

/// A connection of ours, open to a peer whose every byte the test decides.
struct Pair {
    let ours: Connection
    let peer: WebSocketBytePeer
    let loop: WebSocketEventLoop
    /// The peer's two directions, whole windows, context kept.
    let compressor = WebSocketRawDeflate.compressor()
    let decompressor = WebSocketRawDeflate.decompressor()

    /// A frame with a whole message or its first part, compressed.
    func compressed(_ opcode: UInt8, _ message: [UInt8], final: Bool = true) -> WebSocketWireFrame {
        WebSocketWireFrame(opcode, compressor.compress(message), final: final, reserved: .rsv1)
    }

    /// A round trip of the peer's, behind everything sent before.
    func fence() async throws {
        try await peer.send(WebSocketWireFrame(WebSocketWireFrame.ping, Array("fence".utf8)))
        var pong = try await peer.readFrame()
        // A pong that answers nothing may lead to another ping of ours.
        while pong.opcode == WebSocketWireFrame.ping { pong = try await peer.readFrame() }
        guard pong.opcode == WebSocketWireFrame.pong, pong.payload == Array("fence".utf8) else {
            throw WebSocketFrameViolation(description: "a frame of opcode \(pong.opcode) instead of the pong")
        }
    }
}

/// Opens a connection between our side and a byte peer for the time of the body; then nothing may be left.
///
/// - Parameters:
///   - agreement: What the peer writes into its `Sec-WebSocket-Extensions`; by default what `compression` says.
///   - behind: Bytes in the same segment as the peer's part of the handshake.
func withPair<Value: Sendable>(
    _ side: Side, _ compression: Compression = .plain, options: WebSocketOptions = .quiet,
    agreement: String? = nil, receiveBuffer: Int? = nil, backend: WebSocketEventLoop.Backend? = nil,
    behind: [UInt8] = [],
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (Pair) async throws -> Value
) async throws -> Value {
    var options = options
    if compression == .deflate, options.compression == .disabled { options.compression = .deflate() }
    let extensions = agreement ?? (compression == .deflate ? Compression.agreement : nil)
    return try await withLoops(backend: backend, sourceLocation: sourceLocation) { [options] group in
        let loop = group.loops[0]
        func use(_ ours: Connection, _ peer: WebSocketBytePeer) async throws -> Value {
            do {
                let value = try await body(Pair(ours: ours, peer: peer, loop: loop))
                peer.close()
                await ours.end()
                return value
            } catch {
                peer.close()
                await ours.end()
                throw error
            }
        }
        switch side {
        case .client:
            let listener = try WebSocketBytePeerListener(receiveBuffer: receiveBuffer)
            let request = try ClientRequest(port: listener.port, options: options)
            async let connecting = loop.connect(request)
            let peer = try await listener.accept()
            try await peer.acceptHandshake(extensions: extensions, behind: behind)
            return try await use(connecting, peer)
        case .server:
            return try await withServer(on: loop, options: options) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port, receiveBuffer: receiveBuffer)
                try await peer.openHandshake(extensions: extensions, behind: behind)
                return try await use(server.next(), peer)
            }
        }
    }
}
