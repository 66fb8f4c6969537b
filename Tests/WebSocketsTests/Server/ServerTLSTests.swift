//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ServerTLSTests {
    private static func bytes(_ name: String) throws -> WebSocketTLSServerConfiguration {
        .init(
            certificateChain: .bytes(try TestEnvironment.bytes(TestEnvironment.certificate(name))),
            privateKey: .bytes(try TestEnvironment.bytes(TestEnvironment.key(name))))
    }

    @Test func certificateAndKeyComeFromBytes() async throws {
        try await withLoopback(.secure, server: { $0.tls = try Self.bytes("valid") }, handler: echo) { loopback in
            let socket = try await loopback.connect()
            try await socket.close()
        }
    }

    @Test func anEncryptedKeyNeedsItsPassphrase() async throws {
        let (certificate, key) = (try TestEnvironment.certificate("valid"), try TestEnvironment.key("valid-encrypted"))
        let file = try TestEnvironment.bytes(key.dropLast("valid-encrypted.key".count) + "passphrase")
        let passphrase = String(decoding: file.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        func configuration(_ passphrase: String?) -> WebSocketTLSServerConfiguration {
            .files(certificate: certificate, key: key, passphrase: passphrase)
        }
        try await withLoopback(.secure, server: { $0.tls = configuration(passphrase) }, handler: echo) { loopback in
            let socket = try await loopback.connect()
            try await socket.close()
        }
        for wrong in [nil, "", "another"] {
            let error = try await failure {
                _ = try WebSocketServer(configuration: .init(tls: configuration(wrong)))
            }
            #expect(error.code == .invalidConfiguration, "\(error)")
        }
        #expect(!"\(configuration(passphrase))".contains(passphrase))
        var dumped = ""
        dump(configuration(passphrase), to: &dumped)
        #expect(!dumped.contains(passphrase))
    }

    // MARK: SNI

    @Test func theNameAskedForChoosesTheCertificate() async throws {
        try await withLoopback(
            .secure,
            server: {
                $0.tls = try TestEnvironment.identity("wrong-host")
                $0.tls?.additionalIdentities = [
                    .init(
                        serverNames: ["localhost"],
                        certificateChain: .file(try TestEnvironment.certificate("valid")),
                        privateKey: .file(try TestEnvironment.key("valid"))),
                    .init(
                        serverNames: ["*.example.test"],
                        certificateChain: .file(try TestEnvironment.certificate("wildcard")),
                        privateKey: .file(try TestEnvironment.key("wildcard"))),
                ]
            }, handler: echo
        ) { loopback in
            let port = loopback.server.port
            for name in ["localhost", "LOCALHOST"] {
                let socket = try await WebSocketClient.connect(
                    to: "wss://\(name):\(port)", configuration: loopback.client)
                try await socket.close()
            }
            let client = try RawTLSClient(port: port, serverName: "a.example.test")
            _ = await client.answer(to: Self.hello)
            let name = client.serversName
            #expect(name?.contains("wildcard") == true, "\(name ?? "none")")
            // No name is sent with an address, so this is the main certificate.
            let error = try await failure {
                try await WebSocketClient.connect(to: "wss://127.0.0.1:\(port)", configuration: loopback.client)
            }
            #expect(error.tlsFailure == .hostMismatch, "\(error)")
        }
    }

    @Test func identitiesThatCannotBeUsedAreNamed() async throws {
        try await withLoops { loops in
            let valid = WebSocketPEMSource.file(try TestEnvironment.certificate("valid"))
            let key = WebSocketPEMSource.file(try TestEnvironment.key("valid"))
            let other = WebSocketPEMSource.file(try TestEnvironment.key("renewed"))
            let rows: [[WebSocketTLSServerConfiguration.Identity]] = [
                [.init(serverNames: ["a"], certificateChain: valid, privateKey: other)],
                [.init(serverNames: ["a b"], certificateChain: valid, privateKey: key)],
                [.init(serverNames: ["a", "A"], certificateChain: valid, privateKey: key)],
            ]
            for row in rows {
                let error = try await failure {
                    var configuration = WebSocketServerConfiguration(tls: try TestEnvironment.identity("valid"))
                    configuration.tls?.additionalIdentities = row
                    configuration.eventLoopGroup = loops
                    _ = try WebSocketServer(configuration: configuration)
                }
                #expect(error.code == .invalidConfiguration)
                #expect(error.message.contains("additionalIdentities"))
            }
        }
    }

    // MARK: Reloading

    @Test func aReloadServesNewHandshakesAndKeepsConnections() async throws {
        try await withLoopback(
            .secure, serverLoops: 2, server: { $0.tls = try TestEnvironment.identity("expired") }, handler: echo
        ) { loopback in
            let before = try await loopback.connect { $0.tls.verification = .insecureNoVerification }
            try await before.send("1")
            #expect(try await before.receive() == "1")
            #expect(try await failure { try await loopback.connect() }.tlsFailure == .expired)

            // What cannot be used changes nothing.
            var broken = try TestEnvironment.identity("valid")
            broken.privateKey = .file(try TestEnvironment.key("renewed"))
            let error = try await failure { try loopback.server.reloadTLS(broken) }
            #expect(error.code == .invalidConfiguration)
            #expect(try await failure { try await loopback.connect() }.tlsFailure == .expired)

            try loopback.server.reloadTLS(try TestEnvironment.identity("valid"))
            // On each loop.
            for _ in 0..<4 {
                let after = try await loopback.connect()
                try await after.send("2")
                #expect(try await after.receive() == "2")
                try await after.close()
            }
            try await before.send("3")
            #expect(try await before.receive() == "3")
            try await before.close()
        }
    }

    @Test func whatAReloadCannotChangeIsRefused() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            var stricter = try TestEnvironment.identity("valid")
            stricter.minimumVersion = .tls13
            var asking = try TestEnvironment.identity("valid")
            asking.clientCertificates = .required(.file(try TestEnvironment.certificate("ca")))
            for configuration in [stricter, asking] {
                let error = try await failure { try loopback.server.reloadTLS(configuration) }
                #expect(error.code == .invalidConfiguration)
                #expect(error.isSentence)
            }
        }
        try await withLoopback(handler: echo) { loopback in
            let error = try await failure { try loopback.server.reloadTLS(try TestEnvironment.identity("valid")) }
            #expect(error.code == .invalidConfiguration)
        }
    }

    // MARK: Client certificates

    private static let hello = RawRequest.plain("/")

    /// Greets by the certificate's subject.
    private func withAskingServer(
        _ certificates: WebSocketTLSServerConfiguration.ClientCertificates, _ body: (Loopback) async throws -> Void
    ) async throws {
        try await withLoopback(
            .secure,
            server: {
                $0.tls?.clientCertificates = certificates
                $0.onRequest = { request in
                    let certificate = request.clientCertificate
                    #expect(certificate.map { $0.fingerprint.count == 32 && !$0.der.isEmpty } ?? true)
                    return .respond(status: 200, headers: [.server: certificate?.subject ?? "nobody"])
                }
            }, handler: echo, body)
    }

    @Test func aCertificateThatVerifiesNamesTheClient() async throws {
        let trust = WebSocketPEMSource.file(try TestEnvironment.certificate("ca"))
        for policy in [WebSocketTLSServerConfiguration.ClientCertificates.optional(trust), .required(trust)] {
            try await withAskingServer(policy) { loopback in
                let port = loopback.server.port
                for name in ["client", "client-rsa", "client-chain"] {
                    let answer = try await RawTLSClient(port: port, certificate: name).answer(to: Self.hello)
                    #expect(answer?.hasPrefix("HTTP/1.1 200 ") == true, "\(name): \(answer ?? "refused")")
                    #expect(answer?.contains("Server: CN=") == true, "\(name): \(answer ?? "refused")")
                }
                for name in ["client-expired", "client-untrusted", "client-server-usage"] {
                    let answer = try await RawTLSClient(port: port, certificate: name).answer(to: Self.hello)
                    #expect(answer == nil, "\(name)")
                }
                let answer = try await RawTLSClient(port: port).answer(to: Self.hello)
                if case .optional = policy {
                    #expect(answer?.contains("Server: nobody\r\n") == true)
                } else {
                    #expect(answer == nil)
                }
            }
        }
    }

    @Test func clientsAreNotAskedUnlessTheConfigurationSaysSo() async throws {
        try await withAskingServer(.ignored) { loopback in
            let client = try RawTLSClient(port: loopback.server.port, certificate: "client")
            #expect(await client.answer(to: Self.hello)?.contains("Server: nobody\r\n") == true)
        }
    }

    @Test func aReloadExchangesTheAuthorities() async throws {
        try await withAskingServer(.required(.file(try TestEnvironment.certificate("other-ca")))) { loopback in
            let port = loopback.server.port
            #expect(try await RawTLSClient(port: port, certificate: "client").answer(to: Self.hello) == nil)
            var renewed = try TestEnvironment.identity("valid")
            renewed.clientCertificates = .required(.file(try TestEnvironment.certificate("ca")))
            try loopback.server.reloadTLS(renewed)
            #expect(try await RawTLSClient(port: port, certificate: "client").answer(to: Self.hello) != nil)
            #expect(try await RawTLSClient(port: port, certificate: "client-untrusted").answer(to: Self.hello) == nil)
        }
    }

    @Test func theHandlerKnowsTheClientsCertificate() async throws {
        let subjects = Events<String?>()
        try await withLoopback(
            .secure,
            server: { $0.tls?.clientCertificates = .required(.file(try TestEnvironment.certificate("ca"))) },
            handler: { socket in subjects.send(socket.clientCertificate?.subject) }
        ) { loopback in
            let client = try RawTLSClient(port: loopback.server.port, certificate: "client")
            let answer = await client.answer(to: RawRequest.upgrade())
            #expect(answer?.hasPrefix("HTTP/1.1 101 ") == true)
            #expect(try await subjects.next()?.hasPrefix("CN=") == true)
        }
    }
}
