//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency

/// An acquire that waits.
typealias PoolWaiter = Waiter<Result<Grant<any WebSocketPooledConnection>?, WebSocketPoolError>>

/// The shell around the machine: takes the lock, asks, unlocks, acts.
///
/// Not generic, so that the hot path is compiled for the one machine it runs on; the layer above puts the types back.
package final class PoolCore: Sendable {
    typealias Machine = PoolStateMachine<any WebSocketPooledConnection, PoolWaiter>

    package let configuration: WebSocketPoolConfiguration
    /// Of the configuration, which is too large to be read from on the hot path.
    let hygiene: WebSocketPoolReleaseHygiene
    let isHygienic: Bool
    let expectsReplies: Bool
    let time: AnyClock
    let observer: (any WebSocketPoolObserver)?
    /// Whether an observer wants the events that every lease brings. Asked first on the hot path: even an absent observer
    /// is expensive to copy.
    let observesLeases: Bool
    let connect: @Sendable (Int) async throws -> any WebSocketPooledConnection

    let machine: Mutex<Machine>
    let operations = WorkLane<Machine.Action.Operation>()
    let closings = WorkLane<Machine.Action.Operation>()
    let timers = WorkLane<Ticks>()
    let hasRun = Atomic(false)
    private let tickets = Atomic<UInt64>(0)
    /// The last connection is gone.
    let termination = Latch()
    /// The pool runs.
    let beginning = Latch()
    /// The warm-up at the start has ended, or there is none.
    let warmth = Latch()
    /// Why the pool ended before it was asked to: its warm-up failed.
    let startError = Mutex<WebSocketPoolError?>(nil)

    init(
        configuration: WebSocketPoolConfiguration, time: AnyClock, endpointCount: Int, endpointNames: [String] = [],
        observer: (any WebSocketPoolObserver)?,
        connect: @escaping @Sendable (Int) async throws -> any WebSocketPooledConnection
    ) {
        self.configuration = configuration
        hygiene = configuration.hygiene
        isHygienic = configuration.hygiene != .none
        expectsReplies = configuration.expectsReplies
        self.time = time
        self.observer = observer
        observesLeases = observer?.observesLeases ?? false
        self.connect = connect
        machine = Mutex(
            Machine(
                settings: PoolSettings(configuration), endpointCount: endpointCount, endpointNames: endpointNames,
                randomSeed: .random(in: 0 ... .max),
                isObserved: observer != nil, observesLeases: observesLeases))
    }

    // MARK: Ask, then act

    /// Feeds one event and carries out what follows.
    func send(_ event: (inout sending Machine, Ticks) -> Machine.Action) {
        let now = time.now
        act(machine.withLock { event(&$0, now) })
    }

    func act(_ action: Machine.Action) {
        for resumption in action.resumptions { resumption.waiter.resume(returning: resumption.result) }
        for operation in action.operations {
            switch operation {
            case .close, .abort: closings.post(.work(operation))
            case .connect, .validate, .drain: operations.post(.work(operation))
            }
        }
        if action.cancelsOperations { operations.post(.cancelAll) }
        if let timer = action.timer { timers.post(.work(timer)) }
        if !action.events.isEmpty, let observer = self.observer {
            for event in action.events { event.report(to: observer) }
        }
        if action.isTerminal { finish() }
    }

    // MARK: Acquiring

    /// The fast path: an idle connection that may be lent as it is. Neither suspends nor allocates.
    package func acquireIdle(site: WebSocketPoolSourceSite) -> Grant<any WebSocketPooledConnection>? {
        while true {
            let now = time.now
            // Out of the closure by itself: an optional struct around a reference costs more than the lock.
            var handle: (any WebSocketPooledConnection)?
            let idle = self.machine.withLock { machine -> Machine.IdleGrant? in
                guard let idle = machine.acquireIdle(site: site, at: now) else { return nil }
                handle = machine.handles[idle.token.slot]
                return idle
            }
            guard let idle, let handle else { return nil }
            if idle.timer != .never { timers.post(.work(idle.timer)) }
            if idle.isShort { send { $0.refill(at: $1) } }
            if let defect = self.defect(of: handle) {
                send { $0.takeBack(idle.token, .unusable(defect), hasWaited: false, at: $1) }
                continue
            }
            if observesLeases { observer?.leaseGranted(waited: .zero) }
            return Grant(token: idle.token, handle: handle)
        }
    }

    /// An idle connection, or nothing. One that has to prove itself does so in the background.
    package func tryAcquire(site: WebSocketPoolSourceSite) -> Grant<any WebSocketPooledConnection>? {
        if let grant = acquireIdle(site: site) { return grant }
        send { $0.proveIdle(at: $1) }
        return nil
    }

    /// An acquire that may have to wait.
    private struct Request {
        let kind: AcquireKind
        /// Its place in the queue.
        let ticket: UInt64
        let site: WebSocketPoolSourceSite
        let queuedAt: Ticks
        let deadline: Ticks
    }

    /// The general path: waits, in the order of arrival, until `timeout`.
    package func acquire(
        _ kind: AcquireKind, timeout: Duration?, site: WebSocketPoolSourceSite
    ) async throws(WebSocketPoolError) -> Grant<any WebSocketPooledConnection> {
        let timeout = (timeout ?? configuration.acquireTimeout).ticks
        let now = time.now
        let request = Request(
            kind: kind, ticket: tickets.add(1, ordering: .relaxed).newValue, site: site, queuedAt: now,
            // A timeout of zero asks for what is there now, in the machine's time.
            deadline: timeout > 0 ? time.deadline(after: timeout, from: now) : now)
        guard hasRun.load(ordering: .acquiring) else {
            // No task drives the pool's timers yet, so this acquire brings its own. Once the pool runs it has others.
            let deadline = min(request.deadline, request.queuedAt.after(Machine.startAllowance))
            let result: Result<Grant<any WebSocketPooledConnection>, WebSocketPoolError> = await withTaskGroup(
                of: Void.self
            ) { group in
                group.addTask { await self.tick(at: deadline) }
                defer { group.cancelAll() }
                do throws(WebSocketPoolError) { return .success(try await wait(request)) } catch {
                    return .failure(error)
                }
            }
            return try result.get()
        }
        return try await wait(request)
    }

    /// Opens a connection and leaves it to the pool.
    func open(timeout: Duration) async throws(WebSocketPoolError) {
        let now = time.now
        let request = Request(
            kind: .warmUp, ticket: tickets.add(1, ordering: .relaxed).newValue,
            site: WebSocketPoolSourceSite(file: #fileID, line: #line), queuedAt: now,
            deadline: time.deadline(after: timeout.ticks, from: now))
        _ = try await ask(request).get()
    }

    // Every level of async calls costs a look at the task's preferred executor, so there are few.
    @inline(__always)
    private func ask(_ request: Request) async -> Result<Grant<any WebSocketPooledConnection>?, WebSocketPoolError> {
        await withTaskCancellationHandler {
            await WebSocketConcurrency.suspend { self.register($0, request) }
        } onCancel: {
            send { $0.cancelAcquire(ticket: request.ticket, at: $1) }
        }
    }

    @inline(__always)
    private func wait(_ request: Request) async throws(WebSocketPoolError) -> Grant<any WebSocketPooledConnection> {
        while true {
            // Only a warm-up succeeds without a grant.
            guard let grant = try await ask(request).get() else { throw error(.poolClosed) }
            if Task.isCancelled {
                send { $0.takeBack(grant.token, .cancelled, hasWaited: true, at: $1) }
                throw error(.cancelled)
            }
            guard let defect = self.defect(of: grant.handle) else { return grant }
            // The old ticket keeps the acquire's place in the queue.
            send { $0.takeBack(grant.token, .unusable(defect), hasWaited: true, at: $1) }
        }
    }

    private func register(_ continuation: PoolWaiter, _ request: Request) {
        let now = time.now
        // The flag is read under the lock that the cancellation handler takes: either it is set here, or the handler
        // comes later and finds the ticket.
        let outcome = machine.withLock { machine -> Result<Machine.Action, WebSocketPoolError>? in
            if Task.isCancelled { return .failure(machine.refuseCancelled()) }
            if request.kind == .any,
                machine.joinQueue(
                    continuation, ticket: request.ticket, site: request.site, queuedAt: request.queuedAt,
                    deadline: request.deadline, at: now)
            {
                return nil
            }
            return .success(
                machine.acquire(
                    continuation, ticket: request.ticket, kind: request.kind, site: request.site,
                    queuedAt: request.queuedAt, deadline: request.deadline, at: now))
        }
        switch outcome {
        case nil: break
        case .success(let action):
            act(action)
        case .failure(let error):
            continuation.resume(returning: .failure(error))
            observer?.acquireFailed(error)
        }
    }

    /// Why a connection must not be lent, looked at after the lock was released and right before it is.
    private func defect(of connection: any WebSocketPooledConnection) -> WebSocketPoolEndReason? {
        if !connection.isOpen { return .closedByPeer }
        if isHygienic, connection.hasUnreadInput { return .unreadInput }
        return nil
    }

    // MARK: Leases

    package func release(_ token: LeaseToken, of connection: any WebSocketPooledConnection, discard: Bool) {
        let verdict = self.verdict(on: connection, discard: discard)
        let now = time.now
        if verdict == .reuse, !observesLeases {
            // The usual case, which has no consequences.
            var resumption: Machine.Action.Resumption?
            let timer = self.machine.withLock { machine -> Ticks? in
                if let timer = machine.releaseIdle(token, at: now) { return timer }
                resumption = machine.releaseToWaiter(token, at: now)
                return nil
            }
            if let timer {
                if timer != .never { timers.post(.work(timer)) }
                return
            }
            if let resumption {
                resumption.waiter.resume(returning: resumption.result)
                return
            }
        }
        act(self.machine.withLock { $0.release(token, verdict, at: now) })
    }

    private func verdict(on connection: any WebSocketPooledConnection, discard: Bool) -> Machine.Verdict {
        if discard { return .discard(.discarded) }
        if !connection.isOpen { return .discard(.closedByPeer) }
        switch hygiene {
        case .none: return .reuse
        case .discardConnection:
            if connection.hasUnreadInput { return .discard(.unreadInput) }
            return isOwedInput(connection) ? .discard(.unanswered) : .reuse
        case .drain(let options):
            if options.quietPeriod > .zero { return .drain }
            if isOwedInput(connection) { return .discard(.unanswered) }
            return connection.hasUnreadInput ? .drain : .reuse
        }
    }

    private func isOwedInput(_ connection: any WebSocketPooledConnection) -> Bool {
        expectsReplies && connection.isOwedInput
    }

    package func detach(_ token: LeaseToken) throws(WebSocketPoolError) {
        let now = time.now
        guard let action = machine.withLock({ $0.detach(token, at: now) }) else { throw error(.leaseEnded) }
        act(action)
    }

    package func isValid(_ token: LeaseToken) -> Bool { machine.withLock { $0.isValid(token) } }

    package func error(_ code: WebSocketPoolError.Code) -> WebSocketPoolError {
        machine.withLock { $0.error(code) }
    }
}
