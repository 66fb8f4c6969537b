//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import WebSocketConcurrency

extension PoolStateMachine {
    /// Brings supply and demand together. Called after every event that may have changed either; afterwards no
    /// caller waits that could be served, and no connection is missing that may be opened.
    mutating func pump(at now: Ticks, _ action: inout Action) {
        guard case .running(let isSuspended) = lifecycle else { return }
        if waiters.isEmpty {
            connectWindow = 1
            isImpatient = false
            growAt = .never
            if !isSuspended { restoreShares(at: now, &action) }
            if counts.idle + counts.validating >= settings.minimumIdle, warmUps.isEmpty { return }
        }
        if isSuspended { return }

        lendIdle(at: now, &action)
        for index in endpoints.indices { endpoints[index].advance(to: now) }
        startConnects(at: now, &action)
        evictForNew(at: now, &action)
        failWithoutHope(&action)
        settleWarmUps(&action)

        if !waiters.isEmpty, growAt == .never {
            growAt = now.after(settings.patience)
            arm(growAt, &action)
        }
    }

    /// Lends idle connections to waiters; those that have to prove themselves first are validated, one per waiter.
    private mutating func lendIdle(at now: Ticks, _ action: inout Action) {
        while waiters.anyCount > promisingValidations, let index = nextIdle() {
            if endpoints[slots[index].endpoint].isSuspect, waiters.anyCount <= borrowValidations {
                return
            }
            if slots[index].expiresAt <= now {
                close(index, reason: .lifetime, at: now, &action)
            } else if isFresh(index, at: now) {
                takeIdle(index)
                guard grantToWaiter(index, isNew: false, at: now, &action) else { return }
            } else {
                takeIdle(index)
                validate(index, forBorrow: true, at: now, &action)
            }
        }
    }

    mutating func validate(_ index: Int, forBorrow: Bool, at now: Ticks, _ action: inout Action) {
        guard let handle = handles[index] else { return }
        setState(index, .validating(forBorrow: forBorrow), at: now)
        slots[index].deadline = now.after(settings.validationTimeout)
        arm(slots[index].deadline, &action)
        totals.validationsStarted += 1
        action.operations.append(.validate(key(index), handle))
    }

    mutating func drain(_ index: Int, at now: Ticks, _ action: inout Action) {
        guard case .running = lifecycle, slots[index].epoch == epoch,
            let handle = handles[index]
        else {
            let reason: WebSocketPoolEndReason
            if case .running = lifecycle { reason = .reset } else { reason = .shutdown }
            close(index, reason: reason, at: now, &action)
            return
        }
        setState(index, .draining, at: now)
        slots[index].deadline = now.after(settings.drainTimeout)
        arm(slots[index].deadline, &action)
        totals.drainsStarted += 1
        action.operations.append(.drain(key(index), handle))
    }

    /// Validations for waiters, but for those at endpoints that have not answered lately.
    private var promisingValidations: Int {
        guard borrowValidations > 0, endpoints.contains(where: \.isSuspect) else {
            return borrowValidations
        }
        return slots.count {
            $0.state == .validating(forBorrow: true) && !endpoints[$0.endpoint].isSuspect
        }
    }

    /// Attempts under way, but for those at endpoints that have not answered lately.
    package var promisingAttempts: Int {
        endpoints.reduce(0) { $0 + ($1.isSuspect ? 0 : $1.connecting) }
    }

    /// Waiters for whom a connection has to be opened.
    package var connectDemand: Int {
        max(
            waiters.count - (isImpatient ? 0 : promisingValidations),
            waiters.newCount)
    }

    /// Attempts that may be under way for waiters.
    ///
    /// With connections in circulation the pool grows carefully; an empty pool has nothing to wait for.
    package var connectLimit: Int {
        let isCareful = settings.connectStagger > 0 && counts.live > 0
        return isCareful ? min(connectWindow, settings.connectLimit) : settings.connectLimit
    }

    private mutating func startConnects(at now: Ticks, _ action: inout Action) {
        while true {
            // A caller that waits gets the next connection, so idle ones are missing only once none does, and a warm-up is
            // content with any: the attempts for the one and for the other are not added up, or a burst of waiters
            // would grow the pool past its limit.
            let demand = min(max(0, connectDemand), connectLimit)
            let underWay = promisingAttempts
            let isForWaiter = underWay < demand
            let resting = counts.idle + counts.validating
            let refill = max(0, settings.minimumIdle - resting)
            let wanted = min(max(demand, refill, warmUps.count), settings.connectLimit)
            guard underWay < wanted, counts.connecting < settings.connectLimit else { return }
            let capacity = isForWaiter ? settings.hardMaximum : settings.softMaximum
            guard counts.total < capacity else { return }
            guard let endpoint = nextEndpoint(at: now) else {
                armEndpoints(at: now, &action)
                return
            }
            // Nothing better than what is under way already.
            if endpoints[endpoint].isSuspect, counts.connecting >= wanted { return }
            connect(to: endpoint, at: now, &action)
        }
    }

    /// Whether an endpoint waits for its share.
    package var hasAwaited: Bool { endpoints.count > 1 && endpoints.contains(where: \.isAwaited) }

    /// Gives endpoints that failed their share again, while no acquire waits: one connection at a time, in a full pool
    /// in place of an idle one of the endpoint that has most. Without it one that has come back would get nothing until
    /// the connections to the others end.
    private mutating func restoreShares(at now: Ticks, _ action: inout Action) {
        guard hasAwaited else { return }
        for poor in endpoints.indices where endpoints[poor].isAwaited {
            endpoints[poor].advance(to: now)
            guard endpoints[poor].isListed else {
                endpoints[poor].reachedShare()
                continue
            }
            let others = endpoints.indices.filter { $0 != poor && !endpoints[$0].isHopeless }
            guard
                let rich = others.max(by: { endpoints[$0].total < endpoints[$1].total }),
                endpoints[rich].total > endpoints[poor].total + 1
            else {
                if !endpoints[poor].isSuspect, endpoints[poor].total > 0 {
                    endpoints[poor].reachedShare()
                }
                continue
            }
            guard endpoints[poor].connecting == 0, endpoints[poor].allowsAttempt(at: now) else {
                if endpoints[poor].nextChange > now { arm(endpoints[poor].nextChange, &action) }
                continue
            }
            if counts.total < settings.softMaximum {
                if counts.connecting < settings.connectLimit { connect(to: poor, at: now, &action) }
            } else if counts.closing == 0, let index = endpoints[rich].idle.first {
                close(index, reason: .rebalanced, at: now, &action)
            }
        }
    }

    /// The endpoint to connect to next: one that answers, with the fewest leases, then with the fewest connections.
    private func nextEndpoint(at now: Ticks) -> Int? {
        var best: Int?
        for candidate in endpoints.indices {
            guard endpoints[candidate].allowsAttempt(at: now) else { continue }
            guard let current = best else {
                best = candidate
                continue
            }
            let left = endpoints[candidate]
            let right = endpoints[current]
            let isBetter =
                (left.isSuspect ? 1 : 0, left.leased + left.connecting, left.total)
                < (right.isSuspect ? 1 : 0, right.leased + right.connecting, right.total)
            if isBetter { best = candidate }
        }
        return best
    }

    private mutating func connect(to endpoint: Int, at now: Ticks, _ action: inout Action) {
        let index: Int
        if let free = freeSlots.popLast() {
            index = free
        } else {
            index = slots.count
            slots.append(ConnectionSlot())
            handles.append(nil)
        }
        lastSerial += 1
        slots[index].endpoint = endpoint
        setState(index, .connecting, at: now)
        slots[index].serial = lastSerial
        slots[index].epoch = epoch
        slots[index].ejections = endpoints[endpoint].ejections
        slots[index].deadline = now.after(settings.connectTimeout)
        arm(slots[index].deadline, &action)
        totals.connectsStarted += 1
        action.operations.append(.connect(key(index), endpoint: endpoint))
    }

    /// A full pool makes room for those who need a new connection.
    private mutating func evictForNew(at now: Ticks, _ action: inout Action) {
        while counts.total >= settings.hardMaximum,
            waiters.newCount > counts.connecting + counts.closing,
            let index = endpoints.lazy.compactMap(\.idle.first).min(by: {
                slots[$0].returnedAt < slots[$1].returnedAt
            })
        {
            close(index, reason: .evicted, at: now, &action)
        }
    }

    /// A pool that is full has nothing more to open.
    private mutating func settleWarmUps(_ action: inout Action) {
        guard counts.connecting == 0, counts.total - counts.closing >= settings.softMaximum else {
            return
        }
        while let entry = warmUps.popFirst() {
            action.resumptions.append(.init(waiter: entry.waiter, result: .success(nil)))
        }
    }

    /// With every endpoint ejected, those end who could only be served by a new connection.
    private mutating func failWithoutHope(_ action: inout Action) {
        guard !waiters.isEmpty || !warmUps.isEmpty, counts.connecting == 0,
            endpoints.allSatisfy(\.isHopeless)
        else { return }
        while let entry = warmUps.popFirst() {
            fail(entry, .poolUnavailable, cause: lastFailure, &action)
        }
        let isEmpty = counts.live == 0
        while let entry = waiters.removeFirst(where: { isEmpty || $0.kind != .any }) {
            fail(entry, .poolUnavailable, cause: lastFailure, &action)
        }
    }
}
