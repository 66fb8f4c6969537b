//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization

/// Fails the test process at its end when something of it is still there that only tests can have left: sockets.
///
/// What lives on event loops (connections, suspended calls, tasks, timers, descriptors) each test proves to be gone by
/// itself; this finds what slipped through between them.
package enum LeakGate {
    private static let atEnd = Mutex<[@Sendable () -> Void]>([])
    private static let patience: Duration = .seconds(10)
    private static let isInstalled: Bool = {
        let before = sockets()
        baseline.withLock { $0 = before }
        return atexit {
            LeakGate.judge()
        } == 0
    }()
    private static let baseline = Mutex<Set<String>>([])

    /// Takes what there is now for the baseline, once.
    package static func install() { precondition(isInstalled) }

    /// Runs before the judgement, for what is shared by all tests of a process.
    package static func atEnd(_ body: @escaping @Sendable () -> Void) {
        install()
        atEnd.withLock { $0.append(body) }
    }

    private static func judge() {
        for body in atEnd.withLock({ $0 }) { body() }
        let before = baseline.withLock { $0 }
        var left = sockets().subtracting(before)
        // The last test's objects may still be on their way out on some thread.
        let deadline = ContinuousClock.now + patience
        while !left.isEmpty, ContinuousClock.now < deadline {
            poll(nil, 0, 10)
            left = sockets().subtracting(before)
        }
        let line = "leak gate: \(left.count) sockets left by the tests\(left.isEmpty ? "" : ": \(left.sorted())")\n"
        _ = write(STDERR_FILENO, line, line.utf8.count)
        if !left.isEmpty { _exit(70) }
    }

    /// The numbers that the system gave to this process's sockets.
    private static func sockets() -> Set<String> {
        var result: Set<String> = []
        guard let directory = opendir("/proc/self/fd") else { return result }
        defer { closedir(directory) }
        var target = [CChar](repeating: 0, count: 256)
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            let count = readlink("/proc/self/fd/" + name, &target, target.count)
            guard count > 0 else { continue }
            let text = String(decoding: target[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if text.hasPrefix("socket:"), !isNetlink(name) { result.insert(text) }
        }
        return result
    }

    /// From 4.3 on libwebsockets has such a socket for each context, the one that is never destroyed included. No test and
    /// nothing of the library makes one.
    private static func isNetlink(_ descriptor: String) -> Bool {
        var domain: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        guard let descriptor = CInt(descriptor), getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0
        else {
            return false
        }
        return domain == AF_NETLINK
    }
}
