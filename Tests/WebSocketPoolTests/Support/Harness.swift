//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketConcurrency
import WebSocketPool

/// Drives the machine and, beside it, a reference model made of plain arrays: obvious, slow, without timers.
///
/// The model learns what the machine decided only from its actions. It checks that each decision was allowed, that the
/// machine's counts are those of the model, and that nothing that is due is missing.
struct Harness {
    typealias Machine = PoolStateMachine<Int, Int>

    enum State: Hashable { case connecting, idle, validating, leased, draining, closing }

    struct Tenant {
        var key: ConnectionKey
        var state: State
        var endpoint: Int
        var since: Ticks
        var deadline: Ticks
        var handle: Int
        var openedAt: Ticks = 0
        var provenAt: Ticks = 0
        var returnedAt: Ticks = 0
    }

    struct Waiting {
        var id: Int
        var ticket: UInt64
        var kind: AcquireKind
        var deadline: Ticks
    }

    struct Failure: Error {}

    var machine: Machine
    let configuration: WebSocketPoolConfiguration
    var now: Ticks = 0
    var violation: String?

    var tenants: [Tenant] = []
    /// Least recently returned first.
    var idleOrder: [ConnectionKey] = []
    var waiting: [Waiting] = []
    var warming: [Waiting] = []
    var leases: [LeaseToken] = []
    var endedLeases: [LeaseToken] = []
    var brokenLeases: [LeaseToken] = []
    /// Attempts whose slots were given away and that may still report.
    var abandoned: [ConnectionKey] = []
    var timers: [Ticks] = []
    var totals = WebSocketPoolTotals()
    var soft: Int
    var hard: Int
    var lastID = 0
    var lastHandle = 0
    var lastLease: UInt64 = 0
    var lastSerial: UInt64 = 0
    var opened = 0
    /// An attempt has just succeeded.
    var hasOpened = false
    var isSuspended = false
    /// Of several endpoints, those that get connections.
    var listed = [true, true]
    var shutDownAt: Ticks?
    var isTerminated = false

    init(_ configuration: WebSocketPoolConfiguration, endpoints: Int = 1) {
        self.configuration = configuration
        self.machine = Machine(
            settings: PoolSettings(configuration), endpointCount: endpoints, randomSeed: 42, isObserved: false)
        self.soft = configuration.softMaximum
        self.hard = configuration.hardMaximum
    }

    mutating func check(_ condition: Bool, _ message: @autoclosure () -> String) {
        if !condition && self.violation == nil { self.violation = message() }
    }

    // MARK: Steps

    mutating func start() { self.absorb(self.machine.start(at: 0)) }

    /// Applies a step; one that makes no sense now is left out.
    mutating func apply(_ step: Step) {
        let argument = step.argument
        switch step.verb {
        case .acquire: self.acquire(.any, timeout: argument == 0 ? 0 : Ticks(20 + argument * 2))
        case .acquireNew: self.acquire(.new, timeout: Ticks(20 + argument * 2))
        case .warmUp: self.acquire(.warmUp, timeout: Ticks(20 + argument * 2))
        case .tryAcquire: self.tryAcquire()
        case .cancel:
            guard let waiter = self.pick(self.waiting + self.warming, argument) else { return }
            let action = self.machine.cancelAcquire(ticket: waiter.ticket, at: self.now)
            let cancelled = Array(action.resumptions).contains { $0.waiter == waiter.id }
            self.check(cancelled, "3: a cancelled acquire was not ended")
            self.absorb(action, cancelled: waiter.id)
        case .release: self.release(argument, .reuse)
        case .discard: self.release(argument, .discard(.discarded))
        case .drain: self.release(argument, .drain)
        case .takeBackCancelled: self.takeBack(argument, .cancelled)
        case .takeBackDead: self.takeBack(argument, .unusable(.closedByPeer))
        case .releaseStale: self.releaseStale(argument)
        case .detach: self.detach(argument)
        case .connectOK: self.connectOK(argument)
        case .connectFail, .connectFatal: self.connectFail(argument, isFatal: step.verb == .connectFatal)
        case .lateConnect: self.lateConnect(argument)
        case .peerClose: self.peerClose(argument)
        case .validatedOK, .validatedBad: self.validated(argument, isAlive: step.verb == .validatedOK)
        case .drainedClean, .drainedDirty: self.drained(argument, isClean: step.verb == .drainedClean)
        case .closeDone:
            guard let index = self.pick(.closing, argument) else { return }
            let key = self.tenants[index].key
            self.end(index)
            self.absorb(self.machine.closed(key, at: self.now))
        case .pass: self.tick(by: Ticks(1 + argument % 16))
        case .passLong: self.tick(by: Ticks(20 + argument * 2))
        case .resize:
            self.hard = 1 + argument % 4
            self.soft = min(self.soft, self.hard)
            let action = self.machine.resize(
                soft: self.soft, hard: self.hard, minimumIdle: min(self.configuration.minimumIdle, self.soft),
                at: self.now)
            self.absorb(action)
        case .suspend:
            self.machine.suspend()
            if self.shutDownAt == nil { self.isSuspended = true }
        case .resume:
            self.isSuspended = false
            self.absorb(self.machine.resume(at: self.now))
        case .releaseUnused: self.absorb(self.machine.releaseUnused(at: self.now).1)
        case .reset: self.absorb(self.machine.reset(at: self.now))
        case .listEndpoints:
            guard self.machine.endpoints.count > 1 else { return }
            self.listed = (0..<3).map { argument & (1 << $0) != 0 }
            if !self.listed.contains(true) { self.listed = [true] }
            self.absorb(self.machine.listEndpoints(self.listed, at: self.now))
        case .shutDown:
            let deadline = self.now.after(Ticks(argument))
            for index in self.tenants.indices where self.shutDownAt == nil && self.tenants[index].state == .connecting {
                let closeDeadline = self.now.after(self.configuration.closeTimeout.ticks)
                self.tenants[index].deadline = min(self.tenants[index].deadline, closeDeadline)
            }
            self.shutDownAt = min(self.shutDownAt ?? .never, deadline)
            self.absorb(self.machine.shutDown(deadline: deadline, at: self.now))
        }
        self.checkRest()
    }

    private mutating func acquire(_ kind: AcquireKind, timeout: Ticks) {
        self.lastID += 1
        let ticket = UInt64(self.lastID)
        let deadline = self.now.after(timeout)
        let expected = self.waiting.isEmpty && !self.isSuspended && kind == .any ? self.nextIdle : nil
        let avoided = self.avoided
        let entry = Waiting(id: self.lastID, ticket: ticket, kind: kind, deadline: deadline)
        if kind == .warmUp { self.warming.append(entry) } else { self.waiting.append(entry) }
        let site = WebSocketPoolSourceSite(file: #fileID, line: #line)
        if kind == .any, timeout % 4 == 0,
            self.machine.joinQueue(
                self.lastID, ticket: ticket, site: site, queuedAt: self.now, deadline: deadline, at: self.now)
        {
            self.checkCounts()
            return
        }
        let action = self.machine.acquire(
            self.lastID, ticket: ticket, kind: kind, site: WebSocketPoolSourceSite(file: #fileID, line: #line),
            queuedAt: self.now,
            deadline: deadline, at: self.now)
        if kind == .any, self.waiting.count == 1, !avoided.isEmpty {
            for operation in action.operations {
                if case .validate(let key, _) = operation { self.checkAvoided(avoided, key) }
            }
            for grant in action.resumptions.compactMap({ try? $0.result.get() }) {
                self.checkAvoided(avoided, self.key(of: grant.handle))
            }
        }
        self.absorb(action, reuse: expected)
        guard timeout == 0, let place = self.waiting.firstIndex(where: { $0.id == self.lastID }) else { return }
        // It may wait for a connection to prove itself, within a bound.
        self.check(self.tenants.contains { $0.state == .validating }, "6: an acquire without time waits for nothing")
        let bound = min(self.machine.settings.validationTimeout, self.machine.settings.connectStagger)
        self.waiting[place].deadline = self.now.after(bound > 0 ? bound : self.machine.settings.validationTimeout)
    }

    private mutating func tryAcquire() {
        let expected = self.nextIdle
        let avoided = self.avoided
        let site = WebSocketPoolSourceSite(file: #fileID, line: #line)
        guard let idle = self.machine.acquireIdle(site: site, at: self.now) else {
            self.absorb(self.machine.proveIdle(at: self.now))
            return
        }
        guard let handle = self.machine.handles[idle.token.slot] else {
            self.check(false, "2: an empty slot was lent")
            return
        }
        let grant = Grant(token: idle.token, handle: handle)
        self.check(self.waiting.isEmpty, "4: a newcomer overtook the queue")
        self.check(!self.isSuspended && self.shutDownAt == nil, "a pool that does not lend lent")
        if let expected { self.check(self.key(of: grant.handle) == expected, "12: reuse order") }
        self.checkAvoided(avoided, self.key(of: grant.handle))
        if idle.timer != .never { self.timers.append(idle.timer) }
        self.grant(grant, available: [])
        self.checkCounts()
        if idle.isShort { self.absorb(self.machine.refill(at: self.now)) }
    }

    private mutating func release(_ argument: Int, _ verdict: Machine.Verdict) {
        guard let token = self.pick(self.leases, argument), let index = self.index(of: token) else { return }
        let key = self.tenants[index].key
        self.endLease(token)
        if verdict == .reuse, argument % 2 == 0, let timer = self.machine.releaseIdle(token, at: self.now) {
            self.check(self.waiting.isEmpty, "5: a released connection passed by a waiter")
            self.timers.append(timer)
            self.prove(index)
            self.becomeIdle(index)
            self.checkCounts()
            return
        }
        if verdict == .reuse, argument % 2 == 0 {
            if let resumption = self.machine.releaseToWaiter(token, at: self.now) {
                self.prove(index)
                var action = Machine.Action()
                action.resumptions.append(resumption)
                self.absorb(action, available: [key])
                return
            }
        }
        let action = self.machine.release(token, verdict, at: self.now)
        if case .discard = verdict {
            self.absorb(action)
            self.check(self.tenant(key)?.state == .closing, "7: a discarded connection was kept")
        } else {
            self.prove(index)
            self.absorb(action, available: [key])
        }
    }

    /// The shell saw, right after a grant, that it must not be passed on. Only for leases of this instant.
    private mutating func takeBack(_ argument: Int, _ refusal: Machine.Refusal) {
        guard let token = self.pick(self.leases, argument), let index = self.index(of: token) else { return }
        let key = self.tenants[index].key
        self.leases.removeAll { $0 == token }
        self.endedLeases.append(token)
        self.totals.acquired -= 1
        if refusal == .cancelled { self.totals.acquireCancellations += 1 }
        let action = self.machine.takeBack(token, refusal, hasWaited: false, at: self.now)
        self.absorb(action, available: refusal == .cancelled ? [key] : [])
    }

    private mutating func releaseStale(_ argument: Int) {
        if argument % 2 == 0, let token = self.pick(self.brokenLeases, argument) {
            self.brokenLeases.removeAll { $0 == token }
            self.endedLeases.append(token)
            self.absorb(self.machine.release(token, .reuse, at: self.now))
        } else if let token = self.pick(self.endedLeases, argument) {
            self.totals.releasesIgnored += 1
            self.check(!self.machine.isValid(token), "2: an ended lease is valid")
            self.absorb(self.machine.release(token, .reuse, at: self.now))
        }
    }

    private mutating func detach(_ argument: Int) {
        guard let token = self.pick(self.leases, argument), let index = self.index(of: token) else { return }
        self.endLease(token)
        self.tenants.remove(at: index)
        self.totals.connectionsDetached += 1
        guard let action = self.machine.detach(token, at: self.now) else {
            self.check(false, "2: a valid lease could not be detached")
            return
        }
        self.absorb(action)
    }

    private mutating func connectOK(_ argument: Int) {
        guard let index = self.pick(.connecting, argument) else { return }
        let key = self.tenants[index].key
        self.lastHandle += 1
        self.opened += 1
        self.tenants[index].handle = self.lastHandle
        self.tenants[index].state = .idle
        self.tenants[index].openedAt = self.now
        self.prove(index)
        self.totals.connectsSucceeded += 1
        let (isTaken, action) = self.machine.connected(key, self.lastHandle, at: self.now)
        self.check(isTaken, "a connection that was wanted was refused")
        self.hasOpened = true
        self.absorb(action, available: [key])
        self.hasOpened = false
    }

    private mutating func connectFail(_ argument: Int, isFatal: Bool) {
        guard let index = self.pick(.connecting, argument) else { return }
        let key = self.tenants[index].key
        self.tenants.remove(at: index)
        self.countFailedConnect()
        self.absorb(self.machine.connectFailed(key, Failure(), isFatal: isFatal, at: self.now))
    }

    private mutating func countFailedConnect() {
        if self.shutDownAt == nil { self.totals.connectsFailed += 1 } else { self.totals.connectsCancelled += 1 }
    }

    private mutating func lateConnect(_ argument: Int) {
        guard let key = self.pick(self.abandoned, argument) else { return }
        self.abandoned.removeAll { $0 == key }
        self.lastHandle += 1
        let (isTaken, action) = self.machine.connected(key, self.lastHandle, at: self.now)
        self.check(!isTaken, "7: a connection that came too late was kept")
        self.absorb(action)
    }

    private mutating func peerClose(_ argument: Int) {
        let open = self.tenants.indices.filter { self.tenants[$0].state != .connecting }
        guard let index = self.pick(open, argument) else { return }
        let tenant = self.tenants[index]
        if let token = self.leases.first(where: { $0.slot == tenant.key.slot }), tenant.state == .leased {
            self.endLease(token, isBroken: true)
        }
        self.end(index)
        self.absorb(self.machine.closed(tenant.key, at: self.now))
    }

    private mutating func validated(_ argument: Int, isAlive: Bool) {
        guard let index = self.pick(.validating, argument) else { return }
        let former = self.tenants[index]
        let key = former.key
        if isAlive {
            let isKeepalive = self.machine.slots[key.slot].state == .validating(forBorrow: false)
            self.prove(index, isUse: !isKeepalive)
        }
        self.absorb(
            self.machine.validated(key, isAlive: isAlive, at: self.now), available: isAlive ? [key] : [])
        guard !isAlive else { return }
        self.check(self.tenant(key) == nil, "1: a dead connection kept its slot")
        let isTrusted = self.tenants.contains {
            $0.state == .idle && $0.endpoint == former.endpoint && $0.provenAt < former.since
        }
        self.check(!isTrusted, "13: a dead connection's neighbour was trusted")
    }

    private mutating func drained(_ argument: Int, isClean: Bool) {
        guard let index = self.pick(.draining, argument) else { return }
        let key = self.tenants[index].key
        let isFresh = self.tenants[index].openedAt.after(self.lifetime) > self.now && self.shutDownAt == nil
        if isClean { self.prove(index) }
        let before = self.machine.statistics.counts
        self.absorb(
            self.machine.drained(key, isClean ? .clean : .unexpectedInput, at: self.now),
            available: isClean ? [key] : [])
        let isClosing = self.tenant(key)?.state == .closing
        self.check(isClean || isClosing, "7: a connection that is not clean was kept")
        // Resets are not modelled; a pool with room and a fresh connection has no other reason to close it.
        if isClean, isFresh, self.machine.slots[key.slot].endReason == .drainFailed, before.total <= self.soft {
            self.check(!isClosing, "a drained connection was not reused")
        }
    }

    private mutating func tick(by span: Ticks) {
        self.now += span
        self.timers.removeAll { $0 <= self.now }
        // What the pool gives up on by itself.
        for tenant in self.tenants where tenant.deadline <= self.now {
            switch tenant.state {
            case .connecting:
                self.abandoned.append(tenant.key)
                self.countFailedConnect()
                self.tenants.removeAll { $0.key == tenant.key }
            case .closing:
                self.totals.connectionsClosed += 1
                self.tenants.removeAll { $0.key == tenant.key }
            default: break
            }
        }
        let idleBefore = self.idleOrder.count
        let action = self.machine.tick(at: self.now)
        if let timer = action.timer { self.check(timer > self.now, "9: a timer that is due already: it would spin") }
        self.absorb(action)
        self.check(
            !(self.waiting + self.warming).contains { $0.deadline <= self.now }, "6: a waiter is past its deadline")
        for tenant in self.tenants where tenant.deadline <= self.now {
            self.check(tenant.state == .leased, "a \(tenant.state) connection is past its deadline")
        }
        self.checkIdleTimes(idleBefore: idleBefore)
    }
}
