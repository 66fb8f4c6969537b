//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

/// A world with one thread and its own time: an executor that runs ready jobs in an order drawn from a seed, and a
/// clock that jumps to the next sleeper when nothing is ready. One seed is one trace.
final class SessionSimulation: TaskExecutor, Clock, Sendable {
    struct Instant: InstantProtocol {
        var offset: Duration
        func advanced(by duration: Duration) -> Instant { Instant(offset: self.offset + duration) }
        func duration(to other: Instant) -> Duration { other.offset - self.offset }
        static func < (left: Instant, right: Instant) -> Bool { left.offset < right.offset }
    }

    struct Stuck: Error {}
    struct Leaked: Error { var sleepers: Int }

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
    static func run(seed: UInt64 = 0, _ body: @escaping @Sendable (SessionSimulation) async throws -> Void) throws {
        let simulation = SessionSimulation(seed: seed)
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

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.state.withLock { $0.jobs.append(job) }
    }

    private func nextJob() -> UnownedJob? {
        self.state.withLock { state in
            guard !state.jobs.isEmpty else { return nil }
            return state.jobs.remove(at: Int(state.random.next() % UInt64(state.jobs.count)))
        }
    }

    /// Lets time pass until somebody wakes.
    private func advance() -> Bool {
        let due = self.state.withLock { state -> [Sleeper] in
            guard let next = state.sleepers.map(\.deadline).min() else { return [] }
            state.now = max(state.now, next)
            let due = state.sleepers.filter { $0.deadline <= state.now }
            state.sleepers.removeAll { $0.deadline <= state.now }
            return due
        }
        for sleeper in due { sleeper.continuation.resume() }
        return !due.isEmpty
    }

    var sleeperCount: Int { self.state.withLock { $0.sleepers.count } }

    // MARK: Clock

    var now: Instant { self.state.withLock { $0.now } }
    var elapsed: Duration { self.now.offset }
    var minimumResolution: Duration { .nanoseconds(1) }

    func sleep(until deadline: Instant, tolerance: Duration? = nil) async throws {
        let id = self.state.withLock { state in
            state.lastSleeper += 1
            return state.lastSleeper
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isDone = self.state.withLock { state -> Result<Void, any Error>? in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if deadline <= state.now { return .success(()) }
                    state.sleepers.append(Sleeper(id: id, deadline: deadline, continuation: continuation))
                    return nil
                }
                if let isDone { continuation.resume(with: isDone) }
            }
        } onCancel: {
            let sleeper = self.state.withLock { state in
                state.sleepers.firstIndex { $0.id == id }.map { state.sleepers.remove(at: $0) }
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    func pass(_ duration: Duration) async { try? await self.sleep(until: self.now.advanced(by: duration)) }

    func random(_ bound: UInt64) -> UInt64 { self.state.withLock { $0.random.next() % bound } }
}
