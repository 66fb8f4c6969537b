//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSocketPool

#if ServiceLifecycle
public import ServiceLifecycle

extension WebSocketConnectionPool: Service {}

extension PoolCore {
    func runAsService(grace: Duration) async throws(WebSocketPoolError) {
        let result: Result<Void, WebSocketPoolError> = await withGracefulShutdownHandler {
            do throws(WebSocketPoolError) { return .success(try await self.run()) } catch { return .failure(error) }
        } onGracefulShutdown: {
            self.beginShutdown(grace: grace)
        }
        try result.get()
    }
}

extension WebSocketSession: Service {}

extension SessionCore {
    func driveAsService() async {
        await withGracefulShutdownHandler {
            await self.drive()
        } onGracefulShutdown: {
            self.beginShutdown()
        }
    }
}

/// A server with its handler, as a service of swift-service-lifecycle.
///
/// A graceful shutdown does what ``WebSocketServer/shutDown(code:reason:timeout:spread:)`` does.
public struct WebSocketServerService: Service {
    /// The server that the service runs.
    public let server: WebSocketServer
    private let handler: @Sendable @concurrent (WebSocketConnection) async throws -> Void

    /// A service that runs `server` until it is told to shut down gracefully.
    public init(
        _ server: WebSocketServer,
        handler: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void
    ) {
        self.server = server
        self.handler = handler
    }

    /// Runs the server; returns once it has shut down.
    public func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run(handler) }
            group.addTask {
                // Throws when the server has ended otherwise.
                guard (try? await gracefulShutdown()) != nil else { return }
                await server.shutDown()
            }
            try await group.next()
            group.cancelAll()
            try await group.waitForAll()
        }
    }
}
#else
extension PoolCore {
    func runAsService(grace: Duration) async throws(WebSocketPoolError) { try await run() }
}

extension SessionCore {
    func driveAsService() async { await drive() }
}
#endif
