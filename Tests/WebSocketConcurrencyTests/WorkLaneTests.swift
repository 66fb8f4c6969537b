//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketConcurrency

@Suite
struct WorkLaneTests {
    @Test(arguments: Simulation.seeds)
    func workThatWasPostedBeforeTheReaderCameIsPerformed(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let lane = WorkLane<Int>()
            let log = Log()
            lane.post(.work(1))
            lane.post(.work(2))
            lane.finish()
            await lane.drive { log.add("\($0)") }
            #expect(Set(log.entries) == ["1", "2"])
        }
    }

    @Test(arguments: Simulation.seeds)
    func workThatIsPostedToAWaitingReaderIsPerformed(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let lane = WorkLane<Int>()
            let log = Log()
            await withDiscardingTaskGroup { group in
                group.addTask { await lane.drive { log.add("\($0)") } }
                for number in 1...3 {
                    await simulation.pass(.seconds(1))
                    lane.post(.work(number))
                }
                await simulation.pass(.seconds(1))
                lane.finish()
            }
            #expect(log.entries == ["1", "2", "3"])
        }
    }

    @Test
    func twoPiecesOfWorkRunAtTheSameTime() throws {
        try Simulation.run { simulation in
            let lane = WorkLane<Int>()
            let log = Log()
            await withDiscardingTaskGroup { group in
                group.addTask {
                    await lane.drive { seconds in
                        await simulation.pass(.seconds(seconds))
                        log.add("\(seconds) after \(simulation.elapsed.components.seconds)")
                    }
                }
                lane.post(.work(2))
                lane.post(.work(1))
                await simulation.pass(.seconds(3))
                lane.finish()
            }
            #expect(log.entries == ["1 after 1", "2 after 2"])
        }
    }

    @Test
    func whatStillRunsWhenTheLaneIsFinishedIsCancelledAndWaitedFor() throws {
        try Simulation.run { simulation in
            let lane = WorkLane<Int>()
            let log = Log()
            lane.post(.work(10))
            lane.finish()
            await lane.drive { seconds in
                await simulation.pass(.seconds(seconds))
                log.add("\(Task.isCancelled)")
            }
            #expect(log.entries == ["true"])
            #expect(simulation.elapsed < .seconds(10))
        }
    }

    @Test
    func nothingIsAcceptedAfterTheEnd() throws {
        try Simulation.run { _ in
            let lane = WorkLane<Int>()
            let log = Log()
            lane.finish()
            lane.post(.work(1))
            await lane.drive { log.add("\($0)") }
            #expect(log.entries.isEmpty)
        }
    }

    @Test(arguments: Simulation.seeds)
    func cancelAllReachesTheWorkThatWasStartedBefore(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            let lane = WorkLane<String>()
            let log = Log()
            await withDiscardingTaskGroup { group in
                group.addTask {
                    await lane.drive { name in
                        await simulation.pass(.seconds(10))
                        log.add("\(name) \(Task.isCancelled)")
                    }
                }
                lane.post(.work("first"))
                await simulation.pass(.seconds(1))
                lane.post(.cancelAll)
                await simulation.pass(.seconds(1))
                #expect(log.entries == ["first true"])
                lane.finish()
            }
        }
    }

    /// The reader goes on when its task is cancelled: there is something to close just then.
    @Test
    func theReaderGoesOnWhenItsTaskIsCancelled() throws {
        try Simulation.run { simulation in
            let lane = WorkLane<String>()
            let log = Log()
            let reader = Task(executorPreference: simulation) { await lane.drive { log.add($0) } }
            await simulation.pass(.seconds(1))
            reader.cancel()
            await simulation.pass(.seconds(1))
            lane.post(.work("late"))
            await simulation.pass(.seconds(1))
            #expect(log.entries == ["late"])
            lane.finish()
            await reader.value
        }
    }

    @Test
    func workRunsWhereItWasAskedTo() throws {
        try Simulation.run { simulation in
            let lane = WorkLane<@Sendable () async -> Void>()
            let log = Log()
            lane.post(on: simulation) {
                let isThere = withUnsafeCurrentTask { $0?.unownedTaskExecutor == simulation.asUnownedTaskExecutor() }
                log.add("\(isThere)")
            }
            lane.finish()
            await lane.drive()
            #expect(log.entries == ["true"])
        }
    }
}
