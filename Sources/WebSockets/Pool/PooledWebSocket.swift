//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore
import WebSocketLoop
import WebSocketPool

/// A connection as the generic pool sees it. Each lease sees it through a socket of its own, which ends with the lease.
final class PooledWebSocket: WebSocketPooledConnection {
    /// The pool, so that a lease is one reference.
    let core: PoolCore
    private let clock: any Clock<Duration>
    private let isDisposable: @Sendable (WebSocketMessage) -> Bool
    private let expectsReplies: Bool

    private struct Tenancy {
        /// Of the lease whose socket this is. Ids ascend.
        var lease: UInt64 = 0
        var socket: WebSocketConnection?
        /// The last lease that has ended.
        var ended: UInt64 = 0
        var isDetached = false
    }

    private let tenancy = Mutex(Tenancy())
    /// The id of the first lease; 0 before it.
    private let firstLease = Atomic<UInt64>(0)
    /// The wire's balance when the lease began.
    private let balanceAtStart = Atomic(0)

    init(
        _ wire: Connection, core: PoolCore, clock: any Clock<Duration>, expectsReplies: Bool,
        isDisposable: @escaping @Sendable (WebSocketMessage) -> Bool
    ) {
        self.wire = wire
        self.core = core
        self.clock = clock
        self.expectsReplies = expectsReplies
        self.isDisposable = isDisposable
    }

    deinit {
        let wire = wire
        // A detached one is its borrower's, whose socket does the same.
        if !tenancy.withLock({ $0.isDetached }) { wire.loop.execute { wire.forget() } }
    }

    // MARK: Leases

    /// What the configuration does with each new connection.
    func prepare(_ afterConnect: @Sendable @concurrent (WebSocketConnection) async throws -> Void) async throws {
        let socket = WebSocketConnection(wire)
        defer { socket.revoke() }
        do {
            try await withTaskExecutorPreference(wire.loop.taskExecutor) { try await afterConnect(socket) }
        } catch {
            await close()
            throw error
        }
    }

    func beginLease(_ lease: UInt64) {
        balanceAtStart.store(wire.exchangeBalance, ordering: .relaxed)
        _ = firstLease.compareExchange(expected: 0, desired: lease, ordering: .relaxed)
    }

    func isFirst(_ lease: UInt64) -> Bool { firstLease.load(ordering: .relaxed) == lease }

    /// The lease's socket; `nil` when the lease has ended. Made when it is first asked for.
    func socket(of lease: UInt64) -> WebSocketConnection? {
        tenancy.withLock { tenancy in
            guard lease > tenancy.ended else { return nil }
            if tenancy.lease == lease, let socket = tenancy.socket { return socket }
            let socket = WebSocketConnection(wire)
            tenancy.lease = lease
            tenancy.socket = socket
            return socket
        }
    }

    /// Makes the lease's socket useless, before another lease can get the connection.
    func endLease(_ lease: UInt64) {
        let socket = tenancy.withLock { tenancy -> WebSocketConnection? in
            // Detached, it stays its borrower's, who may release the lease all the same.
            guard !tenancy.isDetached else { return nil }
            tenancy.ended = max(tenancy.ended, lease)
            return tenancy.lease == lease ? tenancy.socket.take() : nil
        }
        socket?.revoke()
    }

    /// The connection is its borrower's from now on.
    func detach() { tenancy.withLock { $0.isDetached = true } }

    // MARK: For the pool

    private let wire: Connection

    var isOpen: Bool { wire.isUsable }

    /// Before the first lease it is no borrower's leftover: many servers speak first.
    var hasUnreadInput: Bool { firstLease.load(ordering: .relaxed) != 0 && wire.hasInboundResidue }

    var isOwedInput: Bool {
        wire.hasPromisedMessages
            || wire.exchangeBalance > balanceAtStart.load(ordering: .relaxed)
    }

    var preferredExecutor: (any TaskExecutor)? { wire.loop.taskExecutor }

    func close() async {
        let wire = wire
        await withTaskCancellationHandler {
            await wire.closeRegardless(WebSocketCloseFrame(code: .normalClosure))
        } onCancel: {
            wire.loop.execute { wire.abort() }
        }
    }

    func abort() {
        let wire = wire
        wire.loop.execute { wire.abort() }
    }

    func validate(timeout: Duration) async -> Bool {
        do throws(WebSocketError) {
            _ = try await wire.ping()
            return isOpen
        } catch {
            return false
        }
    }

    func drain(_ options: WebSocketPoolDrainOptions) async -> WebSocketPoolDrainOutcome {
        while true {
            switch wire.popMessageNow() {
            case .message(let message):
                guard isDisposable(message) else { return .unexpectedInput }
                continue
            case .ended: return .failed
            case .empty: break
            }
            // A receiver of the former borrower would take what is the next one's.
            if wire.isInboundClaimed { return .unexpectedInput }
            if options.quietPeriod <= .zero, !wire.hasInboundResidue { return .clean }
            switch await nextMessage(within: options.quietPeriod > .zero ? options.quietPeriod : options.timeout) {
            case .success(let message?): guard isDisposable(message) else { return .unexpectedInput }
            // Half a message may have come in the meantime, or an answer be missing; then it is not over.
            case .success(nil):
                if !wire.hasInboundResidue && !(expectsReplies && isOwedInput) { return .clean }
                // Nothing waits any more in a cancelled task.
                if Task.isCancelled { return .timedOut }
            case .failure: return .failed
            }
        }
    }

    /// The next message, or `nil` when none comes in time.
    private func nextMessage(within span: Duration) async -> Result<WebSocketMessage?, WebSocketError> {
        let wire = wire
        let clock = clock
        return await withTaskGroup(of: Result<WebSocketMessage?, WebSocketError>.self) { group in
            group.addTask {
                do throws(WebSocketError) { return .success(try await wire.receive()) } catch { return .failure(error) }
            }
            group.addTask {
                try? await clock.sleep(for: span)
                return .success(nil)
            }
            var result = await group.next() ?? .success(nil)
            group.cancelAll()
            // The message and the end of the time may come together: the message is not lost then.
            while let other = await group.next() { if case .success(.some) = other { result = other } }
            return result
        }
    }

    func onClose(_ handler: @escaping @Sendable () -> Void) { wire.onEnd(handler) }
}
