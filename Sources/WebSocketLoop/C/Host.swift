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

    /// Bytes of memory that the process may have: the machine's, or its control group's where that is less.
    static var memoryBytes: Int {
        let machine = max(1, sysconf(Int32(_SC_PHYS_PAGES))) * max(1, sysconf(Int32(_SC_PAGESIZE)))
        let groups = (try? FileBytes.read("/proc/self/cgroup")).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return memoryFiles(groups).reduce(machine) { least, path in
            guard let bytes = try? FileBytes.read(path),
                let limit = Int(String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)), limit > 0
            else { return least }
            return min(least, limit)
        }
    }

    /// Where the limits of the control groups are, of version 2 and 1: of the process's own, and of the one that a container
    /// sees as the first.
    static func memoryFiles(_ groups: String) -> [String] {
        var files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        for line in groups.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3, parts[2] != "/" else { continue }
            if parts[0] == "0" { files.append("/sys/fs/cgroup\(parts[2])/memory.max") }
            if parts[1].split(separator: ",").contains("memory") {
                files.append("/sys/fs/cgroup/memory\(parts[2])/memory.limit_in_bytes")
            }
        }
        return files
    }

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
