//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Subprocess
import Synchronization
import SystemPackage
import Testing
import WebSockets

@testable import wsx

/// How `wsx connect` ends: nothing is lost in silence.
@Suite(.timeLimit(.minutes(5)))
struct ConnectEndTests {
    @Test(arguments: [[], ["--json"], ["--reconnect"], ["--raw"]])
    func aFullDiskIsAnError(_ options: [String]) async throws {
        try await withServer(
            .init(),
            { socket in
                try? await socket.send("lost")
                _ = try? await socket.closed()
            }
        ) { url in
            let (input, unused) = try FileDescriptor.pipe()
            let full = try FileDescriptor.open("/dev/full", .writeOnly)
            defer { for descriptor in [input, unused, full] { try? descriptor.close() } }
            let outcome = try await Command.run(
                ["connect", "--max-messages", "1", url] + options,
                input: input, output: full)
            #expect(outcome.code == 74)
            #expect(outcome.error.contains("No space left on device"), "\(outcome.error)")
        }
    }

    @Test(arguments: [["listen"], ["demo", "--seconds", "1", "--connections", "1"], ["doctor"]])
    func aFullDiskIsAnErrorOfEveryCommand(_ arguments: [String]) async throws {
        let (input, full) = (
            try FileDescriptor.open("/dev/null", .readOnly), try FileDescriptor.open("/dev/full", .writeOnly)
        )
        defer { try? input.close() }
        defer { try? full.close() }
        let outcome = try await Command.run(arguments, input: input, output: full)
        #expect(outcome.code == 74)
        #expect(outcome.error.contains("No space left on device"), "\(outcome.error)")
    }

    @Test func anInputThatCannotBeReadIsAnError() async throws {
        let (directory, null) = (
            try FileDescriptor.open("/", .readOnly), try FileDescriptor.open("/dev/null", .writeOnly)
        )
        defer { try? directory.close() }
        defer { try? null.close() }
        try await Command.listen { url in
            let outcome = try await Command.run(["connect", url], input: directory, output: null)
            #expect(outcome.code == 64)
            #expect(outcome.error.contains("Is a directory"), "\(outcome.error)")
        }
    }

    /// A feed that says nothing for as long as the client stays: two pings are answered between its lines.
    private func feed(_ lines: [String]) -> @Sendable @concurrent (WebSocketConnection) async throws -> Void {
        { socket in
            for line in lines {
                try await socket.send(line)
                for _ in 0..<4 { _ = try await socket.ping() }
            }
        }
    }

    @Test(arguments: [[], ["--json"], ["--no-deflate"]])
    func withoutInputAFeedIsPrintedToItsEnd(_ options: [String]) async throws {
        try await withServer(.init(), feed(["one", "two", "three"])) { url in
            let outcome = try await Command.runWithoutInput(["connect", url] + options)
            #expect(outcome.code == 0, "\(outcome.error)")
            #expect(["one", "two", "three"].allSatisfy { outcome.output.contains($0) }, "\(outcome.output)")
        }
    }

    @Test func noCloseStaysAtTheEndOfInput() async throws {
        try await withServer(
            .init(),
            { socket in
                // The client's input has ended when its pings would have come: it is told nothing before.
                #expect(try await socket.receive() == "subscribe")
                for _ in 0..<4 { _ = try await socket.ping() }
                try await socket.send("late")
            }
        ) { url in
            for option in ["-n", "--no-close"] {
                let outcome = try await Command.run(["connect", option, url], input: "subscribe\n")
                #expect(outcome.code == 0, "\(outcome.error)")
                #expect(outcome.output == "late\n")
            }
        }
    }

    @Test func anEmptyInputIsNamed() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run(["connect", url])
            #expect(outcome.code == 0)
            #expect(outcome.error.contains("--no-close"), "\(outcome.error)")
            #expect(try await Command.run(["connect", "--quiet", url]).error == "")
        }
    }

    /// Without the option two pings would be sent, and then the close frame.
    @Test func waitGivesRepliesTime() async throws {
        let server = try RawServer()
        let outcome = try await Command.interact(
            ["connect", "--no-deflate", "--wait", "60", "ws://127.0.0.1:\(server.port)/"]
        ) { client in
            try await client.write("1+1\n")
            try await client.endInput()
            let connection = try await server.acceptWebSocket()
            defer { server.close(connection) }
            let question = await server.frame(connection)
            #expect(question?.payload == Array("1+1".utf8))
            server.writeFrame(connection, 1, Array("2".utf8))
            #expect(try await client.nextLine() == "2")
            server.writeFrame(connection, 8, [0x03, 0xE8])
            #expect(await server.frame(connection)?.opcode == 8)
        }
        #expect(outcome.code == 0, "\(outcome.error)")
    }

    @Test func waitEndsWhenNothingArrives() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run(["connect", "--wait", "0.2", url], input: "echo\n")
            #expect(outcome.code == 0, "\(outcome.error)")
            #expect(outcome.output == "echo\n")
        }
    }

    @Test(arguments: [["-1"], ["--no-close"], ["--reconnect", "-n"]])
    func silenceHasADeadline(_ options: [String]) async throws {
        try await withServer(.init(), { socket in _ = try await socket.closed() }) { url in
            let outcome = try await Command.run(["connect", "--timeout", "0.2", url] + options, input: "question\n")
            #expect(outcome.code == 124)
            #expect(outcome.error.contains("no message arrived for 0.2 s"), "\(outcome.error)")
        }
    }

    @Test(arguments: [(Signal.interrupt, 130), (.terminate, 143)] as [(Signal, Int32)])
    func aSignalBeforeTheMessageAskedForIsNoSuccess(_ signal: Signal, _ code: Int32) async throws {
        try await withServer(.init(), { socket in _ = try await socket.closed() }) { url in
            let outcome = try await Command.interact(["connect", "--json", "-1", url]) { client in
                #expect(try object(await client.nextLine())["event"] as? String == "open")
                try client.send(signal)
            }
            #expect(outcome.code == code)
        }
    }

    @Test func anEndBeforeTheOneMessageIsNoSuccess() async throws {
        try await withServer(.init(), { socket in try await socket.close() }) { url in
            let outcome = try await Command.run(["connect", "-1", url], input: "question\n")
            #expect(outcome.code == 76)
            #expect(outcome.error.contains("before"), "\(outcome.error)")
        }
    }

    @Test func rawBytesGoThroughUnchanged() async throws {
        try await Command.listen { url in
            let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) }
            let raw = try await Command.runBytes(["connect", "--raw", url], input: bytes)
            #expect(raw.code == 0, "\(raw.error)")
            #expect(raw.output == bytes)
        }
    }

    @Test func theWholeInputIsOneMessage() async throws {
        try await Command.listen { url in
            let text = try await Command.run(["connect", "--json", "--whole", url], input: "two\nlines\n")
            #expect(try text.objects().compactMap { $0["text"] as? String } == ["two\nlines\n"])
            let binary = try await Command.run(["connect", "--json", "--whole", "-b", url], input: [0xFF, 0x0A, 0xFE])
            #expect(try binary.objects().compactMap { $0["base64"] as? String } == ["/wr+"])
            let refused = try await Command.run(["connect", "--whole", url], input: [0xFF])
            #expect(refused.code == 64)
            #expect(refused.error.contains("the input is not UTF-8"), "\(refused.error)")
        }
    }

    @Test func timesAreShown() async throws {
        try await Command.listen { url in
            let text = try await Command.run(["connect", "--timestamps", url], input: "hello\n")
            #expect(
                text.output.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z hello\n/) != nil, "\(text.output)")
            let json = try await Command.run(["connect", "--timestamps", "--json", url], input: "hello\n")
            #expect(try json.objects().allSatisfy { ($0["time"] as? String)?.hasSuffix("Z") == true })
        }
    }

    @Test func aRecordingIsReplayed() async throws {
        try await withDirectory { directory in
            let file = directory.appending(path: "recording").path
            let odd = "say \"hi\" \\ \u{1}\u{1F600}\u{202E}\ttab"
            try await Command.listen { url in
                let text = try await Command.run(["connect", "--record", file, url], input: "one\n\(odd)\n")
                #expect(text.code == 0, "\(text.error)")
                let again = try await Command.run(["connect", "--record", file, url], input: "")
                #expect(again.code == 64)
                #expect(again.error.contains("--record"))
            }
            let records = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map {
                try object(String($0))
            }
            #expect(
                records.filter { $0["direction"] as? String == "sent" }.compactMap { $0["text"] as? String } == [
                    "one", odd,
                ])
            let times = records.compactMap { $0["at"] as? Double }
            #expect(times.count == 4 && times == times.sorted())
            // As it would look after a pause.
            var lines = try String(contentsOfFile: file, encoding: .utf8)
            lines += #"{ "at": 0.3, "direction": "received", "base64": "AP8=" }"# + "\n"
            try lines.write(toFile: file, atomically: true, encoding: .utf8)
            try await Command.listen(["--replay", file]) { url in
                let began = ContinuousClock.now
                let socket = try await WebSocketClient.connect(to: url)
                #expect(try await socket.receive() == "one")
                #expect(try await socket.receive() == .text(odd))
                #expect(try await socket.receive() == .binary([0, 255]))
                #expect(ContinuousClock.now - began >= .milliseconds(290))
                #expect(try await socket.closed().received?.code == .normalClosure)
            }
            try (lines + #"{"at": 1e8, "direction": "received", "text": "soon"}"# + "\n")
                .write(toFile: file, atomically: true, encoding: .utf8)
            try await Command.listen(["--replay", file, "--replay-speed", "0"]) { url in
                let socket = try await WebSocketClient.connect(to: url)
                for _ in 0..<3 { _ = try await socket.receive() }
                #expect(try await socket.receive() == "soon")
                try await socket.close()
            }
            try "nonsense\n".write(toFile: file, atomically: true, encoding: .utf8)
            let bad = try await Command.run(["listen", "--replay", file])
            #expect(bad.code == 64)
            #expect(bad.error.contains("line 1"), "\(bad.error)")
        }
    }
}
