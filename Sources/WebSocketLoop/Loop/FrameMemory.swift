//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Memory for frames that no connection holds at the moment. Connections have something to send for a turn at a time;
/// giving the memory back to malloc in between would cost page faults for every large message.
@safe struct FrameMemory: ~Copyable {
    private var spare: [UnsafeMutableRawBufferPointer] = unsafe []
    private var spareBytes = 0
    private static let maximumSpareBytes = 4 << 20
    private static let maximumLooks = 8
    private static let smallest = 4 << 10

    mutating func take(atLeast count: Int) -> UnsafeMutableRawBufferPointer {
        var index = unsafe spare.count - 1
        let last = max(0, index - Self.maximumLooks)
        while index >= last {
            if unsafe spare[index].count >= count {
                spareBytes -= unsafe spare[index].count
                unsafe spare.swapAt(index, spare.count - 1)
                return unsafe spare.removeLast()
            }
            index -= 1
        }
        var capacity = Self.smallest
        while capacity < count { capacity *= 2 }
        return .allocate(byteCount: capacity, alignment: 16)
    }

    mutating func give(_ memory: UnsafeMutableRawBufferPointer) {
        guard spareBytes + memory.count <= Self.maximumSpareBytes else {
            unsafe memory.deallocate()
            return
        }
        spareBytes += memory.count
        unsafe spare.append(memory)
    }

    deinit { unsafe spare.forEach { unsafe $0.deallocate() } }
}
