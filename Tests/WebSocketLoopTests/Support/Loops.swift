//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import TestSupport
import Testing
import WebSocketCore

@testable import WebSocketLoop

/// Gives the body loops of its own and demands, once it is done, that nothing is left on them: first while they run,
/// where nothing but the connections' own ends can have cleaned up, then after their shutdown.
func withLoops<Result: Sendable>(
    _ count: Int = 1, backend: WebSocketEventLoop.Backend? = nil, logger: Logger = silentLogger,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (WebSocketEventLoopGroup) async throws -> Result
) async throws -> Result {
    LeakGate.install()
    let group = try WebSocketEventLoopGroup(count: count, logger: logger, backend: backend)
    let result: Result
    do {
        result = try await body(group)
    } catch {
        await group.shutDown()
        throw error
    }
    for loop in group.loops {
        let left = await loop.rest()
        #expect(left.isZero, "before the shutdown: \(left)", sourceLocation: sourceLocation)
    }
    await group.shutDown()
    for loop in group.loops {
        #expect(loop.diagnostics.isZero, "after the shutdown: \(loop.diagnostics)", sourceLocation: sourceLocation)
    }
    return result
}

let silentLogger: Logger = {
    var logger = Logger(label: "tests")
    logger.logLevel = .critical
    return logger
}()

extension WebSocketEventLoop {
    /// Runs an operation on the loop and waits for its result.
    func run<Result: Sendable>(_ operation: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            let accepted = execute { continuation.resume(returning: operation()) }
            precondition(accepted, "the loop has been shut down")
        }
    }

    /// Lets the loop turn for a millisecond, by a deadline of its own.
    func pause() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let accepted = execute { _ = self.schedule(after: 1_000_000) { continuation.resume() } }
            precondition(accepted, "the loop has been shut down")
        }
    }

    /// Turns of the loop until nothing lives on it any more, or for too long.
    func rest() async -> WebSocketLoopDiagnostics {
        let deadline = ContinuousClock.now + .seconds(60)
        while !diagnostics.isZero && ContinuousClock.now < deadline { await pause() }
        return diagnostics
    }

    /// Turns of the loop until a condition that its connections' progress must bring about.
    func turn(
        for limit: Duration = .seconds(60), until condition: @escaping @Sendable () -> Bool,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        let deadline = ContinuousClock.now + limit
        while await !run(condition) {
            guard ContinuousClock.now < deadline else {
                Issue.record("the loop's condition did not come true", sourceLocation: sourceLocation)
                return
            }
            await pause()
        }
    }
}

extension Connection {
    func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        if !sendNow(message) { try await sendSlowly(message) }
    }

    /// Ends whatever is left of the connection.
    func end() async {
        await loop.run { self.abort() }
        _ = try? await closed()
    }
}

/// Runs the body and returns the `WebSocketError` that it throws.
func error(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async throws -> WebSocketError {
    do {
        try await body()
    } catch let error as WebSocketError {
        return error
    }
    Issue.record("no error was thrown", sourceLocation: sourceLocation)
    throw WebSocketError(.cancelled, "no error was thrown")
}

extension WebSocketOptions {
    /// Default options, but no pings of their own: a slow machine's tests would find them among their frames.
    static let quiet = with { _ in }

    /// Quiet options with some changes.
    static func with(_ change: (inout WebSocketOptions) -> Void) -> Self {
        var options = Self()
        options.keepAlive = nil
        change(&options)
        return options
    }
}
