//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import Synchronization

/// A clock with its type erased. Its instants count from when this was made.
///
/// A class, because the size of a clock's instant is known at run time only, and what contained one would be laid out at
/// run time as well.
package final class AnyClock: Sendable {
    /// Nanoseconds of a clock that is cheaper to read and may be some milliseconds late; see ``now``.
    @usableFromInline package typealias CoarseClock = @Sendable () -> Ticks

    @usableFromInline let isContinuous: Bool
    @usableFromInline let continuousOrigin: ContinuousClock.Instant
    @usableFromInline let other: @Sendable () -> Ticks
    private let exactElapsed: @Sendable () -> Duration
    private let sleepUntil: @Sendable (Duration) async throws -> Void

    @usableFromInline let isCoarse: Bool
    @usableFromInline let coarse: CoarseClock
    /// What the coarse clock lacks.
    @usableFromInline let offset: Atomic<Ticks>

    package convenience init(_ clock: some Clock<Duration>) {
        self.init(clock, coarse: { 0 }, isCoarse: false)
    }

    /// The coarse clock is read in place of the continuous clock only.
    package convenience init(_ clock: some Clock<Duration>, coarse: @escaping CoarseClock) {
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
        exactElapsed = { origin.duration(to: clock.now) }
        sleepUntil = { try await clock.sleep(until: origin.advanced(by: $0), tolerance: nil) }
    }

    /// What machines go by. A pool's lease reads it twice, and a coarse clock is five times as fast as an exact one:
    /// then single spans are exact to some milliseconds only, but sums of them are not biased.
    @inlinable
    package var now: Ticks { isCoarse ? coarse() + offset.load(ordering: .relaxed) : exactNow }

    /// For deadlines, which must not come early.
    @inlinable
    package var exactNow: Ticks {
        // The usual clock is read without the indirections of the general case.
        isContinuous ? continuousOrigin.duration(to: .now).wholeNanoseconds : other()
    }

    /// The exact time, as a duration since this was made.
    package var elapsed: Duration { exactElapsed() }

    /// The end of a span that began at `now`; a little later rather than too early.
    package func deadline(after span: Ticks, from now: Ticks) -> Ticks {
        // What a coarse clock may be late, which in a long span is nothing.
        let lateness: Ticks = 10_000_000
        if !isCoarse { return now.after(span) }
        return span >= 100 * lateness ? now.after(span).after(lateness) : exactNow.after(span)
    }

    /// Returns at `deadline`, or throws when the task is cancelled.
    package func sleep(until deadline: Ticks) async throws {
        try await sleepUntil(.nanoseconds(deadline))
        guard isCoarse else { return }
        // Coarse clocks stand still while the machine sleeps. Timers do not, so they notice first.
        let offset = offset.load(ordering: .relaxed)
        let lag = exactNow - coarse() - offset
        if lag > 100_000_000 {
            // Whichever is second has seen the same lag.
            _ = self.offset.compareExchange(expected: offset, desired: offset + lag, ordering: .relaxed)
        }
    }

    /// Returns at `deadline`, a value of `elapsed`, or throws when the task is cancelled.
    package func sleep(until deadline: Duration) async throws { try await sleepUntil(deadline) }

    /// Performs `work` and cancels it after `limit`.
    ///
    /// - Returns: What the work produced, also when it did so after it was cancelled; `nil` when it was too slow.
    /// - Throws: What the work throws within its time.
    package func limit<Value: Sendable>(
        _ limit: Duration?, _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value? {
        guard let limit else { return try await work() }
        let deadline = elapsed + limit
        return try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { try await work() }
            group.addTask { [self] in
                try? await sleep(until: deadline)
                return nil
            }
            defer { group.cancelAll() }
            guard let first = try await group.next() else { return nil }
            if first == nil {
                // What it nevertheless produced is not lost.
                group.cancelAll()
                return (try? await group.next()) ?? nil
            }
            return first
        }
    }
}
