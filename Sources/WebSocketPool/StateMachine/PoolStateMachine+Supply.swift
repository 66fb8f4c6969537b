//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import WebSocketConcurrency

extension PoolStateMachine {
    /// Brings supply and demand together. Called after every event that may have changed either; afterwards nobody
    /// waits who could be served, and no connection is missing that may be opened.
    mutating func pump(at now: Ticks, _ action: inout Action) {
        guard case .running(let isSuspended) = self.lifecycle else { return }
        if self.waiters.isEmpty {
            self.connectWindow = 1
            self.isImpatient = false
            self.growAt = .never
            if !isSuspended { self.restoreShares(at: now, &action) }
            if self.counts.idle + self.counts.validating >= self.settings.minimumIdle, self.warmUps.isEmpty { return }
        }
        if isSuspended { return }

        self.lendIdle(at: now, &action)
        for index in self.endpoints.indices { self.endpoints[index].advance(to: now) }
        self.startConnects(at: now, &action)
        self.evictForNew(at: now, &action)
        self.failWithoutHope(&action)
        self.settleWarmUps(&action)

        if !self.waiters.isEmpty, self.growAt == .never {
            self.growAt = now.after(self.settings.patience)
            self.arm(self.growAt, &action)
        }
    }

    /// Lends idle connections to waiters; those that have to prove themselves first are validated, one per waiter.
    private mutating func lendIdle(at now: Ticks, _ action: inout Action) {
        while self.waiters.anyCount > self.promisingValidations, let index = self.nextIdle() {
            if self.endpoints[self.slots[index].endpoint].isSuspect, self.waiters.anyCount <= self.borrowValidations {
                return
            }
            if self.slots[index].expiresAt <= now {
                self.close(index, reason: .lifetime, at: now, &action)
            } else if self.isFresh(index, at: now) {
                self.takeIdle(index)
                guard self.grantToWaiter(index, isNew: false, at: now, &action) else { return }
            } else {
                self.takeIdle(index)
                self.validate(index, forBorrow: true, at: now, &action)
            }
        }
    }

    mutating func validate(_ index: Int, forBorrow: Bool, at now: Ticks, _ action: inout Action) {
        guard let handle = self.handles[index] else { return }
        self.setState(index, .validating(forBorrow: forBorrow), at: now)
        self.slots[index].deadline = now.after(self.settings.validationTimeout)
        self.arm(self.slots[index].deadline, &action)
        self.totals.validationsStarted += 1
        action.operations.append(.validate(self.key(index), handle))
    }

    mutating func drain(_ index: Int, at now: Ticks, _ action: inout Action) {
        guard case .running = self.lifecycle, self.slots[index].epoch == self.epoch,
            let handle = self.handles[index]
        else {
            let reason: WebSocketPoolEndReason
            if case .running = self.lifecycle { reason = .reset } else { reason = .shutdown }
            self.close(index, reason: reason, at: now, &action)
            return
        }
        self.setState(index, .draining, at: now)
        self.slots[index].deadline = now.after(self.settings.drainTimeout)
        self.arm(self.slots[index].deadline, &action)
        self.totals.drainsStarted += 1
        action.operations.append(.drain(self.key(index), handle))
    }

    /// Validations for waiters, but for those at endpoints that have not answered lately.
    private var promisingValidations: Int {
        guard self.borrowValidations > 0, self.endpoints.contains(where: \.isSuspect) else {
            return self.borrowValidations
        }
        return self.slots.count {
            $0.state == .validating(forBorrow: true) && !self.endpoints[$0.endpoint].isSuspect
        }
    }

    /// Attempts under way, but for those at endpoints that have not answered lately.
    package var promisingAttempts: Int {
        self.endpoints.reduce(0) { $0 + ($1.isSuspect ? 0 : $1.connecting) }
    }

    /// Waiters for whom a connection has to be opened.
    package var connectDemand: Int {
        max(
            self.waiters.count - (self.isImpatient ? 0 : self.promisingValidations),
            self.waiters.newCount)
    }

    /// Attempts that may be under way for waiters.
    ///
    /// With connections in circulation the pool grows carefully; an empty pool has nothing to wait for.
    package var connectLimit: Int {
        let isCareful = self.settings.connectStagger > 0 && self.counts.live > 0
        return isCareful ? min(self.connectWindow, self.settings.connectLimit) : self.settings.connectLimit
    }

    private mutating func startConnects(at now: Ticks, _ action: inout Action) {
        while true {
            // Whoever waits gets the next connection, so idle ones are missing only once nobody does, and a warm-up is
            // content with any: the attempts for the one and for the other are not added up, or a burst of waiters
            // would grow the pool past its limit.
            let demand = min(max(0, self.connectDemand), self.connectLimit)
            let underWay = self.promisingAttempts
            let isForWaiter = underWay < demand
            let resting = self.counts.idle + self.counts.validating
            let refill = max(0, self.settings.minimumIdle - resting)
            let wanted = min(max(demand, refill, self.warmUps.count), self.settings.connectLimit)
            guard underWay < wanted, self.counts.connecting < self.settings.connectLimit else { return }
            let capacity = isForWaiter ? self.settings.hardMaximum : self.settings.softMaximum
            guard self.counts.total < capacity else { return }
            guard let endpoint = self.nextEndpoint(at: now) else {
                self.armEndpoints(at: now, &action)
                return
            }
            // Nothing better than what is under way already.
            if self.endpoints[endpoint].isSuspect, self.counts.connecting >= wanted { return }
            self.connect(to: endpoint, at: now, &action)
        }
    }

    /// Whether an endpoint waits for its share.
    package var hasAwaited: Bool { self.endpoints.count > 1 && self.endpoints.contains(where: \.isAwaited) }

    /// Gives endpoints that failed their share again, while no acquire waits: one connection at a time, in a full pool
    /// in place of an idle one of the endpoint that has most. Without it one that has come back would get nothing until
    /// the connections to the others end.
    private mutating func restoreShares(at now: Ticks, _ action: inout Action) {
        guard self.hasAwaited else { return }
        for poor in self.endpoints.indices where self.endpoints[poor].isAwaited {
            self.endpoints[poor].advance(to: now)
            guard self.endpoints[poor].isListed else {
                self.endpoints[poor].reachedShare()
                continue
            }
            let others = self.endpoints.indices.filter { $0 != poor && !self.endpoints[$0].isHopeless }
            guard
                let rich = others.max(by: { self.endpoints[$0].total < self.endpoints[$1].total }),
                self.endpoints[rich].total > self.endpoints[poor].total + 1
            else {
                if !self.endpoints[poor].isSuspect, self.endpoints[poor].total > 0 {
                    self.endpoints[poor].reachedShare()
                }
                continue
            }
            guard self.endpoints[poor].connecting == 0, self.endpoints[poor].allowsAttempt(at: now) else {
                if self.endpoints[poor].nextChange > now { self.arm(self.endpoints[poor].nextChange, &action) }
                continue
            }
            if self.counts.total < self.settings.softMaximum {
                if self.counts.connecting < self.settings.connectLimit { self.connect(to: poor, at: now, &action) }
            } else if self.counts.closing == 0, let index = self.endpoints[rich].idle.first {
                self.close(index, reason: .rebalanced, at: now, &action)
            }
        }
    }

    /// The endpoint to connect to next: one that answers, with the fewest leases, then with the fewest connections.
    private func nextEndpoint(at now: Ticks) -> Int? {
        var best: Int?
        for candidate in self.endpoints.indices {
            guard self.endpoints[candidate].allowsAttempt(at: now) else { continue }
            guard let current = best else {
                best = candidate
                continue
            }
            let left = self.endpoints[candidate]
            let right = self.endpoints[current]
            let isBetter =
                (left.isSuspect ? 1 : 0, left.leased + left.connecting, left.total)
                < (right.isSuspect ? 1 : 0, right.leased + right.connecting, right.total)
            if isBetter { best = candidate }
        }
        return best
    }

    private mutating func connect(to endpoint: Int, at now: Ticks, _ action: inout Action) {
        let index: Int
        if let free = self.freeSlots.popLast() {
            index = free
        } else {
            index = self.slots.count
            self.slots.append(ConnectionSlot())
            self.handles.append(nil)
        }
        self.lastSerial += 1
        self.slots[index].endpoint = endpoint
        self.setState(index, .connecting, at: now)
        self.slots[index].serial = self.lastSerial
        self.slots[index].epoch = self.epoch
        self.slots[index].ejections = self.endpoints[endpoint].ejections
        self.slots[index].deadline = now.after(self.settings.connectTimeout)
        self.arm(self.slots[index].deadline, &action)
        self.totals.connectsStarted += 1
        action.operations.append(.connect(self.key(index), endpoint: endpoint))
    }

    /// A full pool makes room for those who need a new connection.
    private mutating func evictForNew(at now: Ticks, _ action: inout Action) {
        while self.counts.total >= self.settings.hardMaximum,
            self.waiters.newCount > self.counts.connecting + self.counts.closing,
            let index = self.endpoints.lazy.compactMap(\.idle.first).min(by: {
                self.slots[$0].returnedAt < self.slots[$1].returnedAt
            })
        {
            self.close(index, reason: .evicted, at: now, &action)
        }
    }

    /// A pool that is full has nothing more to open.
    private mutating func settleWarmUps(_ action: inout Action) {
        guard self.counts.connecting == 0, self.counts.total - self.counts.closing >= self.settings.softMaximum else {
            return
        }
        while let entry = self.warmUps.popFirst() {
            action.resumptions.append(.init(waiter: entry.waiter, result: .success(nil)))
        }
    }

    /// With every endpoint ejected, those end who could only be served by a new connection.
    private mutating func failWithoutHope(_ action: inout Action) {
        guard !self.waiters.isEmpty || !self.warmUps.isEmpty, self.counts.connecting == 0,
            self.endpoints.allSatisfy(\.isHopeless)
        else { return }
        while let entry = self.warmUps.popFirst() {
            self.fail(entry, .poolUnavailable, cause: self.lastFailure, &action)
        }
        let isEmpty = self.counts.live == 0
        while let entry = self.waiters.removeFirst(where: { isEmpty || $0.kind != .any }) {
            self.fail(entry, .poolUnavailable, cause: self.lastFailure, &action)
        }
    }
}
