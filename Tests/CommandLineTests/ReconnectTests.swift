//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ReconnectTests {
    @Test func theNextConnectionGoesOnWhereTheLastOneEnded() async throws {
        let connections = Mutex(0)
        let server = try WebSocketServer()
        let running = Task {
            try await server.run { socket in
                let isFirst = connections.withLock { count in
                    count += 1
                    return count == 1
                }
                if isFirst {
                    try await socket.send(try await socket.receive())
                    try await socket.close(code: .goingAway, reason: "restart")
                } else {
                    for try await message in socket.messages { try await socket.send(message) }
                }
            }
        }
        let url = "ws://127.0.0.1:\(server.port)/"
        let outcome = try await Command.interact(["connect", "--reconnect", "--json", url]) { client in
            try await client.write("one\n")
            var opens = 0
            while opens < 2, let line = try await client.nextLine() {
                if try object(line)["event"] as? String == "open" { opens += 1 }
            }
            try await client.write("two\n")
            try await client.endInput()
        }
        await server.shutDown()
        try await running.value
        // What the server said while there was no connection is missing.
        #expect(outcome.code == 75)
        #expect(outcome.error == "wsx: messages may be missing, gaps: 1\n")
        let events = try outcome.objects().filter { $0["event"] as? String != "alert" }
        #expect(
            events.map { $0["event"] as? String } == [
                "open", "message", "disconnect", "gap", "open", "message", "disconnect",
            ])
        #expect(events.compactMap { $0["text"] as? String } == ["one", "restart", "two", ""])
        #expect(events.compactMap { $0["reason"] as? String } == ["serverClosed", "userRequested"])
    }

    @Test func inAPipeAGapIsTold() async throws {
        let connections = Mutex(0)
        try await withServer(
            .init(),
            { socket in
                let number = connections.withLock { count in
                    count += 1
                    return count
                }
                try await socket.send("\(number)")
                if number == 1 { try await socket.close(code: .goingAway, reason: "restart") }
                _ = try await socket.closed()
            }
        ) { url in
            let outcome = try await Command.run(["connect", "--reconnect", "--max-messages", "2", url], input: "")
            #expect(outcome.code == 75)
            #expect(outcome.output == "1\n2\n")
            #expect(outcome.error.contains("disconnected (serverClosed)"), "\(outcome.error)")
            #expect(outcome.error.contains("may be missing"), "\(outcome.error)")
        }
    }

    @Test func anErrorThatWouldComeAgainEndsTheCommand() async throws {
        var configuration = WebSocketServerConfiguration()
        configuration.origins = .only(["https://example.com"])
        let server = try WebSocketServer(configuration: configuration)
        let running = Task { try await server.run { _ in } }
        let outcome = try await Command.run(
            ["connect", "--reconnect", "--origin", "https://evil.example", "ws://127.0.0.1:\(server.port)/"])
        await server.shutDown()
        try await running.value
        #expect(outcome.code == 76)
        #expect(outcome.error.contains("403"))
    }

    @Test(arguments: ["--print-rtt", "--verbose"]) func whatShowsOneConnectionIsRefused(option: String) async throws {
        let outcome = try await Command.run(["connect", "--reconnect", option, "ws://127.0.0.1:1/"])
        #expect(outcome.code == 64)
        #expect(outcome.error.contains(option))
    }
}
