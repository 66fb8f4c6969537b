//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Frames ready for the socket, behind the headroom that libwebsockets asks for. Empty buffers hold no memory, so an
/// idle connection has none.
@safe struct FrameBuffer: ~Copyable {
    private var memory: UnsafeMutableRawBufferPointer?
    private(set) var count = 0
    private static let headroom = LibWebSockets.headroom

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
