//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import HTTPTypes
import Subprocess
import Testing
import WebSocketCore
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ConnectTests {
    @Test func linesGoThroughAnEchoServerInPipes() async throws {
        let listener = try await Command.listen { url in
            let long = String(repeating: "x", count: 200_000)
            let input = "hello\n\nwörld\tä\u{1B}[31m\n\(long)\nwithout a newline"
            let outcome = try await Command.run(["connect", url], input: input)
            #expect(outcome.code == 0)
            #expect(outcome.output == input + "\n")
            #expect(outcome.error == "")
        }
        #expect(listener.code == 0)
        #expect(listener.error == "")
    }

    @Test func manyLinesComeBackBeforeTheClose() async throws {
        try await Command.listen { url in
            let input = (1...20_000).map { "line \($0)\n" }.joined()
            let outcome = try await Command.run(["connect", url], input: input)
            #expect(outcome.code == 0)
            #expect(outcome.output == input)
        }
    }

    @Test func linesAreAnsweredWhileTheInputStaysOpen() async throws {
        try await Command.listen { url in
            let outcome = try await Command.interact(["connect", url]) { client in
                for line in ["one", "two"] {
                    try await client.write(line + "\n")
                    #expect(try await client.nextLine() == line)
                }
                try await client.endInput()
            }
            #expect(outcome.code == 0)
        }
    }

    @Test func tlsWithACertificateAuthority() async throws {
        try await withCertificateFiles { authority, certificate, key in
            try await Command.listen(["--tls-cert", certificate, "--tls-key", key]) { url in
                #expect(url.hasPrefix("wss://"))
                let trusted = try await Command.run(["connect", "--json", "--ca", authority, url], input: "hello\n")
                #expect(trusted.code == 0)
                let open = try #require(try trusted.objects().first)
                #expect((open["tlsVersion"] as? String)?.hasPrefix("TLSv1.") == true)
                #expect(open["extensions"] as? String == "permessage-deflate")

                let untrusted = try await Command.run(["connect", url], input: "hello\n")
                #expect(untrusted.code == 69)
                #expect(untrusted.output == "")
                #expect(untrusted.error.hasPrefix("wsx: the server's certificate is not accepted"))
                #expect(untrusted.error.split(separator: "\n").count == 1)

                let unverified = try await Command.run(["connect", "-k", "--quiet", url], input: "hello\n")
                #expect(unverified.code == 0)
                #expect(unverified.output == "hello\n")
                #expect(unverified.error == "")
            }
        }
    }

    @Test func jsonIsOneObjectPerLine() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run(
                ["connect", "--json", "--no-deflate", url], input: "say \"hi\"\u{1B}\u{9B}\\\n")
            #expect(outcome.code == 0)
            let objects = try outcome.objects()
            #expect(objects.map { $0["event"] as? String } == ["open", "message", "close"])
            try #require(objects.count == 3)
            #expect(objects[0]["url"] as? String == url + "/")
            #expect(objects[0]["extensions"] is NSNull)
            #expect(objects[1]["text"] as? String == "say \"hi\"\u{1B}\u{9B}\\")
            #expect(objects[2]["code"] as? Int == 1000)
            #expect(objects[2]["sent"] as? Int == 1000)
            #expect(objects[2]["closedByPeer"] as? Bool == false)
            #expect(!outcome.output.unicodeScalars.contains("\u{9B}"))
        }
    }

    @Test func binaryMessages() async throws {
        try await Command.listen { url in
            let input: [UInt8] = [0xFF, 0x00, 0x80, 0x0A]
            let raw = try await Command.run(["connect", "--json", "--binary", url], input: input)
            let message = try #require(try raw.objects().first { $0["event"] as? String == "message" })
            #expect(message["kind"] as? String == "binary")
            #expect(message["base64"] as? String == "/wCA")

            let refused = try await Command.run(["connect", url], input: Array("good\n".utf8) + input)
            #expect(refused.code == 64)
            #expect(refused.output == "good\n")
            #expect(refused.error.contains("line 2"))
        }
    }

    @Test func endOfInputClosesWith1000() async throws {
        try await withReportingServer { url, closes in
            let outcome = try await Command.run(["connect", url], input: "bye\n")
            #expect(outcome.code == 0)
            #expect(await closes.next()?.received?.code == .normalClosure)
        }
    }

    @Test(arguments: [Signal.interrupt, .terminate])
    func aSignalClosesWith1001(_ signal: Signal) async throws {
        try await withReportingServer { url, closes in
            let outcome = try await Command.interact(["connect", "--json", url]) { client in
                #expect(try object(await client.nextLine())["event"] as? String == "open")
                try client.send(signal)
            }
            #expect(outcome.code == 0)
            #expect(await closes.next()?.received?.code == .goingAway)
        }
    }

    @Test func aSecondSignalEndsAtOnce() async throws {
        let server = try RawServer()
        let outcome = try await Command.interact(["connect", "--json", "ws://127.0.0.1:\(server.port)"]) { client in
            let connection = try await server.acceptWebSocket()
            defer { server.close(connection) }
            #expect(try object(await client.nextLine())["event"] as? String == "open")
            try client.send(.interrupt)
            // FIN and opcode 8: the close frame, which is never answered.
            let frame = await server.read(connection) { $0.count >= 8 }
            #expect(frame.first == 0x88)
            try client.send(.interrupt)
            _ = await server.read(connection) { _ in false }
        }
        #expect(outcome.code == 130)
    }

    @Test func aSignalBeforeTheConnectionIsOpenEndsTheAttempt() async throws {
        let server = try RawServer()
        let outcome = try await Command.interact(["connect", "ws://127.0.0.1:\(server.port)"]) { client in
            let connection = await server.accept()
            defer { server.close(connection) }
            try client.send(.terminate)
            _ = await server.read(connection) { _ in false }
        }
        #expect(outcome.code == 143)
        #expect(outcome.error == "")
    }

    @Test func deadlinesHaveTheirOwnExitCode() async throws {
        let server = try RawServer()
        let outcome = try await Command.run(
            ["connect", "--json", "--open-timeout", "0.2", "ws://127.0.0.1:\(server.port)"])
        #expect(outcome.code == 124)
        let error = try #require(try outcome.objects().first)
        #expect(error["event"] as? String == "error")
        #expect(error["code"] as? String == "timedOut")
        #expect(error["exitCode"] as? Int == 124)
    }

    @Test func oneMessage() async throws {
        let configuration = WebSocketServerConfiguration()
        try await withServer(
            configuration,
            { socket in
                guard let request = try? await socket.receive() else { return }
                try await socket.send(request)
                try await socket.send("another")
                _ = try await socket.closed()
            }
        ) { url in
            let outcome = try await Command.run(["connect", "-1", url], input: "question\n")
            #expect(outcome.code == 0)
            #expect(outcome.output == "question\n")
        }
    }

    @Test func headersOriginAndSubprotocolReachTheServer() async throws {
        var configuration = WebSocketServerConfiguration()
        configuration.subprotocols = ["chat.v2"]
        configuration.origins = .only(["https://example.com"])
        try await withServer(
            configuration,
            { socket in
                try await socket.send(socket.requestHeaders[HTTPField.Name("X-Token")!] ?? "none")
                try await socket.send(socket.subprotocol ?? "none")
            }
        ) { url in
            let options = ["connect", "-H", "X-Token: a: b", "--protocol", "chat.v1", "--protocol", "chat.v2"]
            let accepted = try await Command.interact(
                options + ["--origin", "https://example.com", url]
            ) { (client: Command.Running) async throws in
                #expect(try await client.nextLine() == "a: b")
                #expect(try await client.nextLine() == "chat.v2")
            }
            #expect(accepted.code == 0)
            let rejected = try await Command.run(options + ["--origin", "https://example.org", url])
            #expect(rejected.code == 76)
            #expect(rejected.error.contains("403"))
        }
    }

    @Test func anAbnormalCloseIsAFailure() async throws {
        try await withServer(
            WebSocketServerConfiguration(),
            { socket in
                _ = try await socket.close(code: .internalError, reason: "full")
            }
        ) { url in
            let outcome = try await Command.interact(["connect", url]) { _ in }
            #expect(outcome.code == 76)
            #expect(outcome.error.contains("1011"))
            #expect(outcome.error.contains("full"))
        }
    }

    // MARK: Servers in this process

    /// A server that reports how connections ended.
    private func withReportingServer(
        _ body: (_ url: String, _ closes: Closes) async throws -> Void
    ) async throws {
        let closes = Closes()
        try await withServer(
            WebSocketServerConfiguration(),
            { socket in
                while (try? await socket.receive()) != nil {}
                closes.add(try await socket.closed())
            }
        ) { try await body($0, closes) }
    }
}

/// Ends of connections, in order.
private final class Closes: Sendable {
    private let stream: AsyncStream<WebSocketCloseInfo>
    private let continuation: AsyncStream<WebSocketCloseInfo>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream() }

    func add(_ info: WebSocketCloseInfo) { continuation.yield(info) }

    func next() async -> WebSocketCloseInfo? {
        for await info in stream { return info }
        return nil
    }
}
