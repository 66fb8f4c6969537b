//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Glibc
import Synchronization
import WebSocketCore

enum ColorChoice: String, ExpressibleByArgument, CaseIterable {
    case auto, always, never
}

/// What the commands share about how they show things.
struct DisplayOptions: ParsableArguments {
    @Flag(name: .long, help: "Print JSON instead of text.")
    var json = false

    @Flag(name: [.customShort("q"), .long], help: "Print no status, only errors.")
    var quiet = false

    @Flag(name: .long, help: "Begin each line with the time (UTC); with --json as \"time\".")
    var timestamps = false

    @Option(name: .long, help: "Colour of the status on standard error: auto, always or never.")
    var color = ColorChoice.auto

    @Flag(name: .customLong("no-color"), help: "The same as --color never; NO_COLOR in the environment too.")
    var noColor = false

    func validate() throws {
        guard !(noColor && color == .always) else {
            throw ValidationError("--no-color contradicts --color always; leave one out")
        }
        Terminal.setColor(noColor ? .never : color)
        Output.showsTimes.store(timestamps, ordering: .relaxed)
    }

    /// Whether a person is there to read status lines.
    var showsStatus: Bool { !quiet && !json && Terminal.isErrorTerminal }
}

/// Standard error, and what kind of thing the three descriptors are.
enum Terminal {
    static let isInputTerminal = isatty(STDIN_FILENO) == 1
    static let isOutputTerminal = isatty(STDOUT_FILENO) == 1
    static let isErrorTerminal = isatty(STDERR_FILENO) == 1
    /// There is no input: cron, systemd and `&` in scripts connect it to /dev/null, or close it.
    static let isInputNull: Bool = {
        var (input, null) = (stat(), stat())
        guard fstat(STDIN_FILENO, &input) == 0, stat("/dev/null", &null) == 0 else { return true }
        return input.st_mode & S_IFMT == S_IFCHR && input.st_rdev == null.st_rdev
    }()

    /// Closed descriptors get a number back, or the first socket would be taken for standard input or output. What is
    /// written to such an output fails, as it should.
    static func openStandardDescriptors() {
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) < 0 {
            _ = open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY)
        }
    }

    private static let usesColor = Atomic<Bool>(automaticColor)

    private static var automaticColor: Bool {
        func isSet(_ name: String) -> Bool { getenv(name).map { $0.pointee != 0 } ?? false }
        if isSet("NO_COLOR") { return false }
        return isSet("FORCE_COLOR") || isErrorTerminal
    }

    static func setColor(_ choice: ColorChoice) {
        let color =
            switch choice {
            case .auto: automaticColor
            case .always: true
            case .never: false
            }
        usesColor.store(color, ordering: .relaxed)
    }

    private static func colored(_ text: String, _ code: Int) -> String {
        usesColor.load(ordering: .relaxed) ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }

    /// An error, in one line whatever the message holds.
    static func report(_ message: String) { write("\(colored("wsx:", 31)) \(message.escapedForLog)\n") }

    /// What is worth knowing, without being an error.
    static func note(_ message: String) { write("wsx: \(message.escapedForLog)\n") }

    static func warn(_ message: String) { write("\(colored("wsx: warning:", 33)) \(message.escapedForLog)\n") }

    static func status(_ message: String) { write(colored(message.escapedForLog, 2) + "\n") }

    /// A line that the next one replaces; empty text removes it.
    static func progress(_ text: String) { write("\r\u{1B}[K" + colored(text, 2)) }

    private static func write(_ text: String) {
        _ = Keyboard.print(Array(text.utf8), to: STDERR_FILENO)
    }
}

/// Writes everything, blocking; returns 0, or the error that stopped it: EPIPE when the reader has gone.
func writeAll(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> CInt {
    var rest = bytes[...]
    while !rest.isEmpty {
        let count = write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
        if count >= 0 {
            rest = rest.dropFirst(count)
        } else if errno == EAGAIN {
            // Descriptors are shared with other processes, any of which may have made them non-blocking.
            var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            Glibc.poll(&poll, 1, -1)
        } else if errno != EINTR {
            return errno
        }
    }
    return 0
}
