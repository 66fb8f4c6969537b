//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a server answers to a subscription.
public enum WebSocketSubscriptionReply: Sendable, Hashable {
    /// The channel is subscribed.
    case accepted(String)
    /// The channel was refused, with the server's words.
    case rejected(String, reason: String)
}

/// The channels that a session wants, in the order in which they were wanted, and how far each has come on the present
/// connection.
package struct SubscriptionList: Sendable {
    private enum Status: Sendable, Equatable {
        /// Not sent on this connection.
        case idle
        /// Sent so many times; the answer is awaited until then.
        case sent(attempt: Int, deadline: Duration)
        /// Refused or not answered after so many attempts; sent again at that time.
        case retry(attempt: Int, at: Duration)
        case active
        /// Given up on this connection.
        case failed
    }

    package struct Timing: Sendable {
        /// How long an answer is awaited; nil when there are none.
        package var acknowledgement: Duration?
        /// From a refusal to the next attempt.
        package var retryDelay: Duration
        /// How often a channel is sent on one connection.
        package var attempts: Int

        package init(acknowledgement: Duration?, retryDelay: Duration, attempts: Int) {
            self.acknowledgement = acknowledgement
            self.retryDelay = retryDelay
            self.attempts = attempts
        }
    }

    package struct Failure: Sendable, Equatable {
        package let channel: String
        package let reason: String
        package let willRetry: Bool
    }

    private let timing: Timing
    private var entries: [(channel: String, status: Status)] = []

    package init(timing: Timing) { self.timing = timing }

    /// In the order in which they were first subscribed.
    package var channels: [String] { entries.map(\.channel) }
    package func contains(_ channel: String) -> Bool { index(channel) != nil }
    package func isActive(_ channel: String) -> Bool { index(channel).map { entries[$0].status == .active } ?? false }
    /// Channels whose answer is awaited.
    package var awaited: [String] {
        entries.filter { if case .sent = $0.status { true } else { false } }.map(\.channel)
    }

    private func index(_ channel: String) -> Int? { entries.firstIndex { $0.channel == channel } }

    /// Wanted from now on. False when it was wanted already.
    package mutating func add(_ channel: String) -> Bool {
        guard index(channel) == nil else { return false }
        entries.append((channel, .idle))
        return true
    }

    package mutating func remove(_ channel: String) -> Bool {
        guard let index = index(channel) else { return false }
        entries.remove(at: index)
        return true
    }

    /// Nothing is subscribed any more: the connection ended.
    package mutating func reset() { for index in entries.indices { entries[index].status = .idle } }

    /// The channels that have to be sent now. They count as sent.
    package mutating func takeUnsent(at now: Duration) -> [String] {
        var due: [String] = []
        for index in entries.indices {
            let attempt: Int
            switch entries[index].status {
            case .idle: attempt = 1
            case .retry(let last, let at) where at <= now: attempt = last + 1
            default: continue
            }
            due.append(entries[index].channel)
            entries[index].status =
                timing.acknowledgement.map { .sent(attempt: attempt, deadline: now + $0) } ?? .active
        }
        return due
    }

    /// The server answered. Nil when nobody waits for that.
    package mutating func answered(_ reply: WebSocketSubscriptionReply, at now: Duration) -> Failure? {
        switch reply {
        case .accepted(let channel):
            if let index = index(channel) { entries[index].status = .active }
            return nil
        case .rejected(let channel, let reason):
            guard let index = index(channel) else { return nil }
            return failed(index, reason, at: now)
        }
    }

    /// Answers that did not come in time.
    package mutating func expire(at now: Duration) -> [Failure] {
        var failures: [Failure] = []
        for index in entries.indices {
            guard case .sent(_, let deadline) = entries[index].status, deadline <= now else { continue }
            failures.append(failed(index, "no acknowledgement came in time", at: now))
        }
        return failures
    }

    private mutating func failed(_ index: Int, _ reason: String, at now: Duration) -> Failure {
        var attempt = timing.attempts
        if case .sent(let last, _) = entries[index].status { attempt = last }
        let willRetry = attempt < timing.attempts
        entries[index].status = willRetry ? .retry(attempt: attempt, at: now + timing.retryDelay) : .failed
        return Failure(channel: entries[index].channel, reason: reason, willRetry: willRetry)
    }

    /// When `expire` or `takeUnsent` has something to do next.
    package var nextDeadline: Duration? {
        entries.compactMap { entry -> Duration? in
            switch entry.status {
            case .sent(_, let deadline): deadline
            case .retry(_, let at): at
            default: nil
            }
        }.min()
    }
}
