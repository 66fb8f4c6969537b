//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Subprocess
import SystemPackage
import Testing
import WebSocketLoop
import WebSockets

/// Whatever goes wrong: the documented exit code, one line on standard error, nothing on standard output.
@Suite(.timeLimit(.minutes(5)))
struct UsageTests {
    @Test(arguments: [
        (["connect"], "Missing expected argument"),
        (["connect", "example.com"], "begin it with ws:// or wss://"),
        (["connect", "ftp://example.com"], "unknown scheme"),
        (["connect", "ws://127.0.0.1:1/#fragment"], "fragment"),
        (["connect", "ws://127.0.0.1:1", "--bogus"], "Unknown option '--bogus'"),
        (["connect", "ws://127.0.0.1:1", "-H", "no colon"], "not of the form"),
        (["connect", "ws://127.0.0.1:1", "-H", "A: b\nC: d"], "control character"),
        (["connect", "ws://127.0.0.1:1", "-H", "Upgrade: x"], "belongs to the handshake"),
        (["connect", "ws://127.0.0.1:1", "--protocol", "a b"], "not a token"),
        (["connect", "ws://127.0.0.1:1", "--ca", "ca.pem"], "needs a wss:// URL"),
        (["connect", "wss://127.0.0.1:1", "--ca", "ca.pem", "-k"], "leave one out"),
        (["connect", "wss://127.0.0.1:1", "--ca", "/nonexistent"], "cannot be read"),
        (["connect", "ws://127.0.0.1:1", "--ping-interval", "-1"], "Missing value"),
        (["connect", "ws://127.0.0.1:1", "--open-timeout", "0"], "must be positive"),
        (["connect", "ws://127.0.0.1:1", "--color", "always", "--no-color"], "leave one out"),
        (["demo", "--seconds", "soon"], "invalid"),
        (["demo", "--connections", "0"], "1...1000"),
        (["listen", "--tls-cert", "certificate.pem"], "add --tls-key"),
        (["listen", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"], "cannot be read"),
        (["listen", "--port", "65536"], "0...65535"),
        (["listen", "--broadcast", "--topics"], "contradict each other"),
        (["listen", "--to", "udp:localhost:1"], "tcp:host:port"),
        (["listen", "--to", "tcp:localhost"], "tcp:host:port"),
        (["listen", "--client-ca", "ca.pem"], "add --tls-cert"),
        (["listen", "--any-origin", "--origin", "https://a"], "choose one"),
        (["listen", "--origin", "example.com"], "no origin"),
        (["listen", "--basic-auth", "user"], "user:password"),
        (["listen", "--max-connections", "0"], "must be positive"),
        (["listen", "--replay", "/nonexistent"], "cannot be read"),
        (["nonsense"], "Unexpected argument 'nonsense'"),
    ])
    func usageErrorsExitWith64(_ arguments: [String], _ text: String) async throws {
        let outcome = try await Command.run(arguments)
        #expect(outcome.code == 64)
        #expect(outcome.output == "")
        #expect(outcome.error.contains(text), "\(outcome.error)")
        #expect(outcome.error.hasPrefix("wsx: "))
        #expect(outcome.error.split(separator: "\n").count == 1)
    }

    @Test func aRefusedConnectionExitsWith69() async throws {
        // A port that was just free: bound, never listened on with anybody to accept, and released again.
        let port = try RawServer().port
        let outcome = try await Command.run(["connect", "ws://127.0.0.1:\(port)"], input: "hello\n")
        #expect(outcome.code == 69)
        #expect(outcome.output == "")
        #expect(outcome.error.hasPrefix("wsx: no connection to 127.0.0.1:\(port): Connection refused"))
        #expect(outcome.error.split(separator: "\n").count == 1)
    }

    @Test func tlsAgainstAPlainServerExitsWith69AndThePlainOneWith76() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run(["connect", "-k", "-q", url.replacing("ws://", with: "wss://")])
            #expect(outcome.code == 69)
            #expect(outcome.error.contains("TLS"))
        }
        try await withCertificateFiles { _, certificate, key in
            try await Command.listen(["--tls-cert", certificate, "--tls-key", key]) { url in
                let outcome = try await Command.run(["connect", url.replacing("wss://", with: "ws://")])
                #expect(outcome.code == 76)
            }
        }
    }

    @Test func helpListsTheExitCodes() async throws {
        for arguments in [["--help"], [], ["help", "connect"], ["listen", "--help"]] {
            let outcome = try await Command.run(arguments)
            #expect(outcome.code == 0)
            #expect(outcome.error == "")
            for code in ["0 ", "64 ", "69 ", "70 ", "76 ", "124 "] { #expect(outcome.output.contains("  \(code)")) }
            #expect(!outcome.output.contains("autobahn"))
        }
        let version = try await Command.run(["--version"])
        #expect(version.code == 0)
        #expect(version.output.contains("libwebsockets 4."))
        // Rule 23: what is known against it, each with the reason why it does not matter here.
        #expect(version.lines.count == 1 + WebSocketLibraries.knownVulnerabilities.count)
        for known in WebSocketLibraries.knownVulnerabilities {
            #expect(version.lines.contains { $0.hasPrefix(known.identifier) && $0.hasSuffix(known.reason) })
        }
    }

    /// The page is made of what the command says of itself.
    @Test func theManualHasEveryCommandAndOption() async throws {
        let dump = try await Command.run(["--experimental-dump-help"])
        let script = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
            .appending("scripts/wsx-manual.py")
        let page = try await Subprocess.run(
            .path(FilePath(TestEnvironment.python)), arguments: [script.string, "1.2.3"], input: .string(dump.output),
            output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
        #expect(page.terminationStatus.isSuccess && page.standardError == "")
        let manual = page.standardOutput.replacing("\\-", with: "-")
        #expect(manual.hasPrefix(".TH WSX 1 \"\" \"wsx 1.2.3\""))
        for command in ["DEMO", "CONNECT", "LISTEN", "BENCH POOL", "DOCTOR"] {
            #expect(manual.contains(".SH \"\(command)\""))
        }
        let names = dump.output.matches(of: /"kind" : "long",\s*"name" : "([^"]+)"/).map { String($0.output.1) }
        // The first three are of every command, the others are not shown.
        let elsewhere: Set = ["help", "version", "generate-completion-script", "agent", "max-message-size"]
        #expect(Set(names).count >= 40)
        for name in Set(names).subtracting(elsewhere) {
            #expect(manual.contains("\\fB--\(name)\\fR"), "--\(name)")
        }
        #expect(!manual.contains("autobahn"))
    }

    @Test func colourOnlyWhereItIsWanted() async throws {
        let plain = try await Command.run(["connect", "ws://127.0.0.1:1"])
        #expect(!plain.error.contains("\u{1B}"))
        let colored = try await Command.run(["connect", "--color", "always", "ws://127.0.0.1:1"])
        #expect(colored.error.hasPrefix("\u{1B}[31mwsx:\u{1B}[0m "))
    }
}
