//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Glibc
import Subprocess
import Testing
import WebSocketLoop
import WebSockets

@testable import wsx

/// `wsx listen --exec`: the command's life, its lines and its environment.
@Suite(.timeLimit(.minutes(5)))
struct ListenCommandTests {
    @Test(arguments: [
        // A pipeline: the shell is only one of its processes.
        "sleep 300 | cat", "sleep 300 & sleep 300 & wait",
        // Ignores SIGTERM, as do its children.
        "trap '' TERM; while :; do sleep 1; done",
    ])
    func allProcessesEndWithTheConnection(_ command: String) async throws {
        let fifo = try Fifo()
        try await Command.listen(["--exec", "exec 9>\(fifo.path); echo started; \(command)"]) { url in
            async let end = fifo.end()
            let socket = try await WebSocketClient.connect(to: url)
            #expect(try await socket.receive() == "started")
            try await socket.close()
            #expect(await end == "")
        }
    }

    @Test func noProcessOutlivesTheServer() async throws {
        let fifo = try Fifo()
        let outcome = try await Command.interact([
            "listen", "--exec", "exec 9>\(fifo.path); echo started; trap '' TERM; while :; do sleep 1; done",
        ]) { server in
            async let end = fifo.end()
            let url = try #require(try await server.nextLine()).replacing("listening on ", with: "")
            let socket = try await WebSocketClient.connect(to: url)
            #expect(try await socket.receive() == "started")
            // Two signals: it goes at once, and takes the command with it.
            try server.send(.terminate)
            try server.send(.interrupt)
            #expect(await end == "")
            _ = try? await socket.closed()
        }
        #expect([0, 130, 143].contains(outcome.code))
    }

    /// What a client has sent is read before the command ends, although the client is gone.
    @Test func theCommandReadsItsInputToTheEnd() async throws {
        try await withDirectory { directory in
            let file = directory.appending(path: "log").path
            try await Command.interact(["listen", "--json", "--exec", "cat > '\(file)'"]) { server in
                let url = try #require(try object(await server.nextLine())["url"] as? String)
                let socket = try await WebSocketClient.connect(to: url)
                for number in 1...5_000 { try await socket.send("line \(number)") }
                try await socket.close()
                var exit: [String: Any] = [:]
                while exit["event"] as? String != "exit" { exit = try object(await server.nextLine()) }
                #expect(exit["status"] as? Int == 0)
                #expect(exit["connection"] as? Int == 1)
                let text = try String(contentsOfFile: file, encoding: .utf8)
                #expect(text == (1...5_000).map { "line \($0)\n" }.joined())
                try server.send(.terminate)
            }
        }
    }

    /// A command that neither reads nor ends must not be waited for, whatever is on its way to it.
    @Test func aCommandThatDoesNotReadEndsWithItsConnection() async throws {
        let fifo = try Fifo()
        try await Command.listen(["--exec", "exec 9>\(fifo.path); echo started; exec sleep 300"]) { url in
            async let end = fifo.end()
            let socket = try await WebSocketClient.connect(to: url)
            #expect(try await socket.receive() == "started")
            for _ in 0..<8 { try await socket.send([UInt8](repeating: 0, count: 100_000)) }
            try await socket.close()
            #expect(await end == "")
        }
    }

    @Test(arguments: [("exit 3", 3, "status"), ("kill -9 $$", 9, "signal"), ("/nonexistent/command", 127, "status")])
    func aCommandThatFailsIsReported(_ command: String, _ number: Int, _ key: String) async throws {
        try await Command.interact(["listen", "--json", "--exec", command]) { server in
            let url = try #require(try object(await server.nextLine())["url"] as? String)
            let socket = try await WebSocketClient.connect(to: url)
            let received = try #require(try await socket.closed().received)
            #expect(received.code == .internalError)
            #expect(received.reason.contains("\(number)"), "\(received.reason)")
            var exit: [String: Any] = [:]
            while exit["event"] as? String != "exit" { exit = try object(await server.nextLine()) }
            #expect(exit[key] as? Int == number)
            try server.send(.terminate)
        }
    }

    @Test func aLineWithoutAnEndIsBounded() async throws {
        try await Command.listen(["--exec", "head -c 20000000 /dev/zero; sleep 300"]) { url in
            var configuration = WebSocketClientConfiguration()
            configuration.options.maximumMessageSize = 64 << 20
            let socket = try await WebSocketClient.connect(to: url, configuration: configuration)
            let received = try #require(try await socket.closed().received)
            #expect(received.code == .internalError)
            #expect(received.reason.contains("longer than 16 MiB"), "\(received.reason)")
        }
    }

    @Test func theEnvironmentTellsOfTheConnection() async throws {
        // What the server itself inherited does not win.
        let inherited = ["WSX_TARGET": "/inherited", "WSX_REMOTE": "inherited", "WSX_USER": "inherited"]
        try await Command.interact(
            ["listen", "--exec", #"echo "$WSX_TARGET|$WSX_REMOTE|$WSX_USER""#], variables: inherited
        ) { server in
            let url = try #require(try await server.nextLine()).replacing("listening on ", with: "")
            let socket = try await WebSocketClient.connect(to: url + "/path")
            let address = try #require(socket.localAddress)
            #expect(try await socket.receive() == .text("/path|\(address)|"))
            _ = try await socket.closed()
            try server.send(.terminate)
        }
    }

    @Test func linesAreSplitWhereverTheyAreCut() {
        let text = "one\n\nthree is longer\nrest"
        for size in 1...text.utf8.count {
            var splitter = LineSplitter(limit: 100)
            var lines: [[UInt8]] = []
            var bytes = Array(text.utf8)[...]
            while !bytes.isEmpty {
                let isBounded = splitter.take(Array(bytes.prefix(size))) { lines.append(Array($0)) }
                #expect(isBounded)
                bytes = bytes.dropFirst(size)
            }
            #expect(lines.map { String(decoding: $0, as: UTF8.self) } == ["one", "", "three is longer"])
            #expect(splitter.rest == Array("rest".utf8))
        }
        for (pieces, isBounded) in [(["1234\n12345\n"], false), (["123", "45"], false), (["123", "4\n5"], true)] {
            var splitter = LineSplitter(limit: 4)
            let taken = pieces.map { splitter.take(Array($0.utf8)) { _ in } }
            #expect(taken.last == isBounded, "\(pieces)")
        }
    }
}
