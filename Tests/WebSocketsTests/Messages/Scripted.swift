//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// Our client, open to a server whose every byte the test decides.
struct Scripted {
    let socket: WebSocketConnection
    let peer: WebSocketBytePeer
    /// The peer's inflater, whose context is kept.
    let inflater = WebSocketRawDeflate.decompressor()
    let deflater = WebSocketRawDeflate.compressor()

    /// The next message's frames, and what they hold together.
    func readMessage(
        compressed: Bool, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> (frames: [WebSocketWireFrame], payload: [UInt8]) {
        var frames: [WebSocketWireFrame] = []
        repeat {
            frames.append(try await peer.readFrame(compression: compressed))
        } while frames.last?.isFinal == false
        let payload = frames.flatMap(\.payload)
        return (frames, compressed && frames[0].reserved == .rsv1 ? try inflater.decompress(payload) : payload)
    }

    /// Everything that the peer sent before has been dealt with.
    func fence() async throws {
        try await peer.send(WebSocketWireFrame(WebSocketWireFrame.ping, [1]))
        let pong = try await peer.readFrame()
        #expect(pong.opcode == WebSocketWireFrame.pong)
    }
}

/// Opens the connection for the time of the body. Nothing may be left on its loop afterwards.
func withScripted<Result: Sendable>(
    deflate: Bool = false, options change: (inout WebSocketOptions) -> Void = { _ in },
    receiveBuffer: Int? = nil, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (Scripted) async throws -> Result
) async throws -> Result {
    try await withLoops(sourceLocation: sourceLocation) { loops in
        var configuration = try clientConfiguration(
            Transport(compression: deflate ? .deflate() : .disabled), on: loops)
        configuration.options.closeTimeout = .milliseconds(200)
        change(&configuration.options)
        let listener = try WebSocketBytePeerListener(receiveBuffer: receiveBuffer)
        async let connecting = WebSocketClient.connect(
            to: "ws://127.0.0.1:\(listener.port)", configuration: configuration)
        let peer = try await listener.accept()
        try await peer.acceptHandshake(extensions: deflate ? "permessage-deflate" : nil)
        let scripted = Scripted(socket: try await connecting, peer: peer)
        do {
            let result = try await body(scripted)
            peer.close()
            scripted.socket.abort()
            return result
        } catch {
            peer.close()
            scripted.socket.abort()
            throw error
        }
    }
}
