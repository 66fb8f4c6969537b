//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What goes out: messages, requests and subscriptions.
extension SessionCoordinator {
    // MARK: Messages

    /// The connection that a message may be given to at once.
    package var directConnection: World.Connection? {
        outbox.canSendDirectly ? machine.openConnection?.1 : nil
    }

    /// That connection took it.
    package mutating func sentDirectly(_ entry: Outbox.Entry) {
        counters.bytesSent += entry.message.byteCount
        outbox.sentDirectly(entry)
        if entry.isRequest { noteRequests() }
    }

    /// There is no connection, and the queue has room: the caller need not wait.
    package mutating func queue(_ entry: Outbox.Entry) -> Bool {
        guard !outbox.isConnected, !outbox.isFull, !machine.publicState.isTerminal, failure == nil else { return false }
        return outbox.offer(entry) == .queued
    }

    package func deadline(_ patience: Duration?, at now: Duration) -> Duration? {
        (patience ?? settings.outboundDeadline).map { now + $0 }
    }

    /// - Returns: Why it was refused.
    package mutating func offer(_ entry: Outbox.Entry, at now: Duration) -> WebSocketError? {
        if machine.publicState.isTerminal {
            outbox.refuse()
            return endedError
        }
        if let failure {
            outbox.refuse()
            return failure
        }
        switch outbox.offer(entry) {
        case .queued: return nil
        case .notConnected:
            guard hasRun else { return Self.notRunning }
            return WebSocketError(
                .notConnected,
                "the session is \(machine.publicState) and the message was not sent; wait for waitConnected, or set outboundQueue to keep messages meanwhile"
            )
        case .full:
            let limit = settings.outboundQueue
            raise(.outboundOverflow, "the queue for messages without a connection is full (\(limit))", at: now)
            return WebSocketError(
                .sendQueueFull,
                "the queue for messages without a connection is full (outboundQueue is \(limit)); send less or raise it"
            )
        }
    }

    /// What a caller is told who wants a connection that nothing opens.
    package static var notRunning: WebSocketError {
        WebSocketError(
            .notConnected,
            "the session does not run, so nothing connects it; call run() in a task of its own, or use withSession")
    }

    /// Once: many may wait for the same.
    package mutating func mayTellThatItDoesNotRun() -> Bool {
        defer { hasToldThatItDoesNotRun = true }
        return !hasToldThatItDoesNotRun
    }

    package mutating func cancelSend(id: UInt64) {
        switch outbox.cancel(id: id) {
        case .removed(let waiter): add(.settle(waiter, .success(.cancelled)))
        case .sending: if let slowSend { add(.cancel(slowSend)) }
        case .gone: break
        }
    }

    /// The operating system has taken messages of this connection, as many in all.
    package mutating func written(_ epoch: Int, total: Int) -> [Effect] {
        add(outbox.written(epoch, total: total))
        return takeEffects()
    }

    // MARK: The writer

    /// There is a connection and something waits: one writer takes care of that.
    mutating func startWriting() {
        guard !isWriting, outbox.isConnected, outbox.queuedCount > 0,
            let (epoch, connection) = machine.openConnection, epoch != refusingEpoch
        else { return }
        isWriting = true
        add(.write(connection))
    }

    package struct Writing: Sendable {
        package let entry: Outbox.Entry
        package let connection: World.Connection
        package let work: World.Work
        let epoch: Int
    }

    /// What the writer has to write; nil when it is through.
    package mutating func nextToWrite() -> Writing? {
        guard let (entry, epoch) = outbox.next(), let port = ports[epoch] else {
            isWriting = false
            return nil
        }
        let work = World.makeWork()
        slowSend = work
        return Writing(entry: entry, connection: port.connection, work: work, epoch: epoch)
    }

    /// - Returns: Whether the writer goes on.
    package mutating func wrote(_ writing: Writing, accepted: Bool, cancelled: Bool) -> Bool {
        if accepted { counters.bytesSent += writing.entry.message.byteCount }
        add(outbox.finishedSending(accepted: accepted, cancelled: cancelled))
        slowSend = nil
        guard !accepted, !cancelled else { return true }
        // A connection that takes nothing any more has ended or is about to; then another one goes on.
        isWriting = false
        refusingEpoch = writing.epoch
        return false
    }

    // MARK: The session's own messages

    /// For the open connection.
    package mutating func sendControl(_ message: WebSocketMessage, _ epoch: Int) {
        guard machine.openConnection?.0 == epoch else { return }
        _ = outbox.offer(.init(id: 0, message: message, isControl: true))
    }

    /// The connection that answers a message, if it is not to be queued.
    package func answering(_ epoch: Int) -> World.Connection? {
        guard let port = ports[epoch], port.end == nil else { return nil }
        return machine.openConnection?.0 == epoch && !outbox.canSendDirectly ? nil : port.connection
    }

    /// That connection took the answer.
    package mutating func noteAnswered(_ message: WebSocketMessage, _ epoch: Int) {
        guard let port = ports[epoch] else { return }
        counters.bytesSent += message.byteCount
        if port.stage == .taken { outbox.sentControl(message, on: epoch) } else { ports[epoch]?.accepted += 1 }
    }

    // MARK: Requests

    package mutating func register(
        id: UInt64, _ message: WebSocketMessage, isIdempotent: Bool, _ waiter: World.MessageWaiter,
        matches: @escaping @Sendable (WebSocketMessage) -> Bool
    ) {
        requests.append(
            Request(id: id, message: message, isIdempotent: isIdempotent, matches: matches, waiter: waiter))
    }

    package mutating func cancelRequest(id: UInt64) -> World.MessageWaiter? {
        guard let index = requests.firstIndex(where: { $0.id == id }) else { return nil }
        cancelSend(id: id)
        return requests.remove(at: index).waiter
    }

    private mutating func noteRequests() {
        for (id, epoch) in outbox.takeRequests() {
            if let index = requests.firstIndex(where: { $0.id == id }) { requests[index].epoch = epoch }
        }
    }

    /// Finds requests whose message is not under way any more.
    mutating func reviewRequests() {
        guard !requests.isEmpty else { return }
        noteRequests()
        guard !outbox.isConnected else { return }
        for index in requests.indices.reversed() {
            let request = requests[index]
            guard request.epoch == nil, !request.waitsForConnection, !outbox.holds(id: request.id) else { continue }
            if request.isIdempotent {
                requests[index].waitsForConnection = true
            } else {
                requests.remove(at: index)
                let error = WebSocketError(
                    .notSent, "the connection ended before the request was sent; send it again when there is another")
                add(.reply(request.waiter, .failure(error)))
            }
        }
    }

    /// The connection that took a request has ended.
    mutating func connectionLost(_ epoch: Int, _ info: WebSocketCloseInfo?) {
        guard !requests.isEmpty else { return }
        noteRequests()
        for index in requests.indices.reversed() where requests[index].epoch == epoch {
            requests[index].epoch = nil
            // Put back into the queue: certainly not sent.
            if outbox.holds(id: requests[index].id) { continue }
            if requests[index].isIdempotent {
                requests[index].waitsForConnection = true
            } else {
                let error =
                    info.map { WebSocketError.closed($0) }
                    ?? WebSocketError(
                        .connectionClosed,
                        "the connection ended before the reply; ask again if the server may be asked twice")
                add(.reply(requests.remove(at: index).waiter, .failure(error)))
            }
        }
        if outbox.isConnected { repeatRequests() }
    }

    /// There is a connection: requests that may be sent again are.
    mutating func repeatRequests() {
        for index in requests.indices where requests[index].waitsForConnection {
            requests[index].waitsForConnection = false
            let request = requests[index]
            _ = outbox.offer(
                .init(id: request.id, message: request.message, isIdempotent: true, isRequest: true))
        }
    }

    mutating func failRequests(_ error: WebSocketError) {
        for request in requests { add(.reply(request.waiter, .failure(error))) }
        requests = []
    }

    // MARK: Subscriptions

    package mutating func subscribe(_ channel: String) { _ = subscriptions.add(channel) }

    /// - Returns: Whether the server is to be told, on this connection.
    package mutating func unsubscribe(_ channel: String, at now: Duration) -> Int? {
        guard subscriptions.remove(channel, awaitsAnswer: now) == true else { return nil }
        return machine.openConnection?.0
    }

    /// The message of these channels cannot be made.
    package mutating func refuse(_ channels: [String], _ reason: String, _ epoch: Int, at now: Duration) {
        for channel in channels {
            let reply = WebSocketSubscriptionReply.rejected(channel, reason: reason)
            let failure: SubscriptionList.Failure?
            if let port = ports[epoch], port.stage != .taken {
                failure = ports[epoch]?.list.answered(reply, at: now) ?? nil
            } else {
                failure = subscriptions.answered(reply, at: now)
            }
            if let failure { report(failure, at: now) }
        }
    }

    /// Sends what is wanted, and finds answers that did not come.
    mutating func reviewSubscriptions(_ state: WebSocketSessionState, at now: Duration) {
        if state == .connected, let epoch = machine.openConnection?.0 {
            for failure in subscriptions.expire(at: now) { missed(failure, at: now) }
            while true {
                let channels = subscriptions.takeUnsent(at: now)
                if channels.isEmpty { break }
                add(.subscribe(epoch, channels))
            }
        }
        for (epoch, port) in ports where port.stage != .taken {
            for failure in ports[epoch]?.list.expire(at: now) ?? [] { missed(failure, at: now) }
            reviewAcknowledgement(epoch)
        }
    }

    private mutating func missed(_ failure: SubscriptionList.Failure, at now: Duration) {
        tell(.subscription(.rejected(failure.channel, reason: failure.reason)))
        report(failure, at: now)
    }

    mutating func report(_ failure: SubscriptionList.Failure, at now: Duration) {
        raise(
            .subscriptionFailed,
            "subscribing to \(failure.channel.escapedForLog) failed: \(failure.reason.escapedForLog)"
                + (failure.willRetry ? "; it is tried again" : "; it is tried again on the next connection"), at: now)
    }
}
