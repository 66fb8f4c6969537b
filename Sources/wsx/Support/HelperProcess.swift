//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization

/// A program that runs beside this one: it ends with it, says nothing, and can be killed.
final class HelperProcess: Sendable {
    private let process: pid_t
    private let isRunning = Mutex(true)

    private static let running = Mutex<Set<pid_t>>([])
    private static let killsAllAtExit: Void = {
        atexit { HelperProcess.running.withLock { $0.forEach { kill($0, SIGKILL) } } }
    }()

    /// Where a program is: the first of these that can be run; `nil` when there is none.
    static func find(_ names: String...) -> String? {
        for name in names {
            for directory in ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/bin", "/sbin"] {
                let path = "\(directory)/\(name)"
                if access(path, X_OK) == 0 { return path }
            }
        }
        return nil
    }

    /// Starts a program; `nil` when that cannot be done.
    init?(_ path: String, _ arguments: [String]) {
        // In a group of its own, so that Ctrl-C at a terminal ends this process first, which ends the other in order.
        let process = spawn(path, [path] + arguments, leadsGroup: true) { files in
            posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
            posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
            posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        }
        guard let process else { return nil }
        self.process = process
        _ = Self.killsAllAtExit
        Self.running.withLock { _ = $0.insert(process) }
    }

    deinit { end() }

    /// Ends it at once, and waits for that.
    func end() {
        let wasRunning = isRunning.withLock { isRunning in
            defer { isRunning = false }
            return isRunning
        }
        guard wasRunning else { return }
        kill(process, SIGKILL)
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        Self.running.withLock { _ = $0.remove(process) }
    }
}
