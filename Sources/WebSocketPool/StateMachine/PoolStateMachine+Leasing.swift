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
        guard waiters.isEmpty, case .running(isSuspended: false) = lifecycle,
            let index = nextIdle(), isFresh(index, at: now)
        else { return nil }
        takeIdle(index)
        let token = lease(index, site: site, at: now)
        return IdleGrant(
            token: token, timer: armed(slots[index].deadline) ?? .never,
            isShort: counts.idle < settings.minimumIdle)
    }

    /// ``acquireIdle(site:at:)`` had nothing for an acquire that does not wait. A connection that only has to prove
    /// itself does so now, for the next one.
    package mutating func proveIdle(at now: Ticks) -> Action {
        var action = Action()
        guard waiters.isEmpty, lifecycle == .running(isSuspended: false), let index = nextIdle(),
            slots[index].expiresAt > now, !isFresh(index, at: now)
        else { return action }
        takeIdle(index)
        validate(index, forBorrow: false, at: now, &action)
        return action
    }

    package mutating func refill(at now: Ticks) -> Action {
        var action = Action()
        pump(at: now, &action)
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
        switch lifecycle {
        case .shuttingDown, .closed:
            fail(entry, .poolClosed, &action)
            return action
        case .initial, .running: break
        }
        guard kind != .warmUp else {
            warmUps.append(entry)
            pump(at: now, &action)
            arm(self.deadline(of: entry), &action)
            return action
        }
        guard waiters.count < settings.maximumWaiters else {
            fail(entry, .poolExhausted, &action)
            return action
        }
        waiters.insert(entry)
        pump(at: now, &action)
        guard waiters.contains(ticket: ticket) else { return action }
        if deadline <= now, kind == .any, borrowValidations >= waiters.anyCount {
            // An idle connection is there, and has to prove itself first.
            _ = waiters.remove(ticket: ticket)
            var patient = entry
            patient.deadline = now.after(min(settings.patience, settings.validationTimeout))
            waiters.insert(patient)
            arm(patient.deadline, &action)
        } else if deadline <= now {
            // A timeout of zero asks for what is there. The attempt it may have started goes on.
            if let entry = waiters.remove(ticket: ticket) {
                let code: WebSocketPoolError.Code = lifecycle == .initial ? .poolUnavailable : .acquireTimedOut
                fail(entry, code, cause: lastFailure, &action)
            }
        } else {
            if lifecycle == .initial, !isRunPromised { emit(.acquiredBeforeRun, &action) }
            if observesLeases { waiters.markQueued(ticket: ticket) }
            emit(.acquireQueued(depth: waiters.count), &action)
            arm(self.deadline(of: entry), &action)
        }
        return action
    }

    /// The fast path of ``acquire`` in a pool that is full and busy: the acquire joins a queue that is there, and
    /// nothing else changes.
    /// - Returns: `false`, and nothing has happened, when the general path is needed.
    package mutating func joinQueue(
        _ waiter: Waiter, ticket: UInt64, site: WebSocketPoolSourceSite, queuedAt: Ticks, deadline: Ticks, at now: Ticks
    ) -> Bool {
        // No idle connection, no room for another, and a waiter for which everything has been set in motion.
        guard !observesLeases, lifecycle == .running(isSuspended: false), !waiters.isEmpty,
            waiters.newCount == 0, waiters.count < settings.maximumWaiters, counts.idle == 0,
            counts.live > 0, counts.total >= settings.hardMaximum, deadline > now,
            deadline >= armedTimers.last ?? .never
        else { return false }
        waiters.insert(
            .init(ticket: ticket, waiter: waiter, kind: .any, queuedAt: queuedAt, deadline: deadline, site: site))
        return true
    }

    /// The task of an acquire was cancelled. Without effect when the acquire has ended.
    package mutating func cancelAcquire(ticket: UInt64, at now: Ticks) -> Action {
        var action = Action()
        if let index = warmUps.firstIndex(where: { $0.ticket == ticket }) {
            fail(warmUps.remove(at: index), .cancelled, &action)
            return action
        }
        guard let entry = waiters.remove(ticket: ticket) else { return action }
        fail(entry, .cancelled, &action)
        pump(at: now, &action)
        return action
    }

    /// A task that is cancelled already asks for a connection.
    package mutating func refuseCancelled() -> WebSocketPoolError {
        totals.acquireCancellations += 1
        return error(.cancelled)
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
        totals.acquired -= 1
        if hasWaited { totals.acquiredAfterWaiting -= 1 }
        if refusal == .cancelled { totals.acquireCancellations += 1 }
        guard isValid(token) else {
            // It broke in the meantime, which was counted as the end of a lease.
            if brokenLeases.remove(token.id) != nil {
                totals.leasesEnded -= 1
                totals.leasesBroken -= 1
            }
            return action
        }
        switch refusal {
        case .cancelled: makeAvailable(token.slot, isNew: false, at: now, &action)
        case .unusable(let reason): close(token.slot, reason: reason, at: now, &action)
        }
        pump(at: now, &action)
        return action
    }

    // MARK: Ending a lease

    /// Whether the lease still holds its connection.
    package func isValid(_ token: LeaseToken) -> Bool {
        token.slot < slots.count && slots[token.slot].state == .leased
            && slots[token.slot].leaseID == token.id
    }

    package mutating func release(_ token: LeaseToken, _ verdict: Verdict, at now: Ticks) -> Action {
        var action = Action()
        guard endLease(token, at: now, &action) else { return action }
        let index = token.slot
        switch verdict {
        case .discard(let reason):
            close(index, reason: reason, at: now, &action)
        case .drain:
            drain(index, at: now, &action)
        case .reuse:
            makeAvailable(index, isNew: false, at: now, &action)
        }
        pump(at: now, &action)
        return action
    }

    /// The fast path of ``release`` with the verdict `reuse`: no task waits and the connection simply becomes idle.
    /// - Returns: The timer it needs, or `never`; `nil`, and nothing has happened, when the general path is needed.
    package mutating func releaseIdle(_ token: LeaseToken, at now: Ticks) -> Ticks? {
        guard waiters.isEmpty, case .running = lifecycle, isValid(token),
            slots[token.slot].epoch == epoch, slots[token.slot].expiresAt > now,
            !slots[token.slot].isSuspectedLeak, !hasAwaited,
            counts.total - counts.closing <= settings.softMaximum
        else { return nil }
        totals.leasesEnded += 1
        usageTime = usageTime.after(now - slots[token.slot].since)
        slots[token.slot].giveBack(at: now)
        listIdle(token.slot, at: now)
        return armed(slots[token.slot].idleDeadline) ?? .never
    }

    /// The fast path of ``release`` with the verdict `reuse` when a caller waits: the connection goes to the one
    /// that came first, and nothing else changes.
    /// - Returns: `nil`, and nothing has happened, when the general path is needed.
    package mutating func releaseToWaiter(_ token: LeaseToken, at now: Ticks) -> Action.Resumption? {
        // The last waiter's leaving has consequences.
        guard waiters.count > 1, waiters.newCount == 0, lifecycle == .running(isSuspended: false),
            isValid(token), slots[token.slot].epoch == epoch, slots[token.slot].expiresAt > now,
            !slots[token.slot].isSuspectedLeak, settings.leakThreshold == .never,
            counts.total - counts.closing <= settings.hardMaximum,
            let handle = handles[token.slot], let entry = waiters.popFirst(isNew: false)
        else { return nil }
        totals.leasesEnded += 1
        usageTime = usageTime.after(now - slots[token.slot].since)
        slots[token.slot].giveBack(at: now)
        let grant = Grant(token: lease(token.slot, site: entry.site, at: now), handle: handle)
        totals.acquiredAfterWaiting += 1
        waitTime = waitTime.after(max(0, now - entry.queuedAt))
        return .init(waiter: entry.waiter, result: .success(grant))
    }

    /// Takes the connection out of the pool for good; closing it is the borrower's business from now on.
    /// - Returns: `nil` when the lease has ended.
    package mutating func detach(_ token: LeaseToken, at now: Ticks) -> Action? {
        guard isValid(token) else { return nil }
        var action = Action()
        guard endLease(token, at: now, &action) else { return nil }
        free(token.slot, reason: .detached, at: now, &action)
        pump(at: now, &action)
        checkTermination(&action)
        return action
    }

    /// Accounts for the end of a lease; the connection stays where it is.
    private mutating func endLease(_ token: LeaseToken, at now: Ticks, _ action: inout Action) -> Bool {
        guard isValid(token) else {
            if brokenLeases.remove(token.id) == nil {
                totals.releasesIgnored += 1
                emit(.releaseIgnored, &action)
            }
            return false
        }
        recordLeaseEnd(token.slot, at: now, &action)
        return true
    }

    private mutating func recordLeaseEnd(_ index: Int, at now: Ticks, _ action: inout Action) {
        let usage = now - slots[index].since
        totals.leasesEnded += 1
        usageTime = usageTime.after(usage)
        slots[index].giveBack(at: now)
        emit(.leaseEnded(after: usage), &action)
        if slots[index].isSuspectedLeak {
            emit(.suspectedLeakReturned(slots[index].site, after: usage), &action)
        }
    }

    /// The connection is gone, or about to be, while a borrower holds it.
    mutating func breakLease(_ index: Int, at now: Ticks, _ action: inout Action) {
        recordLeaseEnd(index, at: now, &action)
        totals.leasesBroken += 1
        brokenLeases.insert(slots[index].leaseID)
    }

    // MARK: Lending

    /// Lends a connection that is in no list.
    mutating func lease(_ index: Int, site: WebSocketPoolSourceSite, at now: Ticks) -> LeaseToken {
        lastLeaseID += 1
        setState(index, .leased, at: now)
        slots[index].lend(id: lastLeaseID, site: site, leakThreshold: settings.leakThreshold)
        totals.acquired += 1
        return LeaseToken(slot: index, id: lastLeaseID)
    }

    /// Lends a connection to the first waiter that accepts it.
    mutating func grantToWaiter(_ index: Int, isNew: Bool, at now: Ticks, _ action: inout Action) -> Bool {
        guard let handle = handles[index], let entry = waiters.popFirst(isNew: isNew) else { return false }
        let waited = max(0, now - entry.queuedAt)
        let grant = Grant(token: lease(index, site: entry.site, at: now), handle: handle)
        totals.acquiredAfterWaiting += 1
        waitTime = waitTime.after(waited)
        arm(slots[index].deadline, &action)
        action.resumptions.append(.init(waiter: entry.waiter, result: .success(grant)))
        leaveQueue(entry, &action)
        emit(.leaseGranted(waited: waited), &action)
        return true
    }

    // MARK: Idle connections

    /// An open, clean connection has nothing to do: lend it, keep it, or close it.
    mutating func makeAvailable(_ index: Int, isNew: Bool, at now: Ticks, _ action: inout Action) {
        guard case .running(let isSuspended) = lifecycle else {
            close(index, reason: .shutdown, at: now, &action)
            return
        }
        let kept = counts.total - counts.closing
        if slots[index].epoch != epoch {
            close(index, reason: .reset, at: now, &action)
        } else if slots[index].expiresAt <= now {
            close(index, reason: .lifetime, at: now, &action)
        } else if kept > settings.hardMaximum {
            close(index, reason: .overflow, at: now, &action)
        } else if !isSuspended, !waiters.isEmpty, isFresh(index, at: now),
            grantToWaiter(index, isNew: isNew, at: now, &action)
        {
            return
        } else if kept > settings.softMaximum {
            close(index, reason: .overflow, at: now, &action)
        } else {
            putIdle(index, at: now, &action)
        }
    }

    private mutating func putIdle(_ index: Int, at now: Ticks, _ action: inout Action) {
        listIdle(index, at: now)
        arm(slots[index].idleDeadline, &action)
    }

    private mutating func listIdle(_ index: Int, at now: Ticks) {
        setState(index, .idle, at: now)
        slots[index].rest(idleTimeout: settings.idleTimeout)
        // In the order of return. Only a connection that comes from a keepalive belongs further to the front.
        let endpoint = slots[index].endpoint
        if slots[index].returnedAt == now {
            endpoints[endpoint].idle.append(index)
            return
        }
        var position = endpoints[endpoint].idle.count
        while position > 0,
            slots[endpoints[endpoint].idle[position - 1]].returnedAt > slots[index].returnedAt
        {
            position -= 1
        }
        endpoints[endpoint].idle.insert(index, at: position)
    }

    /// Whether a connection may be lent as it is.
    func isFresh(_ index: Int, at now: Ticks) -> Bool {
        slots[index].expiresAt > now
            && now - slots[index].provenAt <= settings.validationBypass
    }

    /// The idle connection to lend next: of the endpoint with the fewest leases, suspect and ejected ones last.
    func nextIdle() -> Int? {
        let isLastFirst = settings.reuseOrder == .lastUsedFirst
        var best: Int?
        if endpoints.count == 1 {
            return isLastFirst ? endpoints[0].idle.last : endpoints[0].idle.first
        }
        for candidate in endpoints.indices where !endpoints[candidate].idle.isEmpty {
            guard let current = best else {
                best = candidate
                continue
            }
            let isBetter =
                (endpoints[candidate].doubt, endpoints[candidate].leased)
                < (endpoints[current].doubt, endpoints[current].leased)
            if isBetter { best = candidate }
        }
        guard let best else { return nil }
        return isLastFirst ? endpoints[best].idle.last : endpoints[best].idle.first
    }

    /// Takes the connection that `nextIdle` chose off its list.
    mutating func takeIdle(_ index: Int) {
        let endpoint = slots[index].endpoint
        if endpoints[endpoint].idle.last == index {
            endpoints[endpoint].idle.removeLast()
        } else {
            removeFromIdle(index)
        }
    }
}
