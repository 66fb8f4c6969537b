//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Subprocess
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ListenModeTests {
    @Test func thoseOnTheSamePathHearEachOther() async throws {
        let outcome = try await Command.interact(["listen", "--json", "--topics"]) { server in
            let url = try #require(try object(await server.nextLine())["url"] as? String)
            var sockets: [WebSocketConnection] = []
            for target in ["/a?x", "/a", "/b"] {
                sockets.append(try await WebSocketClient.connect(to: url + target))
                #expect(try object(await server.nextLine())["event"] as? String == "open")
            }
            try await sockets[0].send("for a")
            #expect(try await sockets[1].receive() == "for a")
            try await sockets[1].send("back")
            // Its own message did not come back, or it would be here before.
            #expect(try await sockets[0].receive() == "back")
            try await sockets[2].send("for nobody")
            // Nothing was waiting for the one on the other path.
            for socket in sockets { #expect(try await socket.close().isNormal) }
            try server.send(.terminate)
        }
        #expect(outcome.code == 0)
    }

    @Test func aDirectoryIsReplayedInOrder() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try Data("second".utf8).write(to: directory.appending(path: "2.json"))
        try Data([0, 255]).write(to: directory.appending(path: "3.bin"))
        try Data("first".utf8).write(to: directory.appending(path: "1.txt"))
        try await Command.listen(["--replay", directory.path]) { url in
            for _ in 0..<2 {
                let socket = try await WebSocketClient.connect(to: url)
                #expect(try await socket.receive() == "first")
                #expect(try await socket.receive() == "second")
                #expect(try await socket.receive() == .binary([0, 255]))
                #expect(try await socket.closed().received?.code == .normalClosure)
            }
        }
    }

    @Test func aCommandServesEachConnection() async throws {
        try await Command.listen(["--exec", #"while read -r line; do echo "$WSX_TARGET got $line"; done"#]) { url in
            try await WebSocketClient.withConnection(to: url + "/path") { socket in
                try await socket.send("one")
                #expect(try await socket.receive() == "/path got one")
                try await socket.send("two")
                #expect(try await socket.receive() == "/path got two")
            }
        }
        // One that ends by itself ends the connection.
        try await Command.listen(["--exec", "printf 'a\\nb'"]) { url in
            let socket = try await WebSocketClient.connect(to: url)
            #expect(try await socket.receive() == "a")
            #expect(try await socket.receive() == "b")
            #expect(try await socket.closed().received?.code == .normalClosure)
        }
    }

    @Test func aStreamIsJoinedToEachConnection() async throws {
        let upstream = try RawServer()
        try await Command.listen(["--to", "tcp:127.0.0.1:\(upstream.port)"]) { url in
            let socket = try await WebSocketClient.connect(to: url)
            let stream = await upstream.accept()
            try await socket.send("text and ")
            try await socket.send(Array("bytes".utf8))
            #expect(await upstream.read(stream) { $0.count >= 14 } == Array("text and bytes".utf8))
            upstream.write(stream, [1, 2, 3])
            #expect(try await socket.receive() == .binary([1, 2, 3]))
            upstream.close(stream)
            #expect(try await socket.closed().received?.code == .normalClosure)
            // A client that leaves ends the stream.
            let second = try await WebSocketClient.connect(to: url)
            let other = await upstream.accept()
            try await second.close()
            #expect(await upstream.read(other) { _ in false } == [])
            upstream.close(other)
        }
        try await Command.listen(["--to", "unix:/nonexistent"]) { url in
            let socket = try await WebSocketClient.connect(to: url)
            #expect(try await socket.closed().received?.code == .tryAgainLater)
        }
    }

    @Test func thePageShowsWhoIsConnected() async throws {
        try await Command.listen(["--basic-auth", "alice:open:sesame", "--max-connections", "7"]) { url in
            let authorized = "Authorization: Basic YWxpY2U6b3BlbjpzZXNhbWU="
            #expect(try await answer(url, "/status").hasPrefix("HTTP/1.1 401 "))
            let error = await #expect(throws: WebSocketError.self) { try await WebSocketClient.connect(to: url) }
            #expect(error?.response?.status == 401)

            let target = "/<script>".replacing("<", with: "%3C").replacing(">", with: "%3E") + "?'&"
            var configuration = WebSocketClientConfiguration()
            configuration.headers[.authorization] = "Basic YWxpY2U6b3BlbjpzZXNhbWU="
            let socket = try await WebSocketClient.connect(to: url + target, configuration: configuration)
            try await socket.send("x")
            _ = try await socket.receive()
            let page = try await answer(url, "/status", [authorized])
            #expect(page.hasPrefix("HTTP/1.1 200 "))
            #expect(page.contains("Content-Type: text/html"))
            #expect(page.contains("alice") && page.contains("?&#39;&amp;"))
            for request in [("/status.json", ""), ("/status", "Accept: application/json")] {
                let text = try await answer(url, request.0, [authorized, request.1].filter { !$0.isEmpty })
                let body = try #require(text.components(separatedBy: "\r\n\r\n").last)
                let status = try object(body)
                #expect(status["open"] as? Int == 1)
                #expect(status["accepted"] as? Int == 1)
                let connections = try #require(status["connections"] as? [[String: Any]])
                #expect(connections.first?["user"] as? String == "alice")
                #expect(connections.first?["target"] as? String == target)
            }
            #expect(try await answer(url, "/other", [authorized]).hasPrefix("HTTP/1.1 426 "))
            try await socket.close()
        }
    }

    @Test func onlyListedOriginsMayConnect() async throws {
        try await Command.listen(["--origin", "https://*.example.com"]) { url in
            var configuration = WebSocketClientConfiguration()
            configuration.headers[.origin] = "https://a.example.com"
            try await WebSocketClient.connect(to: url, configuration: configuration).close()
            configuration.headers[.origin] = "https://example.org"
            let error = await #expect(throws: WebSocketError.self) {
                try await WebSocketClient.connect(to: url, configuration: configuration)
            }
            #expect(error?.response?.status == 403)
        }
    }

    @Test func clientsBeyondTheLimitAreRefused() async throws {
        try await Command.listen(["--max-connections", "1"]) { url in
            let socket = try await WebSocketClient.connect(to: url)
            let error = await #expect(throws: WebSocketError.self) { try await WebSocketClient.connect(to: url) }
            #expect(error?.response?.status == 503)
            try await socket.close()
        }
    }

    @Test func aUnixSocketIsAnAddress() async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "wsx-\(UUID().uuidString.prefix(8))").path
        let outcome = try await Command.interact(["listen", "--unix", path]) { server in
            #expect(try await server.nextLine() == "listening on ws+unix:\(path)")
            #expect(FileManager.default.fileExists(atPath: path))
            try server.send(.terminate)
        }
        #expect(outcome.code == 0)
        #expect(!FileManager.default.fileExists(atPath: path))
    }
}
