//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct LatestByKeyTests {
    /// A key that counts how often it is looked at.
    private final class Work { var looks = 0 }
    private struct Key: Hashable {
        let number: Int
        let work: Work

        static func == (left: Key, right: Key) -> Bool {
            left.work.looks += 1
            return left.number == right.number
        }
        func hash(into hasher: inout Hasher) {
            work.looks += 1
            hasher.combine(number)
        }
    }

    @Test func theNewestOfEachKeyComesOutInTheOrderOfTheKeys() {
        var latest = LatestByKey<String, Int>()
        #expect(latest.keep(1, byteCount: 10, for: "a", room: 100) == .kept)
        #expect(latest.keep(2, byteCount: 10, for: "b", room: 100) == .kept)
        #expect(latest.keep(3, byteCount: 20, for: "a", room: 100) == .replaced)
        #expect(latest.count == 2 && latest.bytes == 30)
        #expect(latest.popFirst() == 3 && latest.bytes == 10)
        #expect(!latest.contains("a") && latest.contains("b"))
        // What has gone out begins again at the end.
        #expect(latest.keep(4, byteCount: 5, for: "a", room: 100) == .kept)
        #expect(latest.keep(5, byteCount: 5, for: "b", room: 100) == .replaced)
        #expect(latest.popFirst() == 5 && latest.popFirst() == 4 && latest.popFirst() == nil)
        #expect(latest.isEmpty && latest.bytes == 0)
    }

    @Test func thereIsNoMoreThanTheRoomAllows() {
        var latest = LatestByKey<Int, String>()
        // One is always kept, or one that is larger than the room never would be.
        #expect(latest.keep("large", byteCount: 500, for: 1, room: 100) == .kept)
        #expect(latest.keep("larger", byteCount: 600, for: 1, room: 100) == .replaced)
        #expect(latest.keep("small", byteCount: 1, for: 2, room: 100) == .full)
        #expect(latest.count == 1 && latest.bytes == 600 && !latest.contains(2))
        #expect(latest.keep("fits", byteCount: 60, for: 1, room: 100) == .replaced)
        #expect(latest.keep("small", byteCount: 40, for: 2, room: 100) == .kept)
        #expect(latest.keep("grows", byteCount: 41, for: 2, room: 100) == .full)
        #expect(latest.popFirst() == "fits" && latest.popFirst() == "small")
    }

    /// Publishing to one of 20,000 topics costs what it costs with one.
    @Test func aStepCostsTheSameWithAnyNumberOfKeys() {
        let work = Work()
        var latest = LatestByKey<Key, Int>()
        let (keys, rounds) = (20_000, 3)
        for round in 0..<rounds {
            for number in 0..<keys {
                let outcome = latest.keep(
                    round * keys + number, byteCount: 1, for: Key(number: number, work: work), room: .max)
                #expect(outcome == (round == 0 ? .kept : .replaced))
            }
        }
        #expect(latest.count == keys && latest.bytes == keys)
        for number in 0..<keys { #expect(latest.popFirst() == (rounds - 1) * keys + number) }
        // Growing hashes each key again, once for each doubling; a search would look at thousands each time.
        let steps = keys * (rounds + 1)
        #expect(work.looks < 10 * steps, "\(work.looks) looks in \(steps) steps")
    }
}
