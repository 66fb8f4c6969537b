//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims

/// Mask keys from the kernel's CSPRNG, 1,024 at a time: unpredictable, as RFC 6455 §5.3 wants, without a system call
/// for every frame.
struct MaskKeys {
    private var keys = [UInt32](repeating: 0, count: 1_024)
    private var used = 1_024

    @inline(__always)
    mutating func next() -> UInt32 {
        if used == keys.count { refill() }
        used += 1
        return keys[used - 1]
    }

    private mutating func refill() {
        unsafe keys.withUnsafeMutableBytes { unsafe wsx_random_bytes($0.baseAddress!, $0.count) }
        used = 0
    }
}

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

/// Frames ready for the socket, behind the headroom that libwebsockets asks for. Empty buffers hold no memory, so an
/// idle connection has none.
@safe struct FrameBuffer: ~Copyable {
    private var memory: UnsafeMutableRawBufferPointer?
    private(set) var count = 0
    private static let headroom = Int(wsx_lws_pre())

    init() {}

    /// Room for `count` more bytes at the end; `commit` says how many were written.
    @inline(__always)
    mutating func reserve(_ more: Int, from pool: inout FrameMemory) -> UnsafeMutableRawPointer {
        if let memory = unsafe memory, Self.headroom + count + more <= memory.count {
            return unsafe memory.baseAddress! + Self.headroom + count
        }
        return unsafe grow(more, from: &pool)
    }

    private mutating func grow(_ more: Int, from pool: inout FrameMemory) -> UnsafeMutableRawPointer {
        let larger = unsafe pool.take(atLeast: max(Self.headroom + count + more, (memory?.count ?? 0) * 2))
        if let memory = unsafe memory {
            unsafe (larger.baseAddress! + Self.headroom).copyMemory(
                from: memory.baseAddress! + Self.headroom, byteCount: count)
            unsafe pool.give(memory)
        }
        unsafe memory = unsafe larger
        return unsafe larger.baseAddress! + Self.headroom + count
    }

    @inline(__always)
    mutating func commit(_ more: Int) { count += more }

    /// The frames, valid until the next change.
    @inline(__always)
    var bytes: UnsafeMutablePointer<UInt8> {
        unsafe (memory!.baseAddress! + Self.headroom).assumingMemoryBound(to: UInt8.self)
    }

    /// All frames were handed on, so the memory is free for the next connection.
    mutating func removeAll(to pool: inout FrameMemory) {
        count = 0
        if let memory = unsafe memory.take() { unsafe pool.give(memory) }
    }

    deinit { unsafe memory?.deallocate() }
}
