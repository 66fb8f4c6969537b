//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketConcurrency
import WebSocketPool

// What the machine decided: whether it was allowed, and what follows from it for the model.
extension Harness {
    mutating func absorb(
        _ action: Machine.Action, available: [ConnectionKey] = [], cancelled: Int? = nil, reuse: ConnectionKey? = nil
    ) {
        if let timer = action.timer { self.timers.append(timer) }
        var available = available
        for operation in action.operations {
            switch operation {
            case .connect(let key, let endpoint): self.began(key, endpoint)
            case .validate(let key, _):
                self.move(
                    key, from: [.idle, .leased, .draining], to: .validating, for: self.configuration.validationTimeout)
                available.removeAll { $0 == key }
                if let reuse { self.check(key == reuse, "12: reuse order") }
            case .drain(let key, _):
                self.move(key, from: [.leased], to: .draining, for: .nanoseconds(45))
                available.removeAll { $0 == key }
            case .close(let key, _):
                if let index = self.tenants.firstIndex(where: { $0.key == key }), self.tenants[index].state == .leased,
                    let token = self.leases.first(where: { $0.slot == key.slot })
                {
                    self.check(self.shutDownAt ?? .never <= self.now, "2: a connection was closed under its borrower")
                    self.endLease(token, isBroken: true)
                }
                self.move(
                    key, from: [.connecting, .idle, .validating, .leased, .draining], to: .closing,
                    for: self.configuration.closeTimeout)
                available.removeAll { $0 == key }
            case .abort(let key, _):
                guard let index = self.tenants.firstIndex(where: { $0.key == key }) else {
                    self.check(false, "1: a connection that is gone was aborted")
                    continue
                }
                self.check(self.tenants[index].state == .validating, "7: a connection was aborted without need")
                self.end(index)
            }
        }
        for resumption in action.resumptions {
            switch resumption.result {
            case .success(nil):
                guard let place = self.warming.firstIndex(where: { $0.id == resumption.waiter }) else {
                    self.check(false, "3: a warm-up ended twice")
                    continue
                }
                self.check(
                    self.hasOpened || self.tenants.count { $0.state != .closing } >= self.soft,
                    "a warm-up ended without a connection")
                self.warming.remove(at: place)
            case .success(let grant?):
                self.serve(resumption.waiter, grant, available: available)
                if let reuse { self.check(self.key(of: grant.handle) == reuse, "12: reuse order") }
                available.removeAll { $0 == self.key(of: grant.handle) }
            case .failure(let error):
                self.refuse(resumption.waiter, error, cancelled: cancelled)
            }
        }
        for key in available {
            if let index = self.tenants.firstIndex(where: { $0.key == key }) { self.becomeIdle(index) }
        }
        if action.isTerminal {
            self.check(!self.isTerminated && self.shutDownAt != nil && self.tenants.isEmpty, "9: terminated wrongly")
            self.isTerminated = true
        }
        self.checkCounts()
    }

    private mutating func began(_ key: ConnectionKey, _ endpoint: Int) {
        self.check(key.serial > self.lastSerial, "1: a serial repeats")
        self.check(!self.tenants.contains { $0.key.slot == key.slot }, "1: a slot was given away twice")
        self.check(self.shutDownAt == nil && !self.isSuspended, "10: a connect while the pool does not connect")
        self.lastSerial = key.serial
        self.totals.connectsStarted += 1
        self.tenants.append(
            Tenant(
                key: key, state: .connecting, endpoint: endpoint, since: self.now,
                deadline: self.now.after(self.configuration.connectTimeout.ticks), handle: 0))
        self.check(self.tenants.count <= self.hard, "1: more connections than the hard maximum")
        let connecting = self.tenants.count { $0.state == .connecting }
        self.check(connecting <= self.configuration.maximumConcurrentConnects, "10: too many attempts at a time")
        // Only at the last of the attempts that an event starts are the machine's counts and the model's the same.
        let counts = self.machine.counts
        if connecting == counts.connecting, counts.idle + counts.leased + counts.validating + counts.draining > 0 {
            let missing = max(
                self.machine.settings.minimumIdle - counts.idle - counts.validating, self.warming.count)
            // An endpoint that failed gets attempts of its own, one at a time.
            let isReturning = self.machine.hasAwaited && self.machine.endpoints[endpoint].isAwaited
            let isCareful = isReturning || self.machine.promisingAttempts <= max(self.machine.connectLimit, missing)
            self.check(isCareful, "10: a pool with connections in circulation grew by \(connecting) at once")
        }
        let here = self.tenants.count { $0.state == .connecting && $0.endpoint == endpoint }
        self.check(self.isListed(endpoint), "10: an attempt to an endpoint that is not listed")
        switch self.machine.endpoints[endpoint].health {
        case .healthy(let failures, let retryAt):
            self.check(failures == 0 || retryAt <= self.now && here == 1, "10: an attempt before its backoff")
        case .ejected: self.check(false, "10: an attempt to an ejected endpoint")
        case .probing: self.check(here == 1, "10: two probes")
        case .returning(let allowance, _): self.check(here <= allowance, "10: a returning endpoint was stampeded")
        }
    }

    private mutating func move(_ key: ConnectionKey, from states: [State], to state: State, for span: Duration) {
        guard let index = self.tenants.firstIndex(where: { $0.key == key }) else {
            self.check(false, "1: an operation on a connection that is gone")
            return
        }
        let former = self.tenants[index].state
        self.check(states.contains(former), "1: \(former) became \(state)")
        self.tenants[index].state = state
        self.tenants[index].since = self.now
        self.tenants[index].deadline = self.now.after(span.ticks)
        self.idleOrder.removeAll { $0 == key }
    }

    private mutating func serve(_ id: Int, _ grant: Grant<Int>, available: [ConnectionKey]) {
        guard let place = self.waiting.firstIndex(where: { $0.id == id }) else {
            self.check(false, "3: an acquire ended twice")
            return
        }
        let kind = self.waiting[place].kind
        let isNew = self.tenants.first { $0.handle == grant.handle }?.openedAt == self.now
        let earlier = self.waiting[..<place].contains { $0.kind == kind || ($0.kind == .any && !isNew) }
        self.check(!earlier, "4: an acquire was overtaken")
        if kind != .any { self.check(isNew && grant.token.id > 0, "a used connection was lent as new") }
        self.check(!self.isSuspended && self.shutDownAt == nil, "a pool that does not lend lent")
        self.waiting.remove(at: place)
        self.totals.acquiredAfterWaiting += 1
        self.grant(grant, available: available)
    }

    mutating func grant(_ grant: Grant<Int>, available: [ConnectionKey]) {
        self.check(grant.token.id > self.lastLease, "2: a lease id repeats")
        self.lastLease = grant.token.id
        self.totals.acquired += 1
        guard let index = self.tenants.firstIndex(where: { $0.handle == grant.handle }) else {
            self.check(false, "2: a connection that is gone was lent")
            return
        }
        let tenant = self.tenants[index]
        self.check(tenant.state == .idle || available.contains(tenant.key), "2: a \(tenant.state) connection was lent")
        let bypass = self.configuration.validationBypass?.ticks ?? .never
        self.check(self.now - tenant.provenAt <= bypass, "a connection was lent that had to prove itself")
        self.check(tenant.openedAt.after(self.lifetime) > self.now, "a connection was lent after its lifetime")
        self.tenants[index].state = .leased
        self.tenants[index].deadline = .never
        self.idleOrder.removeAll { $0 == tenant.key }
        self.leases.append(grant.token)
    }

    private mutating func refuse(_ id: Int, _ error: WebSocketPoolError, cancelled: Int?) {
        if let place = self.warming.firstIndex(where: { $0.id == id }) {
            let warmUp = self.warming.remove(at: place)
            self.check(
                error.code != .acquireTimedOut || warmUp.deadline <= self.now, "6: a warm-up timed out early")
            return
        }
        guard let place = self.waiting.firstIndex(where: { $0.id == id }) else {
            self.check(false, "3: an acquire ended twice")
            return
        }
        let waiter = self.waiting.remove(at: place)
        switch error.code {
        case .acquireTimedOut:
            self.check(waiter.deadline <= self.now, "6: an acquire timed out early")
            self.totals.acquireTimeouts += 1
        case .cancelled:
            self.check(cancelled == id, "3: an acquire was cancelled that nobody cancelled")
            self.totals.acquireCancellations += 1
        case .poolUnavailable:
            self.check(
                self.machine.endpoints.indices.allSatisfy { self.isHopeless($0) },
                "an acquire failed although there was hope")
            self.totals.acquireFailures += 1
        case .poolClosed:
            self.check(self.shutDownAt != nil, "an open pool said that it was closed")
            self.totals.acquireFailures += 1
        case .connectFailed:
            self.check(false, "an acquire failed with one attempt")
        default:
            self.check(self.waiting.count >= self.configuration.maximumWaiters, "an acquire was refused without need")
            self.totals.acquireFailures += 1
        }
    }
}
