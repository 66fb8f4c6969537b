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
        guard self.lifecycle == .initial else { return action }
        self.lifecycle = .running(isSuspended: false)
        self.pump(at: now, &action)
        self.rearm(at: now, &action)
        return action
    }

    /// Refuses new acquires, ends the waiting ones, and closes every connection: those not lent at once, the others
    /// when they come back, at the latest at `deadline`. A second shutdown can only bring the deadline forward.
    package mutating func shutDown(deadline: Ticks, at now: Ticks) -> Action {
        var action = Action()
        switch self.lifecycle {
        case .closed:
            return action
        case .shuttingDown(let earlier):
            self.lifecycle = .shuttingDown(deadline: min(earlier, deadline))
        case .initial, .running:
            self.lifecycle = .shuttingDown(deadline: deadline)
            while let entry = self.waiters.popFirst(isNew: true) {
                self.fail(entry, .poolClosed, &action)
            }
            while let entry = self.warmUps.popFirst() { self.fail(entry, .poolClosed, &action) }
            self.closeUnused(at: now, &action)
        }
        if deadline <= now { self.takeBackLeases(at: now, &action) } else { self.arm(deadline, &action) }
        self.checkTermination(&action)
        return action
    }

    private mutating func closeUnused(at now: Ticks, _ action: inout Action) {
        for index in self.slots.indices {
            switch self.slots[index].state {
            case .free, .leased, .closing: break
            case .idle, .validating, .draining: self.close(index, reason: .shutdown, at: now, &action)
            case .connecting:
                // Cancelled attempts get as long as a closing connection, in case they do not care.
                let deadline = min(self.slots[index].deadline, now.after(self.settings.closeTimeout))
                self.slots[index].deadline = deadline
                self.arm(deadline, &action)
            }
        }
        action.cancelsOperations = true
    }

    private mutating func takeBackLeases(at now: Ticks, _ action: inout Action) {
        for index in self.slots.indices where self.slots[index].state == .leased {
            self.breakLease(index, at: now, &action)
            self.close(index, reason: .shutdown, at: now, &action)
        }
    }

    /// The warm-up failed and may not: the pool ends, and acquires are told why.
    package mutating func failStart(_ error: any Error, at now: Ticks) -> Action {
        self.startFailure = error
        return self.shutDown(deadline: now, at: now)
    }

    mutating func checkTermination(_ action: inout Action) {
        guard case .shuttingDown = self.lifecycle, self.counts.total == 0 else { return }
        self.lifecycle = .closed
        self.armedTimers = []
        action.timer = nil
        action.isTerminal = true
    }

    package mutating func suspend() {
        if case .running = self.lifecycle { self.lifecycle = .running(isSuspended: true) }
    }

    package mutating func resume(at now: Ticks) -> Action {
        var action = Action()
        guard self.isSuspended else { return action }
        self.lifecycle = .running(isSuspended: false)
        self.pump(at: now, &action)
        return action
    }

    // MARK: Size

    package mutating func resize(soft: Int, hard: Int, minimumIdle: Int, at now: Ticks) -> Action {
        var action = Action()
        self.settings.resize(soft: soft, hard: hard, minimumIdle: minimumIdle)
        let excess = self.counts.total - self.counts.closing - self.settings.softMaximum
        if excess > 0 { _ = self.closeIdle(atMost: excess, reason: .overflow, at: now, &action) }
        self.pump(at: now, &action)
        return action
    }

    /// Closes idle connections that `minimumIdle` does not need.
    package mutating func releaseUnused(at now: Ticks) -> (count: Int, Action) {
        var action = Action()
        let spare = self.counts.idle - self.settings.minimumIdle
        let count = spare > 0 ? self.closeIdle(atMost: spare, reason: .idle, at: now, &action) : 0
        self.pump(at: now, &action)
        return (count, action)
    }

    private mutating func closeIdle(
        atMost limit: Int, reason: WebSocketPoolEndReason, at now: Ticks, _ action: inout Action
    ) -> Int {
        var count = 0
        for index in self.slots.indices.sorted(by: { self.slots[$0].returnedAt < self.slots[$1].returnedAt })
        where count < limit && self.slots[index].state == .idle {
            self.close(index, reason: reason, at: now, &action)
            count += 1
        }
        return count
    }

    /// Retires every connection there is: now if it is idle, else when its lease, attempt or check ends.
    package mutating func reset(at now: Ticks) -> Action {
        var action = Action()
        self.epoch += 1
        _ = self.closeIdle(atMost: .max, reason: .reset, at: now, &action)
        self.pump(at: now, &action)
        return action
    }

    /// Which endpoints get new connections, by index; those beyond the list get none, and further ones are added.
    /// Connections to an endpoint that is not listed any more live on. Ignored when it lists nothing.
    /// - Parameter names: Of as many endpoints as there are names.
    package mutating func listEndpoints(_ isListed: [Bool], names: [String] = [], at now: Ticks) -> Action {
        var action = Action()
        guard isListed.contains(true) else { return action }
        while self.endpoints.count < isListed.count {
            self.endpoints.append(Endpoint(name: "endpoint \(self.endpoints.count)"))
        }
        for (index, name) in names.prefix(self.endpoints.count).enumerated() { self.endpoints[index].name = name }
        for index in self.endpoints.indices {
            self.endpoints[index].isListed = index < isListed.count && isListed[index]
        }
        self.pump(at: now, &action)
        return action
    }

    // MARK: Time

    /// Everything whose time has come. Early and superfluous ticks do no harm.
    package mutating func tick(at now: Ticks) -> Action {
        var action = Action()
        while let last = self.armedTimers.last, last <= now { self.armedTimers.removeLast() }
        for index in self.slots.indices { self.tick(index, at: now, &action) }

        for entry in self.waiters.entries where self.deadline(of: entry) <= now {
            _ = self.waiters.remove(ticket: entry.ticket)
            let code: WebSocketPoolError.Code = self.lifecycle == .initial ? .poolUnavailable : .acquireTimedOut
            self.fail(entry, code, cause: self.lastFailure, &action)
        }
        while let index = self.warmUps.firstIndex(where: { self.deadline(of: $0) <= now }) {
            self.fail(self.warmUps.remove(at: index), .acquireTimedOut, cause: self.lastFailure, &action)
        }
        if self.growAt <= now {
            self.growAt = .never
            self.isImpatient = true
            self.connectWindow = min(self.connectWindow * 2, self.settings.connectLimit)
            self.suspectSlow(at: now)
        }
        if case .shuttingDown(let deadline) = self.lifecycle, deadline <= now { self.takeBackLeases(at: now, &action) }
        self.pump(at: now, &action)
        self.checkTermination(&action)
        self.rearm(at: now, &action)
        return action
    }

    /// Endpoints that keep waiters waiting are asked last, where there are others.
    private mutating func suspectSlow(at now: Ticks) {
        guard self.endpoints.count > 1 else { return }
        for slot in self.slots where now - slot.since >= self.settings.patience {
            switch slot.state {
            case .connecting, .validating(forBorrow: true): self.endpoints[slot.endpoint].suspect()
            case .free, .idle, .validating(forBorrow: false), .leased, .draining, .closing: break
            }
        }
    }

    private mutating func tick(_ index: Int, at now: Ticks, _ action: inout Action) {
        let isDue = self.slots[index].deadline <= now
        switch self.slots[index].state {
        case .free:
            break
        case .connecting:
            if isDue { self.attemptFailed(index, WebSocketPoolOperationTimedOut(), isFatal: false, at: now, &action) }
        case .validating:
            if isDue { self.finishValidation(index, isAlive: false, at: now, &action) }
        case .draining:
            if isDue { self.finishDrain(index, .timedOut, at: now, &action) }
        case .closing:
            if isDue { self.free(index, reason: self.slots[index].endReason, at: now, &action) }
        case .leased:
            guard isDue else { return }
            self.slots[index].deadline = .never
            self.slots[index].isSuspectedLeak = true
            self.totals.leaksSuspected += 1
            self.emit(.leakSuspected(self.slots[index].site, after: now - self.slots[index].since), &action)
        case .idle:
            self.tickIdle(index, at: now, &action)
        }
    }

    private mutating func tickIdle(_ index: Int, at now: Ticks, _ action: inout Action) {
        if self.slots[index].expiresAt <= now {
            self.close(index, reason: .lifetime, at: now, &action)
            return
        }
        if self.slots[index].idleAt <= now {
            if self.counts.idle > self.settings.minimumIdle {
                self.close(index, reason: .idle, at: now, &action)
                return
            }
            // Spared for now. Asked again later rather than at once, or the timer would spin.
            self.slots[index].idleAt = now.after(max(1, self.settings.idleTimeout))
        }
        guard self.slots[index].keepaliveAt <= now else { return }
        let keepalives = self.counts.validating - self.borrowValidations
        if keepalives < max(1, self.counts.live / 4) {
            self.removeFromIdle(index)
            self.validate(index, forBorrow: false, at: now, &action)
        } else {
            // A pool whose connections are all being checked has none to lend.
            self.slots[index].keepaliveAt = now.after(max(1, self.settings.keepaliveInterval / 10))
        }
    }

    // MARK: Timers

    /// Asks the shell for a tick, unless one is coming no later.
    mutating func arm(_ deadline: Ticks, _ action: inout Action) {
        guard deadline < self.armedTimers.last ?? .never else { return }
        // An action carries one timer: the earlier replaces the one that this action would have set.
        if action.timer != nil { self.armedTimers.removeLast() }
        action.timer = self.armed(deadline)
    }

    mutating func armed(_ deadline: Ticks) -> Ticks? {
        guard deadline < self.armedTimers.last ?? .never else { return nil }
        self.armedTimers.append(deadline)
        return deadline
    }

    /// While somebody waits for a connection that may not be opened yet, time alone can change that.
    mutating func armEndpoints(at now: Ticks, _ action: inout Action) {
        for endpoint in self.endpoints where endpoint.nextChange > now { self.arm(endpoint.nextChange, &action) }
    }

    private mutating func rearm(at now: Ticks, _ action: inout Action) {
        var next = self.growAt
        for slot in self.slots {
            switch slot.state {
            case .free: break
            case .idle: next = min(next, slot.idleDeadline)
            case .connecting, .validating, .leased, .draining, .closing: next = min(next, slot.deadline)
            }
        }
        for entry in self.warmUps { next = min(next, self.deadline(of: entry)) }
        for entry in self.waiters.entries { next = min(next, self.deadline(of: entry)) }
        for endpoint in self.endpoints where endpoint.nextChange > now { next = min(next, endpoint.nextChange) }
        if case .shuttingDown(let deadline) = self.lifecycle, deadline > now { next = min(next, deadline) }
        if self.lifecycle != .closed { self.arm(next, &action) }
    }
}
