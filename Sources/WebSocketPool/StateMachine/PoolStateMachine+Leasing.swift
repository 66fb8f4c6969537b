//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
package import WebSocketConcurrency

extension PoolStateMachine {
    /// How a borrower gives a connection back.
    package enum Verdict: Sendable, Hashable {
        case reuse
        case drain
        case discard(WebSocketPoolEndReason)
    }

    // MARK: Acquiring

    /// A lease from the fast path, and what little follows from it. The handle is in the token's slot.
    package struct IdleGrant: Sendable {
        package var token: LeaseToken
        /// Tick at this instant, unless it is `never`.
        package var timer: Ticks
        /// Fewer connections are idle than there should be: ``refill`` is due.
        package var isShort: Bool
    }

    /// An acquire that may be served at once.
    ///
    /// The fast path: no waiter is made and nothing is allocated.
    /// - Returns: `nil` when the acquire has to ``acquire`` and perhaps to wait.
    package mutating func acquireIdle(site: WebSocketPoolSourceSite, at now: Ticks) -> IdleGrant? {
        guard self.waiters.isEmpty, case .running(isSuspended: false) = self.lifecycle,
            let index = self.nextIdle(), self.isFresh(index, at: now)
        else { return nil }
        self.takeIdle(index)
        let token = self.lease(index, site: site, at: now)
        return IdleGrant(
            token: token, timer: self.armed(self.slots[index].deadline) ?? .never,
            isShort: self.counts.idle < self.settings.minimumIdle)
    }

    /// ``acquireIdle(site:at:)`` had nothing for an acquire that does not wait. A connection that only has to prove
    /// itself does so now, for the next one.
    package mutating func proveIdle(at now: Ticks) -> Action {
        var action = Action()
        guard self.waiters.isEmpty, self.lifecycle == .running(isSuspended: false), let index = self.nextIdle(),
            self.slots[index].expiresAt > now, !self.isFresh(index, at: now)
        else { return action }
        self.takeIdle(index)
        self.validate(index, forBorrow: false, at: now, &action)
        return action
    }

    package mutating func refill(at now: Ticks) -> Action {
        var action = Action()
        self.pump(at: now, &action)
        return action
    }

    /// An acquire that is ready to wait, at the place in the queue that its ticket says.
    package mutating func acquire(
        _ waiter: Waiter, ticket: UInt64, kind: AcquireKind, site: WebSocketPoolSourceSite, queuedAt: Ticks,
        deadline: Ticks,
        at now: Ticks
    ) -> Action {
        var action = Action()
        let entry = WaiterQueue<Waiter>.Entry(
            ticket: ticket, waiter: waiter, kind: kind, queuedAt: queuedAt, deadline: deadline, site: site)
        switch self.lifecycle {
        case .shuttingDown, .closed:
            self.fail(entry, .poolClosed, &action)
            return action
        case .initial, .running: break
        }
        guard kind != .warmUp else {
            self.warmUps.append(entry)
            self.pump(at: now, &action)
            self.arm(self.deadline(of: entry), &action)
            return action
        }
        guard self.waiters.count < self.settings.maximumWaiters else {
            self.fail(entry, .poolExhausted, &action)
            return action
        }
        self.waiters.insert(entry)
        self.pump(at: now, &action)
        guard self.waiters.contains(ticket: ticket) else { return action }
        if deadline <= now, kind == .any, self.borrowValidations >= self.waiters.anyCount {
            // An idle connection is there, and has to prove itself first.
            _ = self.waiters.remove(ticket: ticket)
            var patient = entry
            patient.deadline = now.after(min(self.settings.patience, self.settings.validationTimeout))
            self.waiters.insert(patient)
            self.arm(patient.deadline, &action)
        } else if deadline <= now {
            // A timeout of zero asks for what is there. The attempt it may have started goes on.
            if let entry = self.waiters.remove(ticket: ticket) {
                let code: WebSocketPoolError.Code = self.lifecycle == .initial ? .poolUnavailable : .acquireTimedOut
                self.fail(entry, code, cause: self.lastFailure, &action)
            }
        } else {
            if self.lifecycle == .initial, !self.isRunPromised { self.emit(.acquiredBeforeRun, &action) }
            if self.observesLeases { self.waiters.markQueued(ticket: ticket) }
            self.emit(.acquireQueued(depth: self.waiters.count), &action)
            self.arm(self.deadline(of: entry), &action)
        }
        return action
    }

    /// The fast path of ``acquire`` in a pool that is full and busy: the acquire joins a queue that is there, and
    /// nothing else changes.
    /// - Returns: `false`, and nothing has happened, when the general path is needed.
    package mutating func joinQueue(
        _ waiter: Waiter, ticket: UInt64, site: WebSocketPoolSourceSite, queuedAt: Ticks, deadline: Ticks, at now: Ticks
    ) -> Bool {
        // No idle connection, no room for another, and somebody for whom everything has been set in motion.
        guard !self.observesLeases, self.lifecycle == .running(isSuspended: false), !self.waiters.isEmpty,
            self.waiters.newCount == 0, self.waiters.count < self.settings.maximumWaiters, self.counts.idle == 0,
            self.counts.live > 0, self.counts.total >= self.settings.hardMaximum, deadline > now,
            deadline >= self.armedTimers.last ?? .never
        else { return false }
        self.waiters.insert(
            .init(ticket: ticket, waiter: waiter, kind: .any, queuedAt: queuedAt, deadline: deadline, site: site))
        return true
    }

    /// The task of an acquire was cancelled. Without effect when the acquire has ended.
    package mutating func cancelAcquire(ticket: UInt64, at now: Ticks) -> Action {
        var action = Action()
        if let index = self.warmUps.firstIndex(where: { $0.ticket == ticket }) {
            self.fail(self.warmUps.remove(at: index), .cancelled, &action)
            return action
        }
        guard let entry = self.waiters.remove(ticket: ticket) else { return action }
        self.fail(entry, .cancelled, &action)
        self.pump(at: now, &action)
        return action
    }

    /// A task that is cancelled already asks for a connection.
    package mutating func refuseCancelled() -> WebSocketPoolError {
        self.totals.acquireCancellations += 1
        return self.error(.cancelled)
    }

    /// What a grant turned out to be worth.
    package enum Refusal: Sendable, Hashable {
        /// The acquiring task was cancelled meanwhile; the connection was not touched.
        case cancelled
        /// The connection died, or received something, before its borrower got it.
        case unusable(WebSocketPoolEndReason)
    }

    /// A grant was not passed on to a borrower: it does not count as a lease.
    package mutating func takeBack(_ token: LeaseToken, _ refusal: Refusal, hasWaited: Bool, at now: Ticks) -> Action {
        var action = Action()
        self.totals.acquired -= 1
        if hasWaited { self.totals.acquiredAfterWaiting -= 1 }
        if refusal == .cancelled { self.totals.acquireCancellations += 1 }
        guard self.isValid(token) else {
            // It broke in the meantime, which was counted as the end of a lease.
            if self.brokenLeases.remove(token.id) != nil {
                self.totals.leasesEnded -= 1
                self.totals.leasesBroken -= 1
            }
            return action
        }
        switch refusal {
        case .cancelled: self.makeAvailable(token.slot, isNew: false, at: now, &action)
        case .unusable(let reason): self.close(token.slot, reason: reason, at: now, &action)
        }
        self.pump(at: now, &action)
        return action
    }

    // MARK: Ending a lease

    /// Whether the lease still holds its connection.
    package func isValid(_ token: LeaseToken) -> Bool {
        token.slot < self.slots.count && self.slots[token.slot].state == .leased
            && self.slots[token.slot].leaseID == token.id
    }

    package mutating func release(_ token: LeaseToken, _ verdict: Verdict, at now: Ticks) -> Action {
        var action = Action()
        guard self.endLease(token, at: now, &action) else { return action }
        let index = token.slot
        switch verdict {
        case .discard(let reason):
            self.close(index, reason: reason, at: now, &action)
        case .drain:
            self.drain(index, at: now, &action)
        case .reuse:
            self.makeAvailable(index, isNew: false, at: now, &action)
        }
        self.pump(at: now, &action)
        return action
    }

    /// The fast path of ``release`` with the verdict `reuse`: nobody waits and the connection simply becomes idle.
    /// - Returns: The timer it needs, or `never`; `nil`, and nothing has happened, when the general path is needed.
    package mutating func releaseIdle(_ token: LeaseToken, at now: Ticks) -> Ticks? {
        guard self.waiters.isEmpty, case .running = self.lifecycle, self.isValid(token),
            self.slots[token.slot].epoch == self.epoch, self.slots[token.slot].expiresAt > now,
            !self.slots[token.slot].isSuspectedLeak, !self.hasAwaited,
            self.counts.total - self.counts.closing <= self.settings.softMaximum
        else { return nil }
        self.totals.leasesEnded += 1
        self.usageTime = self.usageTime.after(now - self.slots[token.slot].since)
        self.slots[token.slot].giveBack(at: now)
        self.listIdle(token.slot, at: now)
        return self.armed(self.slots[token.slot].idleDeadline) ?? .never
    }

    /// The fast path of ``release`` with the verdict `reuse` when somebody waits: the connection goes to whoever is
    /// first, and nothing else changes.
    /// - Returns: `nil`, and nothing has happened, when the general path is needed.
    package mutating func releaseToWaiter(_ token: LeaseToken, at now: Ticks) -> Action.Resumption? {
        // The last waiter's leaving has consequences.
        guard self.waiters.count > 1, self.waiters.newCount == 0, self.lifecycle == .running(isSuspended: false),
            self.isValid(token), self.slots[token.slot].epoch == self.epoch, self.slots[token.slot].expiresAt > now,
            !self.slots[token.slot].isSuspectedLeak, self.settings.leakThreshold == .never,
            self.counts.total - self.counts.closing <= self.settings.hardMaximum,
            let handle = self.handles[token.slot], let entry = self.waiters.popFirst(isNew: false)
        else { return nil }
        self.totals.leasesEnded += 1
        self.usageTime = self.usageTime.after(now - self.slots[token.slot].since)
        self.slots[token.slot].giveBack(at: now)
        let grant = Grant(token: self.lease(token.slot, site: entry.site, at: now), handle: handle)
        self.totals.acquiredAfterWaiting += 1
        self.waitTime = self.waitTime.after(max(0, now - entry.queuedAt))
        return .init(waiter: entry.waiter, result: .success(grant))
    }

    /// Takes the connection out of the pool for good; closing it is the borrower's business from now on.
    /// - Returns: `nil` when the lease has ended.
    package mutating func detach(_ token: LeaseToken, at now: Ticks) -> Action? {
        guard self.isValid(token) else { return nil }
        var action = Action()
        guard self.endLease(token, at: now, &action) else { return nil }
        self.free(token.slot, reason: .detached, at: now, &action)
        self.pump(at: now, &action)
        self.checkTermination(&action)
        return action
    }

    /// Accounts for the end of a lease; the connection stays where it is.
    private mutating func endLease(_ token: LeaseToken, at now: Ticks, _ action: inout Action) -> Bool {
        guard self.isValid(token) else {
            if self.brokenLeases.remove(token.id) == nil {
                self.totals.releasesIgnored += 1
                self.emit(.releaseIgnored, &action)
            }
            return false
        }
        self.recordLeaseEnd(token.slot, at: now, &action)
        return true
    }

    private mutating func recordLeaseEnd(_ index: Int, at now: Ticks, _ action: inout Action) {
        let usage = now - self.slots[index].since
        self.totals.leasesEnded += 1
        self.usageTime = self.usageTime.after(usage)
        self.slots[index].giveBack(at: now)
        self.emit(.leaseEnded(after: usage), &action)
        if self.slots[index].isSuspectedLeak {
            self.emit(.suspectedLeakReturned(self.slots[index].site, after: usage), &action)
        }
    }

    /// The connection is gone, or about to be, while somebody holds it.
    mutating func breakLease(_ index: Int, at now: Ticks, _ action: inout Action) {
        self.recordLeaseEnd(index, at: now, &action)
        self.totals.leasesBroken += 1
        self.brokenLeases.insert(self.slots[index].leaseID)
    }

    // MARK: Lending

    /// Lends a connection that is in no list.
    mutating func lease(_ index: Int, site: WebSocketPoolSourceSite, at now: Ticks) -> LeaseToken {
        self.lastLeaseID += 1
        self.setState(index, .leased, at: now)
        self.slots[index].lend(id: self.lastLeaseID, site: site, leakThreshold: self.settings.leakThreshold)
        self.totals.acquired += 1
        return LeaseToken(slot: index, id: self.lastLeaseID)
    }

    /// Lends a connection to the first waiter that accepts it.
    mutating func grantToWaiter(_ index: Int, isNew: Bool, at now: Ticks, _ action: inout Action) -> Bool {
        guard let handle = self.handles[index], let entry = self.waiters.popFirst(isNew: isNew) else { return false }
        let waited = max(0, now - entry.queuedAt)
        let grant = Grant(token: self.lease(index, site: entry.site, at: now), handle: handle)
        self.totals.acquiredAfterWaiting += 1
        self.waitTime = self.waitTime.after(waited)
        self.arm(self.slots[index].deadline, &action)
        action.resumptions.append(.init(waiter: entry.waiter, result: .success(grant)))
        self.leaveQueue(entry, &action)
        self.emit(.leaseGranted(waited: waited), &action)
        return true
    }

    // MARK: Idle connections

    /// An open, clean connection has nothing to do: lend it, keep it, or close it.
    mutating func makeAvailable(_ index: Int, isNew: Bool, at now: Ticks, _ action: inout Action) {
        guard case .running(let isSuspended) = self.lifecycle else {
            self.close(index, reason: .shutdown, at: now, &action)
            return
        }
        let kept = self.counts.total - self.counts.closing
        if self.slots[index].epoch != self.epoch {
            self.close(index, reason: .reset, at: now, &action)
        } else if self.slots[index].expiresAt <= now {
            self.close(index, reason: .lifetime, at: now, &action)
        } else if kept > self.settings.hardMaximum {
            self.close(index, reason: .overflow, at: now, &action)
        } else if !isSuspended, !self.waiters.isEmpty, self.isFresh(index, at: now),
            self.grantToWaiter(index, isNew: isNew, at: now, &action)
        {
            return
        } else if kept > self.settings.softMaximum {
            self.close(index, reason: .overflow, at: now, &action)
        } else {
            self.putIdle(index, at: now, &action)
        }
    }

    private mutating func putIdle(_ index: Int, at now: Ticks, _ action: inout Action) {
        self.listIdle(index, at: now)
        self.arm(self.slots[index].idleDeadline, &action)
    }

    private mutating func listIdle(_ index: Int, at now: Ticks) {
        self.setState(index, .idle, at: now)
        self.slots[index].rest(idleTimeout: self.settings.idleTimeout)
        // In the order of return. Only a connection that comes from a keepalive belongs further to the front.
        let endpoint = self.slots[index].endpoint
        if self.slots[index].returnedAt == now {
            self.endpoints[endpoint].idle.append(index)
            return
        }
        var position = self.endpoints[endpoint].idle.count
        while position > 0,
            self.slots[self.endpoints[endpoint].idle[position - 1]].returnedAt > self.slots[index].returnedAt
        {
            position -= 1
        }
        self.endpoints[endpoint].idle.insert(index, at: position)
    }

    /// Whether a connection may be lent as it is.
    func isFresh(_ index: Int, at now: Ticks) -> Bool {
        self.slots[index].expiresAt > now
            && now - self.slots[index].provenAt <= self.settings.validationBypass
    }

    /// The idle connection to lend next: of the endpoint with the fewest leases, suspect and ejected ones last.
    func nextIdle() -> Int? {
        let isLastFirst = self.settings.reuseOrder == .lastUsedFirst
        var best: Int?
        if self.endpoints.count == 1 {
            return isLastFirst ? self.endpoints[0].idle.last : self.endpoints[0].idle.first
        }
        for candidate in self.endpoints.indices where !self.endpoints[candidate].idle.isEmpty {
            guard let current = best else {
                best = candidate
                continue
            }
            let isBetter =
                (self.endpoints[candidate].doubt, self.endpoints[candidate].leased)
                < (self.endpoints[current].doubt, self.endpoints[current].leased)
            if isBetter { best = candidate }
        }
        guard let best else { return nil }
        return isLastFirst ? self.endpoints[best].idle.last : self.endpoints[best].idle.first
    }

    /// Takes the connection that `nextIdle` chose off its list.
    mutating func takeIdle(_ index: Int) {
        let endpoint = self.slots[index].endpoint
        if self.endpoints[endpoint].idle.last == index {
            self.endpoints[endpoint].idle.removeLast()
        } else {
            self.removeFromIdle(index)
        }
    }
}
