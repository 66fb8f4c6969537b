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

    /// Sends, queues or refuses; the outcome is `written` when the message was taken and nobody wants to know more.
    func send(
        _ message: WebSocketMessage, _ options: SendOptions
    ) async throws(WebSocketError) -> WebSocketSendOutcome {
        let id = nextID()
        var after = After()
        if !options.wantsOutcome {
            let isTaken = parts.withLock { parts in
                sendNow(message, id: id, options, waiter: nil, &parts) || queue(message, id, options, &parts, &after)
            }
            after.run()
            if isTaken { return .written }
        }
        let result: Result<WebSocketSendOutcome, WebSocketError> = await withTaskCancellationHandler {
            await suspend { (waiter: SendWaiter) in
                let refusal: WebSocketError? = perform { parts, now, after in
                    if Task.isCancelled { return (.cancelled("send"), []) }
                    if sendNow(message, id: id, options, waiter: waiter, &parts) {
                        if !options.wantsOutcome { after.do { waiter.resume(returning: .success(.written)) } }
                        return (nil, [])
                    }
                    return (offer(message, id, options, waiter: waiter, &parts, now, &after), [])
                }
                if let refusal { waiter.resume(returning: .failure(refusal)) }
            }
        } onCancel: {
            cancelSend(id)
        }
        let outcome = try result.get()
        if options.wantsOutcome { return outcome }
        switch outcome {
        case .cancelled: throw .cancelled("send")
        case .notSent:
            throw WebSocketError(
                .notSent, "the message was not sent before its deadline or the end of the session; send it again later")
        default: return outcome
        }
    }

    /// The usual case: there is a connection, and it has room.
    private func sendNow(
        _ message: WebSocketMessage, id: UInt64, _ options: SendOptions, waiter: SendWaiter?, _ parts: inout Parts
    ) -> Bool {
        guard parts.outbox.canSendDirectly, let (_, connection) = parts.machine.openConnection,
            connection.trySend(message)
        else { return false }
        parts.counters.bytesSent += message.byteCount
        parts.outbox.sentDirectly(
            .init(
                id: id, message: message, deadline: nil, isIdempotent: options.isIdempotent,
                waiter: options.wantsOutcome ? waiter : nil, wantsOutcome: options.wantsOutcome))
        return true
    }

    /// There is no connection, and the queue has room: nobody has to wait.
    private func queue(
        _ message: WebSocketMessage, _ id: UInt64, _ options: SendOptions, _ parts: inout Parts, _ after: inout After
    ) -> Bool {
        guard !parts.outbox.isConnected, !parts.outbox.isFull, !parts.machine.publicState.isTerminal else {
            return false
        }
        let entry = Outbox.Entry(
            id: id, message: message, deadline: deadline(options), isIdempotent: options.isIdempotent)
        guard parts.outbox.offer(entry) == .queued else { return false }
        let (timer, next) = (timer, parts.outbox.nextDeadline)
        after.do { if let next { timer.arm(next) } }
        return true
    }

    private func deadline(_ options: SendOptions) -> Duration? {
        (options.deadline ?? configuration.outboundDeadline).map { clock.now() + $0 }
    }

    /// - Returns: Why it was refused.
    private func offer(
        _ message: WebSocketMessage, _ id: UInt64, _ options: SendOptions, waiter: SendWaiter,
        _ parts: inout Parts, _ now: Duration, _ after: inout After
    ) -> WebSocketError? {
        guard !parts.machine.publicState.isTerminal else {
            parts.outbox.refuse()
            return Self.endedError(parts.failure)
        }
        let entry = Outbox.Entry(
            id: id, message: message, deadline: deadline(options), isIdempotent: options.isIdempotent, waiter: waiter,
            wantsOutcome: options.wantsOutcome)
        switch parts.outbox.offer(entry) {
        case .queued: return nil
        case .notConnected:
            return WebSocketError(
                .notConnected,
                "the session is \(parts.machine.publicState) and the message was not sent; wait for waitConnected, or set outboundQueue to keep messages meanwhile"
            )
        case .full:
            raise(
                .outboundOverflow,
                "the queue for messages without a connection is full (\(configuration.outboundQueue))",
                &parts, now, &after)
            return WebSocketError(
                .sendQueueFull,
                "the queue for messages without a connection is full (outboundQueue is \(configuration.outboundQueue)); send less or raise it"
            )
        }
    }

    private func cancelSend(_ id: UInt64) {
        var after = After()
        parts.withLock { parts in
            switch parts.outbox.cancel(id: id) {
            case .removed(let waiter): after.do { waiter.resume(returning: .success(.cancelled)) }
            case .sending:
                if let work = parts.slowSend { after.do { work.cancel() } }
            case .gone: break
            }
        }
        after.run()
    }

    static func endedError(_ failure: WebSocketError?) -> WebSocketError {
        failure ?? WebSocketError(.connectionClosed, "the session is closed; start a new one")
    }

    // MARK: The writer

    /// There is a connection and something waits: one writer takes care of that.
    func startWriting(_ parts: inout Parts, _ after: inout After) {
        guard !parts.isWriting, parts.outbox.isConnected, parts.outbox.queuedCount > 0,
            let (epoch, connection) = parts.machine.openConnection, epoch != parts.deafEpoch
        else { return }
        parts.isWriting = true
        after.do { [self] in lane.post(on: connection.executor) { await self.write() } }
    }

    private func write() async {
        while true {
            let next = parts.withLock { parts -> (Outbox.Entry, Int, any SessionConnection, CancellableWork)? in
                guard let (entry, epoch) = parts.outbox.next(), let port = parts.ports[epoch] else {
                    parts.isWriting = false
                    return nil
                }
                let work = CancellableWork()
                parts.slowSend = work
                return (entry, epoch, port.connection, work)
            }
            guard let (entry, epoch, connection, work) = next else { return }
            var failure: WebSocketError?
            if !connection.trySend(entry.message) {
                let outcome = SendFailure()
                await work.run { outcome.set(await Self.send(entry.message, on: connection)) }
                failure = outcome.value
            }
            let goesOn = perform { parts, _, after in
                if failure == nil { parts.counters.bytesSent += entry.message.byteCount }
                let isCancelled = failure?.code == .cancelled && work.isCancelled
                notify(parts.outbox.finishedSending(accepted: failure == nil, cancelled: isCancelled), &after)
                parts.slowSend = nil
                // A connection that takes nothing any more has ended or is about to; then another one goes on.
                if failure != nil, !isCancelled {
                    parts.isWriting = false
                    parts.deafEpoch = epoch
                    return (false, [])
                }
                return (true, [])
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
