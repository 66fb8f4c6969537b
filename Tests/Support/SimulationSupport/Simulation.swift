//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

/// A world with one thread and its own time: an executor that runs ready jobs in an order drawn from a seed, and a
/// clock that jumps to the next sleeper when nothing is ready. One seed is one trace.
package final class Simulation: TaskExecutor, Clock, Sendable {
    package struct Instant: InstantProtocol {
        package var offset: Duration
        package func advanced(by duration: Duration) -> Instant { Instant(offset: self.offset + duration) }
        package func duration(to other: Instant) -> Duration { other.offset - offset }
        package static func < (left: Instant, right: Instant) -> Bool { left.offset < right.offset }
    }

    package struct Stuck: Error {}
    package struct Leaked: Error { package var sleepers: Int }

    private struct Sleeper {
        var id: Int
        var deadline: Instant
        var continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var jobs: [UnownedJob] = []
        var random: SessionRandom
        var now = Instant(offset: .zero)
        var sleepers: [Sleeper] = []
        var lastSleeper = 0
        var result: Result<Void, any Error>?
    }

    private let state: Mutex<State>

    private init(seed: UInt64) { self.state = Mutex(State(random: SessionRandom(seed: seed))) }

    /// Runs `body` and everything it starts, to the end.
    package static func run(seed: UInt64 = 0, _ body: @escaping @Sendable (Simulation) async throws -> Void) throws {
        let simulation = Simulation(seed: seed)
        let task = Task(executorPreference: simulation) {
            let result: Result<Void, any Error>
            do { result = .success(try await body(simulation)) } catch { result = .failure(error) }
            simulation.state.withLock { $0.result = result }
        }
        _ = task
        while true {
            if let job = simulation.nextJob() {
                job.runSynchronously(on: simulation.asUnownedTaskExecutor())
            } else if let result = simulation.state.withLock({ $0.result }) {
                try result.get()
                let sleepers = simulation.sleeperCount
                if sleepers > 0 { throw Leaked(sleepers: sleepers) }
                return
            } else if !simulation.advance() {
                throw Stuck()
            }
        }
    }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        state.withLock { $0.jobs.append(job) }
    }

    private func nextJob() -> UnownedJob? {
        state.withLock { state in
            guard !state.jobs.isEmpty else { return nil }
            return state.jobs.remove(at: Int(state.random.next() % UInt64(state.jobs.count)))
        }
    }

    /// Lets time pass until somebody wakes.
    private func advance() -> Bool {
        let due = state.withLock { state -> [Sleeper] in
            guard let next = state.sleepers.map(\.deadline).min() else { return [] }
            state.now = max(state.now, next)
            let due = state.sleepers.filter { $0.deadline <= state.now }
            state.sleepers.removeAll { $0.deadline <= state.now }
            return due
        }
        for sleeper in due { sleeper.continuation.resume() }
        return !due.isEmpty
    }

    package var sleeperCount: Int { state.withLock { $0.sleepers.count } }

    // MARK: Clock

    package var now: Instant { state.withLock { $0.now } }
    package var elapsed: Duration { now.offset }
    package var minimumResolution: Duration { .nanoseconds(1) }

    package func sleep(until deadline: Instant, tolerance: Duration? = nil) async throws {
        let id = state.withLock { state in
            state.lastSleeper += 1
            return state.lastSleeper
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isDone = state.withLock { state -> Result<Void, any Error>? in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if deadline <= state.now { return .success(()) }
                    state.sleepers.append(Sleeper(id: id, deadline: deadline, continuation: continuation))
                    return nil
                }
                if let isDone { continuation.resume(with: isDone) }
            }
        } onCancel: {
            let sleeper = state.withLock { state in
                state.sleepers.firstIndex { $0.id == id }.map { state.sleepers.remove(at: $0) }
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    package func pass(_ duration: Duration) async { try? await self.sleep(until: now.advanced(by: duration)) }

    /// The clock moves without anybody waking on the way, as when the machine was suspended: everything that became due
    /// meanwhile happens at once.
    package func leap(_ duration: Duration) { state.withLock { $0.now = $0.now.advanced(by: duration) } }

    package func random(_ bound: UInt64) -> UInt64 { state.withLock { $0.random.next() % bound } }
}
