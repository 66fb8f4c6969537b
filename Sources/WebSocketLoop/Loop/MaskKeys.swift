//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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
        unsafe keys.withUnsafeMutableBytes { unsafe Host.fillRandomly($0) }
        used = 0
    }
}
