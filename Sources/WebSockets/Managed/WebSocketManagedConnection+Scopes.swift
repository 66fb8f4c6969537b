//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import HTTPTypes
import WebSocketCore
import WebSocketLoop

extension WebSocketManagedConnection {
    /// Acquires the connection, runs `body` where the caller runs, and releases it, whatever happens.
    ///
    /// The body's result is returned at once: draining, if the options ask for it, goes on in the background, and the
    /// next scope waits for it. When it fails the next scope has a new connection; ``onDisconnect(_:)`` tells of the
    /// old one. When the body throws, or its task is cancelled, an exchange may be incomplete: the connection is closed
    /// with 1011 instead of being given to the next user, who gets a new one.
    ///
    /// - Parameters:
    ///   - timeout: How long to wait for the turn and the connection; nil, the default, to throw `connectionBusy` at
    ///     once when another user has it.
    ///   - body: Uses the connection. It may touch whatever the caller may.
    /// - Throws: What ``acquire()`` or ``acquire(timeout:)`` throw, and what the body throws.
    public func withConnection<Result>(
        timeout: Duration? = nil, _ body: (WebSocketManagedConnection) async throws -> Result
    ) async throws -> Result {
        try await acquire(forScope: timeout)
        return try await finish { try await body(self) }
    }

    /// Like ``withConnection(timeout:_:)``, with a body that runs where `executor` says. On the connection's loop no thread
    /// is crossed between the socket and the code, and the body must not block.
    public func withConnection<Result: Sendable>(
        timeout: Duration? = nil, on executor: WebSocketBodyExecutor,
        _ body: @escaping @Sendable @concurrent (WebSocketManagedConnection) async throws -> Result
    ) async throws -> Result {
        try await acquire(forScope: timeout)
        return try await finish {
            try await withTaskExecutorPreference(executor.taskExecutor(on: loop)) { try await body(self) }
        }
    }

    /// Makes a managed connection, acquires it, runs `body` where the caller runs, and closes it: with 1000 when the
    /// body returns, with 1011 when it throws. The close finishes also when the task is cancelled, within
    /// `closeTimeout`.
    ///
    /// - Throws: What ``init(to:headers:configuration:options:clock:)`` and ``acquire()`` throw, and what the body
    ///   throws.
    public static func withConnection<Result>(
        to url: String, headers: HTTPFields = [:], configuration: WebSocketClientConfiguration = .init(),
        options: Options = .init(), _ body: (WebSocketManagedConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try WebSocketManagedConnection(
            to: url, headers: headers, configuration: configuration, options: options)
        return try await connection.closing { try await connection.withConnection(body) }
    }

    /// Like ``withConnection(to:headers:configuration:options:_:)``, with a body that runs where `executor` says.
    public static func withConnection<Result: Sendable>(
        to url: String, headers: HTTPFields = [:], configuration: WebSocketClientConfiguration = .init(),
        options: Options = .init(), on executor: WebSocketBodyExecutor,
        _ body: @escaping @Sendable @concurrent (WebSocketManagedConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try WebSocketManagedConnection(
            to: url, headers: headers, configuration: configuration, options: options)
        return try await connection.closing { try await connection.withConnection(on: executor, body) }
    }

    private func acquire(forScope timeout: Duration?) async throws(WebSocketError) {
        guard let timeout else { return try await want(.turnAfterDraining, "acquire") }
        try await acquire(timeout: timeout)
    }

    private func finish<Result>(_ body: () async throws -> Result) async throws -> Result {
        let result: Result
        do {
            result = try await body()
        } catch {
            await discard()
            throw error
        }
        if Task.isCancelled { await discard() } else { release() }
        return result
    }

    /// Ends the turn, and closes the connection before another user can have it.
    private func discard() async {
        let (socket, news) = state.withLock { state -> (WebSocketConnection?, News) in
            guard state.machine.isBusy else { return (nil, News()) }
            let socket = state.socket
            state.forgetSocket()
            guard case .free(let next) = state.machine.release(drains: false) else { return (nil, News()) }
            state.endTurn(clock.now())
            return (socket, follow(next, &state))
        }
        tell(news)
        await socket?.wire.closeRegardless(WebSocketCloseFrame(code: .internalError))
    }

    private func closing<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            let result = try await body()
            await close(.closed, WebSocketCloseFrame(code: .normalClosure))
            return result
        } catch {
            await close(.closed, WebSocketCloseFrame(code: .internalError))
            throw error
        }
    }
}
