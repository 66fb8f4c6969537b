//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketPool

/// Pools that do not run, run twice, start badly or are suspended.
@Suite
struct LifecycleTests {
    final class StartObserver: WebSocketPoolObserver {
        let early = Mutex(0)
        let observesLeases = false
        func acquiredBeforeRun() { early.withLock { $0 += 1 } }
    }

    /// An acquire of a pool that nothing runs says so at once, and fails after a second.
    @Test
    func anAcquireOfAPoolThatNothingRunsSaysSoAtOnce() throws {
        try Simulation.run { simulation in
            let observer = StartObserver()
            let pool = SimulatedPool(clock: simulation, observer: observer) { _ in throw CancellationError() }
            #expect(!pool.isRunning && !pool.isClosed)
            let waiting = Task(executorPreference: simulation) { () -> WebSocketPoolError? in
                do throws(WebSocketPoolError) { _ = try await pool.acquire() } catch { return error }
                return nil
            }
            await simulation.pass(.milliseconds(1))
            #expect(observer.early.withLock { $0 } == 1)
            let error = await waiting.value
            #expect(error?.code == .poolUnavailable && error?.description.contains("call run()") == true)
            #expect(simulation.elapsed == .seconds(1))
            let immediate = await #expect(throws: WebSocketPoolError.self) {
                _ = try await pool.acquire(timeout: .zero)
            }
            #expect(immediate?.code == .poolUnavailable && simulation.elapsed == .seconds(1))
            await pool.shutDown()
            #expect(pool.isClosed)
            try await pool.run()
        }
    }

    @Test(arguments: 0..<20)
    func neitherWithPoolNorAPromisedRunLooksLikeAPoolThatNothingRuns(seed: UInt64) throws {
        let observer = StartObserver()
        try withSimulatedPool(observer: observer, seed: seed) { pool, _, _ in try await pool.withConnection { _ in } }
        try Simulation.run(seed: seed) { simulation in
            let server = MockServer(on: simulation)
            let pool = SimulatedPool(clock: simulation, observer: observer) { try await server.connect($0) }
            pool.core.promiseRun()
            let running = Task(executorPreference: simulation) { try await pool.run() }
            try await pool.withConnection { _ in }
            await pool.shutDown()
            try await running.value
        }
        #expect(observer.early.withLock { $0 } == 0)
    }

    @Test
    func anAcquireThatComesALittleBeforeRunHasAllOfItsTime() throws {
        try Simulation.run { simulation in
            let server = MockServer(.init(connectDelay: .seconds(5)), on: simulation)
            let pool = SimulatedPool(clock: simulation) { try await server.connect($0) }
            let waiting = Task(executorPreference: simulation) { try await pool.acquire() }
            await simulation.pass(.milliseconds(900))
            let running = Task(executorPreference: simulation) { try await pool.run() }
            let lease = try await waiting.value
            #expect(pool.isRunning && simulation.elapsed == .milliseconds(5_900))
            lease.release()
            await pool.shutDown()
            try await running.value
        }
    }

    @Test
    func aSecondRunThrowsAndTheFirstGoesOn() throws {
        try withSimulatedPool { pool, _, _ in
            try await pool.withConnection { _ in }
            let error = await #expect(throws: WebSocketPoolError.self) { try await pool.run() }
            #expect(error?.code == .poolClosed && error?.description.contains("runs already") == true)
            try await pool.withConnection { _ in }
            #expect(pool.isRunning)
        }
    }

    @Test
    func aTimeoutOfASuspendedPoolDoesNotAdviseToReleaseLeases() throws {
        try withSimulatedPool { pool, _, _ in
            try await pool.withConnection { _ in }
            pool.suspend()
            #expect(pool.isSuspended && pool.isRunning)
            let error = await #expect(throws: WebSocketPoolError.self) {
                _ = try await pool.acquire(timeout: .seconds(1))
            }
            #expect(error?.code == .acquireTimedOut && error?.description.contains("resume()") == true)
            pool.resume()
            try await pool.withConnection { _ in }
        }
    }
}
