//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct WaiterListTests {
    @Test func servesInOrderOfArrival() {
        var list = WaiterList<String>()
        #expect(list.isEmpty && list.count == 0)
        #expect(list.popFirst() == nil)
        #expect(list.remove(id: 1) == nil)
        list.append(id: 9, "a")
        list.append(id: 1, "b")
        list.append(id: 5, "c")
        #expect(list.count == 3 && !list.isEmpty)
        #expect(list.remove(id: 1) == "b")
        #expect(list.remove(id: 1) == nil)
        #expect(list.popFirst() == "a")
        list.append(id: 2, "d")
        #expect(list.removeAll() == ["c", "d"])
        #expect(list.isEmpty)
        #expect(list.removeAll().isEmpty)
    }

    @Test(arguments: [31, 32] as [UInt64])
    func randomOperationsMatchAnArray(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var list = WaiterList<UInt64>()
        var model: [UInt64] = []
        var nextID: UInt64 = 0
        for step in 0..<5_000 {
            let place = "seed \(seed), step \(step)"
            switch random.below(20) {
            case 0..<9:
                nextID += 1
                list.append(id: nextID, nextID * 7)
                model.append(nextID)
            case 9..<14:
                try check(list.popFirst() == (model.isEmpty ? nil : model.removeFirst() * 7), place)
            case 14..<19:
                let id = UInt64(random.below(Int(nextID) + 2))
                let index = model.firstIndex(of: id)
                try check(list.remove(id: id) == index.map { model.remove(at: $0) * 7 }, place)
            default:
                try check(list.removeAll() == model.map { $0 * 7 }, place)
                model = []
            }
            try check(list.count == model.count && list.isEmpty == model.isEmpty, place)
        }
    }
}
