//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// The cancellation matrix K for the calls of an open connection: each point before, during, after and twice.
@Suite(.timeLimit(.minutes(5))) struct CancellationMatrixTests {
    enum Point: String, CaseIterable {
        case send, receive, messages, ping, close, closed
    }

    enum Moment: String, CaseIterable {
        /// The task is cancelled before it calls.
        case before
        /// While the call is suspended.
        case during
        /// When the call has returned.
        case after
        /// While it is suspended, and again when it has thrown.
        case twice
    }

    /// Made once: that takes longer than sending it.
    private static let block = Payload.noise(64 << 10)

    private static func run(_ point: Point, _ socket: WebSocketConnection) async throws {
        switch point {
        case .send: while true { try await socket.send(Self.block) }
        case .receive: _ = try await socket.receive()
        case .messages: for try await _ in socket.messages { return }
        case .ping: _ = try await socket.ping()
        case .close: _ = try await socket.close()
        case .closed: _ = try await socket.closed()
        }
    }

    /// Lets the suspended call go on, as if nobody had cancelled.
    private func satisfy(_ point: Point, _ peer: WebSocketBytePeer) async throws {
        switch point {
        case .send: break
        case .receive, .messages: try await peer.send(.text("here"))
        case .ping:
            let ping = try await peer.readFrame()
            try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, ping.payload))
        case .close:
            #expect(try await peer.readFrame().closeCode == 1000)
            try await peer.send(.close(1000))
        case .closed: try await peer.send(.close(1000))
        }
    }

    @Test(arguments: Point.allCases, Moment.allCases)
    func everyPointAtEveryMoment(_ point: Point, _ moment: Moment) async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.closeTimeout = .seconds(20)
            async let connecting = WebSocketClient.connect(
                to: "ws://127.0.0.1:\(listener.port)/", configuration: configuration)
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            let socket = try await connecting
            let loop = socket.eventLoop
            switch moment {
            case .before:
                let task = Task {
                    withUnsafeCurrentTask { $0?.cancel() }
                    try await Self.run(point, socket)
                }
                // A send that need not wait may go through; only one that waits is cancelled.
                let error = await #expect(throws: WebSocketError.self) { try await task.value }
                #expect(error?.code == .cancelled)
            case .during, .twice:
                let task = Task { try await Self.run(point, socket) }
                try await loop.reaches("\(point) waits") { $0.pendingContinuations == 1 }
                task.cancel()
                let error = await #expect(throws: WebSocketError.self) { try await task.value }
                #expect(error?.code == .cancelled)
                if moment == .twice { task.cancel() }
            case .after:
                guard point != .send else { break }
                let task = Task { try await Self.run(point, socket) }
                try await loop.reaches("\(point) waits") { $0.pendingContinuations == 1 }
                try await satisfy(point, peer)
                try await task.value
                task.cancel()
            }
            #expect(loop.diagnostics.pendingContinuations == 0)
            // Whatever was cancelled, the connection is whole: a message that comes now is not lost.
            if ![.close, .closed, .send].contains(point) || (point == .closed && moment != .after) {
                try await peer.send(.text("next"))
                #expect(try await socket.receive() == .text("next"))
            }
            peer.close()
            socket.abort()
            _ = try await socket.closed()
        }
    }
}
