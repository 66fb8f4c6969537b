//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketConcurrency

/// One of the places that connections lead to, with its circuit breaker.
package struct Endpoint: Sendable {
    package enum Health: Sendable, Hashable {
        /// Attempts are allowed; after a failure one at a time, and not before `retryAt`.
        /// → `ejected` at the breaker's threshold of consecutive failures, or after a fatal one.
        case healthy(failures: Int, retryAt: Ticks)
        /// No attempts. `times` counts ejections without a success in between.
        /// → `probing` at `until`; `returning` when an attempt from before the ejection succeeds after all.
        case ejected(until: Ticks, times: Int)
        /// One attempt at a time.
        /// → `returning` when it succeeds; `ejected`, for longer, when it fails.
        case probing(times: Int)
        /// At most `allowance` attempts at a time; doubles with each success.
        /// → `healthy` when the allowance has reached the pool's limit; `ejected` on a failure.
        case returning(allowance: Int, times: Int)
    }

    package var name: String
    package private(set) var health = Health.healthy(failures: 0, retryAt: 0)
    /// It has not answered lately: a validation failed, or waiters lost patience with a validation or an attempt. Other
    /// endpoints go first until it answers.
    package private(set) var isSuspect = false
    /// It has failed since it last had its share of the connections; see ``PoolStateMachine/restoreShares(at:_:)``.
    package private(set) var isAwaited = false
    /// Tells failures of attempts that began before an ejection from those that count.
    private(set) var ejections = 0

    /// Whether it gets new connections at all; see ``PoolStateMachine/listEndpoints(_:at:)``.
    package var isListed = true {
        didSet {
            guard self.isListed && !oldValue else { return }
            health = .healthy(failures: 0, retryAt: 0)
            isSuspect = false
        }
    }

    /// Slots that are idle here, least recently returned first. An array, because its end is where the traffic is.
    package var idle: [Int] = []
    package var total = 0
    package var leased = 0
    package var connecting = 0

    package init(name: String = "") { self.name = name }

    package var isEjected: Bool {
        if case .ejected = health { true } else { false }
    }

    /// How much speaks against lending its idle connections.
    var doubt: Int { isEjected ? 2 : isSuspect ? 1 : 0 }

    /// Whether no attempt will be allowed soon.
    package var isHopeless: Bool { isEjected || !isListed }

    /// The next instant at which time alone changes what is allowed.
    var nextChange: Ticks {
        guard isListed else { return .never }
        return switch health {
        case .healthy(let failures, let retryAt): failures > 0 ? retryAt : .never
        case .ejected(let until, _): until
        case .probing, .returning: .never
        }
    }

    /// Lets time end an ejection.
    package mutating func advance(to now: Ticks) {
        if case .ejected(let until, let times) = health, until <= now { health = .probing(times: times) }
    }

    package func allowsAttempt(at now: Ticks) -> Bool {
        guard isListed else { return false }
        return switch health {
        case .healthy(let failures, let retryAt): failures == 0 || (retryAt <= now && connecting == 0)
        case .ejected: false
        case .probing: connecting == 0
        case .returning(let allowance, _): connecting < allowance
        }
    }

    /// It did not answer in time, or not at all.
    package mutating func suspect() {
        isSuspect = true
        isAwaited = true
    }

    /// A connection proved alive.
    package mutating func answered() { isSuspect = false }

    /// It has as many connections as the others again.
    package mutating func reachedShare() { isAwaited = false }

    /// An attempt succeeded.
    /// - Returns: Whether the circuit closed by it.
    package mutating func attemptSucceeded(limit: Int) -> Bool {
        answered()
        switch health {
        case .healthy:
            health = .healthy(failures: 0, retryAt: 0)
            return false
        case .ejected(_, let times), .probing(let times):
            health = limit > 1 ? .returning(allowance: 1, times: times) : .healthy(failures: 0, retryAt: 0)
            return true
        case .returning(let allowance, let times):
            health =
                allowance * 2 < limit
                ? .returning(allowance: allowance * 2, times: times) : .healthy(failures: 0, retryAt: 0)
            return false
        }
    }

    /// An attempt failed. An endpoint that asked to be left alone is, whatever else is known of it.
    /// - Returns: For how long the endpoint is ejected because of it, if it is.
    package mutating func attemptFailed(
        at now: Ticks, sinceEjection: Int, isFatal: Bool, retryAfter: Ticks = 0, settings: PoolSettings,
        random: inout PoolRandom
    ) -> Ticks? {
        isAwaited = true
        let rest = Swift.min(retryAfter, settings.maximumRetryAfter)
        switch health {
        case .healthy(let failures, _):
            if isFatal || rest > 0 || failures + 1 >= settings.failureThreshold {
                return eject(at: now, times: 0, atLeast: rest, settings: settings, random: &random)
            }
            let bound = settings.backoffBase.doubled(failures, upTo: settings.backoffMaximum)
            health = .healthy(failures: failures + 1, retryAt: now.after(random.span(upTo: bound)))
            return nil
        case .ejected(let until, let times):
            if rest > 0 { health = .ejected(until: Swift.max(until, now.after(rest)), times: times) }
            return nil
        case .probing(let times), .returning(_, let times):
            guard sinceEjection == ejections || rest > 0 else { return nil }
            return eject(at: now, times: times + 1, atLeast: rest, settings: settings, random: &random)
        }
    }

    private mutating func eject(
        at now: Ticks, times: Int, atLeast rest: Ticks, settings: PoolSettings, random: inout PoolRandom
    ) -> Ticks {
        let longest = settings.openDuration.doubled(times, upTo: settings.maximumOpenDuration)
        // Half fixed, half random: many pools that lost one server together must not probe it together.
        var duration = longest - random.span(upTo: longest / 2)
        // Never earlier than the endpoint asked for, and not together with the others that it asked.
        if rest > duration { duration = rest + random.span(upTo: rest / 10) }
        health = .ejected(until: now.after(duration), times: times)
        ejections += 1
        return duration
    }
}

extension Ticks {
    /// `self × 2ⁿ`, at most `bound`.
    fileprivate func doubled(_ times: Int, upTo bound: Ticks) -> Ticks {
        var value = Swift.min(self, bound)
        var left = times
        while left > 0, value > 0, value < bound {
            value = value > bound / 2 ? bound : value * 2
            left -= 1
        }
        return value
    }
}
