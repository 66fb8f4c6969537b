//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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
        if let immediate = takeNow(messagesOnly: messagesOnly) { return try immediate.get() }
        let id = nextID()
        let result: Result<WebSocketSessionEvent?, WebSocketError> = await withTaskCancellationHandler {
            await suspend { (waiter: EventWaiter) in
                var after = After()
                let immediate = parts.withLock { parts -> Result<WebSocketSessionEvent?, WebSocketError>? in
                    if Task.isCancelled { return .failure(.cancelled("receive")) }
                    if let immediate = take(messagesOnly: messagesOnly, &parts, &after) { return immediate }
                    parts.inbox.wait(id: id, messagesOnly: messagesOnly, waiter)
                    return nil
                }
                after.run()
                if let immediate { waiter.resume(returning: immediate) }
            }
        } onCancel: {
            let waiter = parts.withLock { $0.inbox.cancel(id: id) }
            waiter?.resume(returning: .failure(.cancelled("receive")))
        }
        return try result.get()
    }

    private func takeNow(messagesOnly: Bool) -> Result<WebSocketSessionEvent?, WebSocketError>? {
        var after = After()
        let result = parts.withLock { take(messagesOnly: messagesOnly, &$0, &after) }
        after.run()
        return result
    }

    private func take(
        messagesOnly: Bool, _ parts: inout Parts, _ after: inout After
    ) -> Result<WebSocketSessionEvent?, WebSocketError>? {
        switch parts.inbox.take(messagesOnly: messagesOnly) {
        case .event(let event, let resume):
            if resume { makeRoom(&parts, &after) }
            return .success(event)
        case .ended(let error): return error.map { .failure($0) } ?? .success(nil)
        case .empty: return messagesOnly && parts.machine.isResting ? .success(nil) : nil
        }
    }

    // MARK: States

    /// Waits until the verdict is known; nil when the time is over or the task is cancelled.
    func wait(
        timeout: Duration?, _ verdict: @escaping @Sendable (WebSocketSessionState, _ isResting: Bool) -> Bool?
    ) async -> Bool? {
        await (try? clock.limit(timeout) { await self.wait(verdict) }) ?? nil
    }

    private func wait(
        _ verdict: @escaping @Sendable (WebSocketSessionState, _ isResting: Bool) -> Bool?
    ) async -> Bool? {
        let id = nextID()
        return await withTaskCancellationHandler {
            await suspend { (continuation: LoopContinuation<Bool?>) in
                let immediate: Bool?? = parts.withLock { parts in
                    if let known = verdict(parts.machine.publicState, parts.machine.isResting) { return .some(known) }
                    if Task.isCancelled { return .some(nil) }
                    parts.stateWaiters[id] = StateWaiter(verdict: verdict, continuation: continuation)
                    return nil
                }
                if let immediate { continuation.resume(returning: immediate) }
            }
        } onCancel: {
            let waiter = parts.withLock { $0.stateWaiters.removeValue(forKey: id) }
            waiter?.continuation.resume(returning: nil)
        }
    }

    /// Waits until the session is not closing any more, also in a cancelled task. Bounded by `closeTimeout`.
    func waitUntilLeft() async {
        await suspend { (continuation: LoopContinuation<Bool?>) in
            let isLeft = parts.withLock { parts in
                if parts.machine.publicState != .closing { return true }
                parts.stateWaiters[nextID()] = StateWaiter(
                    verdict: { state, _ in state == .closing ? nil : true }, continuation: continuation)
                return false
            }
            if isLeft { continuation.resume(returning: true) }
        }.ignored()
    }

    // MARK: Questions

    func ask(_ question: Machine.Question, _ epoch: Int, _ snapshot: WebSocketSessionSnapshot) async {
        switch question {
        case .disconnect:
            let answer = await answer("shouldDisconnect", otherwise: false) { [configuration] in
                try await configuration.shouldDisconnect?(snapshot)
            }
            perform { parts, now, _ in ((), parts.machine.answeredDisconnect(answer, epoch, at: now)) }
        case .renew:
            let answer = await answer("shouldRenew", otherwise: false) { [configuration] in
                try await configuration.shouldRenew?(snapshot)
            }
            perform { parts, now, _ in ((), parts.machine.answeredRenew(answer, epoch, at: now)) }
        case .reconnect:
            let answer = await answer("shouldReconnect", otherwise: WebSocketReconnectWindow.notYet) {
                [configuration] in
                try await configuration.shouldReconnect?(snapshot)
            }
            perform { parts, now, _ in ((), parts.machine.answeredReconnect(answer, epoch, at: now)) }
        }
    }

    /// What the application's closure answers. An error is an alert, and the question is asked again later.
    func answer<Value: Sendable>(
        _ name: String, otherwise: Value, _ closure: () async throws -> Value?
    ) async -> Value {
        do {
            return try await closure() ?? otherwise
        } catch {
            perform { parts, now, after in
                raise(.callbackFailed, "\(name) threw: \(error)", &parts, now, &after)
                return ((), [])
            }
            return otherwise
        }
    }

    /// Asks `shouldReconnect` until it says now, without connecting.
    func waitForReconnectWindow() async -> Bool {
        guard let closure = configuration.shouldReconnect else { return false }
        while !Task.isCancelled {
            let snapshot = parts.withLock { self.snapshot(&$0, clock.now()) }
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
}

extension Optional {
    /// The caller wanted the end of the wait, not its outcome.
    fileprivate func ignored() {}
}
