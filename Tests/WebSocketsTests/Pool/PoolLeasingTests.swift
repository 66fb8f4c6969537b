//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

@Suite(.serialized, .timeLimit(.minutes(5)))
struct PoolLeasingTests {
    @Test
    func withConnectionLendsReturnsAndReusesAndStatisticsFollow() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool { pool in
                for index in 0..<5 {
                    let reply = try await pool.withConnection { try await $0.exchange("\(index)") }
                    #expect(reply == .text("\(index)"))
                }
                let statistics = pool.statistics
                #expect(fixture.relay.accepted == 1)
                #expect(statistics.counts.idle == 1 && statistics.counts.total == 1)
                #expect(statistics.totals.acquired == 5 && statistics.totals.leasesEnded == 5)
            }
        }
    }

    @Test
    @MainActor
    func aBodyRunsOnItsConnectionsLoopOrWhereTheCallerSays() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool { pool in
                let onLoop = try await pool.withConnection(on: .loop) { socket in
                    _ = try await socket.exchange("a")
                    return socket.eventLoop.isOnLoop
                }
                #expect(onLoop)
                let (outer, inner) = try await pool.withConnection(on: .loop) { outer in
                    // From within another body, which is on a loop.
                    try await pool.withConnection(on: .global) { inner in
                        _ = try await inner.exchange("b")
                        return (outer.eventLoop.isOnLoop, inner.eventLoop.isOnLoop)
                    }
                }
                #expect(!outer && !inner)
            }
        }
    }

    /// A body that throws, or is cancelled, does not give its connection to the next.
    @Test(arguments: [false, true])
    func aBodyThatThrowsOrIsCancelled(byCancellation: Bool) async throws {
        struct Mishap: Error {}
        try await withPoolFixture { fixture in
            try await fixture.withPool { pool in
                if byCancellation {
                    let (started, start) = AsyncStream.makeStream(of: Void.self)
                    let task = Task {
                        try await pool.withConnection { socket in
                            try await socket.send("silence")
                            start.yield()
                            _ = try await socket.receive()
                        }
                    }
                    for await _ in started { break }
                    task.cancel()
                    let error = await webSocketError { try await task.value }
                    #expect(error?.code == .cancelled)
                } else {
                    await #expect(throws: Mishap.self) {
                        try await pool.withConnection { socket in
                            try await socket.send("reply that nobody waits for")
                            throw Mishap()
                        }
                    }
                }
                let reply = try await pool.withConnection { try await $0.exchange("mine") }
                #expect(reply == .text("mine"))
                #expect(fixture.relay.accepted == 2)
            }
        }
    }

    @Test
    func anErrorThatTheConfigurationCallsHarmlessKeepsTheConnection() async throws {
        struct NotFound: Error {}
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration()
            configuration.isReusableAfter = { $0 is NotFound }
            try await fixture.withPool(configuration) { pool in
                await #expect(throws: NotFound.self) {
                    try await pool.withConnection { socket in
                        _ = try await socket.exchange("a")
                        throw NotFound()
                    }
                }
                _ = try await pool.withConnection { try await $0.exchange("b") }
                #expect(fixture.relay.accepted == 1)
            }
        }
    }

    /// A lease works once: use after release is an error, a second release is harmless and counted.
    @Test
    func aLeaseWorksOnceUseAfterReleaseIsAnError() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool { pool in
                let lease = try await pool.acquire()
                #expect(lease.isValid)
                #expect(try await lease.socket.exchange("a") == .text("a"))
                lease.release()
                #expect(!lease.isValid)
                let error = await webSocketError { try lease.socket }
                #expect(error?.code == .leaseEnded)
                #expect(error?.poolStatistics?.counts.idle == 1)
                let next = try #require(pool.tryAcquire())
                lease.release()
                pool.release(lease)
                #expect(next.isValid && next.id > lease.id)
                #expect(pool.statistics.totals.releasesIgnored == 2)
                #expect(try await next.socket.exchange("b") == .text("b"))
                next.release()
            }
        }
    }

    /// TryAcquire takes what is idle; acquireNew never reuses; a detached connection is the caller's.
    @Test
    func tryAcquireTakesWhatIsIdleAcquireNewNeverReuses() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                #expect(pool.tryAcquire() == nil)
                try await pool.withConnection { _ in }
                let first = try #require(pool.tryAcquire())
                #expect(pool.tryAcquire() == nil)
                let old = try first.socket
                first.release()
                // The only place of the pool is taken by an idle connection, which has to go.
                let second = try await pool.acquireNew()
                #expect(try second.socket.id != old.id)
                let mine = try pool.detach(second)
                #expect(pool.statistics.counts.total == 0)
                #expect(throws: WebSocketError.self) { try second.detach() }
                second.release()
                try await pool.withNewConnection { #expect($0.id != mine.id) }
                #expect(try await mine.exchange("still mine") == .text("still mine"))
                try await mine.close()
            }
        }
    }

    @Test
    func waitersAreServedInTheOrderInWhichTheyCame() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool(fixture.configuration(1)) { pool in
                let lease = try await pool.acquire()
                let served = Box<[Int]>([])
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for index in 0..<10 {
                        group.addTask {
                            try await pool.withConnection { _ in served.change { $0.append(index) } }
                        }
                        await eventually { pool.statistics.counts.waiting == index + 1 }
                    }
                    lease.release()
                    try await group.waitForAll()
                }
                #expect(served.value == Array(0..<10))
            }
        }
    }

    @Test
    func errorsSayWhichAndCarryTheStatisticsAndTheCause() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration(1)
            configuration.maximumWaiters = 0
            try await fixture.withPool(configuration) { pool in
                // An acquire may wait only for the attempt it causes, so there is one connection to begin with.
                try pool.resize(maximumConnections: 1, minimumIdle: 1)
                await eventually { pool.statistics.counts.idle == 1 }
                let lease = try await pool.acquire()
                let error = await webSocketError { try await pool.acquire() }
                #expect(error?.code == .poolExhausted && error?.poolStatistics?.counts.leased == 1)
                lease.release()
            }
            configuration.maximumWaiters = 10
            try await fixture.withPool(configuration) { pool in
                let lease = try await pool.acquire()
                let late = await webSocketError { try await pool.acquire(timeout: .milliseconds(20)) }
                #expect(late?.code == .acquireTimedOut && late?.poolStatistics?.counts.leased == 1)
                #expect(late?.poolCause == nil)
                lease.release()
                await pool.shutDown()
                let closed = await webSocketError { try await pool.acquire() }
                #expect(closed?.code == .poolClosed && closed?.poolStatistics?.counts.total == 0)
            }
            fixture.relay.refuse()
            var breaker = fixture.configuration(1)
            breaker.circuitBreaker = WebSocketPoolCircuitBreaker(failureThreshold: 2, openDuration: .seconds(60))
            try await fixture.withPool(breaker) { pool in
                let down = await webSocketError { try await pool.acquire() }
                #expect(down?.code == .poolUnavailable && down?.poolCause?.code == .connectFailed)
                #expect(down?.poolStatistics?.endpoints.first?.isEjected == true)
            }
        }
        let error = await webSocketError { try WebSocketConnectionPool(to: []) }
        #expect(error?.code == .invalidConfiguration)
        #expect(throws: WebSocketError.self) { try WebSocketConnectionPool(to: "http:/nowhere") }
    }

    /// An attempt that would fail again is not repeated, and its error is the cause.
    @Test
    func anAttemptThatWouldFailAgainIsNotRepeated() async throws {
        try await withPoolFixture { fixture in
            var configuration = fixture.configuration()
            // Not from a page of the same host: the server answers 403.
            configuration.client.headers[.origin] = "https://elsewhere.example"
            try await fixture.withPool(configuration) { pool in
                let error = await webSocketError { try await pool.acquire() }
                #expect(error?.code == .poolUnavailable)
                #expect(error?.poolCause?.response?.status == 403)
                #expect(fixture.relay.accepted == 1)
            }
        }
    }

    /// Warm-up: in parallel, no more than the pool holds; fail fast ends the pool.
    @Test
    func warmUpInParallelNoMoreThanThePoolHolds() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool { pool in
                let opened = try await pool.warmUp(9)
                #expect(opened == 4 && pool.statistics.counts.idle == 4)
                #expect(pool.releaseUnused() == 4)
            }
            fixture.relay.refuse()
            var configuration = fixture.configuration()
            configuration.warmUpCount = 2
            configuration.warmUpPolicy = .failFast
            let error = await webSocketError {
                try await fixture.withPool(configuration) { try await $0.withConnection { _ in } }
            }
            #expect(error?.code == .connectFailed && error?.poolStatistics != nil)
        }
    }

    @Test
    func resizeSuspendResumeAndReset() async throws {
        try await withPoolFixture { fixture in
            try await fixture.withPool { pool in
                try await pool.warmUp(3)
                pool.reset()
                await eventually { pool.statistics.counts.total == 0 }
                pool.suspend()
                let waiting = Task { try await pool.withConnection { try await $0.exchange("late") } }
                await eventually { pool.statistics.counts.waiting == 1 }
                #expect(pool.statistics.counts.total == 0)
                pool.resume()
                #expect(try await waiting.value == .text("late"))
                try pool.resize(maximumConnections: 2, minimumIdle: 2)
                await eventually { pool.statistics.counts.idle == 2 }
            }
        }
    }

    @Test
    func aSuspectedLeakIsReportedWithThePlaceWhereTheLeaseWasTaken() async throws {
        final class Watcher: WebSocketPoolObserver {
            let observesLeases = false
            let sites = Mutex<[String]>([])
            let returns = Atomic(0)
            func leakSuspected(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {
                sites.withLock { $0.append("\(site)") }
            }
            func suspectedLeakReturned(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {
                returns.add(1, ordering: .relaxed)
            }
        }
        try await withPoolFixture { fixture in
            let watcher = Watcher()
            var configuration = fixture.configuration()
            configuration.leakThreshold = .milliseconds(10)
            configuration.observers = [watcher]
            try await fixture.withPool(configuration) { pool in
                let lease = try await pool.acquire(file: "Here.swift", line: 42)
                await eventually { pool.statistics.totals.leaksSuspected == 1 }
                await eventually { watcher.sites.withLock { $0 } == ["Here.swift:42"] }
                lease.release()
                await eventually { watcher.returns.load(ordering: .relaxed) == 1 }
            }
        }
    }
}
