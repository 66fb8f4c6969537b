//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
package import WebSocketConcurrency

// What the shell reports about connections. A key whose connection has gone is ignored: the pool has given its slot
// away at a deadline, or the end was reported before.
extension PoolStateMachine {
    /// An attempt succeeded.
    /// - Returns: Whether the pool took the connection. If not, the caller closes it.
    package mutating func connected(_ key: ConnectionKey, _ handle: Handle, at now: Ticks) -> (isTaken: Bool, Action) {
        var action = Action()
        guard let index = self.index(of: key), slots[index].state == .connecting else {
            return (false, action)
        }
        let duration = now - slots[index].since
        let endpoint = slots[index].endpoint
        totals.connectsSucceeded += 1
        connectTime = connectTime.after(duration)
        emit(.connectionOpened(endpoint: place(endpoint), after: duration), &action)
        if endpoints[endpoint].attemptSucceeded(limit: settings.connectLimit) {
            emit(.circuitClosed(endpoint: place(endpoint)), &action)
        }
        connectWindow = min(connectWindow * 2, settings.connectLimit)

        handles[index] = handle
        slots[index].giveBack(at: now)
        if settings.keepaliveInterval != .never {
            let early = random.span(upTo: settings.keepaliveInterval / 10)
            slots[index].keepaliveSpan = settings.keepaliveInterval - early
        }
        let jitter = settings.lifetimeJitter * Double.random(in: 0...1, using: &random)
        slots[index].expiresAt =
            settings.maximumLifetime == .never
            ? .never : now.after(settings.maximumLifetime - Ticks(Double(settings.maximumLifetime) * jitter))
        if let entry = warmUps.popFirst() {
            action.resumptions.append(.init(waiter: entry.waiter, result: .success(nil)))
        }
        makeAvailable(index, isNew: true, at: now, &action)
        pump(at: now, &action)
        return (true, action)
    }

    /// An attempt failed; its endpoint may have asked to be left alone for some time.
    package mutating func connectFailed(
        _ key: ConnectionKey, _ error: any Error, isFatal: Bool, retryAfter: Ticks = 0, at now: Ticks
    ) -> Action {
        var action = Action()
        guard let index = self.index(of: key), slots[index].state == .connecting else { return action }
        attemptFailed(index, error, isFatal: isFatal, retryAfter: retryAfter, at: now, &action)
        pump(at: now, &action)
        checkTermination(&action)
        return action
    }

    mutating func attemptFailed(
        _ index: Int, _ error: any Error, isFatal: Bool, retryAfter: Ticks = 0, at now: Ticks,
        _ action: inout Action
    ) {
        let endpoint = slots[index].endpoint
        let ejections = slots[index].ejections
        free(index, reason: nil, at: now, &action)
        guard case .running = lifecycle else {
            // At a shutdown attempts end because they are cancelled, which says nothing about the endpoint.
            totals.connectsCancelled += 1
            return
        }
        totals.connectsFailed += 1
        emit(.connectFailed(endpoint: place(endpoint), error: error), &action)
        lastFailure = error
        lastFailedEndpoint = endpoint
        connectWindow = 1
        let duration = endpoints[endpoint].attemptFailed(
            at: now, sinceEjection: ejections, isFatal: isFatal, retryAfter: retryAfter, settings: settings,
            random: &random)
        if let duration {
            totals.circuitsOpened += 1
            emit(.circuitOpened(endpoint: place(endpoint), duration: duration), &action)
        }
        if let entry = warmUps.popFirst() { fail(entry, .connectFailed, cause: error, &action) }
    }

    package mutating func validated(_ key: ConnectionKey, isAlive: Bool, at now: Ticks) -> Action {
        var action = Action()
        guard let index = self.index(of: key), case .validating = slots[index].state else { return action }
        finishValidation(index, isAlive: isAlive, at: now, &action)
        pump(at: now, &action)
        checkTermination(&action)
        return action
    }

    mutating func finishValidation(_ index: Int, isAlive: Bool, at now: Ticks, _ action: inout Action) {
        let endpoint = slots[index].endpoint
        guard isAlive else {
            let began = slots[index].since
            totals.validationsFailed += 1
            emit(.validationFailed(endpoint: place(endpoint)), &action)
            abort(index, reason: .validationFailed, at: now, &action)
            suspect(endpoint, since: began, at: now, &action)
            return
        }
        endpoints[endpoint].answered()
        slots[index].provenAt = now
        if slots[index].state == .validating(forBorrow: true) { slots[index].returnedAt = now }
        makeAvailable(index, isNew: false, at: now, &action)
    }

    /// A connection of the endpoint did not answer, so the others may be dead as well. The idle ones that have not
    /// proved alive since prove it now, all of them, instead of each costing a waiter the time of a validation.
    private mutating func suspect(_ endpoint: Int, since began: Ticks, at now: Ticks, _ action: inout Action) {
        endpoints[endpoint].suspect()
        guard case .running = lifecycle else { return }
        for index in endpoints[endpoint].idle where slots[index].provenAt < began {
            removeFromIdle(index)
            validate(index, forBorrow: false, at: now, &action)
        }
    }

    package mutating func drained(_ key: ConnectionKey, _ outcome: WebSocketPoolDrainOutcome, at now: Ticks) -> Action {
        var action = Action()
        guard let index = self.index(of: key), slots[index].state == .draining else { return action }
        finishDrain(index, outcome, at: now, &action)
        pump(at: now, &action)
        return action
    }

    mutating func finishDrain(_ index: Int, _ outcome: WebSocketPoolDrainOutcome, at now: Ticks, _ action: inout Action)
    {
        emit(.drainFinished(endpoint: place(slots[index].endpoint), outcome: outcome), &action)
        if outcome == .clean {
            slots[index].provenAt = now
            slots[index].returnedAt = now
            makeAvailable(index, isNew: false, at: now, &action)
        } else {
            if outcome != .clean { totals.drainsFailed += 1 }
            let reason = outcome == .unexpectedInput ? WebSocketPoolEndReason.unreadInput : .drainFailed
            close(index, reason: reason, at: now, &action)
        }
    }

    /// The connection has closed, at the pool's request or not. The first of several reports counts.
    package mutating func closed(_ key: ConnectionKey, at now: Ticks) -> Action {
        var action = Action()
        guard let index = self.index(of: key) else { return action }
        switch slots[index].state {
        case .free, .connecting:
            return action
        case .closing:
            free(index, reason: slots[index].endReason, at: now, &action)
        case .idle:
            free(index, reason: .closedByPeer, at: now, &action)
        case .leased:
            breakLease(index, at: now, &action)
            free(index, reason: .closedByPeer, at: now, &action)
        case .validating, .draining:
            free(index, reason: .closedByPeer, at: now, &action)
        }
        pump(at: now, &action)
        checkTermination(&action)
        return action
    }
}
