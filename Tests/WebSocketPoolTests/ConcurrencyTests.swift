//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSocketPool

/// Real threads and the real scheduler, for the thread sanitizer and for what only they bring about.
@Suite
struct ConcurrencyTests {
    @Test(.timeLimit(.minutes(5)))
    func leasesOfAConnectionNeverOverlapAndNoMoreAreOutThanAllowed() async throws {
        let rounds = ModelTests.setting("POOL_ROUNDS", default: 300)
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 6
        configuration.hardMaximum = 8
        configuration.validationBypass = .microseconds(200)
        configuration.hygiene = .drain(.init(timeout: .seconds(1), quietPeriod: .zero))
        let server = MockServer()
        let tally = Tally()
        try await TypedPool.withPool(
            configuration: configuration, clock: ContinuousClock(), connect: { try await server.connect($0) }
        ) { pool in
            await withTaskGroup(of: Void.self) { group in
                for worker in 0..<24 {
                    group.addTask {
                        var random = PoolRandom(seed: UInt64(worker))
                        for _ in 0..<rounds {
                            await Self.round(pool, &random, tally)
                        }
                    }
                }
            }
            let statistics = pool.statistics
            #expect(statistics.counts.leased == 0 && statistics.counts.waiting == 0)
            #expect(statistics.totals.acquired == tally.granted.load(ordering: .relaxed))
            #expect(statistics.totals.acquired == statistics.totals.leasesEnded)
            #expect(
                statistics.totals.acquireCancellations + statistics.totals.acquireTimeouts
                    == tally.refused.load(ordering: .relaxed))
        }
        #expect(server.openConnections.isEmpty)
        #expect(server.seen.mostConnecting <= 8)
        #expect(server.seen.connections.allSatisfy { $0.closings <= 1 })
    }

    private final class Tally: Sendable {
        let leased = Atomic(0)
        let granted = Atomic(0)
        let refused = Atomic(0)
    }

    private static func round(
        _ pool: TypedPool<MockConnection>, _ random: inout PoolRandom, _ tally: Tally
    ) async {
        let dice = random.next() % 100
        let timeout: Duration = dice < 5 ? .microseconds(Int(dice) * 40) : .seconds(20)
        let lease: TypedLease<MockConnection>
        if dice < 15 {
            // An acquire whose task is cancelled at some point.
            let outcome = await withTaskGroup(of: TypedLease<MockConnection>?.self) { group in
                group.addTask { try? await pool.acquire(timeout: timeout) }
                for _ in 0..<dice % 7 { await Task.yield() }
                group.cancelAll()
                return await group.next() ?? nil
            }
            guard let outcome else {
                tally.refused.add(1, ordering: .relaxed)
                return
            }
            lease = outcome
        } else {
            guard let outcome = try? await pool.acquire(timeout: timeout) else {
                tally.refused.add(1, ordering: .relaxed)
                return
            }
            lease = outcome
        }
        tally.granted.add(1, ordering: .relaxed)
        #expect(tally.leased.add(1, ordering: .relaxed).newValue <= 8)
        if let connection = try? lease.connection {
            #expect(connection.enter())
            for _ in 0..<random.next() % 3 { await Task.yield() }
            if dice == 99 { connection.receive() }
            connection.leave()
            if dice == 98 {
                // Counted before it happens: the next lease may begin as soon as it has.
                tally.leased.subtract(1, ordering: .relaxed)
                connection.die()
                lease.release()
                return
            }
        }
        tally.leased.subtract(1, ordering: .relaxed)
        lease.release(discard: dice == 97)
    }

    @Test(.timeLimit(.minutes(5)))
    func shutdownRacesEverythingAndEverybodyIsResumedOnce() async throws {
        for round in 0..<ModelTests.setting("POOL_SHUTDOWNS", default: 60) {
            let server = MockServer()
            let pool = TypedPool(configuration: RegressionTests.small(3)) { try await server.connect($0) }
            await withTaskGroup(of: Void.self) { group in
                group.addTask { try? await pool.run() }
                for _ in 0..<8 {
                    group.addTask {
                        while (try? await pool.withConnection({ _ in await Task.yield() })) != nil {}
                    }
                }
                for _ in 0..<round { await Task.yield() }
                await pool.shutDown(grace: .milliseconds(round % 3))
            }
            #expect(server.openConnections.isEmpty)
            #expect(pool.statistics.counts.total == 0 && pool.statistics.counts.waiting == 0)
        }
    }

    @Test
    func fastPathAndHandOffMeasured() async throws {
        guard environment("POOL_BENCHMARK") != nil else { return }
        let server = MockServer()
        var configuration = RegressionTests.small(8)
        configuration.validationBypass = .seconds(3600)
        try await TypedPool.withPool(
            configuration: configuration, clock: ContinuousClock(), connect: { try await server.connect($0) }
        ) { pool in
            let opened = try await pool.warmUp(8)
            #expect(opened == 8)
            let count = 2_000_000
            for _ in 0..<3 {
                let start = ContinuousClock.now
                for _ in 0..<count { try await pool.acquire().release() }
                let each = (ContinuousClock.now - start) / count
                print("acquire and release, uncontended: \(each)")
            }
            let start = ContinuousClock.now
            for _ in 0..<count { _ = ContinuousClock.now }
            print("reading the clock: \((ContinuousClock.now - start) / count)")
            guard environment("POOL_BENCHMARK") != "fast" else { return }
            let cycles = 20_000
            let contended = ContinuousClock.now
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<64 {
                    group.addTask {
                        for _ in 0..<cycles {
                            guard let lease = try? await pool.acquire() else { continue }
                            await Task.yield()
                            lease.release()
                        }
                    }
                }
            }
            print("64 tasks over 8 connections: \((ContinuousClock.now - contended) / (64 * cycles)) a cycle")
        }
    }
}
