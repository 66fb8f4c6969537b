//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore

// Channels: told to each connection in order, and again when an answer fails to come.
extension SessionCore {
    /// How far the channels came while a connection was prepared.
    struct Subscribed: Sendable {
        var list: SubscriptionList
        var failures: [SubscriptionList.Failure] = []
    }

    /// Sends every channel on a new connection and waits for the first round of answers.
    func subscribeAll(
        _ wanted: SubscriptionList, _ preparation: WebSocketSessionPreparation
    ) async throws -> Subscribed {
        var result = Subscribed(list: wanted)
        let coding = configuration.subscriptions
        for channel in result.list.takeUnsent(at: clock.now()) {
            try await preparation.send(try coding.subscribe(channel))
        }
        guard let reply = coding.reply else { return result }
        while !result.list.awaited.isEmpty, let deadline = result.list.nextDeadline {
            // So many messages and no answer among them: the rest is awaited while they are delivered.
            guard preparation.heldCount < configuration.inboundMessages else { break }
            let message = try await clock.limit(max(deadline - clock.now(), .zero)) { try await preparation.receive() }
            guard let message else {
                result.failures += result.list.expire(at: clock.now())
                break
            }
            if let answer = reply(message, result.list.awaited) {
                if let failure = result.list.answered(answer, at: clock.now()) { result.failures.append(failure) }
            } else {
                preparation.deliver(message)
            }
        }
        return result
    }

    /// Sends what is wanted and not sent on the open connection.
    func sendSubscriptions() {
        let (epoch, channels) = parts.withLock { parts -> (Int, [String]) in
            guard let (epoch, _) = parts.machine.openConnection else { return (0, []) }
            return (epoch, parts.subscriptions.takeUnsent(at: clock.now()))
        }
        guard !channels.isEmpty else { return }
        for channel in channels {
            do {
                sendControl(try configuration.subscriptions.subscribe(channel), epoch)
            } catch {
                perform { parts, now, after in
                    let reply = WebSocketSubscriptionReply.rejected(
                        channel, reason: "its message cannot be made: \(error)")
                    if let failure = parts.subscriptions.answered(reply, at: now) {
                        report(failure, &parts, now, &after)
                    }
                    return ((), [])
                }
            }
        }
    }

    func subscribe(_ channel: String) { parts.withLock { _ = $0.subscriptions.add(channel) } }

    func unsubscribe(_ channel: String) throws {
        let (wasThere, epoch) = parts.withLock { parts in
            (parts.subscriptions.remove(channel), parts.machine.openConnection?.0)
        }
        guard wasThere, let epoch, let message = try configuration.subscriptions.unsubscribe(channel) else { return }
        sendControl(message, epoch)
    }

    private func sendControl(_ message: WebSocketMessage, _ epoch: Int) {
        perform { parts, _, _ in
            if parts.machine.openConnection?.0 == epoch {
                _ = parts.outbox.offer(.init(id: nextID(), message: message, isControl: true))
            }
            return ((), [])
        }
    }

    func report(_ failure: SubscriptionList.Failure, _ parts: inout Parts, _ now: Duration, _ after: inout After) {
        raise(
            .subscriptionFailed,
            "subscribing to \(failure.channel.escapedForLog) failed: \(failure.reason.escapedForLog)"
                + (failure.willRetry ? "; it is tried again" : "; it is tried again on the next connection"),
            &parts, now, &after)
    }
}
