//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSocketLoop

extension WebSocketClient {
    /// Opens a connection, runs `body` with it where the caller runs, and closes it: with 1000 when the body returns,
    /// with 1011 when it throws. The close finishes also when the task is cancelled, within `closeTimeout`.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL.
    ///   - configuration: How to connect. See <doc:Connecting>.
    ///   - body: Uses the connection. It may touch whatever the caller may: variables, `self`, an actor's state. It must
    ///     not let the connection escape.
    /// - Throws: What ``connect(to:configuration:)`` throws, and what the body throws.
    public static func withConnection<Result>(
        to url: String, configuration: WebSocketClientConfiguration = .init(),
        _ body: (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try await connect(to: url, configuration: configuration)
        return try await connection.closing { try await body(connection) }
    }

    /// Like ``withConnection(to:configuration:_:)``, with a body that runs where `executor` says. On the connection's
    /// loop it is as fast as C, with no thread crossing between the socket and the code, and must not block. See
    /// <doc:Loops>.
    public static func withConnection<Result: Sendable>(
        to url: String, configuration: WebSocketClientConfiguration = .init(), on executor: WebSocketBodyExecutor,
        _ body: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try await connect(to: url, configuration: configuration)
        return try await connection.closing {
            try await withTaskExecutorPreference(executor.taskExecutor(on: connection.eventLoop)) {
                try await body(connection)
            }
        }
    }

    /// Like ``withConnection(to:configuration:_:)``, over a Unix socket; see
    /// ``connect(unixSocket:to:configuration:)``.
    public static func withConnection<Result>(
        unixSocket path: String, to url: String = "ws://localhost/",
        configuration: WebSocketClientConfiguration = .init(), _ body: (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try await connect(unixSocket: path, to: url, configuration: configuration)
        return try await connection.closing { try await body(connection) }
    }
}

extension WebSocketConnection {
    /// Runs a scope and closes the connection at its end, whatever happened.
    func closing<Result>(_ body: () async throws -> Result) async throws -> Result {
        let result: Result
        do {
            result = try await body()
        } catch {
            await wire.closeRegardless(WebSocketCloseFrame(code: .internalError))
            throw error
        }
        await wire.closeRegardless(WebSocketCloseFrame(code: .normalClosure))
        return result
    }
}
