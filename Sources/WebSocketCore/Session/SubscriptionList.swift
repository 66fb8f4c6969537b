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
        /// Sent this many times; the answer is awaited until then.
        case sent(attempt: Int, deadline: Duration)
        /// Refused or not answered after this many attempts; sent again at that time.
        case retry(attempt: Int, at: Duration)
        case active
        /// Given up on this connection, with the server's words.
        case failed(String)
    }

    package struct Timing: Sendable {
        /// How long an answer is awaited; nil when there are none.
        package var acknowledgement: Duration?
        /// From a refusal to the next attempt.
        package var retryDelay: Duration
        /// How often a channel is sent on one connection.
        package var attempts: Int
        /// How many channels go into one message.
        package var batch: Int
        /// From one message to the next.
        package var interval: Duration

        package init(
            acknowledgement: Duration?, retryDelay: Duration, attempts: Int, batch: Int = 1, interval: Duration = .zero
        ) {
            self.acknowledgement = acknowledgement
            self.retryDelay = retryDelay
            self.attempts = attempts
            self.batch = batch
            self.interval = interval
        }
    }

    package struct Failure: Sendable, Equatable {
        package let channel: String
        package let reason: String
        package let willRetry: Bool
    }

    private let timing: Timing
    private var entries: [(channel: String, status: Status)] = []
    /// Channels that are not wanted any more, whose answer may still come.
    private var departing: [(channel: String, until: Duration)] = []
    /// When the next message may go.
    private var nextMessage: Duration?

    package init(timing: Timing) { self.timing = timing }

    /// In the order in which they were first subscribed.
    package var channels: [String] { entries.map(\.channel) }
    package func contains(_ channel: String) -> Bool { index(channel) != nil }
    package func isActive(_ channel: String) -> Bool { index(channel).map { entries[$0].status == .active } ?? false }
    /// Channels whose answer is awaited.
    package var awaited: [String] {
        entries.filter { if case .sent = $0.status { true } else { false } }.map(\.channel)
    }
    /// Channels of which an answer may come: those, and the ones that were given up.
    package var recognised: [String] {
        if departing.isEmpty { return awaited }
        return awaited + departing.map(\.channel)
    }

    /// How far some channels have come.
    package enum Progress: Sendable, Equatable {
        case active
        case pending
        /// Refused, or not wanted at all, with reasons.
        case failed([String: String])
    }

    package func progress(of channels: [String]) -> Progress {
        var failures: [String: String] = [:]
        var isPending = false
        for channel in channels {
            guard let index = index(channel) else {
                failures[channel] = "it is not subscribed"
                continue
            }
            switch entries[index].status {
            case .active: break
            case .failed(let reason): failures[channel] = reason
            case .idle, .sent, .retry: isPending = true
            }
        }
        if isPending { return .pending }
        return failures.isEmpty ? .active : .failed(failures)
    }

    private func index(_ channel: String) -> Int? { entries.firstIndex { $0.channel == channel } }

    /// Wanted from now on. False when it was wanted already.
    package mutating func add(_ channel: String) -> Bool {
        guard index(channel) == nil else { return false }
        entries.append((channel, .idle))
        return true
    }

    /// Not wanted any more. With `awaitsAnswer`, its answer is still recognised for some time.
    ///
    /// - Returns: Whether it was sent on this connection; nil when it was not wanted.
    package mutating func remove(_ channel: String, awaitsAnswer now: Duration? = nil) -> Bool? {
        guard let index = index(channel) else { return nil }
        let entry = entries.remove(at: index)
        if case .idle = entry.status { return false }
        if let now, let patience = timing.acknowledgement { departing.append((channel, now + patience)) }
        return true
    }

    /// Nothing is subscribed any more: the connection ended.
    package mutating func reset() {
        for index in entries.indices { entries[index].status = .idle }
        departing = []
        nextMessage = nil
    }

    private func attempt(_ status: Status, at now: Duration) -> Int? {
        switch status {
        case .idle: 1
        case .retry(let last, let at): at <= now ? last + 1 : nil
        case .sent, .active, .failed: nil
        }
    }

    /// The channels of the next message, which goes now and counts as sent; empty when there is none or it is too early.
    package mutating func takeUnsent(at now: Duration) -> [String] {
        if let nextMessage, nextMessage > now { return [] }
        var due: [String] = []
        for index in entries.indices where due.count < timing.batch {
            guard let attempt = attempt(entries[index].status, at: now) else { continue }
            due.append(entries[index].channel)
            entries[index].status =
                timing.acknowledgement.map { .sent(attempt: attempt, deadline: now + $0) } ?? .active
        }
        if !due.isEmpty, timing.interval > .zero { nextMessage = now + timing.interval }
        return due
    }

    /// Whether channels wait for their turn.
    package var hasUnsent: Bool { entries.contains { $0.status == .idle } }
    /// When the next message may go, if one waits only for that.
    package var nextTurn: Duration? { hasUnsent ? nextMessage : nil }

    /// The server answered. Nil when no caller waits for that.
    package mutating func answered(_ reply: WebSocketSubscriptionReply, at now: Duration) -> Failure? {
        switch reply {
        case .accepted(let channel):
            if let index = index(channel) {
                entries[index].status = .active
            } else {
                departing.removeAll { $0.channel == channel }
            }
            return nil
        case .rejected(let channel, let reason):
            guard let index = index(channel) else {
                departing.removeAll { $0.channel == channel }
                return nil
            }
            return failed(index, reason, at: now)
        }
    }

    /// Answers that did not come in time.
    package mutating func expire(at now: Duration) -> [Failure] {
        var failures: [Failure] = []
        if !departing.isEmpty { departing.removeAll { $0.until <= now } }
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
        entries[index].status = willRetry ? .retry(attempt: attempt, at: now + timing.retryDelay) : .failed(reason)
        return Failure(channel: entries[index].channel, reason: reason, willRetry: willRetry)
    }

    /// When `expire` or `takeUnsent` has something to do next.
    package var nextDeadline: Duration? {
        let times = entries.compactMap { entry -> Duration? in
            switch entry.status {
            case .sent(_, let deadline): deadline
            case .retry(_, let at): max(at, nextMessage ?? at)
            case .idle: nextMessage
            case .active, .failed: nil
            }
        }
        return times.min()
    }
}
