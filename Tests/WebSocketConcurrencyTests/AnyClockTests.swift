//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketConcurrency

@Suite
struct AnyClockTests {
    struct Refused: Error {}

    @Test
    func itsInstantsCountFromWhenItWasMade() throws {
        try Simulation.run { simulation in
            await simulation.pass(.seconds(5))
            let clock = AnyClock(simulation)
            #expect(clock.now == 0 && clock.exactNow == 0 && clock.elapsed == .zero)
            await simulation.pass(.milliseconds(1_500))
            #expect(clock.now == 1_500_000_000 && clock.exactNow == clock.now && clock.elapsed == .milliseconds(1_500))
        }
    }

    /// It sleeps until a deadline in either unit, and is cancelled with its task.
    @Test
    func itSleepsUntilADeadlineInEitherUnit() throws {
        try Simulation.run { simulation in
            let clock = AnyClock(simulation)
            try await clock.sleep(until: Ticks(2_000_000_000))
            #expect(simulation.elapsed == .seconds(2))
            try await clock.sleep(until: Duration.seconds(3))
            #expect(simulation.elapsed == .seconds(3))
            let task = Task(executorPreference: simulation) { try await clock.sleep(until: Duration.seconds(100)) }
            await simulation.pass(.seconds(1))
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }
    }

    @Test
    func aCoarseClockIsReadInPlaceOfTheContinuousOneOnly() throws {
        let reads = Mutex(0)
        let coarse: AnyClock.CoarseClock = {
            reads.withLock { reads in
                reads += 1
                return Ticks(reads) * 1_000
            }
        }
        let clock = AnyClock(ContinuousClock(), coarse: coarse)
        #expect(clock.now == 1_000)
        #expect(clock.now == 2_000)
        try Simulation.run { simulation in
            let clock = AnyClock(simulation, coarse: { 77 })
            await simulation.pass(.seconds(1))
            #expect(clock.now == 1_000_000_000)
        }
    }

    /// With a coarse clock a long span may end a little late, a short one is exact.
    @Test
    func withACoarseClockALongSpanMayEndALittleLate() {
        let clock = AnyClock(ContinuousClock(), coarse: { 0 })
        #expect(clock.deadline(after: 1_000_000_000, from: 0) == 1_010_000_000)
        let before = clock.exactNow
        let deadline = clock.deadline(after: 1_000_000, from: 0)
        #expect((before + 1_000_000...clock.exactNow + 1_000_000).contains(deadline))
        #expect(AnyClock(ContinuousClock()).deadline(after: 5, from: 7) == 12)
    }

    @Test(arguments: Simulation.seeds)
    func limitReturnsWhatTheWorkProducedInTimeOrNil(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let clock = AnyClock(simulation)
            func work(_ duration: Duration) async throws -> Int? {
                try await clock.limit(.seconds(2)) {
                    try await simulation.sleep(until: simulation.now.advanced(by: duration))
                    return 1
                }
            }
            let quick = try await work(.seconds(1))
            #expect(quick == 1)
            let slow = try await work(.seconds(3))
            #expect(slow == nil)
            #expect(simulation.elapsed == .seconds(3))
            await #expect(throws: Refused.self) {
                try await clock.limit(.seconds(2)) { () async throws -> Int in throw Refused() }
            }
            let unlimited = try await clock.limit(nil) { 2 }
            #expect(unlimited == 2)
        }
    }

    @Test
    func whatWorkProducesAlthoughItsTimeIsOverIsNotLost() throws {
        try Simulation.run { simulation in
            let value = try await AnyClock(simulation).limit(.seconds(1)) { () async -> Int in
                // Ends when it is cancelled, with a result.
                await simulation.pass(.seconds(100))
                return 7
            }
            #expect(value == 7)
            #expect(simulation.elapsed == .seconds(1))
        }
    }

    @Test
    func durationsBecomeWholeNanosecondsNeverNegativeAndNeverWrap() {
        #expect(Duration.nanoseconds(7).ticks == 7)
        #expect(Duration.seconds(-1).ticks == 0)
        #expect(Duration.seconds(Int64.max).ticks == .never)
        #expect(Ticks.never.after(1) == .never)
        #expect(Ticks(1).after(.never) == .never)
        #expect(Ticks(3).after(4) == 7)
        for nanoseconds in [0, 1, 999_999_999, 1_000_000_000, 123_456_789_012_345] {
            #expect(Duration.nanoseconds(nanoseconds).wholeNanoseconds == nanoseconds)
        }
    }
}
