//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import HTTPTypes
import Logging
import LoopbackSupport
import Testing
import WebSockets

/// Bundles, anchors, names with a dot, and files that change under those who use them.
@Suite(.timeLimit(.minutes(5)))
struct CertificateFileTests {
    private func exchange(_ socket: WebSocketConnection) async throws {
        try await socket.send("x")
        #expect(try await socket.receive() == "x")
        try await socket.close()
    }

    private static func text(_ name: String) throws -> String {
        try TestEnvironment.text(try TestEnvironment.certificate(name))
    }

    /// The certificates of a file, each with its lines.
    private static func blocks(_ name: String) throws -> [String] {
        let end = "-----END CERTIFICATE-----\n"
        return try text(name).components(separatedBy: end).dropLast().map { block in
            "-----BEGIN CERTIFICATE-----" + block.components(separatedBy: "-----BEGIN CERTIFICATE-----")[1] + end
        }
    }

    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-files-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try await body(directory.path())
    }

    private func write(_ text: String, to path: String) throws { try Data(text.utf8).write(to: URL(filePath: path)) }

    // MARK: Anchors

    @Test func everyTrustedCertificateIsAnAnchor() async throws {
        let chain = try Self.blocks("chain")
        try await withLoopback(
            .secure, server: { $0.tls = try TestEnvironment.identity("chain") }, handler: echo
        ) { loopback in
            let intermediate = try Self.text("intermediate")
            for trust in [intermediate, chain[0], try Self.text("other-ca") + intermediate, try Self.text("ca")] {
                try await exchange(
                    try await loopback.connect { $0.tls.trust = .certificates(.bytes(Array(trust.utf8))) })
            }
            // Another one of the same authority is none for this server.
            let other = Array(try Self.blocks("valid")[0].utf8)
            let error = try await failure {
                try await loopback.connect { $0.tls.trust = .certificates(.bytes(other)) }
            }
            #expect(error.tlsFailure == .untrusted, "\(error)")
        }
    }

    /// Its name, its time and its purpose are looked at all the same.
    @Test(arguments: [
        ("expired", WebSocketError.TLSFailure.expired), ("not-yet-valid", .notYetValid),
        ("wrong-host", .hostMismatch), ("client-usage", .wrongUsage),
    ]) func anAnchorIsVerifiedAllTheSame(_ name: String, _ expected: WebSocketError.TLSFailure) async throws {
        try await withLoopback(.secure, server: { $0.tls = try TestEnvironment.identity(name) }, handler: echo) {
            loopback in
            let anchor = Array(try Self.blocks(name)[0].utf8)
            let error = try await failure {
                try await loopback.connect { $0.tls.trust = .certificates(.bytes(anchor)) }
            }
            #expect(error.tlsFailure == expected, "\(error)")
        }
    }

    @Test func aServersAuthoritiesAreAnchorsToo() async throws {
        func answers(_ authority: String, _ client: String) async throws -> Bool {
            try await withLoopback(
                .secure,
                server: {
                    $0.tls?.clientCertificates = .required(.file(try TestEnvironment.certificate(authority)))
                    $0.onRequest = { _ in .respond(status: 200) }
                }, handler: echo
            ) { loopback in
                try await RawTLSClient(port: loopback.server.port, certificate: client).answer(to: Self.hello) != nil
            }
        }
        for (authority, client, isGood) in [
            ("intermediate", "client-chain", true), ("client", "client", true), ("intermediate", "client", false),
            ("client", "client-rsa", false), ("client-expired", "client-expired", false),
        ] {
            let isAnswered = try await answers(authority, client)
            #expect(isAnswered == isGood, "\(client) with \(authority)")
        }
    }

    private static let hello = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    // MARK: Bundles

    /// Three certificates, of which the second is damaged in some way.
    private static func damagedBundles(_ first: String, _ last: String) throws -> [String] {
        let other = try blocks("renewed")[0]
        let middle = other.index(other.startIndex, offsetBy: 200)
        return [
            other.replacingCharacters(in: middle...middle, with: "!"),
            other.replacingCharacters(in: middle..<other.index(middle, offsetBy: 40), with: ""),
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            String(other.dropLast(26)),
            other.replacingOccurrences(of: "END CERTIFICATE", with: "END CERT"),
            String(other.dropLast()),
            other.split(separator: "\n").map { " \($0)\n" }.joined(),
            other.replacingOccurrences(of: "-----BEGIN", with: "----BEGIN"),
            "-----BEGIN of the next one-----\n",
        ].map { first + $0 + last }
    }

    @Test func aBundleIsReadWholeOrRefused() async throws {
        try await withDirectory { directory in
            let path = "\(directory)/bundle.pem"
            try await withLoopback(.secure, handler: echo) { loopback in
                for bundle in try Self.damagedBundles(try Self.text("other-ca"), try Self.text("ca")) {
                    try write(bundle, to: path)
                    let error = try await failure {
                        try await loopback.connect { $0.tls.trust = .certificates(.file(path)) }
                    }
                    #expect(error.code == .invalidConfiguration && error.isSentence, "\(error)")
                    #expect(error.message.contains("tls.trust: the file “\(path)”"), "\(error)")
                    #expect(error.message.contains("block "), "\(error)")
                }
            }
        }
    }

    @Test func whereverABundleIsReadItIsReadWhole() async throws {
        let valid = try Self.blocks("valid")[0]
        let key = WebSocketPEMSource.file(try TestEnvironment.key("valid"))
        for bundle in try Self.damagedBundles(valid, try Self.text("ca")) {
            let source = WebSocketPEMSource.bytes(Array(bundle.utf8))
            var servers = [WebSocketTLSServerConfiguration(certificateChain: source, privateKey: key)]
            var asking = try TestEnvironment.identity("valid")
            asking.clientCertificates = .required(source)
            servers.append(asking)
            var named = try TestEnvironment.identity("valid")
            named.additionalIdentities = [.init(serverNames: ["a"], certificateChain: source, privateKey: key)]
            servers.append(named)
            try await withLoops { loops in
                for tls in servers {
                    let error = try await failure {
                        var configuration = WebSocketServerConfiguration(tls: tls)
                        configuration.eventLoopGroup = loops
                        _ = try WebSocketServer(configuration: configuration)
                    }
                    #expect(error.code == .invalidConfiguration && error.message.contains("block "), "\(error)")
                }
                var client = try clientConfiguration(on: loops)
                client.tls.identity = WebSocketTLSClientIdentity(certificateChain: source, privateKey: key)
                let configuration = client
                let error = try await failure {
                    try await WebSocketClient.connect(to: "wss://127.0.0.1:9", configuration: configuration)
                }
                #expect(error.code == .invalidConfiguration && error.message.contains("tls.identity"), "\(error)")
            }
        }
    }

    /// What stood in bundles that were read before is still read.
    @Test func whatIsNoBlockIsComment() async throws {
        let ca = try Self.text("ca")
        let key = String(
            decoding: try TestEnvironment.bytes(try TestEnvironment.key("client-encrypted")), as: UTF8.self)
        try await withLoopback(.secure, handler: echo) { loopback in
            for bundle in [
                "# a comment\nsubject=x\n" + ca, "\u{FEFF}" + ca, try Self.text("other-ca") + "\u{FEFF}" + ca, key + ca,
                ca.replacingOccurrences(of: "\n", with: "\r\n"), String(ca.dropLast()), ca + ca, ca + "\0\n" + key,
                ca.replacingOccurrences(of: "CERTIFICATE-", with: "X509 CERTIFICATE-"),
                ca.replacingOccurrences(of: "CERTIFICATE-", with: "TRUSTED CERTIFICATE-"),
                ca.split(separator: "\n").joined(separator: " \t\n"), "# -----BEGIN CERTIFICATE-----\n# AAAA\n" + ca,
            ] {
                try await exchange(
                    try await loopback.connect { $0.tls.trust = .certificates(.bytes(Array(bundle.utf8))) })
            }
        }
    }

    // MARK: Names

    /// The dot of the DNS's root stays in `Host` and nowhere else.
    @Test func aDotAtTheEndIsNoPartOfTheName() async throws {
        let hosts = Events<String?>()
        try await withLoopback(
            .secure,
            server: {
                // Only who asks for "localhost" gets the right certificate.
                $0.tls = try TestEnvironment.identity("wrong-host")
                $0.tls?.additionalIdentities = [
                    .init(
                        serverNames: ["localhost"], certificateChain: .file(try TestEnvironment.certificate("valid")),
                        privateKey: .file(try TestEnvironment.key("valid")))
                ]
            },
            handler: { socket in
                hosts.send(socket.requestHeaders[HTTPField.Name("Host")!])
                try await echo(socket)
            }
        ) { loopback in
            let port = loopback.server.port
            for (url, name) in [
                ("wss://localhost.:\(port)", nil), ("wss://LocalHost.:\(port)", nil),
                ("wss://other.test.:\(port)", "localhost."),
            ] as [(String, String?)] {
                var configuration = loopback.client
                configuration.connectTo = .host("127.0.0.1", port: port)
                configuration.tls.serverName = name
                try await exchange(try await WebSocketClient.connect(to: url, configuration: configuration))
                let host = try await hosts.next()
                #expect(host == url.dropFirst(6).lowercased())
            }
        }
    }

    @Test func aServerKnowsNamesWithADot() async throws {
        func identity(_ name: String, _ file: String) throws -> WebSocketTLSServerConfiguration.Identity {
            .init(
                serverNames: [name], certificateChain: .file(try TestEnvironment.certificate(file)),
                privateKey: .file(try TestEnvironment.key(file)))
        }
        try await withLoopback(
            .secure,
            server: {
                $0.tls?.additionalIdentities = [
                    try identity("one.example.test", "sni-one"), try identity("two.example.test.", "sni-two"),
                ]
            }, handler: echo
        ) { loopback in
            for (name, subject) in [
                ("one.example.test", "one.example.test"), ("one.example.test.", "one.example.test"),
                ("two.example.test", "two.example.test"), ("two.example.test.", "two.example.test"),
                ("TWO.example.test.", "two.example.test"), ("three.example.test.", "localhost"), (".", "localhost"),
            ] {
                let client = try RawTLSClient(port: loopback.server.port, serverName: name)
                _ = await client.answer(to: Self.hello)
                #expect(client.serversName == "/CN=\(subject)", "\(name)")
            }
        }
    }

    // MARK: Files that change

    /// A pool reads what is new for its next connection, with and without a reset.
    @Test func aPoolFollowsItsFiles() async throws {
        try await withDirectory { directory in
            let trust = "\(directory)/trust.pem"
            try write(try Self.text("ca"), to: trust)
            try await withLoopback(.secure, handler: echo) { loopback in
                var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 2)
                configuration.client = loopback.client
                configuration.client.tls.trust = .certificates(.file(trust))
                configuration.circuitBreaker.failureThreshold = 1_000
                configuration.backoff = .init(base: .milliseconds(1), maximum: .milliseconds(1))
                try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: configuration) { pool in
                    func use() async throws {
                        try await pool.withConnection { socket in
                            try await socket.send("x")
                            _ = try await socket.receive()
                        }
                    }
                    try await use()
                    try loopback.server.reloadTLS(try TestEnvironment.identity("untrusted"))
                    try write(try Self.text("other-ca"), to: trust)
                    pool.reset()
                    try await use()
                }
            }
        }
    }

    /// How a file looks while, or after, others write it.
    enum Fault: CaseIterable, Sendable {
        case missing, empty, cut, noPEM, damaged, directory, otherKey

        /// What the file, of certificates or of a key, is replaced with.
        func text(_ good: String) throws -> String? {
            switch self {
            case .missing, .directory: nil
            case .empty: ""
            case .cut: String(good.prefix(good.count / 2))
            case .noPEM: "not yet\n"
            case .damaged: good.replacingOccurrences(of: "\nM", with: "\n!")
            case .otherKey: try TestEnvironment.text(TestEnvironment.key("client-rsa"))
            }
        }
    }

    /// Whose file it is.
    enum Role: CaseIterable, Sendable { case trust, certificate, key }

    /// A key of another pair is a fault of that file only.
    static let faults = Fault.allCases.flatMap { fault in
        (fault == .otherKey ? [Role.key] : Role.allCases).map { (fault, $0) }
    }

    /// A renewal that is not done yet is a failed attempt, and the session says so.
    @Test(arguments: faults)
    func aSessionWaitsForItsFiles(_ fault: Fault, _ role: Role) async throws {
        try await withDirectory { directory in
            let files = try [
                Role.trust: Self.text("ca"), .certificate: Self.text("client"),
                .key: TestEnvironment.text(TestEnvironment.key("client")),
            ]
            func path(_ role: Role) -> String { "\(directory)/\(role).pem" }
            for (role, text) in files { try write(text, to: path(role)) }
            let (file, good) = (path(role), try #require(files[role]))
            try await withLoopback(
                .secure,
                handler: { socket in
                    for try await message in socket.messages where message == "leave" {
                        try await socket.close(code: .goingAway)
                    }
                }
            ) { loopback in
                var configuration = WebSocketSessionConfiguration()
                configuration.client = loopback.client
                configuration.client.tls.trust = .certificates(.file(path(.trust)))
                configuration.client.tls.identity = .files(certificate: path(.certificate), key: path(.key))
                configuration.logger.logLevel = .critical
                configuration.reconnect.strategy = .fixed(.zero)
                configuration.reconnect.maximumAttempts = nil
                try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                    #expect(await session.waitConnected())
                    if let bad = try fault.text(good) {
                        try write(bad, to: file)
                    } else {
                        try FileManager.default.removeItem(atPath: file)
                        if fault == .directory {
                            try FileManager.default.createDirectory(atPath: file, withIntermediateDirectories: false)
                        }
                    }
                    try await session.send("leave")
                    var alert: WebSocketSessionAlert?
                    for try await event in session.events {
                        if case .alert(let one) = event, one.kind == .attemptFailed { alert = one }
                        if alert != nil { break }
                    }
                    #expect(alert?.message.contains(file) == true, "\(String(describing: alert))")
                    if fault == .directory { try FileManager.default.removeItem(atPath: file) }
                    try write(good, to: file)
                    #expect(await session.waitConnected())
                    #expect(session.statistics.connects == 2)
                }
            }
        }
    }
}
