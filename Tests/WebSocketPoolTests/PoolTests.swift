//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketPool

/// The pool as its users see it, in simulated time.
@Suite
struct PoolTests {
    struct BodyFailed: Error {}

    @Test
    func withConnectionLendsReturnsAndReuses() throws {
        try withSimulatedPool { pool, server, _ in
            for _ in 0..<10 { try await pool.withConnection { #expect($0.isOpen) } }
            #expect(server.seen.connections.count == 1)
            #expect(pool.statistics.totals.acquired == 10 && pool.statistics.totals.leasesEnded == 10)
            #expect(pool.statistics.counts.idle == 1)
        }
    }

    @Test
    func aBodyThatThrowsDoesNotGiveItsConnectionToTheNext() throws {
        try withSimulatedPool { pool, server, simulation in
            await #expect(throws: BodyFailed.self) { try await pool.withConnection { _ in throw BodyFailed() } }
            try await pool.withConnection { #expect($0.id == 1) }
            await simulation.pass(.milliseconds(1))
            #expect(server.seen.connections[0].closings == 1)
        }
    }

    @Test
    func anErrorThatTheConfigurationCallsHarmlessKeepsTheConnection() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.isReusableAfter = { $0 is BodyFailed }
        try withSimulatedPool(configuration) { pool, _, _ in
            await #expect(throws: BodyFailed.self) { try await pool.withConnection { _ in throw BodyFailed() } }
            try await pool.withConnection { #expect($0.id == 0) }
        }
    }

    @Test
    func aCancelledBodyNeverReturnsAConnectionInTheMiddleOfAnExchange() throws {
        try withSimulatedPool { pool, server, simulation in
            await withTaskGroup(of: Void.self) { group in
                group.addTask { try? await pool.withConnection { _ in await simulation.pass(.seconds(1)) } }
                await simulation.pass(.milliseconds(1))
                group.cancelAll()
            }
            await simulation.pass(.milliseconds(1))
            #expect(pool.statistics.counts.idle == 0)
            #expect(server.seen.connections[0].closings == 1)
        }
    }

    @Test(arguments: 0..<20)
    func waitersAreServedInTheOrderOfArrival(seed: UInt64) throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 1
        configuration.hardMaximum = 1
        try withSimulatedPool(configuration, seed: seed) { pool, _, simulation in
            let order = Log<Int>()
            let first = try await pool.acquire()
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<8 {
                    group.addTask {
                        await simulation.pass(.milliseconds(index))
                        guard let lease = try? await pool.acquire() else { return }
                        order.append(index)
                        await simulation.pass(.milliseconds(3))
                        lease.release()
                    }
                }
                await simulation.pass(.milliseconds(20))
                #expect(pool.statistics.counts.waiting == 8)
                first.release()
            }
            #expect(order.all == Array(0..<8))
        }
    }

    @Test
    func anAcquireEndsAtItsTimeoutToTheNanosecond() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 1
        configuration.hardMaximum = 1
        try withSimulatedPool(configuration) { pool, _, simulation in
            let lease = try await pool.acquire()
            let start = simulation.elapsed
            let error = await #expect(throws: WebSocketPoolError.self) {
                _ = try await pool.acquire(timeout: .milliseconds(70))
            }
            #expect(error?.code == .acquireTimedOut)
            #expect(error?.statistics.counts.leased == 1)
            #expect(simulation.elapsed - start == .milliseconds(70))
            lease.release()
        }
    }

    @Test
    func aPoolThatWasNeverRunStillKeepsItsTimeouts() throws {
        try Simulation.run { simulation in
            let pool = SimulatedPool(clock: simulation) { _ in throw BodyFailed() }
            let error = await #expect(throws: WebSocketPoolError.self) {
                _ = try await pool.acquire(timeout: .milliseconds(300))
            }
            #expect(error?.code == .poolUnavailable)
            #expect(simulation.elapsed == .milliseconds(300))
            await pool.shutDown()
            try await pool.run()
        }
    }

    @Test(arguments: 0..<40)
    func cancellingAnAcquireInAnyOfItsStatesCostsNoSlot(seed: UInt64) throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 2
        configuration.hardMaximum = 2
        var behaviour = MockServer.Behaviour()
        behaviour.connectDelay = .milliseconds(10)
        behaviour.validationDelay = .milliseconds(4)
        try withSimulatedPool(configuration, server: behaviour, seed: seed) { pool, _, simulation in
            for _ in 0..<20 {
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<4 {
                        group.addTask {
                            try? await pool.withConnection { _ in await simulation.pass(.milliseconds(3)) }
                        }
                    }
                    await simulation.pass(.milliseconds(Int(simulation.random(15))))
                    group.cancelAll()
                }
                await simulation.pass(.milliseconds(Int(simulation.random(1_500))))
            }
            await simulation.pass(.seconds(1))
            let counts = pool.statistics.counts
            #expect(counts.leased == 0 && counts.waiting == 0 && counts.connecting == 0)
            let leases = [try await pool.acquire(), try await pool.acquire()]
            for lease in leases { lease.release() }
        }
    }

    @Test
    func acquireNewNeverReusesAndMakesRoomInAFullPool() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 1
        configuration.hardMaximum = 1
        try withSimulatedPool(configuration) { pool, server, _ in
            try await pool.withConnection { #expect($0.id == 0) }
            try await pool.withNewConnection { #expect($0.id == 1) }
            #expect(server.openConnections.map(\.id) == [1])
        }
    }

    @Test
    func tryAcquireTakesWhatIsThereAndStartsNothing() throws {
        try withSimulatedPool { pool, server, _ in
            #expect(pool.tryAcquire() == nil)
            #expect(server.seen.attempts.isEmpty)
            try await pool.withConnection { _ in }
            let lease = try #require(pool.tryAcquire())
            #expect(pool.tryAcquire() == nil)
            lease.release()
        }
    }

    /// An acquire without time waits for the proof of an idle connection, and no longer than that.
    @Test
    func anAcquireWithoutTimeWaitsForTheProofOfAnIdleConnection() throws {
        var configuration = RegressionTests.small(1)
        configuration.keepaliveInterval = nil
        configuration.idleTimeout = nil
        try withSimulatedPool(configuration, server: .init(validationDelay: .milliseconds(20))) {
            pool, server, simulation in
            try await pool.withConnection { _ in }
            await simulation.pass(.seconds(1))
            let start = simulation.elapsed
            let lease = try await pool.acquire(timeout: .zero)
            #expect(simulation.elapsed - start == .milliseconds(20))
            // Nothing is idle: at once.
            let busy = await #expect(throws: WebSocketPoolError.self) { _ = try await pool.acquire(timeout: .zero) }
            #expect(busy?.code == .acquireTimedOut && simulation.elapsed - start == .milliseconds(20))
            lease.release()
            await simulation.pass(.seconds(1))
            server.set { $0.answersPings = false }
            let later = simulation.elapsed
            let error = await #expect(throws: WebSocketPoolError.self) { _ = try await pool.acquire(timeout: .zero) }
            #expect(error?.code == .acquireTimedOut && simulation.elapsed - later == .milliseconds(250))
            server.set { $0.answersPings = true }
        }
    }

    @Test
    func tryAcquireHasAConnectionProveItselfForTheNextCall() throws {
        try withSimulatedPool(RegressionTests.small(2)) { pool, server, simulation in
            try await pool.withConnection { _ in }
            await simulation.pass(.seconds(1))
            #expect(pool.tryAcquire() == nil)
            await simulation.pass(.milliseconds(1))
            let lease = try #require(pool.tryAcquire())
            #expect(server.seen.validations == 1 && server.seen.connections.count == 1)
            lease.release()
        }
    }

    final class QueueObserver: WebSocketPoolObserver {
        let depths = Mutex<[Int]>([])
        let waiting = Mutex(0)
        let failed = Mutex(0)
        func acquireQueued(depth: Int) { waiting.withLock { $0 += 1 } }
        func acquireLeftQueue(depth: Int) {
            waiting.withLock { $0 -= 1 }
            depths.withLock { $0.append(depth) }
        }
        func connectFailed(endpoint: WebSocketPoolEndpoint, error: any Error) { failed.withLock { $0 += 1 } }
    }

    @Test
    func observersCountTheWaitersDownToZeroHoweverTheyEnd() throws {
        let observer = QueueObserver()
        try withSimulatedPool(RegressionTests.small(1), observer: observer) { pool, _, simulation in
            let lease = try await pool.acquire()
            let served = Task(executorPreference: simulation) { try await pool.withConnection { _ in } }
            let late = Task(executorPreference: simulation) { try await pool.acquire(timeout: .seconds(1)) }
            let cancelled = Task(executorPreference: simulation) { try await pool.acquire() }
            await simulation.pass(.milliseconds(1))
            #expect(observer.waiting.withLock { $0 } == 3)
            cancelled.cancel()
            await simulation.pass(.seconds(2))
            lease.release()
            try await served.value
            _ = await late.result
            _ = await cancelled.result
            #expect(observer.waiting.withLock { $0 } == 0)
            #expect(observer.depths.withLock { $0.last } == 0)
        }
    }

    @Test
    func attemptsThatAShutdownCancelsHaveNotFailed() throws {
        let observer = QueueObserver()
        try withSimulatedPool(
            RegressionTests.small(4), server: .init(connectDelay: .seconds(5)), observer: observer
        ) { pool, _, simulation in
            let waiting = Task(executorPreference: simulation) { try await pool.acquire() }
            await simulation.pass(.seconds(1))
            await pool.shutDown()
            _ = await waiting.result
            let totals = pool.statistics.totals
            #expect(totals.connectsFailed == 0 && totals.connectsCancelled == 1)
            #expect(observer.failed.withLock { $0 } == 0 && observer.waiting.withLock { $0 } == 0)
        }
    }

    @Test
    func aDetachedConnectionBelongsToTheCaller() throws {
        try withSimulatedPool { pool, server, _ in
            let lease = try await pool.acquire()
            let connection = try lease.detach()
            #expect(pool.statistics.counts.total == 0)
            #expect(!lease.isValid)
            #expect(throws: WebSocketPoolError.self) { _ = try lease.detach() }
            await pool.shutDown()
            #expect(connection.isOpen)
            await connection.close()
            #expect(server.seen.closeCalls == 1)
        }
    }

    @Test
    func idleConnectionsEndAtTheirTimeoutExceptTheMinimum() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.minimumIdle = 2
        configuration.idleTimeout = .seconds(10)
        configuration.keepaliveInterval = nil
        try withSimulatedPool(configuration) { pool, _, simulation in
            let leases = [try await pool.acquire(), try await pool.acquire(), try await pool.acquire()]
            for lease in leases { lease.release() }
            #expect(pool.statistics.counts.idle >= 3)
            await simulation.pass(.seconds(11))
            #expect(pool.statistics.counts.idle == 2)
            await simulation.pass(.seconds(100))
            #expect(pool.statistics.counts.idle == 2)
        }
    }

    @Test
    func connectionsOpenedTogetherDoNotEndTogether() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 50
        configuration.hardMaximum = 50
        configuration.minimumIdle = 50
        configuration.idleTimeout = nil
        configuration.keepaliveInterval = nil
        try withSimulatedPool(configuration) { pool, server, simulation in
            await simulation.pass(.seconds(1))
            #expect(pool.statistics.counts.idle == 50)
            await simulation.pass(.seconds(1799))
            let renewals = server.seen.attempts.dropFirst(50)
            #expect(renewals.count == 50)
            for second in 1_600..<1_801 {
                let inThisSecond = renewals.count { $0 >= .seconds(second) && $0 < .seconds(second + 1) }
                #expect(inThisSecond <= 5, "more than a tenth of the pool renewed within a second")
            }
        }
    }

    @Test
    func aLeaseOutlivesTheMaximumLifetimeOfItsConnection() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.maximumLifetime = .seconds(10)
        configuration.lifetimeJitter = 0
        try withSimulatedPool(configuration) { pool, server, simulation in
            let lease = try await pool.acquire()
            await simulation.pass(.seconds(60))
            #expect(try lease.connection.isOpen)
            lease.release()
            await simulation.pass(.milliseconds(1))
            #expect(server.openConnections.isEmpty)
        }
    }

    @Test
    func overflowConnectionsAreClosedAsSoonAsNobodyWantsThem() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 1
        configuration.hardMaximum = 3
        try withSimulatedPool(configuration) { pool, server, simulation in
            let leases = [try await pool.acquire(), try await pool.acquire(), try await pool.acquire()]
            for lease in leases { lease.release() }
            await simulation.pass(.milliseconds(1))
            #expect(server.openConnections.count == 1)
        }
    }

    @Test
    func resizeSuspendResumeReleaseUnusedAndReset() throws {
        try withSimulatedPool { pool, server, simulation in
            let opened = try await pool.warmUp(4)
            #expect(opened == 4)
            pool.resize(softMaximum: 2, hardMaximum: 3, minimumIdle: 0)
            await simulation.pass(.milliseconds(1))
            #expect(pool.statistics.counts.total == 2)

            pool.suspend()
            let error = await #expect(throws: WebSocketPoolError.self) {
                _ = try await pool.acquire(timeout: .milliseconds(5))
            }
            #expect(error?.code == .acquireTimedOut)
            pool.resume()

            let lease = try await pool.acquire()
            pool.reset()
            await simulation.pass(.milliseconds(1))
            #expect(server.openConnections.count == 1, "the lent one is spared")
            lease.release()
            await simulation.pass(.milliseconds(1))
            #expect(server.openConnections.isEmpty)

            try await pool.withConnection { _ in }
            #expect(pool.releaseUnused() == 1)
            await simulation.pass(.milliseconds(1))
            #expect(server.openConnections.isEmpty)
        }
    }

    @Test
    func aSuspectedLeakIsReportedWithThePlaceWhereTheLeaseWasTaken() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.leakThreshold = .seconds(2)
        let observer = RecordingObserver()
        try withSimulatedPool(configuration, observer: observer) { pool, _, simulation in
            let line: UInt = #line + 1
            let lease = try await pool.acquire()
            await simulation.pass(.seconds(10))
            #expect(observer.events.all.count { $0.hasPrefix("leak ") } == 1)
            #expect(observer.events.all.contains { $0.hasPrefix("leak ") && $0.hasSuffix("PoolTests.swift:\(line)") })
            lease.release()
            #expect(observer.events.all.contains("leak returned"))
            #expect(pool.statistics.totals.leaksSuspected == 1)
        }
    }

    @Test
    func aBodyRunsOnTheExecutorThatItsConnectionPrefers() throws {
        try withSimulatedPool { pool, server, simulation in
            let executor = CountingExecutor(simulation)
            server.set { $0.executor = executor }
            try await pool.withConnection { _ in
                let before = executor.count
                await simulation.pass(.milliseconds(1))
                #expect(executor.count > before)
            }
            let after = executor.count
            await simulation.pass(.milliseconds(1))
            #expect(executor.count == after)
        }
    }

    @Test
    func statisticsAddUpWaitingUsageAndConnectingTimes() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 1
        configuration.hardMaximum = 1
        var behaviour = MockServer.Behaviour()
        behaviour.connectDelay = .milliseconds(100)
        try withSimulatedPool(configuration, server: behaviour) { pool, _, simulation in
            try await pool.withConnection { _ in await simulation.pass(.milliseconds(30)) }
            let totals = pool.statistics.totals
            #expect(totals.waitTime == .milliseconds(100))
            #expect(totals.connectTime == .milliseconds(100))
            #expect(totals.usageTime == .milliseconds(30))
        }
    }
}

/// Values in the order in which they were logged.
final class Log<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])
    func append(_ element: Element) { self.elements.withLock { $0.append(element) } }
    var all: [Element] { self.elements.withLock { $0 } }
}

/// Writes every event down in words.
final class RecordingObserver: WebSocketPoolObserver {
    let events = Log<String>()

    func connectionOpened(endpoint: WebSocketPoolEndpoint, after duration: Duration) {
        self.events.append("opened \(endpoint)")
    }
    func connectFailed(endpoint: WebSocketPoolEndpoint, error: any Error) {
        self.events.append("connect failed \(endpoint)")
    }
    func connectionClosed(endpoint: WebSocketPoolEndpoint, reason: WebSocketPoolEndReason) {
        self.events.append("closed \(reason)")
    }
    func validationFailed(endpoint: WebSocketPoolEndpoint) { self.events.append("validation failed") }
    func drainFinished(endpoint: WebSocketPoolEndpoint, outcome: WebSocketPoolDrainOutcome) {
        self.events.append("drained \(outcome)")
    }
    func acquireQueued(depth: Int) { self.events.append("queued \(depth)") }
    func leaseGranted(waited: Duration) { self.events.append("granted") }
    func leaseEnded(after usage: Duration) { self.events.append("ended") }
    func acquireFailed(_ error: WebSocketPoolError) { self.events.append("failed \(error.code)") }
    func leakSuspected(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {
        self.events.append("leak \(site)")
    }
    func suspectedLeakReturned(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {
        self.events.append("leak returned")
    }
    func releaseIgnored() { self.events.append("release ignored") }
    func circuitOpened(endpoint: WebSocketPoolEndpoint, for duration: Duration) {
        self.events.append("circuit opened \(endpoint)")
    }
    func circuitClosed(endpoint: WebSocketPoolEndpoint) { self.events.append("circuit closed \(endpoint)") }
}

/// Counts the jobs that it passes on.
final class CountingExecutor: TaskExecutor {
    private let simulation: Simulation
    private let jobs = Atomic(0)

    init(_ simulation: Simulation) { self.simulation = simulation }

    var count: Int { self.jobs.load(ordering: .relaxed) }

    func enqueue(_ job: consuming ExecutorJob) {
        self.jobs.add(1, ordering: .relaxed)
        self.simulation.enqueue(job)
    }
}
