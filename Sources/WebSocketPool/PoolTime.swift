//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// Nanoseconds since the pool was made, or a span of them.
///
/// The machine counts in these instead of the clock's own instants: it stays free of a generic parameter that the hot
/// path would pay for, and its states can be written down in a test.
package typealias Ticks = Int64

extension Ticks {
    /// Later than every instant that is ever reached.
    package static var never: Ticks { .max }

    /// This instant, `span` later; `never` when either is.
    package func after(_ span: Ticks) -> Ticks {
        let (sum, overflow) = addingReportingOverflow(span)
        return overflow ? .never : sum
    }
}

extension Duration {
    /// Whole nanoseconds, at least 0, saturating at `never`.
    package var ticks: Ticks {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .never : product.after(attoseconds / 1_000_000_000)
    }
}

extension Duration {
    /// The nanoseconds of a duration that is a whole number of them and not negative, as every difference of this
    /// clock's readings is.
    ///
    /// An exact division by 10⁹ = 2⁹ × 5⁹: a shift, and a multiplication by the inverse of 5⁹ modulo 2⁶⁴. Dividing
    /// 128 bits in general takes longer than reading the clock.
    fileprivate var wholeNanoseconds: Ticks {
        let inverse: UInt64 = 0x8E47_CE42_3A2E_9C6D
        return Ticks(bitPattern: UInt64(truncatingIfNeeded: attoseconds >> 9) &* inverse)
    }
}

/// The clock behind the pool, with its type erased.
///
/// A class, because the size of a clock's instant is known at run time only, and a pool that contained one would be
/// laid out at run time as well.
final class TimeSource: Sendable {
    /// Nanoseconds of a clock that is cheaper to read and may be some milliseconds late; see ``now``.
    typealias CoarseClock = @Sendable () -> Ticks

    private let isContinuous: Bool
    private let continuousOrigin: ContinuousClock.Instant
    private let other: @Sendable () -> Ticks
    private let sleep: @Sendable (Ticks) async throws -> Void

    private let isCoarse: Bool
    private let coarse: CoarseClock
    /// What the coarse clock lacks.
    private let offset: Atomic<Ticks>

    convenience init(_ clock: some Clock<Duration>) {
        self.init(clock, coarse: { 0 }, isCoarse: false)
    }

    convenience init(_ clock: some Clock<Duration>, coarse: @escaping CoarseClock) {
        self.init(clock, coarse: coarse, isCoarse: true)
    }

    private init<C: Clock<Duration>>(_ clock: C, coarse: @escaping CoarseClock, isCoarse: Bool) {
        let origin = clock.now
        if let origin = origin as? ContinuousClock.Instant {
            isContinuous = true
            continuousOrigin = origin
            other = { 0 }
            self.isCoarse = isCoarse
        } else {
            isContinuous = false
            continuousOrigin = .now
            other = { origin.duration(to: clock.now).ticks }
            self.isCoarse = false
        }
        self.coarse = coarse
        offset = Atomic(-coarse())
        sleep = { deadline in
            try await clock.sleep(until: origin.advanced(by: .nanoseconds(deadline)), tolerance: nil)
        }
    }

    /// What the machine goes by. Every lease reads it twice, and a coarse clock is five times as fast as an exact one:
    /// then single spans are exact to some milliseconds only, but sums of them are not biased.
    var now: Ticks { isCoarse ? coarse() + offset.load(ordering: .relaxed) : exactNow }

    /// For deadlines, which must not come early.
    var exactNow: Ticks {
        // The usual clock is read without the indirections of the general case.
        isContinuous ? continuousOrigin.duration(to: .now).wholeNanoseconds : other()
    }

    /// The end of a span that began at `now`; a little later rather than too early.
    func deadline(after span: Ticks, from now: Ticks) -> Ticks {
        // What a coarse clock may be late, beside which nobody notices it in a long span.
        let lateness: Ticks = 10_000_000
        if !isCoarse { return now.after(span) }
        return span >= 100 * lateness ? now.after(span).after(lateness) : exactNow.after(span)
    }

    /// Returns at `deadline`, or throws when the task is cancelled.
    func sleep(until deadline: Ticks) async throws {
        try await sleep(deadline)
        guard isCoarse else { return }
        // Coarse clocks stand still while the machine sleeps. Timers do not, so they notice first.
        let offset = self.offset.load(ordering: .relaxed)
        let lag = exactNow - coarse() - offset
        if lag > 100_000_000 {
            // Whoever is second has seen the same lag.
            _ = self.offset.compareExchange(expected: offset, desired: offset + lag, ordering: .relaxed)
        }
    }
}

/// SplitMix64: small, seedable and good enough to spread delays. Not for secrets.
package struct PoolRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// Uniform in `0 ... bound`.
    mutating func span(upTo bound: Ticks) -> Ticks { bound <= 0 ? 0 : Ticks.random(in: 0...bound, using: &self) }
}
