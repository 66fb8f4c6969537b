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

    @Option(name: .long, help: "Colour of the status on standard error: auto, always or never.")
    var color = ColorChoice.auto

    @Flag(name: .customLong("no-color"), help: "The same as --color never; NO_COLOR in the environment too.")
    var noColor = false

    func validate() throws {
        guard !(noColor && color == .always) else {
            throw ValidationError("--no-color contradicts --color always; leave one out")
        }
        Terminal.setColor(noColor ? .never : color)
    }

    /// Whether somebody is there to read status lines.
    var showsStatus: Bool { !quiet && !json && Terminal.isErrorTerminal }
}

/// Standard error, and what kind of thing the three descriptors are.
enum Terminal {
    static let isInputTerminal = isatty(STDIN_FILENO) == 1
    static let isOutputTerminal = isatty(STDOUT_FILENO) == 1
    static let isErrorTerminal = isatty(STDERR_FILENO) == 1

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

    static func warn(_ message: String) { write("\(colored("wsx: warning:", 33)) \(message.escapedForLog)\n") }

    static func status(_ message: String) { write(colored(message.escapedForLog, 2) + "\n") }

    /// A line that the next one replaces; empty text removes it.
    static func progress(_ text: String) { write("\r\u{1B}[K" + colored(text, 2)) }

    private static func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = writeAll(STDERR_FILENO, UnsafeRawBufferPointer($0)) }
    }
}

/// Writes everything, blocking; `false` when nobody reads any more.
func writeAll(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Bool {
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
            return false
        }
    }
    return true
}
