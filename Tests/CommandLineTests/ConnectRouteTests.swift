//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

/// By which way `wsx connect` reaches the server, and what it shows of that.
@Suite(.timeLimit(.minutes(5)))
struct ConnectRouteTests {
    @Test(arguments: [
        (["--proxy", "ftp://x"], "proxy: the URL has an unknown scheme"),
        (["--proxy", "http://x:0"], "invalid port"),
        (["--proxy", "http://x", "--unix", "/x"], "leave all but one out"),
        (["--proxy", "env", "--connect-to", "x:1"], "leave all but one out"),
        (["--connect-to", "x"], "host:port"),
        (["--connect-to", "x:0"], "connectTo has the port 0"),
        (["--unix", ""], "1 to 107 bytes"),
        (["--key", "x"], "--key needs --cert"),
        (["--passphrase-file", "x"], "--passphrase-file needs --cert"),
        (["--cert", "/nonexistent"], "--cert: the file “/nonexistent” cannot be read"),
        (["--cert", "/nonexistent", "--passphrase-file", "/missing"], "“/missing” cannot be read"),
        (["--user-agent", "a\nb"], "userAgent"),
    ])
    func whatCannotBeUsedExitsWith64(_ arguments: [String], _ text: String) async throws {
        let outcome = try await Command.run(["connect", "wss://127.0.0.1:1"] + arguments)
        #expect(outcome.code == 64)
        #expect(outcome.output == "")
        #expect(outcome.error.contains(text), "\(outcome.error)")
        #expect(outcome.error.split(separator: "\n").count == 1)
    }

    @Test func aCertificateNeedsTLS() async throws {
        let outcome = try await Command.run(["connect", "ws://127.0.0.1:1", "--cert", "x"])
        #expect(outcome.code == 64)
        #expect(outcome.error.contains("--cert needs a wss:// URL"))
    }

    @Test func whatCannotBeReachedExitsWith69() async throws {
        let port = try RawServer().port
        let proxied = try await Command.run(["connect", "ws://h", "--proxy", "http://u:secret@127.0.0.1:\(port)"])
        #expect(proxied.code == 69)
        #expect(proxied.error.contains("no connection to the proxy at 127.0.0.1:\(port): Connection refused"))
        #expect(!proxied.error.contains("secret"))
        let unix = try await Command.run(["connect", "ws://h", "--unix", "/nonexistent/socket"])
        #expect(unix.code == 69)
        #expect(unix.error.contains("no connection to unix:/nonexistent/socket: No such file or directory"))
    }

    /// libwebsockets obeys `http_proxy` by itself, without asking.
    @Test func theEnvironmentsProxyIsAskedOnlyWhenWanted() async throws {
        let closed = try RawServer().port
        try await Command.listen { url in
            for (arguments, exceptions, code) in [
                ([], "", 0), (["--proxy", "env"], "", 69), (["--proxy", "env"], "127.0.0.1", 0),
            ] as [([String], String, Int32)] {
                let outcome = try await Command.run(
                    ["connect", url] + arguments, input: "hello\n",
                    variables: ["http_proxy": "http://127.0.0.1:\(closed)", "no_proxy": exceptions])
                #expect(outcome.code == code, "\(arguments) \(outcome.error)")
                #expect(outcome.output == (code == 0 ? "hello\n" : ""))
                #expect(outcome.error.contains("no connection to the proxy at 127.0.0.1:\(closed)") == (code == 69))
            }
        }
    }

    @Test func anotherPlaceIsConnectedTo() async throws {
        try await Command.listen(["--host-name", "example.test"]) { url in
            let place = String(url.dropFirst("ws://".count))
            let outcome = try await Command.run(
                ["connect", "-v", "ws://example.test:81/x?token=secret", "--connect-to", place], input: "hello\n")
            #expect(outcome.code == 0)
            #expect(outcome.output == "hello\n")
            #expect(outcome.error.contains("> Host: example.test:81"))
        }
    }

    @Test func verboseShowsTheHandshakeWithoutSecrets() async throws {
        try await withCertificateFiles { authority, certificate, key in
            try await Command.listen(["--tls-cert", certificate, "--tls-key", key]) { url in
                let outcome = try await Command.run(
                    [
                        "connect", "--verbose", "--ca", authority, "-H", "Cookie: secret", "-H", "X-Other: shown",
                        url.replacing("://", with: "://user:secret@"),
                    ], input: "hello\n")
                #expect(outcome.code == 0)
                #expect(outcome.output == "hello\n")
                for line in [
                    "* connecting to ", "> GET / HTTP/1.1", "> User-Agent: swift-libwebsockets", "> Authorization: …",
                    "> Cookie: …", "> X-Other: shown", "* TLSv1.3",
                    "* certificate CN=wsx throw-away server for localhost",
                    "< HTTP/1.1 101",
                ] {
                    #expect(outcome.error.contains(line), "\(line) in \(outcome.error)")
                }
                #expect(!outcome.error.contains("secret"))
                // The real key.
                let key = outcome.error.split(separator: "\n").first { $0.hasPrefix("> Sec-WebSocket-Key: ") }
                #expect(key?.count == "> Sec-WebSocket-Key: ".count + 24)
            }
        }
    }

    @Test func verboseShowsEachRedirect() async throws {
        let server = try RawServer()
        try await Command.listen { url in
            async let first: Void = answer(
                server, "HTTP/1.1 302 Found\r\nLocation: \(url)/there\r\nX-Why: moved\r\nContent-Length: 0\r\n\r\n")
            let outcome = try await Command.run(
                ["connect", "-L", "-v", "ws://127.0.0.1:\(server.port)/here"], input: "hello\n")
            await first
            #expect(outcome.code == 0)
            #expect(outcome.output == "hello\n")
            let steps = [
                "* connecting to 127.0.0.1:\(server.port)", "> GET /here HTTP/1.1", "< HTTP/1.1 302", "< X-Why: moved",
                "* connecting to ", "> GET /there HTTP/1.1", "* connected to \(url)/there", "< HTTP/1.1 101",
            ]
            var lines = outcome.error.split(separator: "\n")[...]
            for step in steps {
                let index = try #require(lines.firstIndex { $0.hasPrefix(step) }, "\(step) in \(outcome.error)")
                lines = lines[(index + 1)...]
            }
        }
    }

    /// Answers one request with this.
    private func answer(_ server: RawServer, _ answer: String) async {
        let connection = await server.accept()
        _ = await server.read(connection) { $0.suffix(4) == Array("\r\n\r\n".utf8)[...] }
        server.write(connection, Array(answer.utf8))
        _ = await server.read(connection) { _ in false }
        server.close(connection)
    }

    @Test func aRedirectIsFollowedWhenAskedFor() async throws {
        let server = try RawServer()
        try await Command.listen { url in
            let redirect = "HTTP/1.1 302 Found\r\nLocation: \(url)/\r\nContent-Length: 0\r\n\r\n"
            async let first: Void = answer(server, redirect)
            let followed = try await Command.run(
                ["connect", "-L", "--json", "ws://127.0.0.1:\(server.port)"], input: "hello\n")
            await first
            #expect(followed.code == 0)
            #expect(try followed.objects().first?["url"] as? String == url + "/")

            async let second: Void = answer(server, redirect)
            let outcome = try await Command.run(["connect", "ws://127.0.0.1:\(server.port)"], input: "hello\n")
            await second
            #expect(outcome.code == 76)
            #expect(outcome.error.contains("302"))
        }
    }

    @Test func aRefusalIsShown() async throws {
        let server = try RawServer()
        async let answering: Void = answer(
            server, "HTTP/1.1 403 Forbidden\r\nX-Why: rules\r\nContent-Length: 7\r\n\r\nbecause")
        let outcome = try await Command.run(["connect", "-v", "ws://127.0.0.1:\(server.port)"])
        await answering
        #expect(outcome.code == 76)
        for line in ["< HTTP/1.1 403", "< X-Why: rules", "< because"] {
            #expect(outcome.error.contains(line), "\(outcome.error)")
        }
    }
}
