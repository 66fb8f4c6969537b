//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketConcurrency
import WebSocketPool

// The model's bookkeeping and the invariants, numbered as in the pool's design.
extension Harness {
    var lifetime: Ticks { self.configuration.maximumLifetime?.ticks ?? .never }

    /// The idle connection whose turn it is, when there is one endpoint.
    var nextIdle: ConnectionKey? {
        guard self.machine.endpoints.count == 1 else { return nil }
        let isLastFirst = self.configuration.reuseOrder == .lastUsedFirst
        // One whose life is over is not lent but closed; then the turn is another's.
        let key = isLastFirst ? self.idleOrder.last : self.idleOrder.first
        guard let key, let tenant = self.tenant(key), tenant.openedAt.after(self.lifetime) > self.now else {
            return nil
        }
        return key
    }

    func tenant(_ key: ConnectionKey) -> Tenant? { self.tenants.first { $0.key == key } }
    func key(of handle: Int) -> ConnectionKey? { self.tenants.first { $0.handle == handle }?.key }

    func index(of token: LeaseToken) -> Int? {
        self.tenants.firstIndex { $0.key.slot == token.slot && $0.state == .leased }
    }

    func pick<Element>(_ elements: [Element], _ argument: Int) -> Element? {
        elements.isEmpty ? nil : elements[argument % elements.count]
    }

    func pick(_ state: State, _ argument: Int) -> Int? {
        self.pick(self.tenants.indices.filter { self.tenants[$0].state == state }, argument)
    }

    func isListed(_ endpoint: Int) -> Bool {
        self.machine.endpoints.count == 1 || endpoint < self.listed.count && self.listed[endpoint]
    }

    func isHopeless(_ endpoint: Int) -> Bool {
        self.machine.endpoints[endpoint].isEjected || !self.isListed(endpoint)
    }

    /// Endpoints whose idle connections are not lent now, because those of an endpoint that answers are there.
    var avoided: [Int] {
        let hasBetter = self.idleOrder.contains {
            guard let endpoint = self.tenant($0)?.endpoint else { return false }
            return !self.machine.endpoints[endpoint].isSuspect && !self.machine.endpoints[endpoint].isEjected
        }
        return hasBetter ? self.machine.endpoints.indices.filter { self.machine.endpoints[$0].isSuspect } : []
    }

    mutating func checkAvoided(_ avoided: [Int], _ key: ConnectionKey?) {
        guard let key, let tenant = self.tenant(key) else { return }
        self.check(!avoided.contains(tenant.endpoint), "13: a suspect endpoint went first")
    }

    mutating func becomeIdle(_ index: Int) {
        self.check(self.shutDownAt == nil, "9: a connection stayed although the pool shut down")
        self.tenants[index].state = .idle
        self.tenants[index].since = self.now
        self.tenants[index].deadline = .never
        let returnedAt = self.tenants[index].returnedAt
        let later = self.idleOrder.firstIndex { self.tenant($0)?.returnedAt ?? 0 > returnedAt }
        self.idleOrder.insert(self.tenants[index].key, at: later ?? self.idleOrder.count)
    }

    mutating func prove(_ index: Int, isUse: Bool = true) {
        self.tenants[index].provenAt = self.now
        if isUse { self.tenants[index].returnedAt = self.now }
    }

    mutating func end(_ index: Int) {
        let key = self.tenants[index].key
        self.tenants.remove(at: index)
        self.idleOrder.removeAll { $0 == key }
        self.totals.connectionsClosed += 1
    }

    mutating func endLease(_ token: LeaseToken, isBroken: Bool = false) {
        self.leases.removeAll { $0 == token }
        if isBroken { self.brokenLeases.append(token) } else { self.endedLeases.append(token) }
        self.totals.leasesEnded += 1
        if isBroken { self.totals.leasesBroken += 1 }
    }

    /// 1 and 8: the machine's counts are those that follow from what it said.
    mutating func checkCounts() {
        let counts = self.machine.counts
        var expected = WebSocketPoolCounts()
        for tenant in self.tenants {
            switch tenant.state {
            case .connecting: expected.connecting += 1
            case .idle: expected.idle += 1
            case .validating: expected.validating += 1
            case .leased: expected.leased += 1
            case .draining: expected.draining += 1
            case .closing: expected.closing += 1
            }
        }
        self.check(counts == expected, "1: the machine counts \(counts), the model \(expected)")
        self.check(self.leases.count == expected.leased, "2: leases and leased connections differ")
        self.check(self.machine.waiters.count == self.waiting.count, "3: the queues differ")
        self.check(self.machine.warmUps.count == self.warming.count, "3: the warm-ups differ")
        let idle = self.machine.endpoints.reduce(0) { $0 + $1.idle.count }
        self.check(idle == counts.idle, "1: the idle lists hold \(idle) of \(counts.idle)")

        let totals = self.machine.totals
        let isEqual =
            totals.acquired == self.totals.acquired
            && totals.acquireTimeouts == self.totals.acquireTimeouts
            && totals.acquireCancellations == self.totals.acquireCancellations
            && totals.acquireFailures == self.totals.acquireFailures
            && totals.leasesEnded == self.totals.leasesEnded && totals.leasesBroken == self.totals.leasesBroken
            && totals.releasesIgnored == self.totals.releasesIgnored
            && totals.connectsStarted == self.totals.connectsStarted
            && totals.connectsSucceeded == self.totals.connectsSucceeded
            && totals.connectsFailed == self.totals.connectsFailed
            && totals.connectsCancelled == self.totals.connectsCancelled
            && totals.connectionsClosed == self.totals.connectionsClosed
            && totals.connectionsDetached == self.totals.connectionsDetached
        let model = self.totals
        self.check(isEqual, "8: the machine's totals are \(totals), the model's \(model)")
    }

    /// 5 and 12: at rest nobody waits who could be served, and nothing is missing that may be opened.
    mutating func checkRest() {
        guard self.shutDownAt == nil, !self.isSuspended else {
            self.check(self.shutDownAt == nil || self.waiting.isEmpty, "9: somebody waits for a pool that is closed")
            self.check(self.shutDownAt == nil || self.idleOrder.isEmpty, "9: idle connections in a pool that is closed")
            return
        }
        let any = self.waiting.count { $0.kind == .any }
        let validating = self.tenants.count { $0.state == .validating }
        self.check(any <= validating || self.idleOrder.isEmpty, "5: somebody waits beside an idle connection")
        let promising = self.machine.slots.count {
            $0.state == .validating(forBorrow: true) && !self.machine.endpoints[$0.endpoint].isSuspect
        }
        let isBetter = self.tenants.contains {
            $0.state == .idle && !self.machine.endpoints[$0.endpoint].isSuspect
        }
        self.check(any <= promising || !isBetter, "13: somebody waits for a suspect endpoint beside a better one")
        let connecting = self.tenants.count { $0.state == .connecting }
        let mayConnect =
            self.machine.endpoints.indices.contains {
                self.isListed($0) && self.machine.endpoints[$0].mayBeTried(at: self.now)
            }
            && connecting < min(self.machine.connectLimit, self.configuration.maximumConcurrentConnects)
        if mayConnect, self.tenants.count < self.hard {
            self.check(self.waiting.count - validating <= connecting, "5: somebody waits and nothing is opened")
        }
        let minimum = min(self.configuration.minimumIdle, self.soft)
        if mayConnect, self.waiting.isEmpty, self.tenants.count < self.soft {
            self.check(self.idleOrder.count + validating + connecting >= minimum, "12: minimum idle is not restored")
        }
        if mayConnect, self.tenants.count < self.soft {
            self.check(self.warming.count <= connecting, "14: a warm-up waits and nothing is opened")
        }
        self.check(
            !self.timers.isEmpty || self.waiting.isEmpty && self.warming.isEmpty,
            "6: somebody waits and no timer is set")
    }

    mutating func checkIdleTimes(idleBefore: Int) {
        let idle = self.tenants.filter { $0.state == .idle }
        for tenant in idle {
            self.check(tenant.openedAt.after(self.lifetime) > self.now, "an idle connection outlived its lifetime")
        }
        if let timeout = self.configuration.idleTimeout?.ticks, let keepalive = self.configuration.keepaliveInterval {
            self.check(
                // From its rest: an acquire that finds itself cancelled late gives back what it has long held.
                idle.allSatisfy { self.now - max($0.provenAt, $0.since) <= timeout + keepalive.ticks + 200 },
                "a connection is idle and nobody cares")
        }
        let closedForIdling = self.machine.slots.count {
            $0.state == .closing && $0.since == self.now && $0.endReason == .idle
        }
        let minimum = min(self.configuration.minimumIdle, self.soft)
        self.check(
            closedForIdling == 0 || idleBefore - closedForIdling >= minimum, "12: idle timeout ignored minimum idle")
    }

    /// 3, 9 and 11: with a healthy server and finite leases everybody is served; then the pool ends without a trace.
    mutating func finish() {
        self.apply(Step(.resume))
        var rounds = 0
        while self.violation == nil, self.shutDownAt == nil, !self.waiting.isEmpty, rounds < 2_000 {
            rounds += 1
            self.healthyRound()
        }
        self.check(self.waiting.isEmpty, "11: no progress with a healthy server")
        guard self.violation == nil else { return }
        if self.shutDownAt == nil { self.apply(Step(.shutDown, 0)) }
        rounds = 0
        while self.violation == nil, !self.isTerminated, rounds < 2_000 {
            rounds += 1
            if self.tenants.contains(where: { $0.state == .connecting }) {
                self.apply(Step(rounds % 2 == 0 ? .connectOK : .connectFail))
            } else if self.tenants.contains(where: { $0.state == .closing }) {
                self.apply(Step(.closeDone))
            } else if !self.passToNextTimer() {
                break
            }
        }
        self.check(self.isTerminated, "9: the pool did not end")
        self.check(
            self.waiting.isEmpty && self.warming.isEmpty && self.leases.isEmpty, "9: somebody was forgotten")
        let (opened, closed) = (self.opened, self.totals.connectionsClosed + self.totals.connectionsDetached)
        self.check(opened == closed, "9: \(opened) connections were opened and \(closed) closed")
    }

    private mutating func healthyRound() {
        for verb in [Step.Verb.connectOK, .validatedOK, .drainedClean, .closeDone, .release] {
            let states: [Step.Verb: State] = [
                .connectOK: .connecting, .validatedOK: .validating, .drainedClean: .draining, .closeDone: .closing,
                .release: .leased,
            ]
            if self.tenants.contains(where: { $0.state == states[verb] }) {
                self.apply(Step(verb))
                return
            }
        }
        self.check(self.passToNextTimer(), "5: somebody waits, and nothing will ever happen")
    }

    private mutating func passToNextTimer() -> Bool {
        guard let next = self.timers.min(), next < .never else { return false }
        let span = max(1, next - self.now)
        // `pass` takes 1 ... 16.
        self.apply(Step(.pass, Int(min(span, 16) - 1)))
        return true
    }

    /// What the future depends on, with times relative to now: states that agree in it need not be explored twice.
    var fingerprint: Int {
        var hasher = Hasher()
        hasher.combine(self.machine.lifecycle == .closed)
        hasher.combine(self.isSuspended)
        hasher.combine(self.shutDownAt.map { $0 - self.now })
        for tenant in self.tenants {
            hasher.combine(tenant.state)
            hasher.combine(tenant.deadline == .never ? -1 : tenant.deadline - self.now)
            hasher.combine(self.now - tenant.openedAt)
            hasher.combine(self.now - tenant.provenAt)
            hasher.combine(self.idleOrder.firstIndex(of: tenant.key))
        }
        for waiter in self.waiting + self.warming {
            hasher.combine(waiter.kind)
            hasher.combine(waiter.deadline - self.now)
        }
        hasher.combine(self.listed)
        for endpoint in self.machine.endpoints {
            switch endpoint.health {
            case .healthy(let failures, let retryAt):
                hasher.combine(failures)
                hasher.combine(max(0, retryAt - self.now))
            case .ejected(let until, let times):
                hasher.combine(until - self.now)
                hasher.combine(times)
            case .probing(let times): hasher.combine(times)
            case .returning(let allowance, let times): hasher.combine(allowance * 1_000 + times)
            }
        }
        hasher.combine(self.machine.connectWindow)
        hasher.combine(self.machine.isImpatient)
        hasher.combine(self.endedLeases.count)
        hasher.combine(self.brokenLeases.count)
        hasher.combine(self.abandoned.count)
        return hasher.finalize()
    }
}

extension Endpoint {
    /// The model's own reading of the rules for attempts.
    func mayBeTried(at now: Ticks) -> Bool {
        switch self.health {
        case .healthy(let failures, let retryAt): failures == 0 || (retryAt <= now && self.connecting == 0)
        case .ejected(let until, _): until <= now && self.connecting == 0
        case .probing: self.connecting == 0
        case .returning(let allowance, _): self.connecting < allowance
        }
    }
}
