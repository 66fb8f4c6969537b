//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// A clock that stands still until a test moves it, for what takes a `Clock`: a `WebSocketConnectionPool`'s timeouts
/// and ages, and code of your own. The deadlines of open connections are the event loop's and follow the system's
/// monotonic clock.
///
/// ```swift
/// let clock = WebSocketManualClock()
/// let pool = try WebSocketConnectionPool(to: url, configuration: configuration, clock: clock)
/// …
/// clock.advance(by: .seconds(60))   // idle connections are due
/// ```
public final class WebSocketManualClock: Clock, Sendable {
    /// A point of the clock's time.
    public struct Instant: InstantProtocol {
        /// The time since the clock was made.
        public var offset: Duration

        /// A point of time, so long after the clock was made.
        public init(offset: Duration) { self.offset = offset }

        /// This point, `duration` later.
        public func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
        /// From this point to the other.
        public func duration(to other: Instant) -> Duration { other.offset - offset }
        /// Whether the first is earlier.
        public static func < (left: Instant, right: Instant) -> Bool { left.offset < right.offset }
    }

    private struct Sleeper {
        let deadline: Instant
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct Watcher {
        let count: Int
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var now: Instant
        var lastID = 0
        var sleepers: [Int: Sleeper] = [:]
        var watchers: [Int: Watcher] = [:]

        mutating func nextID() -> Int {
            lastID += 1
            return lastID
        }

        /// Takes out the watchers whose condition holds.
        mutating func satisfied() -> [Watcher] {
            let count = sleepers.count
            let satisfied = watchers.filter { $0.value.count <= count }
            for id in satisfied.keys { watchers[id] = nil }
            return Array(satisfied.values)
        }
    }

    private let state: Mutex<State>

    /// A clock that shows `start`.
    public init(start: Instant = Instant(offset: .zero)) { state = Mutex(State(now: start)) }

    /// What the clock shows.
    public var now: Instant { state.withLock { $0.now } }
    /// One nanosecond.
    public var minimumResolution: Duration { .nanoseconds(1) }

    /// How many calls of ``sleep(until:tolerance:)`` are suspended.
    public var sleepers: Int { state.withLock { $0.sleepers.count } }

    /// Moves the clock on and wakes, in the order of their deadlines, those whose time has come. May be called from any
    /// thread; those who are woken run later.
    public func advance(by duration: Duration) {
        precondition(duration >= .zero, "time does not go backwards")
        let due = state.withLock { state in
            state.now = state.now.advanced(by: duration)
            let due = state.sleepers.filter { $0.value.deadline <= state.now }
            for id in due.keys { state.sleepers[id] = nil }
            return due
        }
        for (_, sleeper) in due.sorted(by: { ($0.value.deadline, $0.key) < ($1.value.deadline, $1.key) }) {
            sleeper.continuation.resume()
        }
    }

    /// Suspends until at least `count` calls sleep: how a test knows that the time to ``advance(by:)`` has come. Throws
    /// `CancellationError` when the task is cancelled first.
    public func waitForSleepers(_ count: Int = 1) async throws {
        let id = state.withLock { $0.nextID() }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result: Result<Void, any Error>? = state.withLock { state in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if state.sleepers.count >= count { return .success(()) }
                    state.watchers[id] = Watcher(count: count, continuation: continuation)
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            state.withLock { $0.watchers.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Suspends until the clock has been moved to `deadline`; throws `CancellationError` when the task is cancelled
    /// first.
    public func sleep(until deadline: Instant, tolerance: Duration? = nil) async throws {
        let id = state.withLock { $0.nextID() }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let (result, watchers): (Result<Void, any Error>?, [Watcher]) = state.withLock { state in
                    if Task.isCancelled { return (.failure(CancellationError()), []) }
                    if deadline <= state.now { return (.success(()), []) }
                    state.sleepers[id] = Sleeper(deadline: deadline, continuation: continuation)
                    return (nil, state.satisfied())
                }
                if let result { continuation.resume(with: result) }
                for watcher in watchers { watcher.continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.sleepers.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
        }
    }
}
