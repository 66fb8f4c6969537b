//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketsTestKit

@Suite(.timeLimit(.minutes(5))) struct ManualClockTests {
    @Test func sleepersWakeWhenTheirTimeHasComeAndNotBefore() async throws {
        let clock = WebSocketManualClock()
        let order = AsyncStream.makeStream(of: Int.self)
        let tasks = [30, 10, 20].map { seconds in
            Task {
                try await clock.sleep(until: .init(offset: .seconds(seconds)))
                order.continuation.yield(seconds)
            }
        }
        try await clock.waitForSleepers(3)
        clock.advance(by: .seconds(9))
        #expect(clock.sleepers == 3)
        var iterator = order.stream.makeAsyncIterator()
        clock.advance(by: .seconds(1))
        #expect(await iterator.next() == 10)
        #expect(clock.sleepers == 2)
        clock.advance(by: .seconds(10))
        #expect(await iterator.next() == 20)
        clock.advance(by: .seconds(100))
        #expect(await iterator.next() == 30)
        #expect(clock.now == WebSocketManualClock.Instant(offset: .seconds(120)))
        for task in tasks { try await task.value }
    }

    @Test func aPastDeadlineDoesNotWait() async throws {
        let clock = WebSocketManualClock(start: .init(offset: .seconds(5)))
        try await clock.sleep(until: .init(offset: .seconds(5)))
        #expect(clock.sleepers == 0)
    }

    @Test func cancelledCallsThrow() async throws {
        let clock = WebSocketManualClock()
        let sleeping = Task { try await clock.sleep(for: .seconds(1)) }
        try await clock.waitForSleepers()
        sleeping.cancel()
        await #expect(throws: CancellationError.self) { try await sleeping.value }
        #expect(clock.sleepers == 0)
        let waiting = Task { try await clock.waitForSleepers(1) }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
    }
}
