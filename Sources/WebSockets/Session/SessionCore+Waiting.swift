//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

// Taking events, waiting for states, and asking the application.
extension SessionCore {
    // MARK: Events

    /// The next event; nil when the session has ended well, or when only messages are wanted and none will come by
    /// itself.
    func take(messagesOnly: Bool) async throws(WebSocketError) -> WebSocketSessionEvent? {
        let (immediate, effects) = coordinator.withLock { $0.take(messagesOnly: messagesOnly) }
        act(effects)
        if case .now(let result) = immediate { return try result.get() }
        await expectRun()
        let id = nextID()
        let result: Result<WebSocketSessionEvent?, WebSocketError> = await withTaskCancellationHandler {
            await suspend { (waiter: World.EventWaiter) in
                let (known, effects) = coordinator.withLock { coordinator in
                    if Task.isCancelled {
                        return (Coordinator.TakeAction.now(.failure(.cancelled("receive"))), [Coordinator.Effect]())
                    }
                    let answer = coordinator.take(messagesOnly: messagesOnly)
                    if case .empty = answer.0 {
                        coordinator.waitForEvent(id: id, messagesOnly: messagesOnly, waiter)
                    }
                    return answer
                }
                act(effects)
                if case .now(let result) = known { waiter.resume(returning: result) }
            }
        } onCancel: {
            coordinator.withLock { $0.cancelTake(id: id) }?.resume(returning: .failure(.cancelled("receive")))
        }
        return try result.get()
    }

    // MARK: States

    /// How long a caller waits for `run` to begin: it may have been started in another task a moment ago.
    static var startAllowance: Duration { .seconds(1) }

    /// Whether the session runs, or has run; false when nothing would ever happen.
    func awaitRun() async -> Bool {
        if coordinator.withLock({ $0.hasRun || $0.machine.publicState.isTerminal }) { return true }
        return await wait(timeout: Self.startAllowance) { $0.isRunning || $0.state.isTerminal ? true : nil } ?? false
    }

    /// For a call that waits for what only a session that runs can bring about.
    func requireRun(for call: String) async throws(WebSocketError) {
        guard await awaitRun() else { throw Task.isCancelled ? .cancelled(call) : Coordinator.notRunning }
    }

    /// For a caller that may come first: what it waits for comes when the session runs, and the log says what is missing.
    private func expectRun() async {
        guard await !awaitRun(), !Task.isCancelled, coordinator.withLock({ $0.mayTellThatItDoesNotRun() }) else {
            return
        }
        configuration.logger.warning("\(Coordinator.notRunning.message)", metadata: ["url": "\(name)"])
    }

    /// Waits until `verdict` is known; nil when the time is over or the task was cancelled.
    func wait(timeout: Duration?, for verdict: @escaping @Sendable (SessionView) -> Bool?) async -> Bool? {
        await (try? clock.limit(timeout) { await self.wait(isShielded: false, for: verdict) }) ?? nil
    }

    private func wait(isShielded: Bool, for verdict: @escaping @Sendable (SessionView) -> Bool?) async -> Bool? {
        let id = nextID()
        return await withTaskCancellationHandler {
            await suspend { (waiter: World.StateWaiter) in
                let action = coordinator.withLock { coordinator -> Coordinator.WaitAction in
                    if Task.isCancelled, !isShielded { return .known(verdict(coordinator.view)) }
                    return coordinator.wait(id: id, waiter, for: verdict)
                }
                if case .known(let known) = action { waiter.resume(returning: known) }
            }
        } onCancel: {
            guard !isShielded else { return }
            coordinator.withLock { $0.cancelWait(id: id) }?.resume(returning: nil)
        }
    }

    /// Waits until the session is not closing any more, also in a cancelled task. Bounded by `closeTimeout`.
    func waitUntilLeft() async {
        _ = await wait(isShielded: true) { $0.state == .closing ? nil : true }
    }

    // MARK: Questions

    func ask(_ question: Coordinator.Machine.Question, _ epoch: Int, _ snapshot: WebSocketSessionSnapshot) async {
        switch question {
        case .disconnect:
            let answer = await answer("shouldDisconnect", otherwise: false) { [configuration] in
                try await configuration.shouldDisconnect?(snapshot)
            }
            perform { $0.answeredDisconnect(answer, epoch, at: $1) }
        case .renew:
            let answer = await answer("shouldRenew", otherwise: false) { [configuration] in
                try await configuration.shouldRenew?(snapshot)
            }
            perform { $0.answeredRenew(answer, epoch, at: $1) }
        case .reconnect:
            let answer = await answer("shouldReconnect", otherwise: WebSocketReconnectWindow.notYet) {
                [configuration] in
                try await configuration.shouldReconnect?(snapshot)
            }
            perform { $0.answeredReconnect(answer, epoch, at: $1) }
        }
    }

    /// What the application's closure answers. An error is an alert, and the question is asked again later.
    func answer<Value: Sendable>(
        _ name: String, otherwise: Value, _ closure: () async throws -> Value?
    ) async -> Value {
        do {
            return try await closure() ?? otherwise
        } catch {
            perform { $0.raise(.callbackFailed, "\(name) threw: \(error)", at: $1) }
            return otherwise
        }
    }

    /// Asks `closure` until it says now, without connecting.
    func waitForReconnectWindow(
        _ closure: @escaping @Sendable (WebSocketSessionSnapshot) async throws -> WebSocketReconnectWindow
    ) async -> Bool {
        while !Task.isCancelled {
            let snapshot = WebSocketSessionSnapshot(
                state: coordinator.withLock { $0.machine.publicState }, statistics: statistics,
                lastDisconnect: coordinator.withLock { $0.lastDisconnect })
            let delay: Duration
            switch await answer("shouldReconnect", otherwise: .notYet, { try await closure(snapshot) }) {
            case .now: return true
            case .never: return false
            case .after(let time): delay = time
            case .notYet: delay = configuration.reconnectCheckInterval
            }
            guard (try? await clock.sleep(until: clock.now() + delay)) != nil else { return false }
        }
        return false
    }

    // MARK: Statistics

    var statistics: WebSocketSessionStatistics {
        var (statistics, connection) = coordinator.withLock { coordinator in
            (coordinator.statistics(at: clock.now()), coordinator.machine.openConnection?.1)
        }
        statistics.latency = connection?.latency
        return statistics
    }
}
