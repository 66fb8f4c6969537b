//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import DequeModule
package import WebSocketConcurrency

/// Decides everything that a pool does. Holds no clock, no task, no lock and no connection's interface.
///
/// Each event returns one ``PoolAction``; the shell carries it out after it has let go of its lock. A value, so that
/// tests can fork it: `Handle` is the connection and `Waiter` what resumes an acquire, both only passed through.
package struct PoolStateMachine<Handle, Waiter> {
    package typealias Action = PoolAction<Handle, Waiter>

    package enum Lifecycle: Sendable, Hashable {
        /// Made, not run. Acquires wait a moment for `run()`; nothing is connected.
        /// → `running` when `run()` begins; `closed` when shut down.
        case initial
        /// Lending. While suspended, acquires wait, nothing is connected, and what comes back rests.
        /// → `shuttingDown` when shut down.
        case running(isSuspended: Bool)
        /// Acquires are refused; leases may end until `deadline`, then their connections are closed under them.
        /// → `closed` when the last connection is gone.
        case shuttingDown(deadline: Ticks)
        /// Final. Every later event is ignored, and a connection that arrives late is refused.
        case closed
    }

    package internal(set) var lifecycle = Lifecycle.initial
    package internal(set) var settings: PoolSettings
    package internal(set) var slots: [ConnectionSlot] = []
    /// The connections in the slots of the same indexes.
    package internal(set) var handles: [Handle?] = []
    package internal(set) var endpoints: [Endpoint]
    package internal(set) var waiters = WaiterQueue<Waiter>()
    /// Connections that are to be opened ahead. The next attempt that succeeds satisfies one, whichever acquire gets
    /// its connection. Apart from `waiters`: no acquire waits behind them.
    package internal(set) var warmUps: Deque<WaiterQueue<Waiter>.Entry> = []
    package internal(set) var counts = WebSocketPoolCounts()

    package internal(set) var totals = WebSocketPoolTotals()
    // The sums of `totals`, in ticks: cheaper to add to than durations.
    var waitTime: Ticks = 0
    var usageTime: Ticks = 0
    var connectTime: Ticks = 0

    var freeSlots: [Int] = []
    var lastSerial: UInt64 = 0
    var lastLeaseID: UInt64 = 0
    /// Leases whose connection is gone but whose borrower has not noticed.
    var brokenLeases: Set<UInt64> = []
    /// Raised by `reset`.
    var epoch = 0

    /// Validations on behalf of waiters.
    package internal(set) var borrowValidations = 0
    /// Attempts that may be under way while connections are in circulation.
    package internal(set) var connectWindow = 1
    /// When the window doubles because waiters have waited long enough.
    var growAt = Ticks.never
    /// Waiters have waited long enough not to count on validations under way.
    package internal(set) var isImpatient = false

    /// The shell's timers that have not fired, latest first; they are only ever added in descending order.
    var armedTimers: [Ticks] = []
    /// The most recent failure to connect, which becomes the cause of a waiter's error.
    var lastFailure: (any Error)?
    /// Where that was.
    var lastFailedEndpoint: Int?
    /// A task that runs the pool has been made, so an acquire that comes before it is no mistake.
    package var isRunPromised = false
    /// Why the pool closed by itself.
    var startFailure: (any Error)?
    var random: PoolRandom
    /// Whether events are wanted.
    let isObserved: Bool
    /// Whether those are wanted that every lease brings.
    let observesLeases: Bool

    package init(
        settings: PoolSettings, endpointCount: Int, endpointNames: [String] = [], randomSeed: UInt64, isObserved: Bool,
        observesLeases: Bool? = nil
    ) {
        self.settings = settings
        endpoints = (0..<max(1, endpointCount)).map {
            Endpoint(name: $0 < endpointNames.count ? endpointNames[$0] : "endpoint \($0)")
        }
        random = PoolRandom(seed: randomSeed)
        self.isObserved = isObserved
        self.observesLeases = observesLeases ?? isObserved
    }

    package var statistics: WebSocketPoolStatistics {
        var statistics = WebSocketPoolStatistics()
        statistics.counts = counts
        statistics.counts.waiting = waiters.count
        statistics.isSuspended = isSuspended
        statistics.totals = totals
        statistics.totals.waitTime = .nanoseconds(waitTime)
        statistics.totals.usageTime = .nanoseconds(usageTime)
        statistics.totals.connectTime = .nanoseconds(connectTime)
        statistics.endpoints = endpoints.map { endpoint in
            var entry = WebSocketPoolEndpointStatistics()
            entry.name = endpoint.name
            entry.total = endpoint.total
            entry.leased = endpoint.leased
            entry.connecting = endpoint.connecting
            entry.isEjected = endpoint.isEjected
            entry.isSuspect = endpoint.isSuspect
            return entry
        }
        return statistics
    }

    package var isSuspended: Bool { lifecycle == .running(isSuspended: true) }

    // MARK: Steps shared by the events

    /// An endpoint as observers see it.
    func place(_ endpoint: Int) -> WebSocketPoolEndpoint {
        WebSocketPoolEndpoint(index: endpoint, name: endpoints[endpoint].name)
    }

    func error(_ code: WebSocketPoolError.Code, cause: (any Error)? = nil) -> WebSocketPoolError {
        WebSocketPoolError(
            code, statistics: statistics,
            underlyingError: cause ?? (code == .poolClosed ? startFailure : nil),
            reason: reason(for: code), failedEndpoint: cause == nil ? nil : lastFailedEndpoint.map(place)
        )
    }

    /// What the code's usual advice does not say.
    private func reason(for code: WebSocketPoolError.Code) -> String? {
        switch (code, lifecycle) {
        case (.acquireTimedOut, .initial), (.poolUnavailable, .initial):
            "the pool does not run, so nothing can be lent; call run() in a task, or use withPool"
        case (.acquireTimedOut, .running(isSuspended: true)):
            "the pool is suspended and lends nothing until resume() is called"
        case (.poolClosed, _) where startFailure != nil:
            "the pool could not start, because its warm-up failed and warmUpPolicy is failFast"
        default: nil
        }
    }

    /// How long acquires wait for `run()`: for a pool that is about to be run by another task, not for one that nothing
    /// runs.
    package static var startAllowance: Ticks { 1_000_000_000 }

    /// When the acquire fails.
    func deadline(of entry: WaiterQueue<Waiter>.Entry) -> Ticks {
        lifecycle == .initial ? min(entry.deadline, entry.queuedAt.after(Self.startAllowance)) : entry.deadline
    }

    /// The only place where a connection changes its state, so that the counts cannot drift.
    mutating func setState(_ index: Int, _ state: ConnectionSlot.State, at now: Ticks) {
        let (former, endpoint) = (slots[index].state, slots[index].endpoint)
        count(former, endpoint, -1)
        count(state, endpoint, 1)
        slots[index].enter(state, at: now)
    }

    @inline(__always)
    private mutating func count(_ state: ConnectionSlot.State, _ endpoint: Int, _ change: Int) {
        switch state {
        case .free: endpoints[endpoint].total -= change
        case .connecting:
            counts.connecting += change
            endpoints[endpoint].connecting += change
        case .idle: counts.idle += change
        case .validating(let forBorrow):
            counts.validating += change
            if forBorrow { borrowValidations += change }
        case .leased:
            counts.leased += change
            endpoints[endpoint].leased += change
        case .draining: counts.draining += change
        case .closing: counts.closing += change
        }
    }

    /// The slot of a connection that is still there.
    func index(of key: ConnectionKey) -> Int? {
        guard key.slot < slots.count, slots[key.slot].serial == key.serial,
            slots[key.slot].state != .free
        else { return nil }
        return key.slot
    }

    func key(_ index: Int) -> ConnectionKey { ConnectionKey(slot: index, serial: slots[index].serial) }

    /// Gives the slot back. The connection is closed, was never opened, or does not concern the pool any more.
    mutating func free(_ index: Int, reason: WebSocketPoolEndReason?, at now: Ticks, _ action: inout Action) {
        if slots[index].state == .idle { removeFromIdle(index) }
        if let reason {
            if reason == .detached { totals.connectionsDetached += 1 } else { totals.connectionsClosed += 1 }
            emit(.connectionClosed(endpoint: place(slots[index].endpoint), reason: reason), &action)
        }
        setState(index, .free, at: now)
        handles[index] = nil
        freeSlots.append(index)
    }

    /// Starts closing an open connection.
    mutating func close(_ index: Int, reason: WebSocketPoolEndReason, at now: Ticks, _ action: inout Action) {
        if slots[index].state == .idle { removeFromIdle(index) }
        setState(index, .closing, at: now)
        slots[index].endReason = reason
        slots[index].deadline = now.after(settings.closeTimeout)
        arm(slots[index].deadline, &action)
        if let handle = handles[index] { action.operations.append(.close(key(index), handle)) }
    }

    /// Ends an open connection that does not answer: there is no goodbye to wait for, so its slot is free at once.
    mutating func abort(_ index: Int, reason: WebSocketPoolEndReason, at now: Ticks, _ action: inout Action) {
        if let handle = handles[index] { action.operations.append(.abort(key(index), handle)) }
        free(index, reason: reason, at: now, &action)
    }

    mutating func removeFromIdle(_ index: Int) {
        let endpoint = slots[index].endpoint
        if let position = endpoints[endpoint].idle.firstIndex(of: index) {
            endpoints[endpoint].idle.remove(at: position)
        }
    }

    func emit(_ event: @autoclosure () -> PoolEvent, _ action: inout Action) {
        guard isObserved else { return }
        let event = event()
        if observesLeases || !event.isOfLease { action.events.append(event) }
    }

    /// An acquire that was told to wait waits no longer.
    func leaveQueue(_ entry: WaiterQueue<Waiter>.Entry, _ action: inout Action) {
        if entry.isQueued { emit(.acquireLeftQueue(depth: waiters.count), &action) }
    }

    mutating func fail(
        _ entry: WaiterQueue<Waiter>.Entry, _ code: WebSocketPoolError.Code, cause: (any Error)? = nil,
        _ action: inout Action
    ) {
        let error = self.error(code, cause: cause)
        action.resumptions.append(.init(waiter: entry.waiter, result: .failure(error)))
        // A warm-up borrows nothing, so it is no acquire that failed.
        guard entry.kind != .warmUp else { return }
        leaveQueue(entry, &action)
        switch code {
        case .acquireTimedOut: totals.acquireTimeouts += 1
        case .cancelled: totals.acquireCancellations += 1
        default: totals.acquireFailures += 1
        }
        emit(.acquireFailed(error), &action)
    }
}

extension PoolStateMachine: Sendable where Handle: Sendable, Waiter: Sendable {}
