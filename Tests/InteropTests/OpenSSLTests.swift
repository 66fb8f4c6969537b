//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Subprocess
import Testing
import WebSockets

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

    static let refusals: [(arguments: [String], minimum: TLSVersion, failure: WebSocketError.TLSFailure)] = [
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
