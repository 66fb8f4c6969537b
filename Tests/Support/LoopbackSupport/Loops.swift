//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import TestSupport
package import Testing
package import WebSockets

/// How long an event that must come is waited for, before the test fails.
/// With a sanitizer on a machine that has other things to do a turn may take seconds.
private let patience: Duration = .seconds(60)

extension WebSocketEventLoop {
    /// Waits until the registry of this loop looks as wanted: how a test knows that a call is really suspended.
    package func reaches(
        _ what: String, sourceLocation: SourceLocation = #_sourceLocation,
        _ condition: @escaping @Sendable (WebSocketLoopDiagnostics) -> Bool
    ) async throws {
        try await until("\(name): \(what)", on: self, sourceLocation: sourceLocation) { condition(self.diagnostics) }
    }
}

/// Waits for a condition that some turn of the loop brings about.
package func until(
    _ what: String, on loop: WebSocketEventLoop, sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: @escaping @Sendable () -> Bool
) async throws {
    let isMet = await withTaskExecutorPreference(loop.taskExecutor) { @Sendable in
        await turns(condition)
    }
    try #require(isMet, "\(what); \(loop.diagnostics)", sourceLocation: sourceLocation)
}

/// Each yield is a turn of the loop.
@concurrent
private func turns(_ condition: @Sendable () -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + patience
    while !condition() {
        guard ContinuousClock.now < deadline else { return false }
        await Task.yield()
    }
    return true
}

/// Loops of one test's own. Afterwards nothing may be left on them.
package func withLoops<Result: Sendable>(
    _ count: Int = 1, backend: WebSocketEventLoop.Backend? = nil, memoryBudget: WebSocketMemoryBudget = .shared,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (WebSocketEventLoopGroup) async throws -> Result
) async throws -> Result {
    LeakGate.install()
    let group = try WebSocketEventLoopGroup(
        count: count, backend: backend, blockedLoopThreshold: .seconds(30), memoryBudget: memoryBudget)
    do {
        let result = try await body(group)
        for loop in group.loops {
            try await loop.reaches("nothing is left", sourceLocation: sourceLocation) { $0.isZero }
        }
        await group.shutDown()
        return result
    } catch {
        await group.shutDown()
        throw error
    }
}
