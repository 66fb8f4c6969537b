//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Certificates come from `scripts/trust/certificates`; its README.md in their directory describes each.
@Suite(.timeLimit(.minutes(5)))
struct TLSTests {
    struct Row: Sendable, CustomStringConvertible {
        let certificate: String
        var host = "localhost"
        var serverName: String?
        /// `nil` when it is to be accepted.
        var failure: WebSocketError.TLSFailure?

        var description: String { "\(certificate) as \(serverName ?? host)" }
    }

    static let rows = [
        Row(certificate: "valid"),
        Row(certificate: "valid", host: "127.0.0.1"),
        Row(certificate: "valid-rsa"),
        Row(certificate: "valid-p384"),
        Row(certificate: "valid-ed25519"),
        Row(certificate: "chain"),
        Row(certificate: "not-a-ca"),
        Row(certificate: "ip-only", host: "127.0.0.1"),
        Row(certificate: "ip-only", failure: .hostMismatch),
        Row(certificate: "dns-only"),
        Row(certificate: "dns-only", host: "127.0.0.1", failure: .hostMismatch),
        Row(certificate: "dns-only", host: "127.0.0.1", serverName: "localhost"),
        Row(certificate: "wildcard", serverName: "a.example.test"),
        Row(certificate: "wildcard", serverName: "example.test", failure: .hostMismatch),
        Row(certificate: "wildcard", serverName: "a.b.example.test", failure: .hostMismatch),
        Row(certificate: "sni-one", serverName: "one.example.test"),
        Row(certificate: "sni-one", serverName: "two.example.test", failure: .hostMismatch),
        Row(certificate: "expired", failure: .expired),
        Row(certificate: "not-yet-valid", failure: .notYetValid),
        Row(certificate: "wrong-host", failure: .hostMismatch),
        Row(certificate: "self-signed", failure: .selfSigned),
        Row(certificate: "untrusted", failure: .untrusted),
        Row(certificate: "untrusted-chain", failure: .untrusted),
        Row(certificate: "incomplete", failure: .untrusted),
        Row(certificate: "expired-chain", failure: .expired),
        Row(certificate: "leaf-as-ca", failure: .badChain),
        Row(certificate: "client-usage", failure: .wrongUsage),
        // RFC 9525: the common name is no name.
        Row(certificate: "common-name-only", failure: .hostMismatch),
    ]

    @Test(arguments: rows)
    func aCertificateIsAcceptedOrRefusedWithItsReason(_ row: Row) async throws {
        try await withLoopback(
            .secure, server: { $0.tls = try TestEnvironment.identity(row.certificate) }, handler: echo
        ) { loopback in
            var configuration = loopback.client
            configuration.tls.serverName = row.serverName
            let url = "wss://\(row.host):\(loopback.server.port)"
            guard let expected = row.failure else {
                let socket = try await WebSocketClient.connect(to: url, configuration: configuration)
                #expect(socket.tls?.version == "TLSv1.3")
                #expect(socket.tls?.cipher.isEmpty == false)
                try await socket.send("x")
                #expect(try await socket.receive() == "x")
                try await socket.close()
                return
            }
            let error = try await failure { try await WebSocketClient.connect(to: url, configuration: configuration) }
            #expect(error.code == .tlsFailed)
            #expect(error.tlsFailure == expected, "\(error)")
            #expect(error.phase == .tls)
            #expect(error.isSentence)
            // Only the loudly named option accepts it.
            configuration.tls.verification = .insecureNoVerification
            let socket = try await WebSocketClient.connect(to: url, configuration: configuration)
            try await socket.send("x")
            #expect(try await socket.receive() == "x")
            try await socket.close()
        }
    }

    @Test func trustComesFromFilesBundlesAndBytes() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            let file = try TestEnvironment.certificate("ca")
            let bundle = try TestEnvironment.certificate("bundle")
            for source: WebSocketPEMSource in [
                .file(file), .file(bundle), .bytes(try TestEnvironment.bytes(file)),
                .bytes(try TestEnvironment.bytes(bundle)),
            ] {
                let socket = try await loopback.connect { $0.tls.trust = .certificates(source) }
                try await socket.close()
            }
            let other = try TestEnvironment.certificate("other-ca")
            for trust: WebSocketTLSClientConfiguration.Trust in [.system, .certificates(.file(other))] {
                let error = try await failure { try await loopback.connect { $0.tls.trust = trust } }
                #expect(error.tlsFailure == .untrusted, "\(error)")
            }
            #expect(WebSocketClientConfiguration().tls.trust == .system)
            #expect(WebSocketClientConfiguration().tls.verification == .full)
        }
    }

    @Test func theMinimumVersionIsKept() async throws {
        for minimum in [WebSocketTLSVersion.tls12, .tls13] {
            try await withLoopback(
                .secure, server: { $0.tls?.minimumVersion = minimum },
                handler: { socket in try await socket.send(socket.tls?.version ?? "none") }
            ) { loopback in
                let socket = try await loopback.connect { $0.tls.minimumVersion = .tls13 }
                #expect(socket.tls?.version == "TLSv1.3")
                #expect(try await socket.receive() == "TLSv1.3")
                _ = try await socket.closed()
            }
        }
    }

    @Test func pemThatCannotBeUsedIsNamed() async throws {
        let valid = try TestEnvironment.certificate("valid")
        let key = try TestEnvironment.key("valid")
        let servers: [(WebSocketTLSServerConfiguration, String)] = [
            (.files(certificate: "/nonexistent.pem", key: key), "/nonexistent.pem"),
            (.files(certificate: valid, key: "/nonexistent.key"), "/nonexistent.key"),
            (.files(certificate: valid, key: try TestEnvironment.key("renewed")), "privateKey"),
            (.files(certificate: key, key: key), "certificateChain"),
            (.files(certificate: valid, key: valid), "privateKey"),
            (.files(certificate: valid, key: try TestEnvironment.key("valid-encrypted")), "unencrypted"),
            (.files(certificate: try TestEnvironment.certificate("malformed"), key: key), "certificateChain"),
            (.files(certificate: try TestEnvironment.certificate("empty"), key: key), "certificateChain"),
            (.init(certificateChain: .bytes([]), privateKey: .file(key)), "certificateChain"),
        ]
        try await withLoops { loops in
            for (tls, text) in servers {
                let error = try await failure(text) {
                    var configuration = WebSocketServerConfiguration(tls: tls)
                    configuration.eventLoopGroup = loops
                    _ = try WebSocketServer(configuration: configuration)
                }
                #expect(error.code == .invalidConfiguration)
                #expect(error.message.contains(text), "\(error)")
                #expect(error.isSentence)
            }
            for name in ["malformed", "empty"] {
                let error = try await failure(name) {
                    var configuration = try clientConfiguration(on: loops)
                    configuration.tls.trust = .certificates(.file(try TestEnvironment.certificate(name)))
                    _ = try await WebSocketClient.connect(to: "wss://127.0.0.1:9", configuration: configuration)
                }
                #expect(error.code == .invalidConfiguration)
                #expect(error.message.contains("tls.trust"))
            }
        }
    }

    @Test func speakingTLSToAPlainServerSaysSo() async throws {
        try await withLoopback(handler: echo) { loopback in
            let url = "wss://127.0.0.1:\(loopback.server.port)"
            let error = try await failure {
                try await WebSocketClient.connect(to: url, configuration: loopback.client)
            }
            #expect(error.code == .tlsFailed)
            #expect(error.tlsFailure == .notTLS, "\(error)")
            #expect(error.phase == .tls)
            #expect(error.isSentence)
        }
    }

    @Test func speakingPlainToATLSServerIsNoHandshake() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            let url = "ws://127.0.0.1:\(loopback.server.port)"
            let error = try await failure {
                try await WebSocketClient.connect(to: url, configuration: loopback.client)
            }
            #expect(error.code == .handshakeInvalid, "\(error)")
            #expect(error.phase == .upgrade)
            #expect(error.isSentence)
        }
    }
}
