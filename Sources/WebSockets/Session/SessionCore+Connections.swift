//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

// Opening, preparing and reading connections.
extension SessionCore {
    // MARK: Opening

    func connect(_ epoch: Int, _ attempt: SessionAttempt) async {
        do throws(WebSocketError) {
            let connection = try await open(attempt)
            perform { $0.attemptSucceeded(epoch, connection, at: $1) }
        } catch {
            perform { $0.attemptFailed(epoch, error, at: $1, clock: WallClock.seconds) }
        }
    }

    // MARK: Preparing

    func prepare(_ epoch: Int, _ connection: any SessionConnection, _ facts: SessionPreparationFacts) async {
        let preparation = WebSocketSessionPreparation(self, epoch, connection, facts)
        let limit = configuration.preparationTimeout
        let outcome: Result<Bool, WebSocketError>
        do {
            let isContinuous = try await clock.limit(limit) { [self] in
                try await configuration.prepare?(preparation)
                try await subscribeAll(epoch, preparation)
                // The old connection must not go before the server has read what the new one wants.
                if facts.isRenewal { _ = try await connection.ping() }
                guard facts.isReconnect, !facts.isRenewal, let resume = configuration.resume else { return false }
                perform { coordinator, _ in coordinator.beginResuming(epoch) }
                return try await resume(preparation)
            }
            outcome =
                isContinuous.map { .success($0) }
                ?? .failure(
                    WebSocketError(
                        .timedOut,
                        "preparing the connection took longer than preparationTimeout (\(limit)); do less in prepare and resume, or allow more time"
                    ))
        } catch {
            let text = "\(error)".escapedForLog
            outcome = .failure(
                error as? WebSocketError
                    ?? WebSocketError(
                        .notConnected,
                        "preparing the connection failed: \(text); what prepare or resume throws is tried again, unless reconnect.decision gives up"
                    ))
        }
        perform { $0.preparationEnded(epoch, outcome, at: $1) }
    }

    /// Sends every channel on a new connection and waits for the first round of answers, where they are waited for.
    private func subscribeAll(_ epoch: Int, _ preparation: WebSocketSessionPreparation) async throws {
        while true {
            switch perform({ $0.subscribeStep(epoch, at: $1) }) {
            case .send(let channels):
                guard let message = encode(channels, epoch) else { continue }
                try await preparation.send(message)
                continue
            case .pause(let until):
                try await clock.sleep(until: until)
                continue
            case .finished: break
            }
            break
        }
        await withTaskCancellationHandler {
            await suspend { (signal: World.Signal) in
                let isDone = perform { coordinator, now in
                    if Task.isCancelled { return true }
                    if case .done = coordinator.acknowledgement(epoch, signal, at: now) { return true }
                    return false
                }
                if isDone { signal.resume(returning: ()) }
            }
        } onCancel: {
            coordinator.withLock { $0.cancelAcknowledgement(epoch) }?.resume(returning: ())
        }
        try Task.checkCancellation()
    }

    /// The next message for a hook.
    func read(_ epoch: Int) async throws(WebSocketError) -> WebSocketMessage {
        let id = nextID()
        let result: Result<WebSocketMessage, WebSocketError> = await withTaskCancellationHandler {
            await suspend { (waiter: World.MessageWaiter) in
                let known = perform { coordinator, _ -> Result<WebSocketMessage, WebSocketError>? in
                    if Task.isCancelled { return .failure(.cancelled("receive")) }
                    switch coordinator.read(epoch, id: id, waiter) {
                    case .message(let message): return .success(message)
                    case .failed(let error): return .failure(error)
                    case .waits: return nil
                    }
                }
                if let known { waiter.resume(returning: known) }
            }
        } onCancel: {
            coordinator.withLock { $0.cancelRead(epoch, id: id) }?.resume(returning: .failure(.cancelled("receive")))
        }
        return try result.get()
    }

    // MARK: Reading

    /// Passes on what the connection brings, to its end.
    func pump(_ epoch: Int, _ connection: any SessionConnection) async {
        while let message = try? await connection.receive() {
            if deliver(message, epoch) { await roomForMore(epoch) }
        }
        perform { $0.drained(epoch, at: $1) }
    }

    /// - Returns: Whether the pump has to wait for room.
    private func deliver(_ message: WebSocketMessage, _ epoch: Int) -> Bool {
        if let answer = configuration.answer?(message) {
            self.answer(message, answer, epoch)
            return false
        }
        var arrival = SessionArrival(message)
        while true {
            let (action, effects) = coordinator.withLock { $0.arrived(arrival, epoch, at: clock.now()) }
            act(effects)
            switch action {
            case .taken: return false
            case .pause: return true
            case .look(let interest): look(&arrival, interest)
            }
        }
    }

    /// Asks the application's closures, without the lock.
    private func look(_ arrival: inout SessionArrival, _ interest: SessionInterest) {
        arrival.isExamined = true
        if interest.wantsIdentity { arrival.identify(configuration.messageIdentity) }
        let message = arrival.message
        if !interest.channels.isEmpty { arrival.reply = configuration.subscriptions.reply?(message, interest.channels) }
        if arrival.reply == nil { arrival.request = interest.requests.first { $0.matches(message) }?.id }
    }

    /// On the connection that brought the message, whatever the session does with it.
    private func answer(_ message: WebSocketMessage, _ answer: WebSocketMessage, _ epoch: Int) {
        perform { coordinator, _ in
            coordinator.answeredByApplication(message)
            if let connection = coordinator.answering(epoch), connection.trySend(answer) {
                coordinator.noteAnswered(answer, epoch)
            } else {
                coordinator.sendControl(answer, epoch)
            }
        }
    }

    /// Returns when there is room, or the connection or the session has ended.
    private func roomForMore(_ epoch: Int) async {
        await suspend { (signal: World.Signal) in
            if coordinator.withLock({ $0.awaitRoom(epoch, signal) }) { signal.resume(returning: ()) }
        }
    }

    // MARK: Subscriptions

    /// The message that subscribes these channels; nil when the application cannot make it, which is a refusal.
    private func encode(_ channels: [String], _ epoch: Int) -> WebSocketMessage? {
        do {
            return try configuration.subscriptions.message(channels)
        } catch {
            perform { $0.refuse(channels, "its message cannot be made: \(error)", epoch, at: $1) }
            return nil
        }
    }

    func subscribe(_ channels: [String], _ epoch: Int) {
        guard let message = encode(channels, epoch) else { return }
        perform { coordinator, _ in coordinator.sendControl(message, epoch) }
    }

    func unsubscribe(_ channel: String) throws {
        guard let epoch = perform({ $0.unsubscribe(channel, at: $1) }) else { return }
        try tellUnsubscribed(channel, epoch)
    }

    func tellUnsubscribed(_ channel: String, _ epoch: Int) throws {
        guard let message = try configuration.subscriptions.unsubscribe(channel) else { return }
        perform { coordinator, _ in coordinator.sendControl(message, epoch) }
    }
}
