//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketConcurrency
import WebSocketPool

/// Every exit that the comments of the machine's states list, one by one, without a shell.
@Suite
struct TransitionTests {
    typealias Machine = PoolStateMachine<String, Int>
    struct Failure: Error {}

    let site = WebSocketPoolSourceSite(file: #fileID, line: #line)

    func makeMachine(maximum: Int = 1, _ change: (inout WebSocketPoolConfiguration) -> Void = { _ in }) -> Machine {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = maximum
        configuration.hardMaximum = maximum
        configuration.idleTimeout = nil
        configuration.keepaliveInterval = nil
        configuration.maximumLifetime = nil
        configuration.validationBypass = nil
        configuration.connectTimeout = .nanoseconds(100)
        configuration.validationTimeout = .nanoseconds(100)
        configuration.closeTimeout = .nanoseconds(100)
        configuration.hygiene = .drain(.init(timeout: .nanoseconds(100)))
        change(&configuration)
        var machine = Machine(settings: PoolSettings(configuration), endpointCount: 1, randomSeed: 1, isObserved: true)
        _ = machine.start(at: 0)
        return machine
    }

    func acquire(_ machine: inout Machine, _ waiter: Int, _ kind: AcquireKind = .any, at now: Ticks = 0)
        -> Machine.Action
    {
        machine.acquire(
            waiter, ticket: UInt64(waiter), kind: kind, site: self.site, queuedAt: now, deadline: now + 10_000, at: now)
    }

    /// A machine with its only connection lent, and the lease.
    func lent(_ change: (inout WebSocketPoolConfiguration) -> Void = { _ in }) throws -> (
        Machine, LeaseToken, ConnectionKey
    ) {
        var machine = self.makeMachine(change)
        let key = try #require(self.acquire(&machine, 1).connects.first)
        let action = machine.connected(key, "a", at: 0).1
        return (machine, try #require(action.grants.first).token, key)
    }

    func idle(_ change: (inout WebSocketPoolConfiguration) -> Void = { _ in }) throws -> (Machine, ConnectionKey) {
        var (machine, token, key) = try self.lent(change)
        _ = machine.release(token, .reuse, at: 0)
        #expect(machine.slots[0].state == .idle)
        return (machine, key)
    }

    /// The shell reports an end twice, or of a connection that is only being made.
    /// An end that is no news changes nothing.
    @Test func superfluousEnds() throws {
        var machine = self.makeMachine()
        let key = try #require(self.acquire(&machine, 1).connects.first)
        #expect(machine.closed(key, at: 0).connects.isEmpty)
        #expect(machine.slots[0].state == .connecting)
        #expect(machine.connected(key, "a", at: 0).1.grants.count == 1)
    }

    /// Its lifetime ends while nobody looks; whoever asks then gets another one.
    /// An idle connection whose lifetime is over is not lent.
    @Test func expiredWhileIdle() throws {
        var (machine, key) = try self.idle { $0.maximumLifetime = .nanoseconds(1_000) }
        let action = self.acquire(&machine, 2, at: 100_000)
        #expect(action.grants.isEmpty && action.closes == [key])
        #expect(machine.slots[0].state == .closing)
    }

    // MARK: connecting

    /// Connecting → leased, idle, closing, free.
    @Test
    func fromConnecting() throws {
        var (machine, _, _) = try self.lent()
        #expect(machine.slots[0].state == .leased)

        machine = self.makeMachine { $0.minimumIdle = 1 }
        machine = Machine(settings: machine.settings, endpointCount: 1, randomSeed: 1, isObserved: false)
        let key = try #require(machine.start(at: 0).connects.first)
        _ = machine.connected(key, "a", at: 0)
        #expect(machine.slots[0].state == .idle)

        machine = self.makeMachine()
        let unwanted = try #require(self.acquire(&machine, 1).connects.first)
        _ = machine.reset(at: 0)
        #expect(machine.connected(unwanted, "a", at: 0).1.closes == [unwanted])
        #expect(machine.slots[0].state == .closing)

        machine = self.makeMachine()
        let failing = try #require(self.acquire(&machine, 1).connects.first)
        _ = machine.connectFailed(failing, Failure(), isFatal: false, at: 0)
        #expect(machine.slots[0].state == .free || machine.slots[0].serial != failing.serial)

        machine = self.makeMachine()
        let slow = try #require(self.acquire(&machine, 1).connects.first)
        _ = machine.tick(at: 100)
        #expect(machine.totals.connectsFailed == 1)
        #expect(machine.connected(slow, "late", at: 101).isTaken == false)
    }

    // MARK: idle

    /// Idle → leased, validating, closing, free.
    @Test
    func fromIdle() throws {
        var (machine, key) = try self.idle()
        let taken = machine.acquireIdle(site: self.site, at: 5)
        #expect(taken?.token.slot == 0 && machine.slots[0].state == .leased)

        (machine, key) = try self.idle { $0.validationBypass = .nanoseconds(10) }
        let stale = machine.acquireIdle(site: self.site, at: 50)
        #expect(stale == nil)
        #expect(self.acquire(&machine, 2, at: 50).validations == [key])
        #expect(machine.slots[0].state == .validating(forBorrow: true))

        (machine, key) = try self.idle { $0.keepaliveInterval = .nanoseconds(50) }
        #expect(machine.tick(at: 50).validations == [key])
        #expect(machine.slots[0].state == .validating(forBorrow: false))

        (machine, key) = try self.idle { $0.idleTimeout = .nanoseconds(50) }
        #expect(machine.tick(at: 50).closes == [key])

        (machine, key) = try self.idle {
            $0.maximumLifetime = .nanoseconds(50)
            $0.lifetimeJitter = 0
        }
        #expect(machine.tick(at: 50).closes == [key])

        (machine, key) = try self.idle()
        #expect(self.acquire(&machine, 2, .new).closes == [key])
        #expect(machine.closed(key, at: 1).connects.count == 1, "the evicted one makes room")

        (machine, key) = try self.idle()
        #expect(machine.reset(at: 0).closes == [key])
        (machine, key) = try self.idle()
        #expect(machine.shutDown(deadline: 10, at: 0).closes == [key])
        (machine, key) = try self.idle()
        _ = machine.closed(key, at: 0)
        #expect(machine.slots[0].state == .free && machine.counts.total == 0)
    }

    // MARK: validating

    /// Validating → leased, idle, closing, free.
    @Test
    func fromValidating() throws {
        func validating(forBorrow: Bool) throws -> (Machine, ConnectionKey) {
            var (machine, key) = try self.idle {
                $0.validationBypass = .nanoseconds(10)
                $0.keepaliveInterval = .nanoseconds(50)
            }
            _ = forBorrow ? self.acquire(&machine, 2, at: 40) : machine.tick(at: 50)
            #expect(machine.slots[0].state == .validating(forBorrow: forBorrow))
            return (machine, key)
        }
        var (machine, key) = try validating(forBorrow: true)
        #expect(machine.validated(key, isAlive: true, at: 60).grants.count == 1)
        (machine, key) = try validating(forBorrow: false)
        _ = machine.validated(key, isAlive: true, at: 60)
        #expect(machine.slots[0].state == .idle)
        (machine, key) = try validating(forBorrow: true)
        #expect(machine.validated(key, isAlive: false, at: 60).aborts == [key])
        (machine, key) = try validating(forBorrow: true)
        #expect(machine.tick(at: 150).aborts == [key])
        (machine, key) = try validating(forBorrow: true)
        #expect(machine.shutDown(deadline: 1_000, at: 60).closes == [key])
        (machine, key) = try validating(forBorrow: true)
        #expect(machine.closed(key, at: 60).connects.count == 1, "the waiter gets a new connection instead")
    }

    // MARK: leased

    /// Leased → idle, another leased, draining, closing, free.
    @Test
    func fromLeased() throws {
        var (machine, token, key) = try self.lent()
        _ = self.acquire(&machine, 2)
        let next = try #require(machine.release(token, .reuse, at: 1).grants.first)
        #expect(next.handle == "a" && next.token != token)

        (machine, token, key) = try self.lent()
        #expect(machine.release(token, .drain, at: 1).drains == [key])
        #expect(machine.slots[0].state == .draining)

        (machine, token, key) = try self.lent()
        #expect(machine.release(token, .discard(.discarded), at: 1).closes == [key])

        (machine, token, key) = try self.lent()
        _ = machine.reset(at: 1)
        #expect(machine.isValid(token), "a lease is spared by a reset")
        #expect(machine.release(token, .reuse, at: 2).closes == [key])

        (machine, token, key) = try self.lent()
        #expect(machine.shutDown(deadline: 10, at: 1).closes == [])
        #expect(machine.tick(at: 10).closes == [key])
        #expect(!machine.isValid(token))

        (machine, token, key) = try self.lent()
        _ = self.acquire(&machine, 2)
        #expect(machine.closed(key, at: 1).connects.count == 1, "the death of a lent connection makes room")
        _ = machine.release(token, .reuse, at: 2)
        #expect(machine.totals.releasesIgnored == 0 && machine.totals.leasesBroken == 1)
        _ = machine.release(token, .reuse, at: 3)
        #expect(machine.totals.releasesIgnored == 1)

        (machine, token, key) = try self.lent()
        #expect(machine.detach(token, at: 1) != nil)
        #expect(machine.counts.total == 0 && machine.detach(token, at: 1) == nil)
    }

    // MARK: draining and closing

    /// Draining → idle, leased, closing, free; closing → free.
    @Test
    func drainingAndClosing() throws {
        func draining() throws -> (Machine, ConnectionKey) {
            var (machine, token, key) = try self.lent()
            _ = machine.release(token, .drain, at: 1)
            return (machine, key)
        }
        var (machine, key) = try draining()
        _ = machine.drained(key, .clean, at: 2)
        #expect(machine.slots[0].state == .idle)
        (machine, key) = try draining()
        _ = self.acquire(&machine, 2)
        #expect(machine.drained(key, .clean, at: 2).grants.count == 1)
        for outcome in [WebSocketPoolDrainOutcome.unexpectedInput, .timedOut, .failed] {
            (machine, key) = try draining()
            #expect(machine.drained(key, outcome, at: 2).closes == [key])
        }
        (machine, key) = try draining()
        #expect(machine.tick(at: 101).closes == [key])
        #expect(machine.tick(at: 201).closes == [])
        #expect(machine.counts.total == 0, "a connection that does not close loses its slot at the deadline")
        (machine, key) = try draining()
        #expect(machine.shutDown(deadline: 1_000, at: 2).closes == [key])
        #expect(machine.closed(key, at: 3).isTerminal)
        (machine, key) = try draining()
        _ = machine.closed(key, at: 2)
        #expect(machine.counts.total == 0)
    }

    // MARK: The pool and its endpoints

    /// Initial → running, closed; running → shuttingDown → closed.
    @Test
    func lifecycle() throws {
        var machine = Machine(
            settings: self.makeMachine().settings, endpointCount: 1, randomSeed: 1, isObserved: false)
        #expect(self.acquire(&machine, 1).connects.isEmpty, "nothing is connected before run()")
        var other = machine
        #expect(other.start(at: 0).connects.count == 1)
        #expect(other.start(at: 0).connects.isEmpty)
        let end = machine.shutDown(deadline: 10, at: 0)
        #expect(end.failures == [.poolClosed] && end.isTerminal && machine.lifecycle == .closed)
        #expect(machine.start(at: 0).connects.isEmpty && machine.tick(at: 50).timer == nil)
        #expect(self.acquire(&machine, 2).failures == [.poolClosed])

        var (running, token, key) = try self.lent()
        running.suspend()
        #expect(self.acquire(&running, 2).grants.isEmpty)
        _ = running.release(token, .reuse, at: 1)
        #expect(running.slots[0].state == .idle, "what comes back to a suspended pool rests")
        let lease = try #require(running.resume(at: 2).grants.first)
        _ = running.shutDown(deadline: 100, at: 3)
        _ = running.shutDown(deadline: 50, at: 3)
        _ = running.shutDown(deadline: 90, at: 3)
        #expect(running.lifecycle == .shuttingDown(deadline: 50))
        #expect(running.release(lease.token, .reuse, at: 4).closes == [key])
        #expect(running.closed(key, at: 5).isTerminal)
    }

    /// An endpoint that asks to be left alone is, whatever its health, and at most as long as is allowed.
    @Test
    func retryAfter() {
        var random = PoolRandom(seed: 3)
        var configuration = WebSocketPoolConfiguration()
        configuration.circuitBreaker = .init(
            openDuration: .nanoseconds(100), maximumOpenDuration: .nanoseconds(300),
            maximumRetryAfter: .nanoseconds(10_000))
        let settings = PoolSettings(configuration)
        var endpoint = Endpoint()
        func fail(at now: Ticks, _ ejections: Int, retryAfter: Ticks) -> Ticks? {
            endpoint.attemptFailed(
                at: now, sinceEjection: ejections, isFatal: false, retryAfter: retryAfter, settings: settings,
                random: &random)
        }
        let first = fail(at: 0, 0, retryAfter: 1_000) ?? 0
        #expect((1_000...1_100).contains(first), "at the first failure, and never earlier than it asked for")
        // Another attempt of the same time may be told to wait longer.
        #expect(fail(at: 10, 0, retryAfter: 5_000) == nil)
        #expect(endpoint.health == .ejected(until: 5_010, times: 0))
        #expect(fail(at: 20, 0, retryAfter: 10) == nil && endpoint.health == .ejected(until: 5_010, times: 0))
        endpoint.advance(to: 5_010)
        let second = fail(at: 5_010, 1, retryAfter: 1_000_000) ?? 0
        #expect((10_000...11_000).contains(second), "at most maximumRetryAfter")
        endpoint.advance(to: 5_010 + second)
        _ = endpoint.attemptSucceeded(limit: 8)
        // It is shorter than the breaker's own time.
        #expect((100...300).contains(fail(at: 30_000, 2, retryAfter: 1) ?? 0))
    }

    /// Healthy → ejected → probing → returning → healthy, and back at each step.
    @Test
    func endpointHealth() {
        var random = PoolRandom(seed: 3)
        let settings = PoolSettings(
            {
                var configuration = WebSocketPoolConfiguration()
                configuration.circuitBreaker = .init(
                    failureThreshold: 2, openDuration: .nanoseconds(100), maximumOpenDuration: .nanoseconds(300))
                return configuration
            }())
        var endpoint = Endpoint()
        func fail(at now: Ticks, _ ejections: Int, fatal: Bool = false) -> Ticks? {
            endpoint.attemptFailed(
                at: now, sinceEjection: ejections, isFatal: fatal, settings: settings, random: &random)
        }
        #expect(fail(at: 0, 0) == nil)
        #expect(!endpoint.attemptSucceeded(limit: 8) && endpoint.health == .healthy(failures: 0, retryAt: 0))
        #expect(fail(at: 0, 0) == nil)
        let first = fail(at: 0, 0) ?? 0
        #expect(first >= 50 && first <= 100 && endpoint.isEjected && !endpoint.allowsAttempt(at: first))
        #expect(fail(at: 1, 0) == nil, "stragglers do not prolong an ejection")
        endpoint.advance(to: first)
        #expect(endpoint.health == .probing(times: 0) && endpoint.allowsAttempt(at: first))
        #expect(fail(at: first, 0) == nil, "an attempt from before the ejection proves nothing")
        let second = fail(at: first, 1) ?? 0
        #expect(second >= 100 && second <= 200, "twice as long")
        endpoint.advance(to: first + second)
        #expect(endpoint.attemptSucceeded(limit: 8) && endpoint.health == .returning(allowance: 1, times: 1))
        let third = fail(at: 500, 2) ?? 0
        #expect(third >= 150 && third <= 300, "at most the maximum")
        endpoint.advance(to: 500 + third)
        for allowance in [1, 2, 4] {
            _ = endpoint.attemptSucceeded(limit: 8)
            #expect(endpoint.health == .returning(allowance: allowance, times: 2))
        }
        _ = endpoint.attemptSucceeded(limit: 8)
        #expect(endpoint.health == .healthy(failures: 0, retryAt: 0))
        #expect(fail(at: 900, 3, fatal: true) != nil)
    }

    /// A waiter that cannot be served keeps its place behind one that can.
    @Test
    func classes() throws {
        var (machine, token, _) = try self.lent()
        _ = self.acquire(&machine, 2, .new)
        _ = self.acquire(&machine, 3)
        let action = machine.release(token, .reuse, at: 1)
        #expect(Array(action.resumptions).map(\.waiter) == [3])
        #expect(machine.waiters.entries.map(\.waiter) == [2])
    }
}

extension PoolAction {
    var connects: [ConnectionKey] { self.keys { if case .connect(let key, _) = $0 { key } else { nil } } }
    var validations: [ConnectionKey] { self.keys { if case .validate(let key, _) = $0 { key } else { nil } } }
    var drains: [ConnectionKey] { self.keys { if case .drain(let key, _) = $0 { key } else { nil } } }
    var closes: [ConnectionKey] { self.keys { if case .close(let key, _) = $0 { key } else { nil } } }

    var aborts: [ConnectionKey] { self.keys { if case .abort(let key, _) = $0 { key } else { nil } } }

    private func keys(_ select: (Operation) -> ConnectionKey?) -> [ConnectionKey] {
        self.operations.compactMap(select)
    }

    var grants: [Grant<Handle>] { self.resumptions.compactMap { try? $0.result.get() } }
    var failures: [WebSocketPoolError.Code] {
        self.resumptions.compactMap { if case .failure(let error) = $0.result { error.code } else { nil } }
    }
}
