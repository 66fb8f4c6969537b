//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSocketLoop

/// One connection's messages must not hold the loop that others live on, too.
@Suite(.timeLimit(.minutes(5))) struct FairnessTests {
    private final class Counter: Sendable { let taken = Atomic<Int>(0) }
    enum Way: CaseIterable, Sendable { case receive, iteration, receiveInTime, receiveNow }

    /// Rule 28: one read brings thousands of small messages, and taking one that is there suspends nothing.
    @Test(arguments: Side.allCases, Way.allCases)
    func aBurstOfMessagesGivesWay(side: Side, way: Way) async throws {
        let count = 5_000
        try await withPair(side) { pair in
            let (ours, loop, counter) = (pair.ours, pair.loop, Counter())
            let reader = Task(executorPreference: loop.taskExecutor) {
                while counter.taken.load(ordering: .relaxed) < count {
                    switch way {
                    case .receive: _ = try await ours.receive()
                    case .iteration:
                        if case .message = ours.popMessage() {} else { _ = try await ours.receiveUntilEnd() }
                    case .receiveInTime: _ = try await ours.receive(timeout: .seconds(60))
                    case .receiveNow:
                        do throws(WebSocketError) {
                            _ = try await ours.receive(timeout: .zero)
                        } catch {
                            guard error.code == .timedOut else { throw error }
                            await Task.yield()
                            continue
                        }
                    }
                    counter.taken.add(1, ordering: .relaxed)
                }
            }
            // Runs whenever the loop lets it.
            let neighbour = Task(executorPreference: loop.taskExecutor) {
                var (last, most) = (0, 0)
                while last < count {
                    await Task.yield()
                    let now = counter.taken.load(ordering: .relaxed)
                    most = max(most, now - last)
                    last = now
                }
                return most
            }
            let message = pair.peer.bytes(of: .text("x"))
            try await pair.peer.write((0..<count).flatMap { _ in message })
            try await reader.value
            let most = await neighbour.value
            #expect(most <= 4 * Int(TakingSlice.maximumMessages), "\(most) messages in a row")
        }
    }

    /// A caller that does not go on when nothing is there gets what is there, however much was taken before.
    @Test(arguments: Side.allCases)
    func aMessageThatIsThereIsTakenAtOnce(side: Side) async throws {
        let count = 2 * Int(TakingSlice.maximumMessages)
        try await withPair(side) { pair in
            let message = pair.peer.bytes(of: .text("x"))
            try await pair.peer.write((0...count).flatMap { _ in message })
            for _ in 0..<count / 2 { _ = try await pair.ours.receive() }
            await pair.loop.turn { pair.ours.arrivals.messageCount > count / 2 }
            // One short of what makes `receive` give way, and then as often as it takes.
            for _ in 0...count / 2 { #expect(try await pair.ours.receive(timeout: .zero) == .text("x")) }
        }
    }
}
