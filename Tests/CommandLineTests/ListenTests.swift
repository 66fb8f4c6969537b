//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Subprocess
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ListenTests {
    @Test func theFirstLineIsTheAddress() async throws {
        let outcome = try await Command.interact(["listen", "--json"]) { server in
            let first = try object(await server.nextLine())
            #expect(first["event"] as? String == "listening")
            let url = try #require(first["url"] as? String)
            #expect(url.wholeMatch(of: /ws:\/\/127\.0\.0\.1:[1-9][0-9]*/) != nil)

            // By the reply itself, which on a busy machine takes longer than the command waits at the end of its input.
            let client = try await Command.run(
                ["connect", "--one-message", "--no-close", url + "/path?query=1"], input: "hello\n")
            #expect(client.output == "hello\n", "\(client)")
            let open = try object(await server.nextLine())
            #expect(open["event"] as? String == "open")
            #expect(open["target"] as? String == "/path?query=1")
            let close = try object(await server.nextLine())
            #expect(close["event"] as? String == "close")
            #expect(close["code"] as? Int == 1000)
            try server.send(.interrupt)
        }
        #expect(outcome.code == 0)
        #expect(outcome.error == "")
    }

    @Test(arguments: [Signal.interrupt, .terminate])
    func aSignalClosesConnectionsWith1001(_ signal: Signal) async throws {
        let outcome = try await Command.interact(["listen"]) { server in
            let url = try #require(try await server.nextLine()).replacing("listening on ", with: "")
            try await WebSocketClient.withConnection(to: url) { socket in
                try await socket.send("hello")
                #expect(try await socket.receive() == "hello")
            }
            let socket = try await WebSocketClient.connect(to: url)
            try await socket.send("still here")
            #expect(try await socket.receive() == "still here")
            try server.send(signal)
            let info = try await socket.closed()
            #expect(info.received?.code == .goingAway)
            #expect(info.receivedFirst == true)
        }
        #expect(outcome.code == 0)
        #expect(outcome.error == "")
    }

    @Test func broadcastReachesEverybodyElse() async throws {
        let outcome = try await Command.interact(["listen", "--json", "--broadcast"]) { server in
            let url = try #require(try object(await server.nextLine())["url"] as? String)
            var sockets: [WebSocketConnection] = []
            for _ in 0..<3 {
                sockets.append(try await WebSocketClient.connect(to: url))
                // Reported once it takes part.
                #expect(try object(await server.nextLine())["event"] as? String == "open")
            }
            try await sockets[0].send("from the first")
            #expect(try await sockets[1].receive() == "from the first")
            #expect(try await sockets[2].receive() == "from the first")
            try await sockets[1].send("from the second")
            // Its own message did not come back to the first, or it would be here before.
            #expect(try await sockets[0].receive() == "from the second")
            for socket in sockets { _ = try await socket.close() }
            try server.send(.terminate)
        }
        #expect(outcome.code == 0)
    }

    /// More than is kept for a listener, faster than it reads.
    @Test(arguments: ["--broadcast", "--topics"]) func aFastSenderCostsNoReaderItsConnection(mode: String) async throws
    {
        let count = 256
        let body = [UInt8](repeating: 7, count: 65_535)
        let path = FileManager.default.temporaryDirectory.appending(path: "wsx-\(UUID().uuidString.prefix(8))").path
        // A Unix socket, because the kernel keeps little for it.
        let outcome = try await Command.interact(["listen", "--json", "--unix", path, mode]) { server in
            #expect(try object(await server.nextLine())["event"] as? String == "listening")
            let url = "ws://localhost/"
            var configuration = WebSocketClientConfiguration()
            configuration.options.compression = .disabled
            configuration.options.inboundBuffer = .init(highMessages: 4, lowMessages: 1, highBytes: 1 << 18)
            configuration.connectTo = .unix(path: path)
            let reader = try await WebSocketClient.connect(to: url, configuration: configuration)
            #expect(try object(await server.nextLine())["event"] as? String == "open")
            let sender = try await WebSocketClient.connect(to: url, configuration: configuration)
            #expect(try object(await server.nextLine())["event"] as? String == "open")
            let sending = Task {
                for number in 0..<count {
                    try await sender.send([UInt8(truncatingIfNeeded: number)] + body)
                }
            }
            for number in 0..<count {
                let message = try await reader.receive()
                guard case .binary(let bytes) = message else { break }
                // Byte by byte, which takes longer than sending them.
                #expect(bytes.first == UInt8(truncatingIfNeeded: number) && bytes.dropFirst().allSatisfy { $0 == 7 })
            }
            try await sending.value
            for socket in [reader, sender] { #expect(try await socket.close().isNormal) }
            try server.send(.terminate)
        }
        #expect(outcome.code == 0)
    }

    @Test func verboseReportsConnectionsWithoutATerminal() async throws {
        let outcome = try await Command.listen(["-v"]) { url in
            try await WebSocketClient.connect(to: url + "/path").close()
        }
        #expect(outcome.error.contains("#1 open: 127.0.0.1:"), "\(outcome.error)")
        #expect(outcome.error.contains("#1 closed:"), "\(outcome.error)")
    }

    @Test func compressionCanBeDeclined() async throws {
        try await Command.listen(["--no-deflate"]) { url in
            let client = try await Command.run(["connect", "--json", url])
            let open = try #require(try client.objects().first)
            #expect(open["extensions"] is NSNull)
        }
    }

    @Test func theMessageLimitIsEnforced() async throws {
        try await Command.listen(["--max-message-size", "10"]) { url in
            #expect(try await Command.run(["connect", url], input: "0123456789\n").code == 0)
            let outcome = try await Command.run(["connect", url], input: "0123456789x\n")
            #expect(outcome.code == 76)
            #expect(outcome.error.contains("1009"))
        }
    }

    @Test func aTakenPortIsAnError() async throws {
        try await Command.listen { url in
            let port = try #require(url.split(separator: ":").last)
            let outcome = try await Command.run(["listen", "--port", String(port)])
            #expect(outcome.code == 69)
            #expect(outcome.output == "")
            #expect(outcome.error.hasPrefix("wsx: listening on 127.0.0.1 port \(port) failed"))
        }
    }
}
