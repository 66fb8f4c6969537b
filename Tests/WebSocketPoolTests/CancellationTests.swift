//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketPool

/// The pool's part of the cancellation matrix K: an acquire in each of its states, and the drain; before, during, after
/// and twice. Whatever is cancelled, the one slot is there for the next.
@Suite
struct PoolCancellationTests {
    enum Point: String, CaseIterable {
        case queued, connecting, validating
        /// A release has granted it the connection, and its task has not run since.
        case granted
    }

    enum Moment: String, CaseIterable { case before, during, after, twice }

    private static let configuration = RegressionTests.small(1) {
        $0.keepaliveInterval = nil
        $0.validationBypass = .seconds(1)
    }

    private static var behaviour: MockServer.Behaviour {
        var behaviour = MockServer.Behaviour()
        behaviour.connectDelay = .milliseconds(10)
        behaviour.validationDelay = .milliseconds(10)
        return behaviour
    }

    @Test(arguments: Point.allCases, Moment.allCases)
    func anAcquireInAnyState(point: Point, moment: Moment) throws {
        for seed in 0..<10 as Range<UInt64> {
            try withSimulatedPool(Self.configuration, server: Self.behaviour, seed: seed) { pool, _, simulation in
                var holder: TypedLease<MockConnection>?
                switch point {
                case .connecting: break
                case .queued, .granted: holder = try await pool.acquire()
                case .validating:
                    try await pool.acquire().release()
                    await simulation.pass(.seconds(2))
                }
                let (former, was) = (pool.statistics.totals, pool.statistics.counts)
                let task = Task(executorPreference: simulation) {
                    if moment == .before { withUnsafeCurrentTask { $0?.cancel() } }
                    return try await pool.acquire()
                }
                if moment != .before {
                    await simulation.pass(.milliseconds(1))
                    let counts = pool.statistics.counts
                    switch point {
                    case .queued, .granted: #expect(counts.waiting == 1 && counts.leased == 1)
                    case .connecting: #expect(counts.waiting == 1 && counts.connecting == 1)
                    case .validating: #expect(counts.waiting == 1 && counts.validating == 1)
                    }
                    if point == .granted || moment == .after {
                        holder?.release()
                        holder = nil
                    }
                }
                if moment == .after {
                    let lease = try await task.value
                    task.cancel()
                    #expect(lease.isValid)
                    lease.release()
                } else {
                    // Nothing was awaited since a release, so the task has its grant and does not know it.
                    task.cancel()
                    if moment == .twice { task.cancel() }
                    let error = await #expect(throws: WebSocketPoolError.self) { _ = try await task.value }
                    #expect(error?.code == .cancelled)
                    task.cancel()
                    #expect(pool.statistics.totals.acquireCancellations == former.acquireCancellations + 1)
                    if moment == .before {
                        #expect(pool.statistics.counts == was)
                        #expect(pool.statistics.totals.connectsStarted == former.connectsStarted)
                    }
                }
                holder?.release()
                await simulation.pass(.milliseconds(100))
                let counts = pool.statistics.counts
                #expect(counts.waiting == 0 && counts.leased == 0 && counts.connecting == 0 && counts.validating == 0)
                let next = try await pool.acquire(timeout: .seconds(5))
                #expect(next.isValid && pool.statistics.counts.total == 1)
                next.release()
            }
        }
    }

    @Test(arguments: Moment.allCases)
    func aBorrowerWhoseConnectionIsDrained(moment: Moment) throws {
        var behaviour = MockServer.Behaviour()
        behaviour.drainDelay = .milliseconds(10)
        let configuration = RegressionTests.small(1) { $0.hygiene = .drain(.init(timeout: .seconds(3))) }
        for seed in 0..<10 as Range<UInt64> {
            try withSimulatedPool(configuration, server: behaviour, seed: seed) { pool, server, simulation in
                let task = Task(executorPreference: simulation) {
                    try await pool.withConnection { connection in
                        connection.receive()
                        if moment == .before { withUnsafeCurrentTask { $0?.cancel() } }
                    }
                }
                try await task.value
                if moment == .before {
                    // It may have left in the middle of an exchange: closed, and never drained.
                    #expect(server.seen.drains == 0)
                } else {
                    #expect(pool.statistics.counts.draining == 1)
                    if moment == .after { await simulation.pass(.milliseconds(20)) }
                    // The drain is the pool's and goes on without the borrower.
                    task.cancel()
                    if moment == .twice { task.cancel() }
                }
                try await pool.withConnection { #expect($0.read() == 0) }
                #expect(server.seen.connections.count == (moment == .before ? 2 : 1))
                await simulation.pass(.milliseconds(100))
                #expect(pool.statistics.counts.draining == 0 && pool.statistics.counts.leased == 0)
            }
        }
    }
}
