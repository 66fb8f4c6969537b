//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Reports of other libraries on certificates and the names in them.
@Suite(.timeLimit(.minutes(5)))
struct CertificateReportTests {
    struct Name: Sendable, CustomTestStringConvertible {
        let report: String
        let certificate: String
        let host: String
        var serverName: String?
        let isRight: Bool

        var testDescription: String { "\(report): \(host) with \(certificate)" }
    }

    static let names = [
        // A star stands for one label, at the left.
        Name(report: "zaphoyd/websocketpp#774", certificate: "wildcard", host: "a.example.test", isRight: true),
        Name(report: "EVerest/libocpp#494", certificate: "wildcard", host: "CSMS.Example.Test", isRight: true),
        Name(report: "nanomsg/nng#635", certificate: "wildcard", host: "a.b.example.test", isRight: false),
        Name(report: "nanomsg/nng#635, bare", certificate: "wildcard", host: "example.test", isRight: false),
        Name(
            report: "nanomsg/nng#635, common name", certificate: "common-name-only", host: "localhost", isRight: false),
        // A program that looks names up by itself and dials the address.
        Name(report: "exasol/pyexasol#62", certificate: "sni-one", host: "one.example.test", isRight: true),
        Name(
            report: "exasol/pyexasol#62, by address", certificate: "sni-one", host: "127.0.0.1",
            serverName: "one.example.test", isRight: true),
        Name(report: "exasol/pyexasol#62, unsaid", certificate: "sni-one", host: "127.0.0.1", isRight: false),
        Name(report: "warmcat/libwebsockets#1990", certificate: "common-name-only", host: "127.0.0.1", isRight: false),
        Name(report: "warmcat/libwebsockets#1990, named", certificate: "ip-only", host: "127.0.0.1", isRight: true),
        Name(report: "warmcat/libwebsockets#1990, IPv6", certificate: "ip-only", host: "[::1]", isRight: true),
        // A right certificate for another name.
        Name(
            report: "TakahikoKawasaki/nv-websocket-client#107", certificate: "wrong-host", host: "localhost",
            isRight: false),
    ]

    /// Whichever way a connection is asked for.
    @Test(arguments: names)
    func aCertificateIsHeldAgainstTheNameThatIsMeant(_ name: Name) async throws {
        try await withLoopback(
            .secure, server: { $0.tls = try TestEnvironment.identity(name.certificate) }, handler: echo
        ) { loopback in
            let url = "wss://\(name.host):4430/"
            var client = loopback.client
            client.connectTo = .host("127.0.0.1", port: loopback.server.port)
            client.tls.serverName = name.serverName
            var pooled = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            pooled.client = client
            var persistent = WebSocketSessionConfiguration()
            persistent.client = client
            persistent.reconnect.maximumAttempts = 0
            func open() async throws {
                try await WebSocketClient.connect(to: url, configuration: client).close()
            }
            func session() async throws {
                try await WebSocketSession.withSession(to: url, configuration: persistent, whenConnected: true) { _ in }
            }
            if name.isRight {
                try await open()
                try await session()
                try await WebSocketConnectionPool.withPool(to: url, configuration: pooled) { pool in
                    try await pool.withConnection { _ in }
                }
            } else {
                let error = try await failure { try await open() }
                #expect(error.code == .tlsFailed && error.tlsFailure == .hostMismatch, "\(error)")
                // The sentence says which name was not found in the certificate.
                let meant = name.host.filter { $0 != "[" && $0 != "]" }
                #expect(error.message.lowercased().contains(meant.lowercased()), "\(error)")
                let ended = try await failure { try await session() }
                #expect(ended.tlsFailure == .hostMismatch || ended.code == .reconnectFailed, "\(ended)")
            }
        }
    }

    // TakahikoKawasaki/nv-websocket-client#144, fdgt-apis/api#53: a server of several names showed the first certificate to
    // all, also when it was reached under another name on the same address.
    @Test func eachNameOfAServerHasItsOwnCertificate() async throws {
        try await withLoopback(
            .secure,
            server: {
                var tls = try TestEnvironment.identity("valid")
                tls.additionalIdentities = try ["one", "two"].map { name in
                    .init(
                        serverNames: ["\(name).example.test"],
                        certificateChain: .file(try TestEnvironment.certificate("sni-\(name)")),
                        privateKey: .file(try TestEnvironment.key("sni-\(name)")))
                }
                $0.tls = tls
            }, handler: echo
        ) { loopback in
            var client = loopback.client
            client.connectTo = .host("127.0.0.1", port: loopback.server.port)
            // The same client again and again: what it keeps of one name's session is not for another's.
            for host in ["one.example.test", "two.example.test", "localhost", "ONE.example.test", "two.example.test."] {
                let socket = try await WebSocketClient.connect(to: "wss://\(host)/", configuration: client)
                try await socket.close()
            }
        }
    }
}
