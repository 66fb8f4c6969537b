//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

extension SessionCore {
    /// How one message is to be sent.
    struct SendOptions: Sendable {
        var deadline: Duration?
        var isIdempotent = false
        var wantsOutcome = false
    }

    /// Sends, queues or refuses; the outcome is `written` when the message was taken and the caller wants no more.
    func send(
        _ message: WebSocketMessage, _ options: SendOptions
    ) async throws(WebSocketError) -> WebSocketSendOutcome {
        let id = nextID()
        if !options.wantsOutcome, sendAtOnce(message, id, options) { return .written }
        let result: Result<WebSocketSendOutcome, WebSocketError> = await withTaskCancellationHandler {
            await suspend { (waiter: World.SendWaiter) in
                let known = perform { coordinator, now -> Result<WebSocketSendOutcome, WebSocketError>? in
                    if Task.isCancelled { return .failure(.cancelled("send")) }
                    let entry = Coordinator.Outbox.Entry(
                        id: id, message: message, deadline: coordinator.deadline(options.deadline, at: now),
                        isIdempotent: options.isIdempotent, waiter: waiter, wantsOutcome: options.wantsOutcome)
                    if sendNow(entry, &coordinator) { return options.wantsOutcome ? nil : .success(.written) }
                    return coordinator.offer(entry, at: now).map { .failure($0) }
                }
                if let known { waiter.resume(returning: known) }
            }
        } onCancel: {
            perform { coordinator, _ in coordinator.cancelSend(id: id) }
        }
        let outcome = try result.get()
        if options.wantsOutcome { return outcome }
        switch outcome {
        case .cancelled: throw .cancelled("send")
        case .notSent:
            throw WebSocketError(
                .notSent, "the message was not sent before its deadline or the end of the session; send it again later")
        case .written, .unknown, .dropped: return outcome
        }
    }

    /// The usual case: there is a connection that has room, or there is none and the queue has.
    private func sendAtOnce(_ message: WebSocketMessage, _ id: UInt64, _ options: SendOptions) -> Bool {
        let (isTaken, next) = coordinator.withLock { coordinator -> (Bool, Duration?) in
            if let connection = coordinator.directConnection, connection.trySend(message) {
                coordinator.sentDirectly(.init(id: id, message: message, isIdempotent: options.isIdempotent))
                return (true, nil)
            }
            let entry = Coordinator.Outbox.Entry(
                id: id, message: message, deadline: coordinator.deadline(options.deadline, at: clock.now()),
                isIdempotent: options.isIdempotent)
            return coordinator.queue(entry) ? (true, coordinator.outbox.nextDeadline) : (false, nil)
        }
        if let next { timer.arm(next) }
        return isTaken
    }

    private func sendNow(_ entry: Coordinator.Outbox.Entry, _ coordinator: inout Coordinator) -> Bool {
        guard let connection = coordinator.directConnection, connection.trySend(entry.message) else { return false }
        coordinator.sentDirectly(
            .init(
                id: entry.id, message: entry.message, isIdempotent: entry.isIdempotent, isRequest: entry.isRequest,
                waiter: entry.wantsOutcome ? entry.waiter : nil, wantsOutcome: entry.wantsOutcome))
        return true
    }

    // MARK: Requests

    /// Sends a message and waits for the first message that answers it, over reconnects if it is idempotent.
    func request(
        _ message: WebSocketMessage, isIdempotent: Bool, matches: @escaping @Sendable (WebSocketMessage) -> Bool
    ) async throws(WebSocketError) -> WebSocketMessage {
        let id = nextID()
        let result: Result<WebSocketMessage, WebSocketError> = await withTaskCancellationHandler {
            await suspend { (waiter: World.MessageWaiter) in
                let refusal = perform { coordinator, now -> WebSocketError? in
                    if Task.isCancelled { return .cancelled("request") }
                    coordinator.register(id: id, message, isIdempotent: isIdempotent, waiter, matches: matches)
                    let entry = Coordinator.Outbox.Entry(
                        id: id, message: message, isIdempotent: isIdempotent, isRequest: true)
                    if sendNow(entry, &coordinator) { return nil }
                    guard let refusal = coordinator.offer(entry, at: now) else { return nil }
                    _ = coordinator.cancelRequest(id: id)
                    return refusal
                }
                if let refusal { waiter.resume(returning: .failure(refusal)) }
            }
        } onCancel: {
            perform { coordinator, _ in coordinator.cancelRequest(id: id) }?
                .resume(returning: .failure(.cancelled("request")))
        }
        return try result.get()
    }

    // MARK: The writer

    func write() async {
        while let writing = coordinator.withLock({ $0.nextToWrite() }) {
            var failure: WebSocketError?
            if !writing.connection.trySend(writing.entry.message) {
                let outcome = SendFailure()
                await writing.work.run { outcome.set(await Self.send(writing.entry.message, on: writing.connection)) }
                failure = outcome.value
            }
            let goesOn = perform { coordinator, _ in
                coordinator.wrote(
                    writing, accepted: failure == nil,
                    cancelled: failure?.code == .cancelled && writing.work.isCancelled)
            }
            if !goesOn { return }
        }
    }

    private static func send(
        _ message: WebSocketMessage, on connection: any SessionConnection
    ) async -> WebSocketError? {
        do throws(WebSocketError) {
            try await connection.send(message)
            return nil
        } catch {
            return error
        }
    }
}
