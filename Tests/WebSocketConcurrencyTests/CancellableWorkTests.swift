//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketConcurrency

@Suite
struct CancellableWorkTests {
    @Test(arguments: Simulation.seeds)
    func runReturnsWhenTheWorkIsDone(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let work = CancellableWork()
            let log = Log()
            await work.run {
                await simulation.pass(.seconds(1))
                log.add("done \(Task.isCancelled)")
            }
            #expect(log.entries == ["done false"])
            #expect(!work.isCancelled)
        }
    }

    @Test(arguments: Simulation.seeds)
    func cancelReachesTheWorkWhichIsWaitedFor(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let work = CancellableWork()
            let log = Log()
            await withDiscardingTaskGroup { group in
                group.addTask {
                    await work.run {
                        await simulation.pass(.seconds(10))
                        log.add("over \(Task.isCancelled)")
                    }
                    log.add("returned")
                }
                group.addTask {
                    await simulation.pass(.milliseconds(Int64(simulation.random(3))))
                    work.cancel()
                }
            }
            #expect(log.entries == ["over true", "returned"])
            #expect(work.isCancelled)
            #expect(simulation.elapsed < .seconds(10))
        }
    }

    @Test
    func workThatIsCancelledBeforeItRunsFindsItselfCancelled() throws {
        try Simulation.run { simulation in
            let work = CancellableWork()
            work.cancel()
            await work.run { await simulation.pass(.seconds(10)) }
            #expect(simulation.elapsed < .seconds(10))
        }
    }

    @Test(arguments: Simulation.seeds)
    func cancellingTheCallerCancelsTheWork(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let work = CancellableWork()
            let caller = Task(executorPreference: simulation) {
                await work.run { await simulation.pass(.seconds(10)) }
            }
            await simulation.pass(.milliseconds(Int64(simulation.random(3))))
            caller.cancel()
            await caller.value
            #expect(simulation.elapsed < .seconds(10))
        }
    }
}
