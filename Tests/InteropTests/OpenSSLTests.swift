//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Subprocess
import Testing
import WebSockets
import WebSocketsTestKit

/// The parameters of TLS, seen by the openssl command.
@Suite(.timeLimit(.minutes(5)))
struct OpenSSLTests {
    @Test(arguments: ["tls1_2", "tls1_3"])
    func ourServerSpeaksTLS12And13AndSendsItsChain(_ version: String) async throws {
        try await withLoopback(
            .secure, server: { $0.tls = try TestEnvironment.identity("chain") }, handler: echo
        ) { loopback in
            let outcome = try await Peer.run(
                "openssl",
                [
                    "s_client", "-connect", "127.0.0.1:\(loopback.server.port)", "-\(version)", "-showcerts",
                    "-CAfile", try TestEnvironment.certificate("ca"), "-verify_return_error",
                    "-verify_hostname", "localhost",
                ])
            #expect(outcome.text.contains("Verify return code: 0 (ok)"), "\(outcome.text)")
            #expect(outcome.text.contains(version == "tls1_2" ? "New, TLSv1.2" : "New, TLSv1.3"))
            #expect(outcome.output.ranges(of: "-----BEGIN CERTIFICATE-----").count == 2)
            #expect(outcome.text.contains("Compression: NONE"))
        }
    }

    @Test(arguments: ["tls1", "tls1_1"])
    func ourServerRefusesOlderVersions(_ version: String) async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            let outcome = try await Peer.run(
                "openssl",
                [
                    "s_client", "-connect", "127.0.0.1:\(loopback.server.port)", "-\(version)", "-cipher",
                    "DEFAULT@SECLEVEL=0",
                ])
            #expect(!outcome.status.isSuccess)
            #expect(outcome.text.contains("Cipher is (NONE)"), "\(outcome.text)")
            #expect(outcome.text.contains("protocol version"), "\(outcome.text)")
        }
    }

    /// A server that the openssl command runs with these arguments too.
    private func withServer(_ arguments: [String], _ body: (_ url: String) async throws -> Void) async throws {
        let all =
            try [
                "s_server", "-accept", "127.0.0.1:0", "-cert", TestEnvironment.certificate("valid"), "-key",
                TestEnvironment.key("valid"), "-CAfile", TestEnvironment.certificate("ca"),
            ] + arguments
        try await Peer.server("openssl", all, port: Self.port) { try await body("wss://127.0.0.1:\($0.port)") }
    }

    static let refusals: [(arguments: [String], minimum: WebSocketTLSVersion, failure: WebSocketError.TLSFailure)] = [
        (["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], .tls12, .version),
        (["-tls1_2"], .tls13, .version),
        // Here the alert comes after the handshake, instead of the answer to our request.
        (["-tls1_3", "-Verify", "1", "-verify_return_error"], .tls12, .clientCertificate),
    ]

    @Test(arguments: refusals.indices)
    func whyTLSFailedIsSaid(_ row: Int) async throws {
        let row = Self.refusals[row]
        try await withLoops { loops in
            var configuration = try clientConfiguration(.secure, on: loops)
            configuration.tls.minimumVersion = row.minimum
            try await withServer(row.arguments) { [configuration] url in
                let error = try await failure {
                    try await WebSocketClient.connect(to: url, configuration: configuration)
                }
                #expect(error.code == .tlsFailed, "\(error)")
                #expect(error.tlsFailure == row.failure, "\(error)")
                #expect(error.isSentence)
            }
        }
    }

    /// B16: a connection whose other end the openssl command is, with the letters of its own as commands.
    private func withCommandedServer(
        _ version: String, _ body: (WebSocketConnection, Peer.Running) async throws -> Void
    ) async throws {
        let arguments =
            try [
                "s_server", "-accept", "127.0.0.1:0", "-cert", TestEnvironment.certificate("valid"), "-key",
                TestEnvironment.key("valid"), "-\(version)",
            ]
        try await withLoops { loops in
            let configuration = try clientConfiguration(.secure, on: loops)
            try await Peer.server("openssl", arguments, port: Self.port) { peer in
                let url = "wss://127.0.0.1:\(peer.port)/"
                async let connecting = WebSocketClient.connect(to: url, configuration: configuration)
                var key: String?
                while key == nil {
                    key = try await peer.line().firstMatch(of: /(?i)sec-websocket-key: (\S+)/).map {
                        String($0.output.1)
                    }
                }
                let request = try WebSocketWireHead(Array("GET / HTTP/1.1\r\nSec-WebSocket-Key: \(key!)\r\n\r\n".utf8))
                try await peer.write(WebSocketBytePeer.answer(to: request))
                let socket = try await connecting
                try await body(socket, peer)
                socket.abort()
                _ = try await socket.closed()
            }
        }
    }

    /// Waits for a line with this in it; what we sent may stand before it.
    private func line(_ text: String, of peer: Peer.Running) async throws {
        while try await !peer.line().contains(text) {}
    }

    @Test(arguments: ["k", "K"]) func newKeysGoUnnoticed(_ command: String) async throws {
        try await withCommandedServer("tls1_3") { socket, peer in
            #expect(socket.tls?.version == "TLSv1.3")
            for number in 1...3 {
                // `K` asks for new keys of ours too. The command looks at its input first, and says what it did when it
                // prints what came from us.
                try await peer.write(Array("\(command)\n".utf8))
                try await socket.send(Payload.noise(1_000))
                try await line("SSL_do_handshake -> 1", of: peer)
                try await peer.write(WebSocketWireFrame.text("message \(number)").bytes)
                #expect(try await socket.receive() == .text("message \(number)"))
            }
        }
    }

    @Test func aRenegotiationIsRefused() async throws {
        try await withCommandedServer("tls1_2") { socket, peer in
            #expect(socket.tls?.version == "TLSv1.2")
            try await peer.write(WebSocketWireFrame.text("before").bytes)
            #expect(try await socket.receive() == .text("before"))
            try await peer.write(Array("R\n".utf8))
            // The openssl command takes the refusal for an error and ends the connection.
            let error = try await failure { try await socket.receive() }
            #expect(error.code == .connectionClosed || error.code == .tlsFailed, "\(error)")
            #expect(try await socket.closed().isNormal == false)
        }
    }

    private static func port(_ peer: Peer.Running) async throws -> Int {
        while true {
            let line = try await peer.line()
            if let match = line.firstMatch(of: /ACCEPT .*:([0-9]+)/) { return try #require(Int(match.output.1)) }
        }
    }

    /// Python ends the connection without an alert.
    @Test func aHandshakeThatBreaksOffSaysWhatIsKnown() async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(.secure, on: loops)
            let arguments = [
                "--tls-maximum", "1.2", "--tls-cert", try TestEnvironment.certificate("valid"), "--tls-key",
                try TestEnvironment.key("valid"),
            ]
            try await Peer.echoServer(arguments) { peer in
                let url = "wss://127.0.0.1:\(peer.port)"
                let socket = try await WebSocketClient.connect(to: url, configuration: configuration)
                #expect(socket.tls?.version == "TLSv1.2")
                try await socket.close()
                configuration.tls.minimumVersion = .tls13
                let error = try await failure {
                    try await WebSocketClient.connect(to: url, configuration: configuration)
                }
                #expect(error.code == .tlsFailed)
                #expect(error.phase == .tls)
                #expect(!error.message.contains("error:0"), "\(error)")
                #expect(error.isSentence)
            }
        }
    }
}
