//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

/// Which of several brokers a topic has. Processes of different versions must agree.
@Suite struct TopicPlaceTests {
    private let names = (0..<20_000).map { "room:\($0)" }

    @Test func aTopicStaysWhereItIs() {
        let places = ["news", "", "room:1", "räume", "a"].map { TopicName.place(of: $0, among: 64) }
        #expect(places == [61, 17, 2, 60, 31])
    }

    @Test(arguments: [1, 2, 3, 7, 64]) func allHaveTheirShare(count: Int) {
        var shares = [Int](repeating: 0, count: count)
        for name in names { shares[TopicName.place(of: name, among: count)] += 1 }
        let share = Double(names.count) / Double(count)
        #expect(shares.allSatisfy { abs(Double($0) - share) < 6 * share.squareRoot() }, "\(shares)")
    }

    @Test(arguments: [1, 2, 7, 63]) func oneMoreTakesItsShareAndNothingElseMoves(count: Int) {
        var moved = 0
        for name in names {
            let before = TopicName.place(of: name, among: count)
            let after = TopicName.place(of: name, among: count + 1)
            #expect(after == before || after == count)
            if after != before { moved += 1 }
        }
        let share = Double(names.count) / Double(count + 1)
        #expect(abs(Double(moved) - share) < 6 * share.squareRoot())
    }
}
