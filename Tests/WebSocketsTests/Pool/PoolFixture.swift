//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// A server, a relay in front of it, and loops for both ends.
struct PoolFixture: Sendable {
    let relay: WebSocketFaultProxy
    let server: WebSocketServer
    let clientLoops: WebSocketEventLoopGroup

    /// A small pool whose timeouts do not get in the way.
    func configuration(_ maximumConnections: Int = 4) -> WebSocketConnectionPoolConfiguration {
        var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: maximumConnections)
        configuration.eventLoopGroup = clientLoops
        configuration.validationBypass = nil
        configuration.connectStagger = .zero
        configuration.patience = .seconds(60)
        configuration.connectTimeout = .seconds(60)
        configuration.client.openTimeout = .seconds(60)
        configuration.client.options.closeTimeout = .seconds(1)
        return configuration
    }

    func withPool<Result>(
        _ configuration: WebSocketConnectionPoolConfiguration? = nil,
        _ body: (WebSocketConnectionPool) async throws -> Result
    ) async throws -> Result {
        try await WebSocketConnectionPool.withPool(
            to: relay.url, configuration: configuration ?? self.configuration(), body)
    }
}

/// Runs `body` with a server that does what messages ask for, and checks that nothing is left at the end.
func withPoolFixture(
    _ body: @escaping @Sendable (PoolFixture) async throws -> Void, sourceLocation: SourceLocation = #_sourceLocation
) async throws {
    let serverLoops = try WebSocketEventLoopGroup(count: 1)
    let clientLoops = try WebSocketEventLoopGroup(count: 2)
    var configuration = WebSocketServerConfiguration()
    configuration.eventLoopGroup = serverLoops
    configuration.shutdownTimeout = .milliseconds(200)
    let server = try WebSocketServer(configuration: configuration)
    let relay = try WebSocketFaultProxy(to: server.port)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.run { try await serve($0) } }
        let result: Result<Void, any Error>
        do {
            try await body(PoolFixture(relay: relay, server: server, clientLoops: clientLoops))
            result = .success(())
        } catch {
            result = .failure(error)
        }
        relay.stop()
        await server.shutDown()
        try await group.waitForAll()
        try result.get()
    }
    await clientLoops.shutDown()
    await serverLoops.shutDown()
    for loop in clientLoops.loops + serverLoops.loops {
        #expect(loop.diagnostics.isZero, "\(loop.diagnostics)", sourceLocation: sourceLocation)
    }
}

/// Echoes, except that some messages are orders.
private func serve(_ socket: WebSocketConnection) async throws {
    for try await message in socket.messages {
        switch message {
        case .text("twice"):
            try await socket.send("first")
            try await socket.send("second")
        case .text("large"): try await socket.send([UInt8](repeating: 7, count: 200_000))
        case .text("close"):
            try await socket.close()
            return
        case .text("silence"): break
        default: try await socket.send(message)
        }
    }
}

extension WebSocketConnection {
    func exchange(_ text: String) async throws -> WebSocketMessage {
        try await send(text)
        return try await receive()
    }
}

/// Waits for something that other tasks or threads bring about and that cannot be awaited.
func eventually(
    within limit: Duration = .seconds(60), _ what: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () -> Bool
) async {
    let deadline = ContinuousClock.now + limit
    var looks = 0
    while !condition() {
        guard ContinuousClock.now < deadline else {
            Issue.record(what ?? "it did not happen", sourceLocation: sourceLocation)
            return
        }
        looks += 1
        // Looking again at once would take the time from those whose work is awaited.
        if looks < 50 { await Task.yield() } else { try? await Task.sleep(for: .milliseconds(1)) }
    }
}

/// The error that `body` throws, if it is one of ours.
func webSocketError<Value>(_ body: () async throws -> Value) async -> WebSocketError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? WebSocketError
    }
}

/// A value that several tasks change.
final class Box<Value: Sendable>: Sendable {
    private let storage: Mutex<Value>

    init(_ value: Value) { storage = Mutex(value) }

    var value: Value { storage.withLock { $0 } }

    func change(_ body: @Sendable (inout Value) -> Void) { storage.withLock { body(&$0) } }
}
