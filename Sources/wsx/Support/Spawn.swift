//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc

/// Starts a program; `nil` when that cannot be done.
///
/// - Parameters:
///   - path: Where the program is.
///   - words: What it is called with, its name first.
///   - environment: Its variables as `NAME=value`; `nil` for this process's.
///   - leadsGroup: Whether it is in a process group of its own.
///   - files: Says what its standard input, output and error are.
func spawn(
    _ path: String, _ words: [String], environment: [String]? = nil, leadsGroup: Bool = false,
    files: (inout posix_spawn_file_actions_t) -> Void
) -> pid_t? {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    files(&actions)
    // This process ignores SIGPIPE and its threads block signals, neither of which a program expects.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    for signal in [SIGPIPE, SIGINT, SIGTERM] { sigaddset(&signals, signal) }
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setpgroup(&attributes, 0)
    let group = leadsGroup ? POSIX_SPAWN_SETPGROUP : 0
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | group))

    func pointers(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] { texts.map { strdup($0) } + [nil] }
    var arguments = pointers(words)
    var variables = environment.map(pointers) ?? []
    defer { (arguments + variables).forEach { free($0) } }
    var process = pid_t()
    let status =
        environment == nil
        ? posix_spawn(&process, path, &actions, &attributes, &arguments, environ)
        : posix_spawn(&process, path, &actions, &attributes, &arguments, &variables)
    return status == 0 ? process : nil
}
