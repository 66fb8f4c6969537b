//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
package import WebSocketConcurrency

// What the shell reports about connections. A key whose connection has gone is ignored: the pool has given its slot
// away at a deadline, or somebody else reported the end first.
extension PoolStateMachine {
    /// An attempt succeeded.
    /// - Returns: Whether the pool took the connection. If not, the caller closes it.
    package mutating func connected(_ key: ConnectionKey, _ handle: Handle, at now: Ticks) -> (isTaken: Bool, Action) {
        var action = Action()
        guard let index = self.index(of: key), self.slots[index].state == .connecting else {
            return (false, action)
        }
        let duration = now - self.slots[index].since
        let endpoint = self.slots[index].endpoint
        self.totals.connectsSucceeded += 1
        self.connectTime = self.connectTime.after(duration)
        self.emit(.connectionOpened(endpoint: self.place(endpoint), after: duration), &action)
        if self.endpoints[endpoint].attemptSucceeded(limit: self.settings.connectLimit) {
            self.emit(.circuitClosed(endpoint: self.place(endpoint)), &action)
        }
        self.connectWindow = min(self.connectWindow * 2, self.settings.connectLimit)

        self.handles[index] = handle
        self.slots[index].giveBack(at: now)
        if self.settings.keepaliveInterval != .never {
            let early = self.random.span(upTo: self.settings.keepaliveInterval / 10)
            self.slots[index].keepaliveSpan = self.settings.keepaliveInterval - early
        }
        let jitter = self.settings.lifetimeJitter * Double.random(in: 0...1, using: &self.random)
        self.slots[index].expiresAt =
            self.settings.maximumLifetime == .never
            ? .never : now.after(self.settings.maximumLifetime - Ticks(Double(self.settings.maximumLifetime) * jitter))
        if let entry = self.warmUps.popFirst() {
            action.resumptions.append(.init(waiter: entry.waiter, result: .success(nil)))
        }
        self.makeAvailable(index, isNew: true, at: now, &action)
        self.pump(at: now, &action)
        return (true, action)
    }

    /// An attempt failed.
    package mutating func connectFailed(
        _ key: ConnectionKey, _ error: any Error, isFatal: Bool, at now: Ticks
    ) -> Action {
        var action = Action()
        guard let index = self.index(of: key), self.slots[index].state == .connecting else { return action }
        self.attemptFailed(index, error, isFatal: isFatal, at: now, &action)
        self.pump(at: now, &action)
        self.checkTermination(&action)
        return action
    }

    mutating func attemptFailed(
        _ index: Int, _ error: any Error, isFatal: Bool, at now: Ticks, _ action: inout Action
    ) {
        let endpoint = self.slots[index].endpoint
        let ejections = self.slots[index].ejections
        self.free(index, reason: nil, at: now, &action)
        guard case .running = self.lifecycle else {
            // At a shutdown attempts end because they are cancelled, which says nothing about the endpoint.
            self.totals.connectsCancelled += 1
            return
        }
        self.totals.connectsFailed += 1
        self.emit(.connectFailed(endpoint: self.place(endpoint), error: error), &action)
        self.lastFailure = error
        self.lastFailedEndpoint = endpoint
        self.connectWindow = 1
        let duration = self.endpoints[endpoint].attemptFailed(
            at: now, sinceEjection: ejections, isFatal: isFatal, settings: self.settings, random: &self.random)
        if let duration {
            self.totals.circuitsOpened += 1
            self.emit(.circuitOpened(endpoint: self.place(endpoint), duration: duration), &action)
        }
        if let entry = self.warmUps.popFirst() { self.fail(entry, .connectFailed, cause: error, &action) }
    }

    package mutating func validated(_ key: ConnectionKey, isAlive: Bool, at now: Ticks) -> Action {
        var action = Action()
        guard let index = self.index(of: key), case .validating = self.slots[index].state else { return action }
        self.finishValidation(index, isAlive: isAlive, at: now, &action)
        self.pump(at: now, &action)
        self.checkTermination(&action)
        return action
    }

    mutating func finishValidation(_ index: Int, isAlive: Bool, at now: Ticks, _ action: inout Action) {
        let endpoint = self.slots[index].endpoint
        guard isAlive else {
            let began = self.slots[index].since
            self.totals.validationsFailed += 1
            self.emit(.validationFailed(endpoint: self.place(endpoint)), &action)
            self.abort(index, reason: .validationFailed, at: now, &action)
            self.suspect(endpoint, since: began, at: now, &action)
            return
        }
        self.endpoints[endpoint].answered()
        self.slots[index].provenAt = now
        if self.slots[index].state == .validating(forBorrow: true) { self.slots[index].returnedAt = now }
        self.makeAvailable(index, isNew: false, at: now, &action)
    }

    /// A connection of the endpoint did not answer, so the others may be dead as well. The idle ones that have not
    /// proved alive since prove it now, all of them, instead of each costing a waiter the time of a validation.
    private mutating func suspect(_ endpoint: Int, since began: Ticks, at now: Ticks, _ action: inout Action) {
        self.endpoints[endpoint].suspect()
        guard case .running = self.lifecycle else { return }
        for index in self.endpoints[endpoint].idle where self.slots[index].provenAt < began {
            self.removeFromIdle(index)
            self.validate(index, forBorrow: false, at: now, &action)
        }
    }

    package mutating func drained(_ key: ConnectionKey, _ outcome: WebSocketPoolDrainOutcome, at now: Ticks) -> Action {
        var action = Action()
        guard let index = self.index(of: key), self.slots[index].state == .draining else { return action }
        self.finishDrain(index, outcome, at: now, &action)
        self.pump(at: now, &action)
        return action
    }

    mutating func finishDrain(_ index: Int, _ outcome: WebSocketPoolDrainOutcome, at now: Ticks, _ action: inout Action)
    {
        self.emit(.drainFinished(endpoint: self.place(self.slots[index].endpoint), outcome: outcome), &action)
        if outcome == .clean {
            self.slots[index].provenAt = now
            self.slots[index].returnedAt = now
            self.makeAvailable(index, isNew: false, at: now, &action)
        } else {
            if outcome != .clean { self.totals.drainsFailed += 1 }
            let reason = outcome == .unexpectedInput ? WebSocketPoolEndReason.unreadInput : .drainFailed
            self.close(index, reason: reason, at: now, &action)
        }
    }

    /// The connection has closed, at the pool's request or not. The first of several reports counts.
    package mutating func closed(_ key: ConnectionKey, at now: Ticks) -> Action {
        var action = Action()
        guard let index = self.index(of: key) else { return action }
        switch self.slots[index].state {
        case .free, .connecting:
            return action
        case .closing:
            self.free(index, reason: self.slots[index].endReason, at: now, &action)
        case .idle:
            self.free(index, reason: .closedByPeer, at: now, &action)
        case .leased:
            self.breakLease(index, at: now, &action)
            self.free(index, reason: .closedByPeer, at: now, &action)
        case .validating, .draining:
            self.free(index, reason: .closedByPeer, at: now, &action)
        }
        self.pump(at: now, &action)
        self.checkTermination(&action)
        return action
    }
}
