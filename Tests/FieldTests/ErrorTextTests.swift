//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import HTTPTypes
import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// What an error says: what happened, and behind a semicolon what to do about it.
@Suite(.timeLimit(.minutes(5)))
struct ErrorTextTests {
    // MARK: The source

    private static let sources = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources")

    /// Every file of the libraries. The command has texts of its own, for the person in front of it.
    private static func files() throws -> [(name: String, text: String)] {
        let names = try #require(FileManager.default.enumerator(atPath: sources.path))
        var files: [(String, String)] = []
        for case let name as String in names where name.hasSuffix(".swift") && !name.hasPrefix("wsx/") {
            files.append((name, try String(contentsOf: sources.appending(path: name), encoding: .utf8)))
        }
        return files
    }

    /// The literals that a `WebSocketError(.code, "…")` begins with, by code.
    private static func literals(in text: String) -> [(code: String, text: String)] {
        let pattern = /(?:WebSocketError|Self|self\.init)\(\s*\.(\w+),\s*"((?:[^"\\]|\\.)*)"/
        return text.matches(of: pattern).map { (String($0.1), String($0.2)) }
    }

    private static func codes() throws -> [String] {
        let declaration = sources.appending(path: "WebSocketCore/Errors/WebSocketError.swift")
        return try String(contentsOf: declaration, encoding: .utf8)
            .matches(of: /public static let (\w+) = Self\(/).map { String($0.1) }
    }

    /// A text ends at a semicolon with a way out, or with a value that has the rest of the sentence.
    @Test func everyTextInTheSourceNamesAWayOut() throws {
        var count = 0
        for (name, text) in try Self.files() {
            for (code, literal) in Self.literals(in: text) {
                count += 1
                let isMadeElsewhere = literal.hasSuffix(")") && literal.contains("\\(")
                #expect(literal.contains("; ") || isMadeElsewhere, "\(name): \(code): \(literal)")
            }
        }
        #expect(count > 190)
    }

    /// Each code has a text of its own with a cause and a way out, so none is made of another error's words alone.
    @Test func everyCodeHasATextWithACauseAndAWayOut() throws {
        var advised: Set<String> = []
        for (_, text) in try Self.files() {
            for (code, literal) in Self.literals(in: text) where literal.contains("; ") {
                let parts = literal.split(separator: "; ", maxSplits: 1)
                if parts.count == 2, parts[0].split(separator: " ").count >= 3,
                    parts[1].split(separator: " ").count >= 2
                {
                    advised.insert(code)
                }
            }
        }
        let codes = try Self.codes()
        #expect(codes.count > 35)
        for code in codes {
            #expect(advised.contains(code) != Self.composed.contains(code), "\(code)")
        }
    }

    /// Codes whose texts are put together of parts: the tests below look at real ones.
    private static let composed: Set<String> = [
        "connectFailed", "proxyFailed", "handshakeRejected", "handshakeInvalid", "poolUnavailable",
    ]

    @Test func textsOfPartsNameAWayOut() async throws {
        // Of the refusals and the answers that are none there are tests of their own.
        var seen: [WebSocketError] = []
        let closed = try WebSocketBytePeerListener().port
        try await withLoopback(
            server: {
                $0.onRequest = { _ in .respond(status: 302, headers: [.location: "ftp://elsewhere.example/"]) }
            }, handler: echo
        ) { loopback in
            seen.append(try await failure { try await loopback.connect { $0.maximumRedirects = 1 } })
            let url = "ws://127.0.0.1:\(closed)/"
            seen.append(
                try await failure { try await WebSocketClient.connect(to: url, configuration: loopback.client) })
            var proxied = loopback.client
            proxied.proxy = try WebSocketProxy("http://127.0.0.1:\(closed)")
            seen.append(try await failure { try await WebSocketClient.connect(to: url, configuration: proxied) })
            seen.append(
                try await failure {
                    var again = WebSocketServerConfiguration(port: loopback.server.port)
                    again.eventLoopGroup = loopback.serverLoops
                    _ = try WebSocketServer(configuration: again)
                })
            seen.append(try await failure { _ = try WebSocketConnectedSocket(adopting: -1).descriptor })
            var pooled = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            pooled.client = loopback.client
            pooled.circuitBreaker.failureThreshold = 1
            seen.append(
                try await failure {
                    try await WebSocketConnectionPool.withPool(to: url, configuration: pooled) { pool in
                        try await pool.withConnection { _ in }
                    }
                })
        }
        let codes: [WebSocketError.Code] = [
            .redirectRefused, .connectFailed, .proxyFailed, .listenFailed, .badDescriptor, .poolUnavailable,
        ]
        #expect(seen.map(\.code) == codes, "\(seen)")
        for error in seen { isAdvised(error) }
    }

    /// No code is left over that nothing makes, and none is made that has no documentation.
    @Test func everyCodeIsMadeSomewhere() throws {
        var made: Set<String> = []
        for (_, text) in try Self.files() {
            for match in text.matches(of: /[(:?]\s*\.(\w+)\b/) { made.insert(String(match.1)) }
        }
        for code in try Self.codes() { #expect(made.contains(code), "nothing makes \(code)") }
    }

    // MARK: Connecting

    private func isAdvised(_ error: WebSocketError, _ advice: String = "; ", line: Int = #line) {
        #expect(error.isSentence && error.message.contains("; "), "line \(line): \(error)")
        #expect(error.message.contains(advice), "line \(line): \(error)")
    }

    @Test(arguments: [
        ("ws://", "write it behind the ://"), ("ws://a@b@c", "percent-encode"), ("ws://[::1", "IPv6"),
        ("ws://a..b", "remove"), ("ws://h/%", "%25"), ("ftp://h", "use ws:// or wss://"),
    ])
    func urls(_ url: String, _ advice: String) async throws {
        isAdvised(try await failure { try await WebSocketClient.connect(to: url) }, advice)
    }

    @Test(arguments: [
        (200, "speaks HTTP"), (304, "no redirect"), (305, "no redirect"), (302, "maximumRedirects"),
        (400, "proxy in between"), (401, "beforeConnect"), (403, "Origin"), (404, "path"), (418, "check the URL"),
        (426, "proxy in between"), (429, "Retry-After"), (500, "its log"), (503, "Retry-After"), (502, "gateway"),
    ])
    func refusals(_ status: Int, _ advice: String) async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            let client = try clientConfiguration(on: loops)
            let connecting = Task {
                try await WebSocketClient.connect(to: "ws://127.0.0.1:\(listener.port)/", configuration: client)
            }
            let peer = try await listener.accept()
            _ = try await peer.readHead()
            let more = status == 302 ? "Location: /there\r\n" : "Retry-After: 3\r\n"
            try await peer.write(Array("HTTP/1.1 \(status) X\r\n\(more)Content-Length: 0\r\n\r\n".utf8))
            let error = try await failure { try await connecting.value }
            #expect(error.code == .handshakeRejected && error.response?.status == status)
            isAdvised(error, advice)
            // What is not at fault is not blamed.
            if status >= 404 { #expect(!error.message.contains("credentials"), "\(error)") }
            peer.close()
        }
    }

    @Test(arguments: [
        ("SSH-2.0-OpenSSH_9.2\r\n", "wss://"), ("", "its log"), ("HTTP/1.1 101 X\r\n\r\n", "proxies in between"),
        ("HTTP/1.1 101", "its log"),
    ])
    func answersThatAreNone(_ answer: String, _ advice: String) async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            let client = try clientConfiguration(on: loops)
            let connecting = Task {
                try await WebSocketClient.connect(to: "ws://127.0.0.1:\(listener.port)/", configuration: client)
            }
            let peer = try await listener.accept()
            _ = try await peer.readHead()
            try await peer.write(Array(answer.utf8))
            peer.close()
            let error = try await failure { try await connecting.value }
            #expect(error.code == .handshakeInvalid, "\(error)")
            isAdvised(error, advice)
        }
    }

    @Test(arguments: ["ws://[fe80::1]:9/", "ws://[fe80::1%25nowhere0]:9/"])
    func aLinkLocalAddressWantsItsInterface(_ url: String) async throws {
        try await withLoops { loops in
            let client = try clientConfiguration(on: loops)
            let error = try await failure { try await WebSocketClient.connect(to: url, configuration: client) }
            #expect(error.code == .connectFailed, "\(error)")
            // Where there is no IPv6 at all the system says that instead.
            if error.systemError == 22 { isAdvised(error, "interface") }
        }
    }

    // MARK: TLS

    @Test(arguments: [
        ("expired", WebSocketError.TLSFailure.expired, "renew it"), ("not-yet-valid", .notYetValid, "clocks"),
        ("wrong-host", .hostMismatch, "tls.serverName"), ("self-signed", .selfSigned, "tls.trust"),
        ("untrusted", .untrusted, "tls.trust"), ("incomplete", .untrusted, "intermediate"),
        ("expired-chain", .expired, "chain"),
    ])
    func certificates(_ name: String, _ cause: WebSocketError.TLSFailure, _ advice: String) async throws {
        try await withLoopback(.secure, server: { $0.tls = try TestEnvironment.identity(name) }, handler: echo) {
            loopback in
            let error = try await failure { try await loopback.connect() }
            #expect(error.code == .tlsFailed && error.tlsFailure == cause, "\(error)")
            // For what it was verified, and which certificate failed.
            #expect(error.message.contains("“127.0.0.1”") && error.message.contains("CN="), "\(error)")
            isAdvised(error, advice)
        }
    }

    /// The certificate is right and `serverName` wrong: the text says so.
    @Test func aWrongServerNameIsNamed() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            let error = try await failure { try await loopback.connect { $0.tls.serverName = "other.example" } }
            #expect(error.tlsFailure == .hostMismatch && error.message.contains("“other.example”"), "\(error)")
            isAdvised(error, "tls.serverName asks for another; correct that")
            #expect(error.message.contains("127.0.0.1"), "the names that it has: \(error)")
        }
    }

    @Test func tlsThatIsNone() async throws {
        try await withLoopback(handler: echo) { loopback in
            let url = "wss" + loopback.url.dropFirst(2)
            let error = try await failure {
                try await WebSocketClient.connect(to: url, configuration: loopback.client)
            }
            #expect(error.code == .tlsFailed && error.tlsFailure == .notTLS, "\(error)")
            isAdvised(error, "use ws://")
        }
        // And the other way round.
        try await withLoopback(.secure, handler: echo) { loopback in
            let url = "ws" + loopback.url.dropFirst(3)
            let error = try await failure {
                try await WebSocketClient.connect(to: url, configuration: loopback.client)
            }
            isAdvised(error, "wss://")
        }
    }

    @Test func keysAndClientCertificates() async throws {
        let pin = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        try await withLoopback(
            .secure, server: { $0.tls?.clientCertificates = .required(.file(try TestEnvironment.certificate("ca"))) },
            handler: echo
        ) { loopback in
            let missed = try await failure { try await loopback.connect { $0.tls.publicKeyPins = [pin] } }
            #expect(missed.tlsFailure == .pinMismatch)
            isAdvised(missed, "pin that")
            let unknown = try await failure { try await loopback.connect() }
            #expect(unknown.tlsFailure == .clientCertificate, "\(unknown)")
            isAdvised(unknown, "tls.identity")
        }
    }
}
