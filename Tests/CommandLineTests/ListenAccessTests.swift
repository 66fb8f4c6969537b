//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Glibc
import Testing
import WebSockets

@testable import wsx

/// `wsx listen`: who is answered.
@Suite(.timeLimit(.minutes(5)))
struct ListenAccessTests {
    private static let handshake = [
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]

    /// A page whose name was made to mean 127.0.0.1 (DNS rebinding) names itself as Host, and agrees with its Origin.
    @Test func onlyKnownHostsAreAnsweredOnLoopback() async throws {
        try await Command.listen(["--host-name", "allowed.example", "--host-name", "*.test.example"]) { url in
            let port = try #require(url.split(separator: ":").last)
            for host in ["evil.example", "evil.example:\(port)", "localhost.evil.example", "test.example", "1.2.3"] {
                let headers = Self.handshake + ["Origin: http://\(host)"]
                let refused = try await answer(url, "/", headers, host: host)
                #expect(refused.hasPrefix("HTTP/1.1 421 "), "\(host): \(refused)")
                #expect(refused.contains("--host-name"))
                let hidden = try await answer(url, "/status.json", host: host)
                #expect(hidden.hasPrefix("HTTP/1.1 421 "))
            }
            for host in [
                "localhost", "LOCALHOST:\(port)", "localhost.", "app.localhost", "127.0.0.1:\(port)", "[::1]:\(port)",
                "192.0.2.1", "allowed.example:\(port)", "Allowed.Example", "a.test.example",
            ] {
                let answered = try await answer(url, "/status.json", host: host)
                #expect(answered.hasPrefix("HTTP/1.1 200 "), "\(host)")
            }
        }
        try await Command.listen(["--host-name", "*"]) { url in
            let answered = try await answer(url, "/status.json", host: "any.example")
            #expect(answered.hasPrefix("HTTP/1.1 200 "))
        }
    }

    @Test func credentialsComeFromAFile() async throws {
        try await withDirectory { directory in
            let file = directory.appending(path: "users").path
            try Data("# who may connect\nalice:open:sesame\n\r\nbob:pass word\r\n".utf8).write(to: URL(filePath: file))
            try await Command.listen(["--basic-auth-file", file, "--basic-auth", "carol:x"]) { url in
                for (user, isAllowed) in [
                    ("alice:open:sesame", true), ("bob:pass word", true), ("carol:x", true), ("alice:open", false),
                    ("# who may connect", false),
                ] {
                    let credentials = Data(user.utf8).base64EncodedString()
                    let answer = try await answer(url, "/status.json", ["Authorization: Basic \(credentials)"])
                    #expect(answer.hasPrefix(isAllowed ? "HTTP/1.1 200 " : "HTTP/1.1 401 "), "\(user)")
                }
            }
            for (text, message) in [("alice\n", "line 1"), ("# none\n", "no user")] {
                try Data(text.utf8).write(to: URL(filePath: file))
                let outcome = try await Command.run(["listen", "--basic-auth-file", file])
                #expect(outcome.code == 64)
                #expect(outcome.error.contains(message) && !outcome.error.contains("alice"), "\(outcome.error)")
            }
            let missing = try await Command.run(["listen", "--basic-auth-file", file + "x"])
            #expect(missing.code == 64)
            #expect(missing.error.contains("--basic-auth-file"))
        }
    }

    @Test func onlyFilesAreReplayed() async throws {
        for make in [
            { (path: String) in mkfifo(path, 0o600) }, { symlink("/dev/zero", $0) }, { mkdir($0, 0o700) },
        ] {
            try await withDirectory { directory in
                try Data("first".utf8).write(to: directory.appending(path: "1.txt"))
                #expect(make(directory.appending(path: "2.txt").path) == 0)
                let outcome = try await Command.run(["listen", "--replay", directory.path])
                #expect(outcome.code == 64)
                #expect(outcome.error.contains("2.txt is no file"), "\(outcome.error)")
            }
        }
    }
}
