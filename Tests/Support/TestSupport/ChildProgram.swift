//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization

/// A program that runs beside a test, and is killed by its number at the latest when this object goes.
///
/// Not Foundation's `Process`: from its first use on that keeps a pair of sockets for the rest of the process, which the
/// leak gate takes for a test's when an earlier test had set the baseline.
package final class ChildProgram: Sendable {
    /// The program could not be started; `errno`.
    package struct Failure: Error {
        package let path: String
        package let code: CInt
    }

    private let id: pid_t
    private let isOver = Mutex(false)

    /// - Parameter output: Where it writes; nothing is kept without one.
    package init(_ path: String, _ arguments: [String], output: CInt? = nil) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        if let output {
            posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        } else {
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
        }
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Loops block signals on their threads, which a program does not expect.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var id = pid_t()
        let code = posix_spawn(&id, path, &actions, &attributes, &words, environ)
        guard code == 0 else { throw Failure(path: path, code: code) }
        self.id = id
    }

    deinit { kill() }

    package func signal(_ number: CInt) {
        isOver.withLock { isOver in if !isOver { _ = Glibc.kill(id, number) } }
    }

    /// Whether it has ended by itself.
    package var hasEnded: Bool {
        isOver.withLock { isOver in
            if !isOver, waitpid(id, nil, WNOHANG) == id { isOver = true }
            return isOver
        }
    }

    /// Ends it at once, and waits for that.
    package func kill() {
        signal(SIGKILL)
        wait()
    }

    private func wait() {
        isOver.withLock { isOver in
            guard !isOver else { return }
            while waitpid(id, nil, 0) < 0, errno == EINTR {}
            isOver = true
        }
    }

    /// Runs a program to its end. Returns what it wrote.
    package static func output(of path: String, _ arguments: [String]) throws -> String {
        var ends: [CInt] = [-1, -1]
        // Other programs that are started meanwhile must not keep it open, and a pipe is not made so in one step.
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw Failure(path: path, code: errno)
        }
        defer { close(ends[0]) }
        let child: ChildProgram
        do {
            defer { close(ends[1]) }
            child = try ChildProgram(path, arguments, output: ends[1])
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(ends[0], &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        child.wait()
        return String(decoding: bytes, as: UTF8.self)
    }
}
