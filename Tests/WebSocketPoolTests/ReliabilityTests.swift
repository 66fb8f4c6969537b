//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketPool

/// Servers that fail, endpoints that leave and return, and pools that end.
@Suite
struct ReliabilityTests {
    /// Database down: every acquire ends within its timeout, and the pool recovers.
    @Test(arguments: 0..<10)
    func databaseDownEveryAcquireEndsWithinItsTimeout(seed: UInt64) throws {
        let configuration = RegressionTests.small(10) { $0.acquireTimeout = .seconds(5) }
        try withSimulatedPool(configuration, seed: seed) { pool, server, simulation in
            let opened = try await pool.warmUp(10)
            #expect(opened == 10)
            await simulation.pass(.seconds(2))
            server.set {
                $0.answersPings = false
                $0.connectDelay = .seconds(3600)
            }
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<30 {
                    group.addTask {
                        let start = simulation.elapsed
                        await #expect(throws: WebSocketPoolError.self) { try await pool.withConnection { _ in } }
                        #expect(simulation.elapsed - start <= .seconds(5))
                    }
                    await simulation.pass(.seconds(2))
                }
            }
            server.set {
                $0.answersPings = true
                $0.connectDelay = .zero
            }
            // Attempts under way when the server returned still hang until their own timeout.
            await simulation.pass(.seconds(60))
            try await pool.withConnection { #expect($0.isOpen) }
        }
    }

    @Test(arguments: 0..<10)
    func spike50AcquiresOf2MsOn5IdleConnectionsConnectsOf150Ms(seed: UInt64) throws {
        let configuration = RegressionTests.small(50)
        try withSimulatedPool(configuration, seed: seed) { pool, server, simulation in
            let opened = try await pool.warmUp(5)
            #expect(opened == 5)
            server.set { $0.connectDelay = .milliseconds(150) }
            let start = simulation.elapsed
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<50 {
                    group.addTask {
                        try? await pool.withConnection { _ in await simulation.pass(.milliseconds(2)) }
                    }
                }
            }
            #expect(simulation.elapsed - start <= .milliseconds(100))
            await simulation.pass(.seconds(1))
            #expect(server.seen.connections.count <= 6)
        }
    }

    @Test(arguments: 0..<10)
    func theSpikeArrivingOneByOneAtAPoolThatKeepsAMinimumIdle(seed: UInt64) throws {
        var configuration = RegressionTests.small(50)
        configuration.minimumIdle = 5
        try withSimulatedPool(configuration, seed: seed) { pool, server, simulation in
            await simulation.pass(.seconds(1))
            #expect(pool.statistics.counts.idle == 5)
            server.set { $0.connectDelay = .milliseconds(150) }
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<50 {
                    group.addTask {
                        try? await pool.withConnection { _ in await simulation.pass(.milliseconds(2)) }
                    }
                    await simulation.pass(.microseconds(50))
                }
            }
            await simulation.pass(.seconds(1))
            // Five that were idle, and five that replaced them.
            #expect(server.seen.connections.count <= 10)
        }
    }

    /// A server that is down is asked rarely, and nobody stampedes when it returns.
    @Test
    func aServerThatIsDownIsAskedRarely() throws {
        let configuration = RegressionTests.small(50)
        var behaviour = MockServer.Behaviour(refusing: [0])
        behaviour.connectDelay = .milliseconds(20)
        try withSimulatedPool(configuration, server: behaviour) { pool, server, simulation in
            for _ in 0..<600 {
                _ = try? await pool.acquire(timeout: .milliseconds(50))
                await simulation.pass(.milliseconds(50))
            }
            #expect(server.seen.attempts.count <= 30, "\(server.seen.attempts.count) attempts in about 30 s")
            server.set { $0.refusing = [] }
            let before = server.seen.attempts.count
            let start = simulation.elapsed
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        while (try? await pool.withConnection({ _ in await simulation.pass(.milliseconds(30)) })) == nil
                        {
                            await simulation.pass(.milliseconds(100))
                        }
                    }
                }
            }
            #expect(simulation.elapsed - start < .seconds(62))
            let attempts = server.seen.attempts.dropFirst(before)
            let first = try #require(attempts.first)
            #expect(attempts.count { $0 < first + .milliseconds(20) } == 1, "a single probe comes first")
            #expect(attempts.count { $0 < first + .milliseconds(40) } <= 3)
        }
    }

    @Test
    func aFatalErrorOpensTheCircuitAtOnce() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.isFatalConnectError = { $0 is MockServer.Refused }
        try withSimulatedPool(configuration, server: .init(refusing: [0])) { pool, server, _ in
            let error = await #expect(throws: WebSocketPoolError.self) { _ = try await pool.acquire() }
            #expect(error?.code == .poolUnavailable)
            #expect(server.seen.attempts.count == 1)
        }
    }

    @Test(arguments: 0..<30)
    func aConnectionThatDiesInAnyStateLeavesTheCountsRightAndWakesTheNextWaiter(seed: UInt64) throws {
        let configuration = RegressionTests.small(2) {
            $0.hygiene = .drain(.init(timeout: .seconds(1), quietPeriod: .milliseconds(5)))
            $0.keepaliveInterval = .milliseconds(20)
            $0.validationBypass = .milliseconds(3)
        }
        var behaviour = MockServer.Behaviour()
        behaviour.connectDelay = .milliseconds(3)
        behaviour.validationDelay = .milliseconds(2)
        behaviour.drainDelay = .milliseconds(5)
        try withSimulatedPool(configuration, server: behaviour, seed: seed) { pool, server, simulation in
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<6 {
                    group.addTask {
                        for _ in 0..<30 {
                            await #expect(throws: Never.self) {
                                try await pool.withConnection { connection in
                                    #expect(connection.enter())
                                    await simulation.pass(.milliseconds(Int(simulation.random(4))))
                                    connection.leave()
                                }
                            }
                        }
                    }
                }
                group.addTask {
                    for _ in 0..<60 {
                        await simulation.pass(.milliseconds(Int(simulation.random(9))))
                        let open = server.openConnections
                        if !open.isEmpty {
                            open[Int(simulation.random(UInt64(open.count)))].die(silently: simulation.random(4) == 0)
                        }
                    }
                }
            }
            await simulation.pass(.seconds(1))
            let counts = pool.statistics.counts
            #expect(counts.leased == 0 && counts.waiting == 0 && counts.total <= 2)
        }
    }

    @Test
    func endpointsShareTheLeasesAFailingOneIsEjectedAndReturns() throws {
        let configuration = RegressionTests.small(12)
        let observer = RecordingObserver()
        try withSimulatedPool(configuration, endpoints: 3, observer: observer) { pool, server, simulation in
            var leases: [TypedLease<MockConnection>] = []
            for _ in 0..<6 { leases.append(try await pool.acquire()) }
            #expect(pool.statistics.endpoints.map(\.leased) == [2, 2, 2])
            for lease in leases { lease.release(discard: true) }
            await simulation.pass(.milliseconds(1))

            server.set { $0.refusing = [1] }
            leases = []
            for _ in 0..<6 {
                leases.append(try await pool.acquire())
                await simulation.pass(.milliseconds(200))
            }
            #expect(pool.statistics.endpoints[1].leased == 0)
            for lease in leases { lease.release(discard: true) }
            for _ in 0..<30 {
                try? await pool.withNewConnection { _ in await simulation.pass(.milliseconds(100)) }
                try? await pool.withNewConnection { _ in }
            }
            server.set { $0.refusing = [] }
            for _ in 0..<40 {
                async let first: Void? = try? pool.withNewConnection { _ in await simulation.pass(.seconds(1)) }
                async let second: Void? = try? pool.withNewConnection { _ in await simulation.pass(.seconds(1)) }
                _ = await (first, second)
            }
            leases = []
            for _ in 0..<6 { leases.append(try await pool.acquireNew()) }
            #expect(pool.statistics.endpoints.map(\.leased) == [2, 2, 2])
            for lease in leases { lease.release() }
        }
    }

    // MARK: Warm-up

    @Test
    func warmUpAtStartBestEffortGoesOnFailFastEndsThePool() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.warmUpCount = 4
        try withSimulatedPool(configuration) { pool, server, simulation in
            await simulation.pass(.milliseconds(1))
            #expect(server.openConnections.count == 4)
        }
        try withSimulatedPool(configuration, server: .init(refusing: [0])) { pool, _, simulation in
            await simulation.pass(.milliseconds(1))
            #expect(pool.statistics.counts.total == 0)
        }
        configuration.warmUpPolicy = .failFast
        let error = #expect(throws: WebSocketPoolError.self) {
            try withSimulatedPool(configuration, server: .init(refusing: [0])) { pool, _, _ in
                _ = try await pool.acquire()
            }
        }
        #expect(error?.code == .connectFailed && error?.underlyingError is MockServer.Refused)
    }

    // MARK: Shutdown

    /// Shutdown ends waiting, connecting and draining at once, and leases at its deadline.
    @Test
    func shutdownEndsWaitingConnectingAndDrainingAtOnce() throws {
        let configuration = RegressionTests.small(3) {
            $0.hygiene = .drain(.init(timeout: .seconds(9), quietPeriod: .seconds(2)))
        }
        var behaviour = MockServer.Behaviour()
        behaviour.drainDelay = .seconds(2)
        try withSimulatedPool(configuration, server: behaviour) { pool, server, simulation in
            let lease = try await pool.acquire()
            let drained = try await pool.acquire()
            drained.release()
            server.set { $0.connectDelay = .seconds(9) }
            async let third = pool.acquire()
            async let fourth = pool.acquire()
            await simulation.pass(.milliseconds(10))
            #expect(pool.statistics.counts.waiting == 2)

            let start = simulation.elapsed
            async let end: Void = pool.shutDown(grace: .seconds(4))
            var codes: [WebSocketPoolError.Code] = []
            do { _ = try await third } catch { codes.append((error as? WebSocketPoolError)?.code ?? .connectFailed) }
            do { _ = try await fourth } catch { codes.append((error as? WebSocketPoolError)?.code ?? .connectFailed) }
            #expect(codes == [.poolClosed, .poolClosed])
            #expect(simulation.elapsed == start)
            #expect(lease.isValid)
            await end
            #expect(simulation.elapsed - start == .seconds(4))
            #expect(!lease.isValid)
            lease.release()
            #expect(pool.statistics.totals.releasesIgnored == 0, "the first release of a broken lease is no mistake")
            #expect(server.openConnections.isEmpty)
            let error = await #expect(throws: WebSocketPoolError.self) { _ = try await pool.acquire() }
            #expect(error?.code == .poolClosed)
        }
    }

    @Test
    func aShutdownEndsAsSoonAsTheLastLeaseComesBack() throws {
        try withSimulatedPool { pool, _, simulation in
            let lease = try await pool.acquire()
            async let end: Void = pool.shutDown(grace: .seconds(100))
            await simulation.pass(.seconds(3))
            lease.release()
            await end
            #expect(simulation.elapsed == .seconds(3))
        }
    }

    @Test
    func aConnectionThatNeverClosesCannotHoldUpAShutdown() throws {
        try withSimulatedPool { pool, server, simulation in
            let opened = try await pool.warmUp(3)
            #expect(opened == 3)
            server.set { $0.hangsOnClose = true }
            let start = simulation.elapsed
            await pool.shutDown()
            #expect(simulation.elapsed - start == .seconds(10), "the close timeout")
        }
    }

    @Test(arguments: 0..<20)
    func cancellingRunClosesEverythingAndResumesEverybody(seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            var behaviour = MockServer.Behaviour()
            behaviour.connectDelay = .milliseconds(5)
            let server = MockServer(behaviour, on: simulation)
            let pool = SimulatedPool(configuration: RegressionTests.small(3), clock: simulation) {
                try await server.connect($0)
            }
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<10 {
                    group.addTask { try? await pool.withConnection { _ in await simulation.pass(.milliseconds(4)) } }
                }
                await withTaskGroup(of: Void.self) { inner in
                    inner.addTask { try? await pool.run() }
                    await simulation.pass(.milliseconds(Int(simulation.random(20))))
                    inner.cancelAll()
                }
            }
            #expect(server.openConnections.isEmpty)
            #expect(pool.statistics.counts.total == 0 && pool.statistics.counts.waiting == 0)
        }
    }

    @Test
    func aFactoryThatIgnoresCancellationGetsItsLateConnectionClosed() throws {
        let configuration = RegressionTests.small(1) { $0.connectTimeout = .seconds(1) }
        try Simulation.run { simulation in
            let server = MockServer(on: simulation)
            let calls = Log<Int>()
            try await SimulatedPool.withPool(
                configuration: configuration, clock: simulation,
                connect: { endpoint in
                    calls.append(endpoint)
                    if calls.all.count == 1 {
                        // Sleeps in a task group of its own that nobody cancels.
                        await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
                            Task.immediate(executorPreference: simulation) {
                                await simulation.pass(.seconds(5))
                                continuation.resume()
                            }
                        }
                    }
                    return try await server.connect(endpoint)
                }
            ) { pool in
                try await pool.withConnection { #expect($0.id == 0) }
                await simulation.pass(.seconds(6))
                #expect(server.seen.connections.count == 2)
                #expect(server.openConnections.count == 1)
                #expect(pool.statistics.counts.total == 1)
            }
        }
    }
}
