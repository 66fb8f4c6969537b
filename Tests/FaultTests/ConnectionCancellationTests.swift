//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// The points of the cancellation matrix K that take more to bring about than a call that waits.
@Suite(.timeLimit(.minutes(5))) struct ConnectionCancellationTests {
    typealias Moment = CancellationMatrixTests.Moment

    /// A client's connection and the peer that plays its server.
    private func withPeer(_ body: (WebSocketConnection, WebSocketBytePeer) async throws -> Void) async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            let configuration = try clientConfiguration(on: loops)
            async let connecting = WebSocketClient.connect(
                to: "ws://127.0.0.1:\(listener.port)/", configuration: configuration)
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            let socket = try await connecting
            try await body(socket, peer)
            peer.close()
            socket.abort()
            _ = try await socket.closed()
        }
    }

    /// Runs `work` in a task that is cancelled at `moment`. `arrive` returns when the work has got to the point.
    private func run(
        _ moment: Moment, _ work: @escaping @Sendable () async throws -> Void, arrive: () async throws -> Void,
        release: () async throws -> Void
    ) async throws -> Result<Void, any Error> {
        let task = Task {
            if moment == .before { withUnsafeCurrentTask { $0?.cancel() } }
            try await work()
        }
        if moment != .before { try await arrive() }
        if moment == .during || moment == .twice { task.cancel() }
        if moment == .twice { task.cancel() }
        try await release()
        let result = await task.result
        task.cancel()
        return result
    }

    /// The loop is busy, so what another thread sends lies in its inbox: it is sent whole or not at all, and the result
    /// says which.
    @Test(arguments: Moment.allCases) func aSendQueuedByAnotherThread(_ moment: Moment) async throws {
        try await withPeer { socket, peer in
            let isBusy = Events<Void>()
            let gate = DispatchSemaphore(value: 0)
            socket.eventLoop.execute {
                isBusy.send()
                gate.wait()
            }
            try await isBusy.next()
            let called = Events<Void>()
            let result = try await run(moment) {
                called.send()
                try await socket.send("queued")
            } arrive: {
                try await called.next()
            } release: {
                gate.signal()
            }
            try await socket.send("next")
            switch result {
            case .success: #expect(try await peer.readFrame().payload == Array("queued".utf8))
            case .failure(let error):
                #expect(moment != .after)
                #expect((error as? WebSocketError)?.code == .cancelled)
            }
            #expect(try await peer.readFrame().payload == Array("next".utf8))
        }
    }

    /// A message of which a part is on the wire cannot be taken back: the connection fails, and never is a message that
    /// was cut short passed off as a whole one. The source is a stream, which just ends in a cancelled task.
    @Test(arguments: Moment.allCases) func aMessageWrittenInPart(_ moment: Moment) async throws {
        try await withPeer { socket, peer in
            let (parts, source) = AsyncStream.makeStream(of: [UInt8].self)
            source.yield([1])
            let result = try await run(moment) {
                try await socket.send(fragments: parts)
            } arrive: {
                let frame = try await peer.readFrame()
                #expect(frame.payload == [1] && !frame.isFinal)
            } release: {
                if moment == .after { source.finish() }
            }
            switch moment {
            case .after:
                try result.get()
                let frame = try await peer.readFrame()
                #expect(frame.isFinal && frame.opcode == WebSocketWireFrame.continuation)
                try await socket.send("next")
                #expect(try await peer.readFrame().payload == Array("next".utf8))
            case .during, .twice:
                #expect(throws: WebSocketError.self) { try result.get() }
                #expect(try await peer.readFrame().closeCode == 1011)
            case .before:
                #expect(throws: WebSocketError.self) { try result.get() }
                try? await socket.send("next")
                let frame = try await peer.readFrame()
                if frame.opcode == WebSocketWireFrame.binary {
                    #expect(!frame.isFinal)
                    #expect(try await peer.readFrame().closeCode == 1011)
                } else {
                    #expect(frame.payload == Array("next".utf8))
                }
            }
        }
    }

    /// The message has resumed the call, and the call has not gone on yet. Two calls wait, two messages come in one
    /// read, and the first call cancels the second. Nothing is lost: what was not returned is there for the next call.
    @Test(arguments: Moment.allCases) func aReceiveThatAMessageHasJustResumed(_ moment: Moment) async throws {
        try await withPeer { socket, peer in
            let loop = socket.eventLoop
            let second = Task(executorPreference: loop.taskExecutor) {
                try await loop.reaches("the first waits") { $0.pendingContinuations == 1 }
                if moment == .before { withUnsafeCurrentTask { $0?.cancel() } }
                return try await socket.receive()
            }
            let first = Task(executorPreference: loop.taskExecutor) {
                let message = try await socket.receive()
                if moment == .during || moment == .twice { second.cancel() }
                if moment == .twice { second.cancel() }
                return message
            }
            if moment == .before {
                let error = await #expect(throws: WebSocketError.self) { try await second.value }
                #expect(error?.code == .cancelled)
            } else {
                try await loop.reaches("both wait") { $0.pendingContinuations == 2 }
            }
            try await peer.send(.text("one"), .text("two"))
            #expect(try await first.value == "one")
            switch await second.result {
            case .success(let message): #expect(message == "two")
            case .failure(let error):
                #expect(moment != .after)
                #expect((error as? WebSocketError)?.code == .cancelled)
                #expect(try await socket.receive() == "two")
            }
            second.cancel()
            try await peer.send(.text("three"))
            #expect(try await socket.receive() == "three")
        }
    }
}
