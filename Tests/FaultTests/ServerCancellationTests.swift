//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// The server's part of the cancellation matrix K: accepting, handlers and shutting down; before, during, after, twice.
@Suite(.timeLimit(.minutes(5))) struct ServerCancellationTests {
    typealias Moment = CancellationMatrixTests.Moment

    private func withServer(
        _ body: (WebSocketServer, WebSocketEventLoop, WebSocketClientConfiguration) async throws -> Void
    ) async throws {
        try await withLoops { serverLoops in
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = serverLoops
            configuration.options.keepAlive = nil
            configuration.options.closeTimeout = .milliseconds(300)
            let server = try WebSocketServer(configuration: configuration)
            try await withLoops { loops in
                try await body(server, serverLoops.loops[0], try clientConfiguration(on: loops))
            }
            await server.shutDown()
        }
    }

    @Test(arguments: Moment.allCases) func accepting(_ moment: Moment) async throws {
        try await withServer { server, _, client in
            let url = "ws://127.0.0.1:\(server.port)/"
            let running = Task {
                if moment == .before { withUnsafeCurrentTask { $0?.cancel() } }
                try await server.run(echo)
            }
            if moment != .before {
                // It accepts, and nobody is there any more.
                let socket = try await WebSocketClient.connect(to: url, configuration: client)
                try await socket.close()
                if moment == .after { await server.shutDown() } else { running.cancel() }
                if moment == .twice { running.cancel() }
            }
            try await running.value
            running.cancel()
            let error = try await failure { _ = try await WebSocketClient.connect(to: url, configuration: client) }
            let codes: Set<WebSocketError.Code> = [.connectFailed, .connectionClosed, .handshakeInvalid]
            #expect(codes.contains(error.code), "\(error)")
        }
    }

    @Test(arguments: Moment.allCases) func handling(_ moment: Moment) async throws {
        try await withServer { server, loop, client in
            let errors = Events<WebSocketError?>()
            let running = Task {
                try await server.run { socket in
                    if moment == .before { withUnsafeCurrentTask { $0?.cancel() } }
                    do {
                        let message = try await socket.receive()
                        errors.send(nil)
                        #expect(message == "done")
                    } catch {
                        errors.send(error as? WebSocketError)
                        throw error
                    }
                }
            }
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(server.port)/", configuration: client)
            if moment == .during || moment == .twice {
                try await loop.reaches("the handler waits") { $0.pendingContinuations == 1 }
                running.cancel()
            }
            if moment == .twice { running.cancel() }
            if moment == .after { try await socket.send("done") }
            let info = try await socket.closed()
            let error = try await errors.next()
            switch moment {
            case .before:
                // Cancelled by itself: its connection goes as in a shutdown, and the server goes on.
                #expect(error?.code == .cancelled)
                #expect(info.code == .goingAway)
                running.cancel()
            case .during, .twice:
                #expect(error != nil)
                #expect(info.code == .goingAway)
            case .after:
                #expect(error == nil)
                #expect(info.code == .normalClosure)
                running.cancel()
            }
            try await running.value
        }
    }

    /// Cancelling the task that shuts a server down changes nothing: the server ends within its time.
    @Test(arguments: Moment.allCases) func shuttingDown(_ moment: Moment) async throws {
        try await withServer { server, _, _ in
            let started = Events<Void>()
            let running = Task {
                try await server.run { socket in
                    started.send()
                    await drain(socket)
                }
            }
            // It does not answer a close, so that the shutdown has to wait.
            let peer = try await WebSocketBytePeer.connect(port: server.port)
            _ = try await peer.openHandshake()
            try await started.next()
            let stopping = Task {
                if moment == .before { withUnsafeCurrentTask { $0?.cancel() } }
                await server.shutDown(timeout: .seconds(1))
            }
            if moment != .before { #expect(try await peer.readFrame().closeCode == 1001) }
            switch moment {
            case .before: break
            case .during: stopping.cancel()
            case .twice:
                stopping.cancel()
                stopping.cancel()
            case .after: await stopping.value
            }
            await stopping.value
            stopping.cancel()
            try await running.value
            #expect(server.connections.isEmpty)
            peer.close()
        }
    }
}
