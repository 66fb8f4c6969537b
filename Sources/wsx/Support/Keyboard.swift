//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc
import Synchronization
import WebSocketCore

/// What a line at the keyboard asks for.
enum KeyboardCommand: Sendable, Equatable {
    case message([UInt8])
    case ping(String)
    case close(WebSocketCloseFrame)
    /// It cannot be done; why.
    case complaint(String)

    /// `/ping [text]` and `/close [code [reason]]`; anything else is a message. `//ping` sends `/ping`.
    init(_ line: String) {
        let words = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: true)
        switch line.first == " " ? nil : words.first {
        case "/ping":
            let payload = line.dropFirst(5).drop { $0 == " " }
            self = payload.utf8.count <= 125 ? .ping(String(payload)) : .complaint("a ping holds at most 125 bytes")
        case "/close":
            guard words.count > 1 else {
                self = .close(WebSocketCloseFrame(code: .normalClosure))
                return
            }
            let frame = UInt16(words[1]).map {
                WebSocketCloseFrame(code: .init(rawValue: $0), reason: words.count > 2 ? String(words[2]) : "")
            }
            guard let frame else {
                self = .complaint("write /close, or /close CODE REASON")
                return
            }
            do throws(WebSocketError) {
                try frame.validate()
                self = .close(frame)
            } catch {
                self = .complaint(error.message)
            }
        case let word? where word == "//ping" || word == "//close":
            self = .message(Array(line.drop { $0 == " " }.dropFirst().utf8))
        default: self = .message(Array(line.utf8))
        }
    }
}

/// Standard input and output as one terminal: a line is edited at the bottom, and what is printed goes above it.
///
/// The terminal is left as it was found, except by a process that is killed.
final class Keyboard: MessageInput {
    private struct State {
        var editor = LineEditor()
        var isShown = false
        var waiter: CheckedContinuation<[[UInt8]]?, Never>?
        var lines: [[UInt8]] = []
        var isAtEnd = false
    }

    private static let original = Mutex<termios?>(nil)
    /// The one that has the terminal.
    private static let current = Mutex<Keyboard?>(nil)
    private let state = Mutex(State())

    /// Takes the terminal over, if lines are typed and messages shown there; `nil` otherwise.
    static func shared(for behaviour: Conversation.Behaviour, _ display: DisplayOptions) -> Keyboard? {
        guard
            Terminal.isInputTerminal, Terminal.isOutputTerminal, !display.json, case .lines = behaviour.framing,
            getenv("TERM").map({ String(cString: $0) }) != "dumb", begin()
        else { return nil }
        let keyboard = Keyboard()
        current.withLock { $0 = keyboard }
        keyboard.state.withLock { keyboard.show(&$0) }
        let thread = DispatchQueue(label: "wsx.keyboard")
        thread.async { keyboard.readKeys() }
        return keyboard
    }

    /// Single keys, without echo; signals stay the terminal's, but for Ctrl-\, which would only print a backtrace.
    private static func begin() -> Bool {
        original.withLock { original in
            var settings = termios()
            guard tcgetattr(STDIN_FILENO, &settings) == 0 else { return false }
            original = settings
            settings.c_lflag &= ~tcflag_t(ICANON | ECHO)
            settings.c_iflag &= ~tcflag_t(ICRNL | IXON)
            withUnsafeMutableBytes(of: &settings.c_cc) { keys in
                keys[Int(VMIN)] = 1
                keys[Int(VTIME)] = 0
                keys[Int(VQUIT)] = 0
            }
            guard tcsetattr(STDIN_FILENO, TCSADRAIN, &settings) == 0 else { return false }
            atexit { Keyboard.giveBack() }
            return true
        }
    }

    /// Leaves the terminal as it was found. Called at the end of the process too.
    static func giveBack() {
        if let keyboard = current.withLock({ $0.take() }) {
            keyboard.state.withLock { state in
                state.isAtEnd = true
                keyboard.hide(&state)
            }
        }
        original.withLock { original in
            guard var settings = original else { return }
            tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
            original = nil
        }
    }

    // MARK: Printing

    /// Whether lines are typed where messages are shown, so that marks tell them apart.
    static var isActive: Bool { current.withLock { $0 != nil } }

    /// Writes the bytes, above the line that is being typed if there is one. Returns 0, or the error.
    static func print(_ bytes: [UInt8], to descriptor: CInt) -> CInt {
        guard let keyboard = current.withLock({ $0 }) else { return bytes.withUnsafeBytes { writeAll(descriptor, $0) } }
        return keyboard.state.withLock { state in
            keyboard.hide(&state)
            defer { if !state.isAtEnd { keyboard.show(&state) } }
            return bytes.withUnsafeBytes { writeAll(descriptor, $0) }
        }
    }

    private func show(_ state: inout State) {
        var size = winsize()
        let columns = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
        let (text, back) = state.editor.row(columns: columns)
        draw("\r\u{1B}[K" + text + (back > 0 ? "\u{1B}[\(back)D" : ""))
        state.isShown = true
    }

    private func hide(_ state: inout State) {
        guard state.isShown else { return }
        draw("\r\u{1B}[K")
        state.isShown = false
    }

    private func draw(_ text: String) {
        var text = text
        text.withUTF8 { _ = writeAll(STDOUT_FILENO, UnsafeRawBufferPointer($0)) }
    }

    // MARK: Typing

    private func readKeys() {
        var keys = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = read(STDIN_FILENO, &keys, keys.count)
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            let isAtEnd = state.withLock { state in
                if count <= 0 { state.isAtEnd = true }
                for key in keys.prefix(max(0, count)) where !state.isAtEnd {
                    switch state.editor.take(key) {
                    case .unchanged: break
                    case .changed: show(&state)
                    case .line(let line):
                        // It stays above, with its mark.
                        draw("\r\u{1B}[K> \(line.escapedForTerminal)\n")
                        show(&state)
                        state.lines.append(Array(line.utf8))
                    case .end: state.isAtEnd = true
                    }
                }
                if state.isAtEnd { hide(&state) }
                handOver(&state)
                return state.isAtEnd
            }
            if isAtEnd { return }
        }
    }

    private func handOver(_ state: inout State) {
        guard let waiter = state.waiter, !state.lines.isEmpty || state.isAtEnd else { return }
        state.waiter = nil
        waiter.resume(returning: state.lines.isEmpty ? nil : state.lines)
        state.lines = []
    }

    func next() async -> [[UInt8]]? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock { state in
                    state.waiter = continuation
                    if Task.isCancelled { cancel(&state) } else { handOver(&state) }
                }
            }
        } onCancel: {
            state.withLock { cancel(&$0) }
        }
    }

    private func cancel(_ state: inout State) {
        state.waiter?.resume(returning: nil)
        state.waiter = nil
    }

    var failure: CommandFailure? { nil }

    func command(in piece: [UInt8]) -> KeyboardCommand { KeyboardCommand(String(decoding: piece, as: UTF8.self)) }
}
