//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSocketLoop

@Suite struct CloseScheduleTests {
    @Test(arguments: [0, 1, 2, 3, 7, 1_000, 16_384], [0, 1, 10, 1_000_000_000, 86_400_000_000_000] as [UInt64])
    func everyConnectionIsClosedOnceAndWithinTheSpan(_ count: Int, _ span: UInt64) {
        var schedule = CloseSchedule(count: count, span: span)
        var (closed, time, last) = (0, 0 as UInt64, 0)
        while let next = schedule.next {
            #expect(next >= time)
            time = max(next, time)
            last = schedule.due(at: time)
            // A timer that is on time finds something to do.
            #expect(last > 0)
            closed += last
            #expect(closed <= count)
        }
        #expect(closed == count)
        #expect(time <= span)
        #expect(schedule.due(at: .max) == 0)
        // Evenly: where there is time for each, one at a time.
        if count > 0, span > UInt64(count) * 2 { #expect(last == 1) }
    }

    @Test func aLateLookMakesUpForIt() {
        var schedule = CloseSchedule(count: 10, span: 100)
        #expect(schedule.due(at: 0) == 1)
        #expect(schedule.due(at: 0) == 0)
        #expect(schedule.next == 10)
        #expect(schedule.due(at: 55) == 5)
        #expect(schedule.next == 60)
        #expect(schedule.due(at: 1_000) == 4)
        #expect(schedule.next == nil)
    }

    @Test func withoutASpanAllGoAtOnce() {
        var schedule = CloseSchedule(count: 5, span: 0)
        #expect(schedule.due(at: 0) == 5)
        #expect(schedule.next == nil)
    }
}
