//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// SplitMix64: small, seedable and good enough to spread delays. Not for secrets.
package struct SessionRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}

/// Counts attempts and decides when the next one is. Times are durations since the owner's beginning.
package struct ReconnectEngine: Sendable {
    package enum Verdict: Sendable, Equatable {
        case retry(after: Duration)
        /// Enough attempts, or one that would fail again.
        case giveUp
    }

    private let policy: WebSocketReconnectPolicy
    private var random: SessionRandom
    private var connectedAt: Duration?
    private var hasBeenConnected = false
    /// Attempts since the last connection that met what would have been fatal before the first one.
    private var faults = 0
    /// Attempts since the last stable connection.
    package private(set) var attempts = 0

    package init(policy: WebSocketReconnectPolicy, seed: UInt64) {
        self.policy = policy
        random = SessionRandom(seed: seed)
    }

    /// A connection is open.
    package mutating func connected(at now: Duration) {
        connectedAt = now
        hasBeenConnected = true
        faults = 0
    }

    /// When the present connection has lasted long enough; nil when that has no effect.
    package var stableAt: Duration? { attempts > 0 ? connectedAt.map { $0 + policy.stableTime } : nil }

    /// The present connection has lasted until `now`.
    package mutating func lasted(until now: Duration) {
        if let connectedAt, now >= connectedAt + policy.stableTime { attempts = 0 }
    }

    /// An attempt failed or a connection ended. What follows has two halves, because the policy's closures are the
    /// application's and no lock may be held while they run: `WebSocketReconnectPolicy.answer`, then `decide`.
    ///
    /// - Returns: The number of the attempt that would follow.
    package mutating func ended(at now: Duration) -> Int {
        lasted(until: now)
        connectedAt = nil
        return attempts + 1
    }

    /// What the policy's answer means.
    package mutating func decide(_ answer: WebSocketReconnectPolicy.Answer) -> Verdict {
        switch answer {
        case .giveUp: return .giveUp
        case .retry(let least, let custom):
            attempts += 1
            // Added, not the greater of both: those who were told the same time shall not come at the same time.
            return .retry(after: least + (custom ?? delay(attempt: attempts)))
        case .retrySlowly(let least, let custom):
            guard hasBeenConnected else { return .giveUp }
            faults += 1
            return decide(.retry(least: least + Self.grown(.milliseconds(250), faults, .seconds(60)), custom: custom))
        }
    }

    /// Both halves, for an owner that holds no lock.
    package mutating func next(
        after cause: WebSocketReconnectPolicy.Cause, at now: Duration, clock: Int64? = nil
    ) -> Verdict {
        decide(policy.answer(cause, attempt: ended(at: now), clock: clock))
    }

    /// Attempts are counted from the beginning: a caller asked for a connection.
    package mutating func restart() {
        attempts = 0
        connectedAt = nil
    }

    private mutating func delay(attempt: Int) -> Duration {
        switch policy.strategy {
        case .immediate:
            return attempt == 1 ? .zero : Self.grown(.milliseconds(100), attempt - 1, .seconds(10))
        case .fixed(let delay): return delay
        case .exponential(let base, let maximum): return Self.grown(base, attempt, maximum)
        case .fullJitter(let base, let maximum):
            let bound = Self.grown(base, attempt, maximum)
            return bound * Double.random(in: 0..<1, using: &random)
        // The answer has what the closure said.
        case .custom: return .zero
        case .callbackControlled: return .seconds(1)
        }
    }

    /// `base` · 2ⁿ⁻¹, at most `maximum`.
    private static func grown(_ base: Duration, _ attempt: Int, _ maximum: Duration) -> Duration {
        min(base * (1 << min(attempt - 1, 20)), maximum)
    }
}
