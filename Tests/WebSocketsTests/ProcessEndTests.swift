//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Testing
import WebSockets

@Suite struct ProcessEndTests {
    /// OpenSSL takes everything of its own down when a process ends, also from under threads that are in the midst of a
    /// handshake: a program that returned from `main` with loops at work then died of a segmentation fault.
    @Test(arguments: 0..<4)
    func aProcessMayEndWhileItsLoopsAreInHandshakes(attempt: Int) async {
        await #expect(processExitsWith: .success) {
            // What a program registers before its first connection runs after OpenSSL's, and takes its time.
            atexit { usleep(500_000) }
            var configuration = WebSocketServerConfiguration()
            configuration.tls = try TestEnvironment.identity("valid-rsa")
            let server = try WebSocketServer(configuration: configuration)
            let running = Task { try await server.run(echo) }
            defer { running.cancel() }
            let (first, arrived) = AsyncStream.makeStream(of: Void.self)
            await withTaskGroup { group in
                for _ in 0..<16 {
                    group.addTask {
                        var client = WebSocketClientConfiguration()
                        client.tls.verification = .insecureNoVerification
                        while let socket = try? await WebSocketClient.connect(
                            to: "wss://127.0.0.1:\(server.port)", configuration: client)
                        {
                            arrived.yield()
                            _ = try? await socket.close()
                        }
                    }
                }
                for await _ in first.prefix(16) {}
                exit(0)
            }
        }
    }
}
