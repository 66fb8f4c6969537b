//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A clock with its type erased. Instants are durations since the session's beginning.
struct SessionClock: Sendable {
    let now: @Sendable () -> Duration
    private let sleepUntil: @Sendable (Duration) async throws -> Void

    init(_ clock: some Clock<Duration>) {
        let origin = clock.now
        now = { origin.duration(to: clock.now) }
        sleepUntil = { try await clock.sleep(until: origin.advanced(by: $0), tolerance: nil) }
    }

    /// Returns at `deadline`, or throws when the task is cancelled.
    func sleep(until deadline: Duration) async throws { try await sleepUntil(deadline) }

    /// Performs `work` and cancels it after `limit`; nil when it was too slow.
    func limit<Value: Sendable>(
        _ limit: Duration?, _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value? {
        guard let limit else { return try await work() }
        let deadline = now() + limit
        return try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { try await work() }
            group.addTask {
                try? await sleep(until: deadline)
                return nil
            }
            defer { group.cancelAll() }
            guard let first = try await group.next() else { return nil }
            if first == nil {
                // What it nevertheless produced is not lost.
                group.cancelAll()
                return (try? await group.next()) ?? nil
            }
            return first
        }
    }
}
