//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSocketsShims
import Glibc

/// What the process and the machine say of themselves.
package enum Host {
    /// A variable of the environment.
    package static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    /// Processors that are in use, at least 1.
    static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// Seconds since 1970.
    package static var wallClockSeconds: Int64 { Int64(time(nil)) }

    /// Monotonic nanoseconds.
    @inline(__always)
    static var nanoseconds: UInt64 { uv_hrtime() }

    /// Monotonic nanoseconds, some milliseconds late, for a fifth of the price.
    static var coarseNanoseconds: Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// Fills memory from the kernel's generator of random numbers, which are good for secrets.
    static func fillRandomly(_ memory: UnsafeMutableRawBufferPointer) {
        guard let start = memory.baseAddress else { return }
        unsafe wsx_random_bytes(start, memory.count)
    }

    /// A random number that is good for secrets.
    static func randomNumber() -> UInt64 {
        var number: UInt64 = 0
        unsafe withUnsafeMutableBytes(of: &number) { unsafe fillRandomly($0) }
        return number
    }
}
