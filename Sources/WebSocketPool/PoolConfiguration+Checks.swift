//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// A value that is corrected in silence is found in production, one that is refused on the first run.
extension WebSocketPoolConfiguration {
    /// The first setting that cannot be used, with its value and what it may be; `nil` when all can.
    package var problem: String? {
        if let problem = Self.sizeProblem(soft: softMaximum, hard: hardMaximum, minimumIdle: minimumIdle) {
            return problem
        }
        var check = SettingCheck()
        check.number("warmUpCount", warmUpCount, 0...softMaximum, "softMaximum")
        check.number("maximumWaiters", maximumWaiters, atLeast: 0)
        check.number("maximumConcurrentConnects", maximumConcurrentConnects, atLeast: 1)
        check.time("acquireTimeout", acquireTimeout)
        check.time("connectTimeout", connectTimeout, isZeroAllowed: false)
        check.time("connectStagger", connectStagger)
        check.time("backoff.base", backoff.base)
        check.time("backoff.maximum", backoff.maximum, atLeast: backoff.base, "backoff.base")
        check.number("circuitBreaker.failureThreshold", circuitBreaker.failureThreshold, atLeast: 1)
        check.time("circuitBreaker.openDuration", circuitBreaker.openDuration, isZeroAllowed: false)
        check.time(
            "circuitBreaker.maximumOpenDuration", circuitBreaker.maximumOpenDuration,
            atLeast: circuitBreaker.openDuration, "circuitBreaker.openDuration")
        check.time("circuitBreaker.maximumRetryAfter", circuitBreaker.maximumRetryAfter)
        check.time("idleTimeout", idleTimeout)
        check.time("maximumLifetime", maximumLifetime)
        // Written so that it also refuses what is not a number.
        check.note(
            lifetimeJitter >= 0 && lifetimeJitter <= 1, "lifetimeJitter is \(lifetimeJitter); it must be in 0...1")
        check.time("keepaliveInterval", keepaliveInterval)
        check.time("validationBypass", validationBypass)
        check.time("validationTimeout", validationTimeout, isZeroAllowed: false)
        if case .drain(let options) = hygiene {
            check.time("hygiene.drain.timeout", options.timeout, isZeroAllowed: false)
            check.time("hygiene.drain.quietPeriod", options.quietPeriod)
            check.time("hygiene.drain.timeout", options.timeout, atLeast: options.quietPeriod, "its quietPeriod")
        }
        check.time("closeTimeout", closeTimeout)
        check.time("shutdownGrace", shutdownGrace)
        check.time("leakThreshold", leakThreshold)
        return check.problem
    }

    /// Whether a pool can have these sizes, for a pool that runs too.
    package static func sizeProblem(soft: Int, hard: Int, minimumIdle: Int) -> String? {
        // Where the two are one setting, that one is named.
        let isOne = soft == hard
        var check = SettingCheck()
        check.number(isOne ? "maximumConnections" : "hardMaximum", hard, atLeast: 1)
        check.number("softMaximum", soft, 0...max(0, hard), "hardMaximum")
        check.number("minimumIdle", minimumIdle, 0...max(0, soft), isOne ? "maximumConnections" : "softMaximum")
        return check.problem
    }
}

/// Remembers the first setting that is out of range.
private struct SettingCheck {
    private(set) var problem: String?

    mutating func note(_ isRight: Bool, _ text: @autoclosure () -> String) {
        if !isRight && problem == nil { problem = text() }
    }

    mutating func number(_ name: String, _ value: Int, atLeast minimum: Int) {
        note(value >= minimum, "\(name) is \(value); it must be at least \(minimum)")
    }

    mutating func number(_ name: String, _ value: Int, _ range: ClosedRange<Int>, _ bound: String) {
        note(range.contains(value), "\(name) is \(value); it must be in \(range), up to \(bound)")
    }

    mutating func time(_ name: String, _ value: Duration?, isZeroAllowed: Bool = true) {
        guard let value else { return }
        let range = isZeroAllowed ? "zero or more" : "more than zero"
        note(isZeroAllowed ? value >= .zero : value > .zero, "\(name) is \(value); it must be \(range)")
    }

    mutating func time(_ name: String, _ value: Duration, atLeast minimum: Duration, _ bound: String) {
        note(value >= minimum, "\(name) is \(value); it must be at least \(bound), which is \(minimum)")
    }
}
