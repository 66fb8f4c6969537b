//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Logging
import LoopbackSupport
import Testing
import WebSockets

/// Hands on what is logged.
private struct Recorder: LogHandler {
    let records: Events<(String, Logger.Metadata)>
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { records.send((event.message.description, event.metadata ?? [:])) }
}

@Suite(.timeLimit(.minutes(5)))
struct WatchdogTests {
    @Test func aHandlerThatBlocksIsNamedWhileItDoes() async throws {
        let records = Events<(String, Logger.Metadata)>()
        let group = try WebSocketEventLoopGroup(
            count: 1, logger: Logger(label: "test") { _ in Recorder(records: records) },
            blockedLoopThreshold: .milliseconds(50))
        var ends: [CInt] = [-1, -1]
        try #require(pipe(&ends) == 0)
        let (release, wait) = (ends[1], ends[0])
        var configuration = WebSocketServerConfiguration()
        configuration.eventLoopGroup = group
        configuration.options.keepAlive = nil
        let server = try WebSocketServer(configuration: configuration)
        let running = Task {
            try await server.run { socket in
                _ = try await socket.receive()
                // The loop stands still until the test has seen that somebody noticed.
                var byte: UInt8 = 0
                _ = read(wait, &byte, 1)
            }
        }
        do {
            try await withLoops { loops in
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(server.port)/path?secret", configuration: clientConfiguration(on: loops))
                try await socket.send("block")
                while true {
                    let (message, metadata) = try await records.next()
                    guard message.contains("handler is holding the loop") else { continue }
                    #expect(metadata["connection"] == .string(try #require(socket.localAddress).description))
                    #expect(metadata["target"] == "/path")
                    break
                }
                var byte: UInt8 = 1
                #expect(write(release, &byte, 1) == 1)
                #expect(try await socket.closed().isNormal)
            }
        } catch {
            close(release)
            await server.shutDown()
            throw error
        }
        await server.shutDown()
        try await running.value
        try await group.loops[0].reaches("nothing is left") { $0.isZero }
        await group.shutDown()
        close(release)
        close(wait)
    }
}
