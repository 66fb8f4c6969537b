//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Foundation
import Glibc
import Subprocess
import SystemPackage
import Testing
import WebSockets

@testable import wsx

/// `wsx connect` where lines are typed and messages are shown.
@Suite(.timeLimit(.minutes(5)))
struct KeyboardTests {
    /// What was typed and shown on a pseudo-terminal.
    private final class Terminal {
        let program: FileDescriptor
        let screen: FileDescriptor
        private(set) var text = ""

        init() throws {
            var (main, other): (CInt, CInt) = (-1, -1)
            var size = winsize(ws_row: 24, ws_col: 40, ws_xpixel: 0, ws_ypixel: 0)
            try #require(openpty(&main, &other, nil, nil, &size) == 0)
            (screen, program) = (FileDescriptor(rawValue: main), FileDescriptor(rawValue: other))
            for descriptor in [main, other] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        }

        func type(_ text: String) throws { try screen.writeAll(text.utf8) }

        /// Reads until the screen has been written this, from where the last call ended.
        func wait(for part: String) async throws {
            while !text.contains(part) {
                let bytes: [UInt8] = await withCheckedContinuation { continuation in
                    DispatchQueue(label: "terminal").async { [screen] in
                        var chunk = [UInt8](repeating: 0, count: 4_096)
                        let count = read(screen.rawValue, &chunk, chunk.count)
                        continuation.resume(returning: Array(chunk[..<max(0, count)]))
                    }
                }
                try #require(!bytes.isEmpty, "the terminal ended before “\(part)”: \(text)")
                text += String(decoding: bytes, as: UTF8.self)
            }
            text = String(text[text.range(of: part)!.upperBound...])
        }

        deinit {
            try? program.close()
            try? screen.close()
        }
    }

    @Test func bothDirectionsAreMarkedAndTypingIsNotDisturbed() async throws {
        try await withServer(
            .init(),
            { socket in
                for try await message in socket.messages {
                    try await socket.send(message)
                    try await socket.send("to you")
                }
            }
        ) { url in
            let terminal = try Terminal()
            let program = terminal.program
            async let outcome = Command.run(
                ["connect", "-q", url], input: program, output: program,
                variables: ["TERM": "xterm"])
            try await terminal.wait(for: "> ")
            try terminal.type("first\r")
            try await terminal.wait(for: "> first\r\n")
            try await terminal.wait(for: "< first\r\n")
            try await terminal.wait(for: "< to you\r\n")
            // The line that is being typed is put back below what arrives.
            try terminal.type("hel")
            try await terminal.wait(for: "> hel")
            try terminal.type("\u{1B}[D\u{1B}[D")
            try terminal.type("X\u{7F}\u{1B}[FLo\u{7F}\u{7F}lo\r")
            try await terminal.wait(for: "> hello\r\n")
            try await terminal.wait(for: "< hello\r\n")
            try await terminal.wait(for: "< to you\r\n")
            // History.
            try terminal.type("\u{1B}[A\r")
            try await terminal.wait(for: "< hello\r\n")
            try terminal.type("//ping\r")
            try await terminal.wait(for: "< /ping\r\n")
            try terminal.type("/close 4000 done\r")
            let result = try await outcome
            #expect(result.code == 0, "\(result.error)")
            // The terminal is as it was.
            var settings = termios()
            #expect(tcgetattr(terminal.program.rawValue, &settings) == 0)
            #expect(settings.c_lflag & tcflag_t(ECHO | ICANON) == tcflag_t(ECHO | ICANON))
        }
    }

    @Test func pingIsAnsweredAndEndOfInputCloses() async throws {
        try await Command.listen { url in
            let terminal = try Terminal()
            let program = terminal.program
            async let outcome = Command.run(
                ["connect", "-q", url], input: program, output: program,
                variables: ["TERM": "xterm"])
            try await terminal.wait(for: "> ")
            try terminal.type("/ping are you there\r/close 99\r/close x\r")
            try await terminal.wait(for: "/close x\r\n")
            try terminal.type("echo\r")
            try await terminal.wait(for: "< echo\r\n")
            try terminal.type("\u{4}")
            let result = try await outcome
            #expect(result.code == 0)
            #expect(result.error.contains("< pong are you there ("), "\(result.error)")
            #expect(result.error.contains("close code 99"), "\(result.error)")
            #expect(result.error.contains("/close CODE REASON"), "\(result.error)")
        }
    }

    @Test func commandsAreRead() {
        #expect(KeyboardCommand("hello") == .message(Array("hello".utf8)))
        #expect(KeyboardCommand("/join #swift") == .message(Array("/join #swift".utf8)))
        #expect(KeyboardCommand("//ping x") == .message(Array("/ping x".utf8)))
        #expect(KeyboardCommand("/ping") == .ping(""))
        #expect(KeyboardCommand("/ping a  b") == .ping("a  b"))
        #expect(KeyboardCommand("/close") == .close(.init(code: .normalClosure)))
        #expect(
            KeyboardCommand("/close 4000 two words") == .close(.init(code: .init(rawValue: 4000), reason: "two words")))
    }

    @Test(arguments: [
        ("abc\r", ["abc"]), ("é😀\u{7F}x\r", ["éx"]), ("abc\u{1}x\u{5}y\r", ["xabcy"]), ("one two\u{17}x\r", ["one x"]),
        ("abc\u{15}d\r", ["d"]), ("abc\u{1B}[D\u{B}\r", ["ab"]), ("a\rb\r\u{1B}[A\u{1B}[A\r", ["a", "b", "a"]),
        ("a\rdraft\u{1B}[A\u{1B}[B!\r", ["a", "draft!"]), ("a\u{1B}[3~b\u{1B}[1~\u{1B}[3~\r", ["b"]),
        ("x\u{1B}[200~y\r", ["xy"]), ("\u{0}\u{1F}a\r", ["a"]),
    ])
    func keysEditTheLine(_ keys: String, _ expected: [String]) {
        var editor = LineEditor()
        var lines: [String] = []
        for byte in keys.utf8 { if case .line(let line) = editor.take(byte) { lines.append(line) } }
        #expect(lines == expected)
    }

    @Test func aLongLineIsShownAroundTheCursor() {
        var editor = LineEditor()
        for byte in "0123456789abcdefghij".utf8 { _ = editor.take(byte) }
        #expect(editor.row(columns: 13).text == "> abcdefghij")
        #expect(editor.row(columns: 13).back == 0)
        _ = editor.take(0x01)
        #expect(editor.row(columns: 13).text == "> 0123456789")
        #expect(editor.row(columns: 13).back == 10)
        // Ctrl-D takes away what is under the cursor, and ends only an empty line.
        let outcomes = (0...20).map { _ in editor.take(0x04) }
        #expect(outcomes == Array(repeating: .changed, count: 20) + [.end])
    }
}
