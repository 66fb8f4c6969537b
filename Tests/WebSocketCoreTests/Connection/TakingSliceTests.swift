//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct TakingSliceTests {
    @Test func aSliceHas32Messages() {
        var slice = TakingSlice()
        for _ in 0..<3 {
            for number in 0..<32 { #expect(slice.takesOneMore { 5 }, "\(number)") }
            #expect(!slice.takesOneMore { 5 })
            #expect(!slice.takesOneMore { 5 })
            slice.reset()
        }
    }

    @Test func messagesThatTakeLongMakeItShort() {
        var slice = TakingSlice()
        var time: Int64 = 0
        #expect(slice.takesOneMore { time })
        time += TakingSlice.maximumTime
        #expect(!slice.takesOneMore { time })
        slice.reset()
        // 0.2 ms each: the time is looked at after 1, 2, 4, 8 and 16 messages.
        var taken = 0
        while slice.takesOneMore(now: { time }) {
            taken += 1
            time += 200_000
        }
        #expect(taken == 16)
    }
}
