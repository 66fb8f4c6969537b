//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization
import WebSocketCore
import WebSockets

/// A command that serves one connection through its standard input and output, in a process group of its own.
final class ChildCommand: Sendable {
    let stream: ByteStream
    private let process: pid_t
    private let ending = Mutex<Task<Ending, Never>?>(nil)

    /// How the command's shell ended.
    enum Ending: Sendable, Equatable, CustomStringConvertible {
        case exited(CInt)
        case signalled(CInt)
        /// It is still there, although it was killed: the kernel holds it.
        case unknown

        init(status: CInt) {
            // WIFEXITED and its kin are macros.
            self = status & 0x7F == 0 ? .exited(status >> 8 & 0xFF) : .signalled(status & 0x7F)
        }

        /// What the client is told when the command ends before it.
        var close: WebSocketCloseFrame {
            self == .exited(0)
                ? .init(code: .normalClosure) : .init(code: .internalError, reason: description)
        }

        var description: String {
            switch self {
            case .exited(let status): "the command ended with status \(status)"
            case .signalled(let signal): "the command was ended by signal \(signal)"
            case .unknown: "the command cannot be ended"
            }
        }
    }

    /// Process groups that are not known to have ended.
    private static let groups = Mutex<Set<pid_t>>([])
    private static let killsGroupsAtExit: Void = {
        atexit { ChildCommand.groups.withLock { $0.forEach { kill(-$0, SIGKILL) } } }
    }()

    /// How long the command may take to end by itself once its input has ended, and after SIGTERM.
    private static let (patience, mercy) = (Duration.seconds(1), Duration.seconds(2))

    /// Starts the command in a shell; `nil` when that cannot be done.
    init?(_ command: String, for socket: WebSocketConnection) {
        var ends: [CInt] = [-1, -1]
        guard
            socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0
        else { return nil }
        stream = ByteStream(ends[0])
        defer { close(ends[1]) }
        _ = Self.killsGroupsAtExit
        let process = Self.groups.withLock { groups -> pid_t? in
            let process = spawn(
                "/bin/sh", ["/bin/sh", "-c", command], environment: Self.environment(of: socket), leadsGroup: true
            ) { files in
                posix_spawn_file_actions_adddup2(&files, ends[1], STDIN_FILENO)
                posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO)
            }
            if let process { groups.insert(process) }
            return process
        }
        guard let process else { return nil }
        self.process = process
    }

    /// What the command inherits, and where it learns about the connection.
    private static func environment(of socket: WebSocketConnection) -> [String] {
        let own = [
            ("WSX_REMOTE", socket.remoteAddress?.description ?? ""), ("WSX_TARGET", socket.requestTarget ?? ""),
            ("WSX_USER", socket.user ?? ""), ("WSX_SUBPROTOCOL", socket.subprotocol ?? ""),
        ]
        var variables = own.map { "\($0.0)=\($0.1)" }
        var entry = environ
        while let text = entry.pointee {
            let variable = String(cString: text)
            // Of two entries a shell takes the last.
            if !own.contains(where: { variable.hasPrefix($0.0 + "=") }) { variables.append(variable) }
            entry += 1
        }
        return variables
    }

    /// Ends the command and all of its process group, unless they have ended by themselves; returns within some 4 s.
    /// May be called more than once. Not cut short when the caller is cancelled.
    func end() async -> Ending {
        await ending.withLock { ending in
            let task = ending ?? Task { await self.endGroup() }
            ending = task
            return task
        }.value
    }

    private func endGroup() async -> Ending {
        // It reads what is still there, and the end of its input.
        stream.end()
        var ending: Ending?
        if await !hasEnded(within: Self.patience, &ending) {
            kill(-process, SIGTERM)
            if await !hasEnded(within: Self.mercy, &ending) {
                kill(-process, SIGKILL)
                _ = await hasEnded(within: Self.patience, &ending)
            }
        }
        _ = Self.groups.withLock { $0.remove(process) }
        return ending ?? .unknown
    }

    /// Whether the whole group has gone. Nothing announces that, so it is looked for, at first often.
    private func hasEnded(within limit: Duration, _ ending: inout Ending?) async -> Bool {
        let deadline = ContinuousClock.now + limit
        var pause = Duration.milliseconds(1)
        while true {
            var status: CInt = 0
            if ending == nil, waitpid(process, &status, WNOHANG) == process { ending = Ending(status: status) }
            // The group keeps its number for as long as a process is in it.
            if ending != nil, kill(-process, 0) < 0, errno == ESRCH { return true }
            guard ContinuousClock.now < deadline else { return false }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(50))
        }
    }
}
