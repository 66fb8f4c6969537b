//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import TestSupport
import Testing
import WebSocketCore

@testable import WebSocketLoop

/// TLS sessions are resumed where they may be, and nowhere else.
@Suite(.timeLimit(.minutes(5))) struct TLSResumptionTests {
    /// Two loops of one server, each with a port of its own, and a client that keeps its sessions for itself.
    private struct Fixture {
        let servers: [LoopServer]
        let tls: ServerTLSContext
        let certificate: ThrowawayCertificate
        let client: WebSocketTLSClientConfiguration
        let loop: WebSocketEventLoop

        /// Connects to one of the loops.
        func check(
            _ expected: Bool, _ index: Int, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let isResumed = try await isResumed(index)
            #expect(isResumed == expected, sourceLocation: sourceLocation)
        }

        /// Whether a session was resumed, which both ends must say.
        private func isResumed(_ index: Int) async throws -> Bool {
            let server = servers[index]
            let request = try ClientRequest(
                url: WebSocketURL("wss://127.0.0.1:\(server.port)/"), fields: [:], subprotocols: [], options: .quiet,
                openTimeout: .seconds(60), tls: client)
            let connection = try await loop.connect(request)
            let other = try await server.next()
            let tls = try #require(connection.details.tls)
            #expect(other.details.tls?.isResumed == tls.isResumed)
            await connection.end()
            return tls.isResumed
        }

        var configuration: WebSocketTLSServerConfiguration {
            .init(certificateChain: .bytes(certificate.certificate), privateKey: .bytes(certificate.privateKey))
        }
    }

    private func withFixture(_ body: (Fixture) async throws -> Void) async throws {
        // Sessions are kept for a configuration, so it has to be a new one.
        let certificate = try ThrowawayCertificate()
        let configuration = WebSocketTLSServerConfiguration(
            certificateChain: .bytes(certificate.certificate), privateKey: .bytes(certificate.privateKey))
        let tls = try ServerTLSContext(configuration)
        var client = WebSocketTLSClientConfiguration()
        client.trust = .certificates(.bytes(certificate.authority))
        let trusting = client
        try await withLoops(3) { group in
            try await withServer(on: group.loops[0], tls: tls) { first in
                try await withServer(on: group.loops[1], tls: tls) { second in
                    try await body(
                        Fixture(
                            servers: [first, second], tls: tls, certificate: certificate, client: trusting,
                            loop: group.loops[2]))
                }
            }
        }
    }

    // MARK: The server's tickets

    @Test func aTicketIsGoodOnEveryLoop() async throws {
        try await withFixture { fixture in
            try await fixture.check(false, 0)
            for index in [1, 0, 0, 1, 1, 0] { try await fixture.check(true, index) }
        }
    }

    @Test func aTicketIsGoodAfterAReload() async throws {
        try await withFixture { fixture in
            try await fixture.check(false, 0)
            try fixture.tls.reload(fixture.configuration)
            for index in [1, 0] { try await fixture.check(true, index) }
        }
    }

    @Test func keysAreExchangedWithoutLosingTickets() async throws {
        try await withFixture { fixture in
            try await fixture.check(false, 0)
            let life = Duration.seconds(7_200)
            // The key before the present one still counts, and its ticket is exchanged for one of the present key.
            for index in [1, 0, 1, 0] {
                fixture.tls.advanceTicketKeys(by: life)
                try await fixture.check(true, index)
            }
            // The one before that does not.
            fixture.tls.advanceTicketKeys(by: life * 2)
            try await fixture.check(false, 0)
            try await fixture.check(true, 1)
        }
    }

    @Test func anotherServersTicketIsNone() async throws {
        try await withFixture { fixture in
            try await fixture.check(false, 0)
            let other = try ServerTLSContext(fixture.configuration)
            try await withLoops { group in
                try await withServer(on: group.loops[0], tls: other) { server in
                    let stranger = Fixture(
                        servers: [server], tls: other, certificate: fixture.certificate, client: fixture.client,
                        loop: fixture.loop)
                    try await stranger.check(false, 0)
                }
            }
        }
    }

    // MARK: The client's sessions

    /// A session that is resumed again and again is not verified again. So it ends with what it was verified with.
    @Test func noSessionOutlivesItsCertificates() async throws {
        try await withFixture { fixture in
            let context = try ClientTLSContext.make(fixture.client, host: "127.0.0.1")
            try await fixture.check(false, 0)
            for index in [1, 0, 1] { try await fixture.check(true, index) }
            // The certificates are good for a day.
            context.advance(by: .seconds(23 * 3_600))
            for index in [1, 0] { try await fixture.check(true, index) }
            context.advance(by: .seconds(3_600))
            // What this one brings is verified with the same certificates, so it is of no use either.
            for index in [0, 1, 0] { try await fixture.check(false, index) }
        }
    }

    @Test func withoutVerificationThereIsNoEnd() async throws {
        let certificate = try ThrowawayCertificate()
        let tls = try ServerTLSContext(
            WebSocketTLSServerConfiguration(
                certificateChain: .bytes(certificate.certificate), privateKey: .bytes(certificate.privateKey)))
        var client = WebSocketTLSClientConfiguration()
        client.verification = .insecureNoVerification
        // Something that makes it a configuration of its own.
        client.cipherSuites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
        let configuration = client
        try await withLoops(2) { group in
            try await withServer(on: group.loops[0], tls: tls) { server in
                let fixture = Fixture(
                    servers: [server], tls: tls, certificate: certificate, client: configuration, loop: group.loops[1])
                try await fixture.check(false, 0)
                try await fixture.check(true, 0)
            }
        }
    }
}
