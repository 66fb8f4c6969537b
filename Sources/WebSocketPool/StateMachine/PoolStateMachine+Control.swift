//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
package import WebSocketConcurrency

// What the owner of the pool asks for, and what time asks for.
extension PoolStateMachine {
    // MARK: Lifecycle

    package mutating func start(at now: Ticks) -> Action {
        var action = Action()
        guard lifecycle == .initial else { return action }
        lifecycle = .running(isSuspended: false)
        pump(at: now, &action)
        rearm(at: now, &action)
        return action
    }

    /// Refuses new acquires, ends the waiting ones, and closes every connection: those not lent at once, the others
    /// when they come back, at the latest at `deadline`. A second shutdown can only bring the deadline forward.
    package mutating func shutDown(deadline: Ticks, at now: Ticks) -> Action {
        var action = Action()
        switch lifecycle {
        case .closed:
            return action
        case .shuttingDown(let earlier):
            lifecycle = .shuttingDown(deadline: min(earlier, deadline))
        case .initial, .running:
            lifecycle = .shuttingDown(deadline: deadline)
            while let entry = waiters.popFirst(isNew: true) {
                fail(entry, .poolClosed, &action)
            }
            while let entry = warmUps.popFirst() { fail(entry, .poolClosed, &action) }
            closeUnused(at: now, &action)
        }
        if deadline <= now { takeBackLeases(at: now, &action) } else { arm(deadline, &action) }
        checkTermination(&action)
        return action
    }

    private mutating func closeUnused(at now: Ticks, _ action: inout Action) {
        for index in slots.indices {
            switch slots[index].state {
            case .free, .leased, .closing: break
            case .idle, .validating, .draining: close(index, reason: .shutdown, at: now, &action)
            case .connecting:
                // Cancelled attempts get as long as a closing connection, in case they do not care.
                let deadline = min(slots[index].deadline, now.after(settings.closeTimeout))
                slots[index].deadline = deadline
                arm(deadline, &action)
            }
        }
        action.cancelsOperations = true
    }

    private mutating func takeBackLeases(at now: Ticks, _ action: inout Action) {
        for index in slots.indices where slots[index].state == .leased {
            breakLease(index, at: now, &action)
            close(index, reason: .shutdown, at: now, &action)
        }
    }

    /// The warm-up failed and may not: the pool ends, and acquires are told why.
    package mutating func failStart(_ error: any Error, at now: Ticks) -> Action {
        startFailure = error
        return shutDown(deadline: now, at: now)
    }

    mutating func checkTermination(_ action: inout Action) {
        guard case .shuttingDown = lifecycle, counts.total == 0 else { return }
        lifecycle = .closed
        armedTimers = []
        action.timer = nil
        action.isTerminal = true
    }

    package mutating func suspend() {
        if case .running = lifecycle { lifecycle = .running(isSuspended: true) }
    }

    package mutating func resume(at now: Ticks) -> Action {
        var action = Action()
        guard isSuspended else { return action }
        lifecycle = .running(isSuspended: false)
        pump(at: now, &action)
        return action
    }

    // MARK: Size

    package mutating func resize(soft: Int, hard: Int, minimumIdle: Int, at now: Ticks) -> Action {
        var action = Action()
        settings.resize(soft: soft, hard: hard, minimumIdle: minimumIdle)
        let excess = counts.total - counts.closing - settings.softMaximum
        if excess > 0 { _ = closeIdle(atMost: excess, reason: .overflow, at: now, &action) }
        pump(at: now, &action)
        return action
    }

    /// Closes idle connections that `minimumIdle` does not need.
    package mutating func releaseUnused(at now: Ticks) -> (count: Int, Action) {
        var action = Action()
        let spare = counts.idle - settings.minimumIdle
        let count = spare > 0 ? closeIdle(atMost: spare, reason: .idle, at: now, &action) : 0
        pump(at: now, &action)
        return (count, action)
    }

    private mutating func closeIdle(
        atMost limit: Int, reason: WebSocketPoolEndReason, at now: Ticks, _ action: inout Action
    ) -> Int {
        var count = 0
        for index in slots.indices.sorted(by: { slots[$0].returnedAt < slots[$1].returnedAt })
        where count < limit && slots[index].state == .idle {
            close(index, reason: reason, at: now, &action)
            count += 1
        }
        return count
    }

    /// Retires every connection there is: now if it is idle, else when its lease, attempt or check ends.
    package mutating func reset(at now: Ticks) -> Action {
        var action = Action()
        epoch += 1
        _ = closeIdle(atMost: .max, reason: .reset, at: now, &action)
        pump(at: now, &action)
        return action
    }

    /// Which endpoints get new connections, by index; those beyond the list get none, and further ones are added.
    /// Connections to an endpoint that is not listed any more live on. Ignored when it lists nothing.
    /// - Parameter names: Of as many endpoints as there are names.
    package mutating func listEndpoints(_ isListed: [Bool], names: [String] = [], at now: Ticks) -> Action {
        var action = Action()
        guard isListed.contains(true) else { return action }
        while endpoints.count < isListed.count {
            endpoints.append(Endpoint(name: "endpoint \(endpoints.count)"))
        }
        for (index, name) in names.prefix(endpoints.count).enumerated() { endpoints[index].name = name }
        for index in endpoints.indices {
            endpoints[index].isListed = index < isListed.count && isListed[index]
        }
        pump(at: now, &action)
        return action
    }

    // MARK: Time

    /// Everything whose time has come. Early and superfluous ticks do no harm.
    package mutating func tick(at now: Ticks) -> Action {
        var action = Action()
        while let last = armedTimers.last, last <= now { armedTimers.removeLast() }
        for index in slots.indices { tick(index, at: now, &action) }

        for entry in waiters.entries where self.deadline(of: entry) <= now {
            _ = waiters.remove(ticket: entry.ticket)
            let code: WebSocketPoolError.Code = lifecycle == .initial ? .poolUnavailable : .acquireTimedOut
            fail(entry, code, cause: lastFailure, &action)
        }
        while let index = warmUps.firstIndex(where: { self.deadline(of: $0) <= now }) {
            fail(warmUps.remove(at: index), .acquireTimedOut, cause: lastFailure, &action)
        }
        if growAt <= now {
            growAt = .never
            isImpatient = true
            connectWindow = min(connectWindow * 2, settings.connectLimit)
            suspectSlow(at: now)
        }
        if case .shuttingDown(let deadline) = lifecycle, deadline <= now { takeBackLeases(at: now, &action) }
        pump(at: now, &action)
        checkTermination(&action)
        rearm(at: now, &action)
        return action
    }

    /// Endpoints that keep waiters waiting are asked last, where there are others.
    private mutating func suspectSlow(at now: Ticks) {
        guard endpoints.count > 1 else { return }
        for slot in slots where now - slot.since >= settings.patience {
            switch slot.state {
            case .connecting, .validating(forBorrow: true): endpoints[slot.endpoint].suspect()
            case .free, .idle, .validating(forBorrow: false), .leased, .draining, .closing: break
            }
        }
    }

    private mutating func tick(_ index: Int, at now: Ticks, _ action: inout Action) {
        let isDue = slots[index].deadline <= now
        switch slots[index].state {
        case .free:
            break
        case .connecting:
            if isDue { attemptFailed(index, WebSocketPoolOperationTimedOut(), isFatal: false, at: now, &action) }
        case .validating:
            if isDue { finishValidation(index, isAlive: false, at: now, &action) }
        case .draining:
            if isDue { finishDrain(index, .timedOut, at: now, &action) }
        case .closing:
            if isDue { free(index, reason: slots[index].endReason, at: now, &action) }
        case .leased:
            guard isDue else { return }
            slots[index].deadline = .never
            slots[index].isSuspectedLeak = true
            totals.leaksSuspected += 1
            emit(.leakSuspected(slots[index].site, after: now - slots[index].since), &action)
        case .idle:
            tickIdle(index, at: now, &action)
        }
    }

    private mutating func tickIdle(_ index: Int, at now: Ticks, _ action: inout Action) {
        if slots[index].expiresAt <= now {
            close(index, reason: .lifetime, at: now, &action)
            return
        }
        if slots[index].idleAt <= now {
            if counts.idle > settings.minimumIdle {
                close(index, reason: .idle, at: now, &action)
                return
            }
            // Spared for now. Asked again later rather than at once, or the timer would spin.
            slots[index].idleAt = now.after(max(1, settings.idleTimeout))
        }
        guard slots[index].keepaliveAt <= now else { return }
        let keepalives = counts.validating - borrowValidations
        if keepalives < max(1, counts.live / 4) {
            removeFromIdle(index)
            validate(index, forBorrow: false, at: now, &action)
        } else {
            // A pool whose connections are all being checked has none to lend.
            slots[index].keepaliveAt = now.after(max(1, settings.keepaliveInterval / 10))
        }
    }

    // MARK: Timers

    /// Asks the shell for a tick, unless one is coming no later.
    mutating func arm(_ deadline: Ticks, _ action: inout Action) {
        guard deadline < armedTimers.last ?? .never else { return }
        // An action carries one timer: the earlier replaces the one that this action would have set.
        if action.timer != nil { armedTimers.removeLast() }
        action.timer = armed(deadline)
    }

    mutating func armed(_ deadline: Ticks) -> Ticks? {
        guard deadline < armedTimers.last ?? .never else { return nil }
        armedTimers.append(deadline)
        return deadline
    }

    /// While a waiter waits for a connection that may not be opened yet, time alone can change that.
    mutating func armEndpoints(at now: Ticks, _ action: inout Action) {
        for endpoint in endpoints where endpoint.nextChange > now { arm(endpoint.nextChange, &action) }
    }

    private mutating func rearm(at now: Ticks, _ action: inout Action) {
        var next = growAt
        for slot in slots {
            switch slot.state {
            case .free: break
            case .idle: next = min(next, slot.idleDeadline)
            case .connecting, .validating, .leased, .draining, .closing: next = min(next, slot.deadline)
            }
        }
        for entry in warmUps { next = min(next, self.deadline(of: entry)) }
        for entry in waiters.entries { next = min(next, self.deadline(of: entry)) }
        for endpoint in endpoints where endpoint.nextChange > now { next = min(next, endpoint.nextChange) }
        if case .shuttingDown(let deadline) = lifecycle, deadline > now { next = min(next, deadline) }
        if lifecycle != .closed { arm(next, &action) }
    }
}
