//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Synchronization
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// What runs on a loop, in which order, and where.
@Suite(.timeLimit(.minutes(5))) struct EventLoopJobTests {
    static let backends = [WebSocketEventLoop.Backend.libuv, .poll]

    /// Numbers in the order in which a loop saw them.
    private final class Journal: Sendable {
        private let entries = Mutex<[Int]>([])
        var all: [Int] { entries.withLock { $0 } }
        func write(_ entry: Int) { entries.withLock { $0.append(entry) } }
    }

    @Test(arguments: backends)
    func operationsRunInOrderOnTheLoop(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            #expect(loop.backend == backend && !loop.isOnLoop)
            let journal = Journal()
            for number in 0..<5_000 {
                #expect(loop.execute { if loop.isOnLoop { journal.write(number) } })
            }
            await loop.run {}
            #expect(journal.all == Array(0..<5_000))
        }
    }

    /// On the loop an operation runs at once, before what is queued.
    @Test func anOperationOnTheLoopRunsAtOnce() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let journal = Journal()
            await loop.run {
                journal.write(1)
                loop.execute { journal.write(2) }
                journal.write(3)
            }
            #expect(journal.all == [1, 2, 3])
        }
    }

    /// Who counts as waiting has his place in the queue: tests and operators rely on the order of those who wait.
    @Test func aCallWaitsOnceTheLoopKnowsOfIt() async throws {
        try await withLoops(2) { group in
            let (loop, caller) = (group.loops[0], group.loops[1])
            let released = DispatchSemaphore(value: 0)
            loop.execute { released.wait() }
            let call = Task(executorPreference: caller.taskExecutor) {
                try await loop.wait(
                    for: "number", register: { $0.resume(.success(loop.diagnostics.pendingContinuations)) },
                    cancel: { _ in nil })
            }
            // Behind the task's beginning, which ends with the call.
            await caller.run {}
            #expect(loop.diagnostics.pendingContinuations == 0)
            released.signal()
            let pending = try await call.value
            #expect(pending == 1)
            #expect(loop.diagnostics.pendingContinuations == 0)
        }
    }

    @Test(arguments: backends)
    func everyJobFromManyThreadsRunsOnce(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            let (tasks, each) = (8, 3_000)
            let journal = Journal()
            await withTaskGroup { group in
                for task in 0..<tasks {
                    group.addTask {
                        for number in 0..<each { loop.execute { journal.write(task * each + number) } }
                    }
                }
            }
            await loop.run {}
            let seen = journal.all
            #expect(seen.count == tasks * each && Set(seen).count == seen.count)
            // Each task's own stay in order.
            for task in 0..<tasks {
                let own = seen.filter { $0 / each == task }
                #expect(own == own.sorted())
            }
        }
    }

    /// A task's jobs and operations keep their order, and the task stays on the loop.
    @Test(arguments: backends)
    func aTaskWithTheLoopsPreferenceStaysThere(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            let journal = Journal()
            await withTaskExecutorPreference(loop.taskExecutor) {
                for number in 0..<1_000 {
                    journal.write(loop.isOnLoop ? number : -1)
                    await Task.yield()
                }
                let child = Task { loop.isOnLoop }
                #expect(await !child.value, "an unstructured task must not inherit the preference")
                async let structured = Self.isOn(loop)
                #expect(await structured)
            }
            #expect(journal.all == Array(0..<1_000))
        }
    }

    @concurrent private static func isOn(_ loop: WebSocketEventLoop) async -> Bool { loop.isOnLoop }

    @Test(arguments: backends)
    func codeStaysOnTheLoopAcrossOurCalls(backend: WebSocketEventLoop.Backend) async throws {
        try await withPair(.client, backend: backend) { pair in
            let (ours, peer, loop) = (pair.ours, pair.peer, pair.loop)
            let task = Task(executorPreference: loop.taskExecutor) {
                var places: [Bool] = []
                places.append(loop.isOnLoop)
                #expect(try await ours.receive() == .text("one"))
                places.append(loop.isOnLoop)
                try await ours.send("two")
                places.append(loop.isOnLoop)
                _ = try await ours.ping()
                places.append(loop.isOnLoop)
                _ = try await ours.close(WebSocketCloseFrame(code: .normalClosure))
                places.append(loop.isOnLoop)
                _ = try await ours.closed()
                places.append(loop.isOnLoop)
                return places
            }
            try await peer.send(.text("one"))
            #expect(try await peer.readFrame().payload == Array("two".utf8))
            let ping = try await peer.readFrame()
            try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, ping.payload))
            #expect(try await peer.readFrame().closeCode == 1000)
            try await peer.send(.close(1000))
            #expect(try await task.value == [Bool](repeating: true, count: 6))
        }
    }

    /// An actor on the loop.
    private actor Resident {
        let loop: WebSocketEventLoop
        nonisolated var unownedExecutor: UnownedSerialExecutor { loop.serialExecutor.asUnownedSerialExecutor() }
        private var count = 0
        init(loop: WebSocketEventLoop) { self.loop = loop }
        func visit() -> Bool {
            count += 1
            return loop.isOnLoop
        }
        func visits() -> Int { count }
        nonisolated func assumed() -> Bool { assumeIsolated { $0.loop.isOnLoop } }
    }

    @Test(arguments: backends)
    func anActorMayLiveOnTheLoop(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            let resident = Resident(loop: loop)
            await withTaskGroup { group in
                for task in 0..<8 {
                    group.addTask(executorPreference: task % 2 == 0 ? loop.taskExecutor : nil) {
                        for _ in 0..<200 { #expect(await resident.visit()) }
                    }
                }
            }
            #expect(await resident.visits() == 1_600)
            #expect(await loop.run { resident.assumed() })
        }
    }

    @Test(arguments: backends)
    func afterTheShutdownOperationsAreRefusedAndTasksRun(backend: WebSocketEventLoop.Backend) async throws {
        let group = try WebSocketEventLoopGroup(count: 2, logger: silentLogger, backend: backend)
        let loop = group.loops[0]
        let resident = Resident(loop: loop)
        await group.shutDown()
        let journal = Journal()
        #expect(!loop.execute { journal.write(1) })
        #expect(journal.all.isEmpty)
        #expect(await Task(executorPreference: loop.taskExecutor) { 42 }.value == 42)
        #expect(await withTaskExecutorPreference(loop.taskExecutor) { await resident.visits() } == 0)
        #expect(await !resident.visit())
        let request = try ClientRequest(port: 9)
        #expect(try await error { _ = try await loop.connect(request) }.code == .shutDown)
        // A second shutdown finds nothing to do.
        await group.shutDown()
        #expect(loop.diagnostics.isZero)
    }

    /// Tasks that use the loop while it ends: none is stranded.
    @Test(arguments: backends)
    func noTaskIsStrandedByAShutdown(backend: WebSocketEventLoop.Backend) async throws {
        for _ in 0..<10 {
            let group = try WebSocketEventLoopGroup(count: 1, logger: silentLogger, backend: backend)
            let loop = group.loops[0]
            let resident = Resident(loop: loop)
            let finished = await withTaskGroup(of: Int.self) { tasks in
                for task in 0..<6 {
                    tasks.addTask(executorPreference: task % 2 == 0 ? loop.taskExecutor : nil) {
                        for _ in 0..<300 {
                            _ = await resident.visits()
                            await Task.yield()
                        }
                        return 1
                    }
                }
                await loop.run {}
                await group.shutDown()
                return await tasks.reduce(0, +)
            }
            #expect(finished == 6)
        }
    }

    /// A task that never rests does not keep sockets waiting.
    @Test(arguments: backends)
    func aBusyTaskLetsSocketsThrough(backend: WebSocketEventLoop.Backend) async throws {
        try await withPair(.server, backend: backend) { pair in
            let busy = Task(executorPreference: pair.loop.taskExecutor) {
                while !Task.isCancelled { await Task.yield() }
            }
            try await pair.fence()
            try await pair.peer.send(.text("through"))
            #expect(try await pair.ours.receive() == .text("through"))
            busy.cancel()
            await busy.value
        }
    }
}
