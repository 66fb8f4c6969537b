//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSocketLoop

/// Tasks and actors that outlive their loop: nobody holds that any more, and still they run. The process ended when one
/// of them was resumed.
@Suite(.timeLimit(.minutes(5)))
struct OutlivingTests {
    /// An actor that keeps no more than it has to.
    private actor Counter {
        private let executor: WebSocketLoopSerialExecutor
        nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
        private var count = 0

        init(on executor: WebSocketLoopSerialExecutor) { self.executor = executor }

        func increment() -> Int {
            count += 1
            return count
        }
    }

    /// A loop that has ended and is gone, and what was made of its executors before.
    private func endedLoop<Value: Sendable>(
        _ make: (WebSocketLoopTaskExecutor, WebSocketLoopSerialExecutor) async -> Value
    ) async throws -> Value {
        weak var gone: WebSocketEventLoop?
        let value: Value
        do {
            let group = try WebSocketEventLoopGroup(count: 1, logger: silentLogger)
            gone = group.loops[0]
            value = await make(group.loops[0].taskExecutor, group.loops[0].serialExecutor)
            await group.shutDown()
        }
        // The last to hold it is its thread.
        while gone != nil { await Task.yield() }
        return value
    }

    @Test func aTaskMayOutliveItsLoop() async throws {
        let (gate, opening) = AsyncStream.makeStream(of: Int.self)
        let task = try await endedLoop { executor, _ in
            let (begun, beginning) = AsyncStream.makeStream(of: Void.self)
            let task = Task(executorPreference: executor) {
                beginning.finish()
                var sum = 0
                for await number in gate { sum += number }
                return sum
            }
            for await _ in begun {}
            return task
        }
        for number in 1...100 { opening.yield(number) }
        opening.finish()
        #expect(await task.value == 5_050)
    }

    @Test func tasksMayBeginAfterTheLoop() async throws {
        let executor = try await endedLoop { executor, _ in executor }
        let sum = await withTaskGroup(of: Int.self) { group in
            for number in 1...100 { group.addTask(executorPreference: executor) { number } }
            return await group.reduce(0, +)
        }
        #expect(sum == 5_050)
    }

    @Test func anActorMayOutliveItsLoop() async throws {
        let (counter, executor) = try await endedLoop { executor, serial in (Counter(on: serial), executor) }
        await withTaskGroup { group in
            for number in 0..<100 {
                group.addTask(executorPreference: number % 2 == 0 ? executor : nil) { _ = await counter.increment() }
            }
        }
        #expect(await counter.increment() == 101)
    }

    private final class Counts: Sendable {
        let accepted = Atomic<Int>(0)
        let ran = Atomic<Int>(0)
    }

    /// Who leaves something in a loop's inbox at the moment of its end does not wake a loop that is gone.
    @Test func operationsRaceWithTheEnd() async throws {
        for _ in 0..<50 {
            let group = try WebSocketEventLoopGroup(count: 1, logger: silentLogger)
            let loop = group.loops[0]
            let counts = Counts()
            await withTaskGroup { tasks in
                for _ in 0..<3 {
                    tasks.addTask {
                        while loop.execute({ counts.ran.wrappingAdd(1, ordering: .relaxed) }) {
                            counts.accepted.wrappingAdd(1, ordering: .relaxed)
                            // The others need a thread too.
                            await Task.yield()
                        }
                    }
                }
                tasks.addTask { await group.shutDown() }
            }
            #expect(counts.ran.load(ordering: .relaxed) == counts.accepted.load(ordering: .relaxed))
        }
    }
}
