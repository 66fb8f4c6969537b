//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketConcurrency

@Suite
struct DeadlineTimerTests {
    /// Runs a timer while `body` does, and says at which seconds it fired.
    private func firings(
        seed: UInt64 = 0, _ body: @escaping @Sendable (DeadlineTimer, Simulation) async -> Void
    ) throws -> [String] {
        let log = Log()
        try Simulation.run(seed: seed) { simulation in
            let timer = DeadlineTimer()
            let clock = AnyClock(simulation)
            await withDiscardingTaskGroup { group in
                group.addTask { await timer.run(clock) { log.add("\(clock.elapsed.components.seconds)") } }
                await body(timer, simulation)
                timer.finish()
            }
        }
        return log.entries
    }

    @Test(arguments: Simulation.seeds)
    func itFiresOnceAtItsDeadline(_ seed: UInt64) throws {
        let fired = try firings(seed: seed) { timer, simulation in
            timer.arm(.seconds(3))
            await simulation.pass(.seconds(10))
        }
        #expect(fired == ["3"])
    }

    @Test(arguments: Simulation.seeds)
    func anEarlierDeadlineReplacesALaterOne(_ seed: UInt64) throws {
        let fired = try firings(seed: seed) { timer, simulation in
            timer.arm(.seconds(8))
            await simulation.pass(.seconds(1))
            timer.arm(.seconds(3))
            await simulation.pass(.seconds(10))
        }
        #expect(fired == ["3"])
    }

    @Test(arguments: Simulation.seeds)
    func armedAgainByWhatItFiredItGoesOn(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let timer = DeadlineTimer()
            let clock = AnyClock(simulation)
            let log = Log()
            timer.arm(.seconds(2))
            await timer.run(clock) {
                log.add("\(clock.elapsed.components.seconds)")
                if log.entries.count < 3 { timer.arm(clock.elapsed + .seconds(2)) } else { timer.finish() }
            }
            #expect(log.entries == ["2", "4", "6"])
        }
    }

    @Test
    func aDeadlineThatIsPastFiresAtOnce() throws {
        let fired = try firings { timer, simulation in
            await simulation.pass(.seconds(5))
            timer.arm(.seconds(1))
            await simulation.pass(.seconds(1))
        }
        #expect(fired == ["5"])
    }

    @Test(arguments: Simulation.seeds)
    func finishEndsItWhileItWaitsForADeadlineAndWhileItHasNone(_ seed: UInt64) throws {
        #expect(try firings(seed: seed) { _, simulation in await simulation.pass(.seconds(1)) } == [])
        let fired = try firings(seed: seed) { timer, simulation in
            timer.arm(.seconds(100))
            await simulation.pass(.seconds(1))
        }
        #expect(fired == [])
    }

    @Test(arguments: Simulation.seeds)
    func cancellingItsTaskFiresNothingAndFinishStillEndsIt(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let timer = DeadlineTimer()
            let log = Log()
            let task = Task(executorPreference: simulation) {
                await timer.run(AnyClock(simulation)) { log.add("fired") }
            }
            timer.arm(.seconds(100))
            await simulation.pass(.seconds(1))
            task.cancel()
            await simulation.pass(.seconds(1))
            timer.finish()
            await task.value
            #expect(log.entries.isEmpty)
        }
    }
}
