//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct AuthenticationTests {
    private static let basic = WebSocketAuthentication.basic(
        realm: "a \"realm\"", users: ["alice": "open sesame", "bob": "x:y", "zoé": "schlüssel"])
    private static let bearer = WebSocketAuthentication.bearer(realm: "api", tokens: ["s3cr3t-token.~+/==": "service"])

    @Test(
        arguments: [
            // "alice:open sesame", "bob:x:y", "zoé:schlüssel"
            ("Basic YWxpY2U6b3BlbiBzZXNhbWU=", "alice"), ("basic  Ym9iOng6eQ==", "bob"),
            ("Basic em/DqTpzY2hsw7xzc2Vs", "zoé"),
            // A wrong password, no such user, no colon, nothing, not base64, loose bits, another scheme.
            ("Basic YWxpY2U6b3BlbiBzZXNhbWU_", nil), ("Basic YWxpY2U6eA==", nil), ("Basic ZXZlOng=", nil),
            ("Basic YWxpY2U=", nil), ("Basic ", nil), ("Basic", nil), ("Basic !", nil), ("Basic Ym9iOng6eR==", nil),
            ("Bearer YWxpY2U6b3BlbiBzZXNhbWU=", nil), ("", nil),
        ] as [(String, String?)])
    func basicCredentialsLetIn(header: String, user: String?) async throws {
        try await check(Self.basic, header, user, challenge: #"Basic realm="a \"realm\"", charset="UTF-8""#)
    }

    @Test(
        arguments: [
            ("Bearer s3cr3t-token.~+/==", "service"), ("BEARER s3cr3t-token.~+/==", "service"),
            ("Bearer s3cr3t-token.~+/=", nil), ("Bearer s3cr3t-token.~+/===", nil), ("Bearer", nil),
            ("Bearer a b", nil), ("Basic YWxpY2U6eA==", nil),
        ] as [(String, String?)])
    func bearerTokensLetIn(header: String, user: String?) async throws {
        try await check(Self.bearer, header, user, challenge: #"Bearer realm="api""#)
    }

    private func check(
        _ authentication: WebSocketAuthentication, _ header: String, _ user: String?, challenge: String
    ) async throws {
        try await withLoopback(
            server: { $0.authentication = authentication },
            handler: { socket in try await socket.send(socket.user ?? "nobody") }
        ) { loopback in
            let request = RawRequest.upgrade(
                header.isEmpty ? "/" : "/", header.isEmpty ? [] : ["Authorization: \(header)"])
            guard let user else {
                let answer = try await loopback.answer(request)
                #expect(answer.status == 401)
                #expect(answer["WWW-Authenticate"] == challenge)
                return
            }
            let found1 = try await loopback.status(request)
            #expect(found1 == 101)
            let socket = try await loopback.connect { $0.headers[.authorization] = header }
            #expect(try await socket.receive() == .text(user))
            _ = try await socket.closed()
        }
    }

    @Test func credentialsOfTheURLLetIn() async throws {
        try await withLoopback(
            server: { $0.authentication = Self.basic },
            handler: { socket in try await socket.send(socket.user ?? "nobody") }
        ) { loopback in
            let url = "ws://alice:open%20sesame@127.0.0.1:\(loopback.server.port)/"
            let socket = try await WebSocketClient.connect(to: url, configuration: loopback.client)
            #expect(try await socket.receive() == "alice")
            _ = try await socket.closed()
        }
    }

    @Test func twoHeadersAreNone() async throws {
        try await withLoopback(server: { $0.authentication = Self.basic }, handler: echo) { loopback in
            let header = "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU="
            let found2 = try await loopback.status(RawRequest.upgrade("/", [header]))
            #expect(found2 == 101)
            let found3 = try await loopback.status(RawRequest.upgrade("/", [header, header]))
            #expect(found3 == 401)
        }
    }

    private struct Unreachable: Error {}

    @Test func aCheckOfOnesOwnIsAskedWithTheHookBehindIt() async throws {
        try await withLoopback(
            server: {
                $0.authentication = .basic(realm: "r") { user, password in
                    await Task.yield()
                    if user == "broken" { throw Unreachable() }
                    return password == "of " + user
                }
                $0.onRequest = { request in
                    request.user == "alice" ? .accept() : .respond(status: 403, text: "not \(request.user ?? "nobody")")
                }
            }, handler: echo
        ) { loopback in
            for (credentials, status) in [
                ("alice:of%20alice", 101), ("bob:of%20bob", 403), ("alice:x", 401), ("broken:x", 500),
            ] {
                let url = "ws://\(credentials)@127.0.0.1:\(loopback.server.port)/"
                if status == 101 {
                    let socket = try await WebSocketClient.connect(to: url, configuration: loopback.client)
                    try await socket.close()
                } else {
                    let error = try await failure {
                        try await WebSocketClient.connect(to: url, configuration: loopback.client)
                    }
                    #expect(error.response?.status == status)
                }
            }
        }
    }

    /// A hook can ask for credentials where the configuration does not, such as for a page of plain HTTP.
    @Test func aHookCanAskForCredentials() async throws {
        let basic = Self.basic
        try await withLoopback(
            server: {
                $0.onRequest = { request in
                    guard let user = try await basic.user(of: request) else { return basic.refusal }
                    return .respond(status: 200, text: "hello \(user)")
                }
            }, handler: echo
        ) { loopback in
            #expect(try await loopback.answer(RawRequest.plain("/")).status == 401)
            let answer = try await loopback.answer(RawRequest.plain("/", ["Authorization: Basic Ym9iOng6eQ=="]))
            #expect(answer.body == "hello bob\n")
        }
    }
}
