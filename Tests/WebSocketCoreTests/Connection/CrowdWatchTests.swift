//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct CrowdWatchTests {
    @Test func memoryIsWorthGivingBackWhenMostOfACrowdHasGone() {
        var watch = CrowdWatch()
        var times: [Int] = []
        for open in (0..<3_000).reversed() where watch.left(open: open) { times.append(open) }
        // A fifth of all is left, and another crowd when all are gone does not come together.
        #expect(times == [600])
    }

    @Test func aFewThatComeAndGoAreNoCrowd() {
        var watch = CrowdWatch()
        let few = (1..<CrowdWatch.crowd).map { _ in watch.left(open: 0) }
        #expect(few.allSatisfy { !$0 })
        let isCrowd = watch.left(open: 0)
        #expect(isCrowd)
        // While many stay, what leaves makes room for what comes.
        let many = (0..<3 * CrowdWatch.crowd).map { _ in watch.left(open: 10_000) }
        #expect(many.allSatisfy { !$0 })
    }
}
