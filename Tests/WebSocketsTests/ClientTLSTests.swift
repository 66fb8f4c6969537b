//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// What a client's TLS can be told besides whom to trust. Certificates come from `scripts/trust/certificates`.
@Suite(.timeLimit(.minutes(5)))
struct ClientTLSTests {
    private static func pin(_ name: String) throws -> String {
        let file = try TestEnvironment.certificate(name).dropLast(3) + "pin"
        return String(decoding: try TestEnvironment.bytes(String(file)).dropLast(), as: UTF8.self)
    }

    private func exchange(_ socket: WebSocketConnection) async throws {
        try await socket.send("x")
        #expect(try await socket.receive() == "x")
        try await socket.close()
    }

    // MARK: Pins

    @Test func aPinMustBeMet() async throws {
        let (valid, renewed) = (try Self.pin("valid"), try Self.pin("renewed"))
        try await withLoopback(.secure, handler: echo) { loopback in
            for pins: Set<String> in [[valid], [valid, renewed]] {
                let socket = try await loopback.connect { $0.tls.publicKeyPins = pins }
                #expect(socket.tls?.peerCertificate?.publicKeyPin == valid)
                try await exchange(socket)
                // The CA's key vouches for the server too.
                let ca = try #require(socket.tls?.peerCertificate?.issuer)
                #expect(ca == "CN=Test Root")
            }
            for verification: WebSocketTLSClientConfiguration.Verification in [.full, .insecureNoVerification] {
                let error = try await failure {
                    try await loopback.connect {
                        $0.tls.publicKeyPins = [renewed]
                        $0.tls.verification = verification
                    }
                }
                #expect(error.code == .tlsFailed && error.phase == .tls)
                #expect(error.tlsFailure == .pinMismatch, "\(error)")
                #expect(error.isSentence)
            }
            // Without verification it is the pin that tells the server.
            let socket = try await loopback.connect {
                $0.tls.publicKeyPins = [valid]
                $0.tls.verification = .insecureNoVerification
                $0.tls.trust = .system
            }
            try await exchange(socket)
        }
    }

    @Test func aCertificateOfTheChainMeetsAPin() async throws {
        // The intermediate's own pin, as a client sees it that connects to a server with that key.
        try await withLoopback(
            .secure, server: { $0.tls = try TestEnvironment.identity("chain") }, handler: echo
        ) { loopback in
            let intermediate = try await intermediatePin()
            try await exchange(try await loopback.connect { $0.tls.publicKeyPins = [intermediate] })
            // Without verification anybody can add it to his chain.
            let error = try await failure {
                try await loopback.connect {
                    $0.tls.publicKeyPins = [intermediate]
                    $0.tls.verification = .insecureNoVerification
                }
            }
            #expect(error.tlsFailure == .pinMismatch, "\(error)")
        }
    }

    private func intermediatePin() async throws -> String {
        try await withLoopback(
            .secure, server: { $0.tls = try TestEnvironment.identity("intermediate") }, handler: echo
        ) { loopback in
            let socket = try await loopback.connect { $0.tls.verification = .insecureNoVerification }
            let pin = try #require(socket.tls?.peerCertificate?.publicKeyPin)
            try await socket.close()
            return pin
        }
    }

    // MARK: Resumption

    @Test func aSessionIsResumed() async throws {
        let resumed = Events<Bool>()
        try await withLoopback(
            .secure,
            handler: { socket in
                resumed.send(socket.tls?.isResumed == true)
                try await echo(socket)
            }
        ) { loopback in
            // A name of its own, because sessions are kept for a configuration and a name.
            let pins: Set<String> = [try Self.pin("valid"), Self.unused]
            func connect(_ resumes: Bool = true) async throws -> Bool {
                let socket = try await loopback.connect {
                    $0.tls.resumesSessions = resumes
                    $0.tls.publicKeyPins = pins
                }
                try await exchange(socket)
                let tls = try #require(socket.tls)
                #expect(try await resumed.next() == tls.isResumed)
                #expect(tls.peerCertificate?.subject == "CN=localhost")
                return tls.isResumed
            }
            #expect(try await connect() == false)
            for _ in 0..<5 { #expect(try await connect() == true) }
            for _ in 0..<2 { #expect(try await connect(false) == false) }
        }
    }

    /// A pin of this process only.
    private static let unused: String = {
        let digest = (0..<32).map { _ in UInt8.random(in: 0...255) }
        return HandshakeText.base64(digest)
    }()

    // MARK: The peer's certificate

    @Test func thePeersCertificateIsShown() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            let socket = try await loopback.connect()
            let certificate = try #require(socket.tls?.peerCertificate)
            #expect(certificate.subject == "CN=localhost")
            #expect(certificate.issuer == "CN=Test Root")
            #expect(certificate.dnsNames == ["localhost"])
            #expect(certificate.ipAddresses == ["127.0.0.1", "::1"])
            #expect(certificate.uris.isEmpty)
            #expect(certificate.validFrom > 1_700_000_000)
            #expect(abs(certificate.validUntil - certificate.validFrom - 91 * 24 * 3_600) < 60)
            #expect(certificate.derBytes.starts(with: [0x30, 0x82]))
            let again = try await loopback.connect { $0.tls.resumesSessions = false }
            #expect(again.tls?.peerCertificate == certificate)
            try await socket.close()
            try await again.close()
        }
    }

    // MARK: Ciphers

    @Test func ciphersAreChosen() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            for suite in ["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"] {
                let socket = try await loopback.connect { $0.tls.cipherSuites = suite }
                #expect(socket.tls?.cipher == suite)
                try await exchange(socket)
            }
        }
    }

    // MARK: Bad input

    @Test func whatCannotBeUsedIsNamedBeforeAnythingIsSent() async throws {
        let certificate = try TestEnvironment.certificate("client")
        let (key, encrypted) = (try TestEnvironment.key("client"), try TestEnvironment.key("client-encrypted"))
        let malformed = try TestEnvironment.certificate("malformed")
        func identity(_ certificate: String, _ key: String, _ passphrase: String? = nil) -> WebSocketTLSClientIdentity {
            .files(certificate: certificate, key: key, passphrase: passphrase)
        }
        let identities: [(WebSocketTLSClientIdentity, String)] = [
            (
                identity("/nonexistent.pem", key),
                "tls.identity.certificateChain: the file “/nonexistent.pem” cannot be read"
            ),
            (
                identity(certificate, "/nonexistent.key"),
                "tls.identity.privateKey: the file “/nonexistent.key” cannot be read"
            ),
            (identity(malformed, key), "tls.identity.certificateChain"),
            (identity(certificate, certificate), "tls.identity.privateKey holds no private key"),
            (identity(certificate, try TestEnvironment.key("valid")), "tls.identity.privateKey does not belong"),
            (identity(certificate, encrypted), "tls.identity.privateKey is encrypted"),
            (identity(certificate, encrypted, "secret"), "tls.identity.passphrase is not the one"),
            (identity(certificate, encrypted, ""), "tls.identity.passphrase is not the one"),
            (identity(certificate, encrypted, "a\0b"), "tls.identity.passphrase"),
            (identity(certificate, encrypted, String(repeating: "x", count: 1_024)), "tls.identity.passphrase"),
        ]
        for (identity, text) in identities {
            let error = try await refusal { $0.identity = identity }
            #expect(error.message.contains(text), "\(error)")
            #expect(!error.message.contains("secret"))
        }
        for pin in ["", "AAAA", "not base64", try Self.pin("valid") + "=", String(repeating: "A", count: 44)] {
            let error = try await refusal { $0.publicKeyPins = [pin] }
            #expect(error.message.contains("tls.publicKeyPins"), "\(error)")
        }
        for list in ["", "no-such-cipher", "a\0b"] {
            let error = try await refusal { $0.ciphers = list }
            #expect(error.message.contains("tls.ciphers"), "\(error)")
            let other = try await refusal { $0.cipherSuites = list }
            #expect(other.message.contains("tls.cipherSuites"), "\(other)")
        }
        for name in ["", "a b", "a\r\nb", "\u{E4}", String(repeating: "a", count: 254)] {
            let error = try await refusal { $0.serverName = name }
            #expect(error.message.contains("tls.serverName"), "\(error)")
        }
    }

    private func refusal(_ change: (inout WebSocketTLSClientConfiguration) -> Void) async throws -> WebSocketError {
        try await withLoops { loops in
            var configuration = try clientConfiguration(on: loops)
            change(&configuration.tls)
            // Nobody is asked: there is no port 9 here, and that would be another error.
            let error = try await failure {
                try await WebSocketClient.connect(to: "wss://127.0.0.1:9", configuration: configuration)
            }
            #expect(error.code == .invalidConfiguration, "\(error)")
            #expect(error.isSentence)
            return error
        }
    }

    @Test func secretsAreNeverPrinted() throws {
        var configuration = WebSocketClientConfiguration()
        configuration.tls.identity = WebSocketTLSClientIdentity(
            certificateChain: .file("c"), privateKey: .bytes(Array("secret".utf8)), passphrase: "secret")
        configuration.proxy = try WebSocketProxy("http://user:secret@proxy")
        var text = "\(configuration)"
        dump(configuration, to: &text)
        #expect(!text.contains("secret"))
    }
}
