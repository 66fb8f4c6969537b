//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Working memory of a loop, for results that are copied on at once.
@safe struct ScratchBuffer: ~Copyable {
    private(set) var memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)

    /// Grows to at least `count` bytes, keeping the first `keep`.
    mutating func reserve(_ count: Int, keeping keep: Int = 0) {
        guard unsafe count > memory.count else { return }
        let larger = unsafe UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(count, memory.count * 2), alignment: 16)
        unsafe larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[..<keep]))
        unsafe memory.deallocate()
        unsafe memory = unsafe larger
    }

    /// Gives memory back after an unusually large use.
    mutating func trim() {
        guard unsafe memory.count > 1 << 20 else { return }
        unsafe memory.deallocate()
        unsafe memory = .allocate(byteCount: 64 << 10, alignment: 16)
    }

    deinit { unsafe memory.deallocate() }
}
