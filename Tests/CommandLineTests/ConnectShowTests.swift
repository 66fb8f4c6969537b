//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import HTTPTypes
import Testing
import WebSockets

@testable import wsx

/// What `wsx connect` tells: frames, refusals, options by their names.
@Suite(.timeLimit(.minutes(5)))
struct ConnectShowTests {
    @Test func verboseShowsMessagesPongsAndCloses() async throws {
        try await withServer(
            .init(),
            { socket in
                _ = try await socket.receive()
                try await socket.send([1, 2, 3])
                try await socket.close(code: WebSocketCloseCode(rawValue: 4001), reason: "enough")
            }
        ) { url in
            let outcome = try await Command.interact(["connect", "-v", "--no-deflate", url]) { client in
                try await client.write("héllo\n")
            }
            let lines = outcome.error.split(separator: "\n").map(String.init)
            for line in ["> text, 6 bytes", "< binary, 3 bytes", "< close 4001 enough", "> close 4001 "] {
                #expect(lines.contains { $0.hasPrefix(line) }, "\(line): \(outcome.error)")
            }
        }
        try await Command.listen { url in
            let outcome = try await Command.run(["connect", "-v", url], input: "x\n")
            #expect(outcome.error.contains("< pong, "), "\(outcome.error)")
            #expect(outcome.error.contains("> close 1000"), "\(outcome.error)")
        }
    }

    @Test(arguments: [[], ["--json"]]) func aRefusalSaysWhatTheServerSays(_ options: [String]) async throws {
        var configuration = WebSocketServerConfiguration()
        configuration.onRequest = { _ in
            .respond(
                status: 503, headers: [.retryAfter: "120"],
                body: Array("\n  the shop\u{1B}[31m is closed\nsecond line".utf8))
        }
        try await withServer(configuration, { _ in }) { url in
            let outcome = try await Command.run(["connect", url] + options)
            #expect(outcome.code == 76)
            #expect(outcome.error.contains("503"))
            #expect(outcome.error.contains("the shop"), "\(outcome.error)")
            #expect(outcome.error.contains("Retry-After: 120"), "\(outcome.error)")
            #expect(!outcome.error.contains("\u{1B}"))
            #expect(outcome.error.split(separator: "\n").count == 1)
        }
    }

    @Test func theOptionsAreNamedAsTheyAreTyped() async throws {
        try await withCertificateFiles { _, certificate, key in
            try await Command.listen(["--tls-cert", certificate, "--tls-key", key]) { url in
                let outcome = try await Command.run(["connect", url])
                #expect(outcome.error.contains("--ca"), "\(outcome.error)")
                #expect(!outcome.error.contains("tls.trust"))
            }
        }
        #expect(
            CommandText.namingOptions("set tls.identity, raise maximumMessageSize; not xtls.trust or tls.trusted")
                == "set --cert, raise --max-message-size; not xtls.trust or tls.trusted")
    }

    @Test(arguments: [
        (["connect", "--heder", "x: y", "ws://127.0.0.1:1"], "Did you mean '--header'?"),
        (["conect", "ws://127.0.0.1:1"], "did you mean 'connect'?"),
        (["nonsense"], "the commands are demo, connect, listen, bench, doctor"),
        (["connect", "ws://127.0.0.1:1", "--wait", "0"], "--wait"),
        (["connect", "ws://127.0.0.1:1", "--timeout", "0"], "--timeout"),
        (["connect", "ws://127.0.0.1:1", "-n", "--wait", "1"], "leave --wait out"),
        (["connect", "ws://127.0.0.1:1", "--raw", "--whole"], "choose one"),
        (["listen", "--replay-speed", "nan"], "--replay-speed"),
        (["connect", "ws://127.0.0.1:1", "--record", "/nonexistent/file"], "--record"),
    ])
    func mistakesAreNamed(_ arguments: [String], _ text: String) async throws {
        let outcome = try await Command.run(arguments)
        #expect(outcome.code == 64)
        #expect(outcome.error.contains(text), "\(outcome.error)")
        #expect(outcome.error.split(separator: "\n").count == 1)
    }

    @Test func theVersionIsThatOfThePackage() async throws {
        let header = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources/CWSX/include/wsx.h")
        let text = try String(contentsOf: header, encoding: .utf8)
        let numbers = text.matches(of: /#define WSX_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)/).map { String($0.output.1) }
        let outcome = try await Command.run(["--version"])
        #expect(outcome.lines.first?.hasPrefix("wsx \(numbers.joined(separator: ".")) ") == true, "\(outcome.output)")
    }
}
