//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import HTTPTypes
import LoopbackSupport
import Testing
import WebSockets

/// What a server that we did not write sees of the ways to connect: Python's websockets.
@Suite(.timeLimit(.minutes(5)))
struct ConnectingTests {
    /// What the server's `describe` says about our request.
    private struct Seen: Decodable, Sendable {
        struct TLS: Decodable, Sendable {
            let version, cipher: String
            let resumed: Bool
            let sni, peer: String?
        }
        let path: String
        let headers: [[String]]
        let tls: TLS?

        func values(_ name: String) -> [String] { headers.filter { $0[0].lowercased() == name }.map { $0[1] } }
    }

    private func description(_ socket: WebSocketConnection) async throws -> Seen {
        guard case .text(let text) = try await socket.receive() else { throw CancellationError() }
        try await socket.close()
        return try JSONDecoder().decode(Seen.self, from: Data(text.utf8))
    }

    private func describe(
        _ arguments: [String] = [], isSecure: Bool = false,
        url: (Int) -> String, _ change: (inout WebSocketClientConfiguration, Int) throws -> Void = { _, _ in }
    ) async throws -> Seen {
        try await withLoops { loops in
            try await Peer.echoServer(["--behaviour", "describe"] + arguments) { peer in
                var configuration = try clientConfiguration(Transport(isSecure: isSecure), on: loops)
                try change(&configuration, peer.port)
                let socket = try await WebSocketClient.connect(to: url(peer.port), configuration: configuration)
                return try await description(socket)
            }
        }
    }

    private static func tls(_ more: [String] = []) throws -> [String] {
        ["--tls-cert", try TestEnvironment.certificate("valid"), "--tls-key", try TestEnvironment.key("valid")] + more
    }

    // MARK: Headers

    @Test func theUserAgentIsSent() async throws {
        let plain = try await describe(url: { "ws://127.0.0.1:\($0)" })
        #expect(plain.values("user-agent") == ["swift-libwebsockets"])
        let own = try await describe(url: { "ws://127.0.0.1:\($0)" }) { configuration, _ in
            configuration.userAgent = "me/1 (x)"
        }
        #expect(own.values("user-agent") == ["me/1 (x)"])
        let header = try await describe(url: { "ws://127.0.0.1:\($0)" }) { configuration, _ in
            configuration.headers[.userAgent] = "header"
        }
        #expect(header.values("user-agent") == ["header"])
        let none = try await describe(url: { "ws://127.0.0.1:\($0)" }) { configuration, _ in
            configuration.userAgent = nil
        }
        #expect(none.values("user-agent").isEmpty)
        let error = try await failure {
            try await describe(url: { "ws://127.0.0.1:\($0)" }) { configuration, _ in
                configuration.userAgent = "a\r\nX: b"
            }
        }
        #expect(error.code == .invalidConfiguration && error.message.contains("userAgent"))
    }

    @Test func userInfoBecomesBasicAuthorization() async throws {
        for scheme in ["ws", "http"] {
            let seen = try await describe(url: { "\(scheme)://us%20er:p%3Aw@127.0.0.1:\($0)/x" })
            #expect(seen.values("authorization") == ["Basic \(Data("us er:p:w".utf8).base64EncodedString())"])
            #expect(seen.path == "/x")
        }
        // A header of one's own goes first.
        let seen = try await describe(url: { "ws://a:b@127.0.0.1:\($0)" }) { configuration, _ in
            configuration.headers[.authorization] = "Bearer x"
        }
        #expect(seen.values("authorization") == ["Bearer x"])
    }

    // MARK: Another place

    @Test func connectToKeepsTheURLsNames() async throws {
        let seen = try await describe(url: { _ in "ws://example.test:81/x" }) { configuration, port in
            configuration.connectTo = .host("127.0.0.1", port: port)
        }
        #expect(seen.values("host") == ["example.test:81"])
        let secure = try await describe(try Self.tls(), isSecure: true, url: { _ in "https://localhost/x" }) {
            configuration, port in
            configuration.connectTo = .host("127.0.0.1", port: port)
        }
        #expect(secure.values("host") == ["localhost"])
        #expect(secure.tls?.sni == "localhost")
    }

    @Test(arguments: [false, true])
    func aUnixSocketIsConnectedTo(_ isSecure: Bool) async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "wsx-\(UUID().uuidString.prefix(8))").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await withLoops { loops in
            let arguments = ["--behaviour", "by-path", "--unix", path] + (isSecure ? try Self.tls() : [])
            try await Peer.echoServer(arguments) { _ in
                let configuration = try clientConfiguration(
                    Transport(isSecure: isSecure, compression: .deflate()), on: loops)
                let url = isSecure ? "wss://localhost/" : "ws://localhost/"
                let socket = try await WebSocketClient.connect(
                    unixSocket: path, to: url, configuration: configuration)
                for message in Payload.mixed where message.byteCount <= 200_000 {
                    try await socket.send(message)
                    #expect(try await socket.receive().isIdentical(to: message))
                }
                #expect(try await socket.close().isNormal)
                let described = try await WebSocketClient.connect(
                    unixSocket: path, to: url + "describe", configuration: configuration)
                let seen = try await description(described)
                #expect(seen.values("host") == ["localhost"])
                #expect((seen.tls != nil) == isSecure)
            }
        }
    }

    // MARK: Redirects and refusals

    @Test func aRedirectIsFollowedWhenAskedFor() async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            try await Peer.echoServer(["--behaviour", "by-path", "--header", "Location: /describe"]) { peer in
                let url = "ws://u:p@127.0.0.1:\(peer.port)/reject-307"
                var following = configuration
                following.maximumRedirects = 10
                let socket = try await WebSocketClient.connect(to: url, configuration: following)
                #expect(socket.url?.target == "/describe")
                let seen = try await description(socket)
                #expect(seen.path == "/describe")
                #expect(seen.values("authorization") == ["Basic dTpw"])
                let error = try await failure {
                    try await WebSocketClient.connect(to: url, configuration: configuration)
                }
                #expect(error.code == .handshakeRejected)
                #expect(error.response?.status == 307)
                #expect(error.response?.headers[.location] == "/describe")
            }
        }
    }

    @Test func theBeginningOfARefusalsBodyIsKept() async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            for size in [0, 1, 1_024, 70_000] {
                let body = String(repeating: "because ", count: size / 8 + 1).prefix(size)
                try await Peer.echoServer(
                    ["--behaviour", "by-path", "--body", String(body), "--header", "X-Why: rules"]
                ) { peer in
                    let error = try await failure {
                        try await WebSocketClient.connect(
                            to: "ws://127.0.0.1:\(peer.port)/reject-403", configuration: configuration)
                    }
                    #expect(error.code == .handshakeRejected)
                    #expect(error.response?.status == 403)
                    #expect(error.response?.headers[HTTPField.Name("X-Why")!] == "rules")
                    let seen = error.response?.body ?? []
                    // Python sends head and body together.
                    let isBeginning = seen == Array(body.utf8.prefix(64 << 10))
                    #expect(isBeginning, "\(seen.count) bytes of \(size)")
                }
            }
        }
    }

    // MARK: Client certificates

    static let identities: [(certificate: String, key: String, passphrase: Bool)] = [
        ("client", "client", false), ("client-rsa", "client-rsa", false), ("client-chain", "client-chain", false),
        ("client", "client-encrypted", true),
    ]

    @Test(arguments: identities, ["1.2", "1.3"])
    func aClientCertificateIsShown(
        _ identity: (certificate: String, key: String, passphrase: Bool), version: String
    ) async throws {
        let arguments = try Self.tls(["--tls-client-ca", TestEnvironment.certificate("ca"), "--tls-maximum", version])
        let seen = try await describe(arguments, isSecure: true, url: { "wss://localhost:\($0)" }) { configuration, _ in
            configuration.tls.identity = .files(
                certificate: try TestEnvironment.certificate(identity.certificate),
                key: try TestEnvironment.key(identity.key), passphrase: identity.passphrase ? "a passphrase" : nil)
        }
        #expect(seen.tls?.peer == "client")
        #expect(seen.tls?.version == "TLSv\(version)")
    }

    @Test(arguments: [nil, "client-expired", "client-untrusted", "client-server-usage"], ["1.2", "1.3"])
    func aClientWithoutTheRightCertificateIsToldSo(_ name: String?, version: String) async throws {
        let arguments = try Self.tls(["--tls-client-ca", TestEnvironment.certificate("ca"), "--tls-maximum", version])
        let error = try await failure(name ?? "none") {
            try await describe(arguments, isSecure: true, url: { "wss://localhost:\($0)" }) { configuration, _ in
                guard let name else { return }
                configuration.tls.identity = .files(
                    certificate: try TestEnvironment.certificate(name), key: try TestEnvironment.key(name))
            }
        }
        #expect(error.code == .tlsFailed && error.tlsFailure == .clientCertificate, "\(error)")
        #expect(error.isSentence)
    }

    // MARK: Sessions

    @Test(arguments: ["1.2", "1.3"])
    func aSessionIsResumed(_ version: String) async throws {
        try await withLoops { loops in
            let arguments = try Self.tls(["--behaviour", "describe", "--tls-maximum", version])
            try await Peer.echoServer(arguments) { peer in
                var configuration = try clientConfiguration(.secure, on: loops)
                // Python's tickets of another version are another server's.
                configuration.tls.serverName = version == "1.2" ? "localhost" : "127.0.0.1"
                var resumed: [Bool?] = []
                for _ in 0..<4 {
                    let socket = try await WebSocketClient.connect(
                        to: "wss://localhost:\(peer.port)", configuration: configuration)
                    #expect(socket.tls?.version == "TLSv\(version)")
                    let ours = socket.tls?.isResumed
                    let seen = try await description(socket)
                    #expect(seen.tls?.resumed == ours)
                    resumed.append(ours)
                }
                #expect(resumed.suffix(3).contains(true), "\(resumed)")
            }
        }
    }

    @Test func ciphersOfTLS12AreChosen() async throws {
        let seen = try await describe(
            try Self.tls(["--tls-maximum", "1.2"]), isSecure: true, url: { "wss://localhost:\($0)" }
        ) { configuration, _ in configuration.tls.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305" }
        #expect(seen.tls?.cipher == "ECDHE-ECDSA-CHACHA20-POLY1305")
    }
}
