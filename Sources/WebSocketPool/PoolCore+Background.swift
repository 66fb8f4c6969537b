//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency

// Everything that takes time: runs in the task of `run()` and its children, and nowhere else.
extension PoolCore {
    /// Runs the pool until it is shut down, or until the task is cancelled, which closes every connection at once.
    ///
    /// May be called once. Returns when all connections and all background work have ended.
    ///
    /// - Throws: Why the warm-up failed, when its policy is `failFast`; the pool is closed then. `poolClosed` when it
    ///   was called before, which changes nothing for the first call.
    package func run() async throws(WebSocketPoolError) {
        guard !hasRun.exchange(true, ordering: .acquiringAndReleasing) else {
            throw WebSocketPoolError(
                .poolClosed, statistics: machine.withLock { $0.statistics },
                reason: "the pool runs already, or has run; a pool is run once, and withPool does it by itself")
        }
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.operations.drive { await self.perform($0) } }
                group.addTask { await self.closings.drive { await self.perform($0) } }
                group.addTask { await self.timers.drive { await self.tick(at: $0) } }
                send { $0.start(at: $1) }
                beginning.open()
                group.addTask { await self.startWarm() }
            }
        } onCancel: {
            beginShutdown(grace: 0)
        }
        if let error = startError.withLock({ $0 }) { throw error }
    }

    private func startWarm() async {
        defer { warmth.open() }
        let policy = configuration.warmUpPolicy
        // A pool that must not start in vain finds out with one connection at least.
        let count = policy == .failFast ? max(1, configuration.warmUpCount) : configuration.warmUpCount
        do throws(WebSocketPoolError) {
            _ = try await warmUp(count, policy: policy)
        } catch {
            // A pool that was shut down meanwhile did not fail to start.
            guard error.code != .poolClosed && error.code != .cancelled else { return beginShutdown(grace: 0) }
            startError.withLock { $0 = error }
            send { $0.failStart(error.underlyingError ?? error, at: $1) }
        }
    }

    /// `run()` is about to be called by a task that has been made.
    package func promiseRun() { machine.withLock { $0.isRunPromised = true } }

    /// Whether the pool has come as far as a body that it was made for has to wait, and did not fail to.
    package func isReady() async -> Bool {
        await beginning.wait()
        if configuration.waitsForWarmUp || configuration.warmUpPolicy == .failFast {
            await warmth.wait()
        }
        return startError.withLock { $0 } == nil
    }

    /// Opens connections in parallel, within the pool's limits. Each can be lent as soon as it is there.
    package func warmUp(_ count: Int, policy: WebSocketPoolWarmUpPolicy) async throws(WebSocketPoolError) -> Int {
        let room = machine.withLock { min(count, $0.settings.softMaximum - $0.counts.total) }
        let timeout = configuration.connectTimeout
        var opened = 0
        var failure: WebSocketPoolError?
        await withTaskGroup(of: WebSocketPoolError?.self) { group in
            for _ in 0..<max(0, room) {
                group.addTask {
                    do throws(WebSocketPoolError) { try await self.open(timeout: timeout) } catch { return error }
                    return nil
                }
            }
            for await error in group {
                guard let error else {
                    opened += 1
                    continue
                }
                guard policy == .failFast, failure == nil else { continue }
                failure = error
                group.cancelAll()
            }
        }
        if let failure { throw failure }
        return opened
    }

    private func perform(_ operation: Machine.Action.Operation) async {
        switch operation {
        case .connect(let key, let endpoint):
            await connect(key, endpoint: endpoint)
        case .validate(let key, let connection):
            let timeout = configuration.validationTimeout
            let result = await bounded(timeout.ticks) { await connection.validate(timeout: timeout) }
            // All that can go wrong here is the time.
            let isAlive = (try? result.get()) ?? false
            send { $0.validated(key, isAlive: isAlive, at: $1) }
        case .drain(let key, let connection):
            guard case .drain(let options) = configuration.hygiene else { return }
            let result = await bounded(options.timeout.ticks) { await connection.drain(options) }
            let outcome = (try? result.get()) ?? .timedOut
            send { $0.drained(key, outcome, at: $1) }
        case .close(let key, let connection):
            _ = await bounded(configuration.closeTimeout.ticks) { await connection.close() }
            send { $0.closed(key, at: $1) }
        case .abort(_, let connection):
            connection.abort()
            _ = await bounded(configuration.closeTimeout.ticks) { await connection.close() }
        }
    }

    private func connect(_ key: ConnectionKey, endpoint: Int) async {
        let result = await bounded(configuration.connectTimeout.ticks) { try await self.connect(endpoint) }
        switch result {
        case .success(let connection):
            let now = time.now
            let (isTaken, action) = machine.withLock { $0.connected(key, connection, at: now) }
            act(action)
            if isTaken {
                // After the machine knows it, so that the end of a connection never precedes its beginning.
                // Strong, because a weak reference would slow down every retain of the pool; the connection drops it.
                connection.onClose { self.send { $0.closed(key, at: $1) } }
            } else {
                await connection.close()
            }
        case .failure(let error):
            let isFatal = configuration.isFatalConnectError(error)
            let rest = configuration.retryAfter(error)?.ticks ?? 0
            send { $0.connectFailed(key, error, isFatal: isFatal, retryAfter: rest, at: $1) }
        }
    }

    /// Performs `work` and cancels it after `timeout`. What it nevertheless produces is returned, not lost.
    private func bounded<Value: Sendable>(
        _ timeout: Ticks, _ work: @escaping @Sendable () async throws -> Value
    ) async -> Result<Value, any Error> {
        do {
            let value = try await time.limit(timeout == .never ? nil : .nanoseconds(timeout), work)
            return value.map { .success($0) } ?? .failure(WebSocketPoolOperationTimedOut())
        } catch {
            return .failure(error)
        }
    }

    func tick(at deadline: Ticks) async {
        do { try await time.sleep(until: deadline) } catch { return }
        // A clock may wake a little early; the machine believes that the time has come.
        send { $0.tick(at: max($1, deadline)) }
    }

    // MARK: Ending

    func beginShutdown(grace: Ticks) {
        send { $0.shutDown(deadline: $1.after(grace), at: $1) }
    }

    /// Returns when the last connection is gone. Cancelling the caller ends the grace, not the wait.
    func shutDown(grace: Ticks) async {
        beginShutdown(grace: grace)
        await withTaskCancellationHandler {
            await termination.wait()
        } onCancel: {
            beginShutdown(grace: 0)
        }
    }

    func finish() {
        operations.finish()
        closings.finish()
        timers.finish()
        termination.open()
    }
}
