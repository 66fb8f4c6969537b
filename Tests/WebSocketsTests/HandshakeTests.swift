//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import LoopbackSupport
import Testing
import WebSockets

/// What one side says in the handshake is what the other one sees.
@Suite(.timeLimit(.minutes(5)))
struct HandshakeTests {
    private struct Seen: Sendable {
        let target: String?
        let headers: HTTPFields
        let subprotocol: String?
    }

    private static func seeing(_ seen: Events<Seen>) -> Handler {
        { seen.send(Seen(target: $0.requestTarget, headers: $0.requestHeaders, subprotocol: $0.subprotocol)) }
    }

    @Test(
        arguments: [
            "/", "/feed", "/a/b/c?x=1&y=%20%C3%A9", "/?", "/a//b/../c;p=1", "/~!$&'()*+,:@", "?only=query", "",
            "/" + String(repeating: "long/", count: 300),
        ], [Transport.plain, .secure])
    func theTargetArrivesByteForByte(_ target: String, _ transport: Transport) async throws {
        let seen = Events<Seen>()
        try await withLoopback(transport, handler: Self.seeing(seen)) { loopback in
            let socket = try await loopback.connect(target)
            #expect(try await seen.next().target == (target.first == "/" ? target : "/" + target))
            #expect(socket.requestTarget == (target.first == "/" ? target : "/" + target))
            #expect(socket.requestHeaders[.secWebSocketKey]?.count == 24)
            _ = try await socket.closed()
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func theHeadersArrive(_ transport: Transport) async throws {
        let seen = Events<Seen>()
        try await withLoopback(transport, server: { $0.origins = .any }, handler: Self.seeing(seen)) { loopback in
            let token = HTTPField.Name("X-Token")!
            let socket = try await loopback.connect {
                $0.headers[.authorization] = "Bearer a.b-c_d="
                $0.headers[.origin] = "https://example.com"
                $0.headers.append(HTTPField(name: token, value: "one"))
                $0.headers.append(HTTPField(name: token, value: "two, three"))
                $0.headers[.userAgent] = String(repeating: "u", count: 1_000)
            }
            let headers = try await seen.next().headers
            #expect(headers[.authorization] == "Bearer a.b-c_d=")
            #expect(headers[.origin] == "https://example.com")
            #expect(headers[values: token] == ["one", "two, three"])
            #expect(headers[.userAgent]?.count == 1_000)
            #expect(headers[HTTPField.Name("Host")!] == "127.0.0.1:\(loopback.server.port)")
            #expect(headers[values: .upgrade].count == 1)
            #expect(headers[.secWebSocketVersion] == "13")
            // The client has kept what it sent.
            #expect(socket.requestHeaders == headers)
            #expect(socket.id > 0)
            // And the other way.
            #expect(socket.response?.status == 101)
            #expect(socket.response?.headers[.upgrade]?.lowercased() == "websocket")
            #expect(socket.response?.headers[.secWebSocketAccept]?.count == 28)
            _ = try await socket.closed()
        }
    }

    @Test func credentialsOfTheURLBecomeBasicAuthorization() async throws {
        let seen = Events<Seen>()
        try await withLoopback(handler: Self.seeing(seen)) { loopback in
            let url = "ws://Aladdin:open%20sesame@127.0.0.1:\(loopback.server.port)/"
            let socket = try await WebSocketClient.connect(to: url, configuration: loopback.client)
            #expect(try await seen.next().headers[.authorization] == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
            _ = try await socket.closed()
        }
    }

    static let subprotocols: [(offered: [String], spoken: [String], chosen: String?)] = [
        ([], [], nil), ([], ["a"], nil), (["a"], [], nil), (["a"], ["b"], nil), (["a"], ["a"], "a"),
        (["a", "b"], ["b", "a"], "a"), (["x", "b", "a"], ["a", "b"], "b"),
        (["graphql-transport-ws", "v2.chat"], ["v2.chat"], "v2.chat"), (["A"], ["a"], nil),
    ]

    @Test(arguments: subprotocols.indices, [Transport.plain, Transport(isSecure: true, compression: .deflate())])
    func theSubprotocolIsTheClientsFirstThatTheServerSpeaks(_ row: Int, _ transport: Transport) async throws {
        let row = Self.subprotocols[row]
        let seen = Events<Seen>()
        try await withLoopback(
            transport, server: { $0.subprotocols = row.spoken }, handler: Self.seeing(seen)
        ) { loopback in
            let socket = try await loopback.connect { $0.subprotocols = row.offered }
            #expect(socket.subprotocol == row.chosen)
            #expect(try await seen.next().subprotocol == row.chosen)
            _ = try await socket.closed()
        }
    }

    static let origins: [(policy: WebSocketServerConfiguration.OriginPolicy, origin: String?, isAllowed: Bool)] = [
        (.sameHost, nil, true), (.sameHost, "http://127.0.0.1:PORT", true), (.sameHost, "http://127.0.0.1", false),
        (.sameHost, "https://evil.example", false), (.sameHost, "null", false),
        (.only(["https://example.com"]), "https://example.com", true), (.only(["https://example.com"]), nil, true),
        (.only(["https://example.com"]), "https://evil-example.com", false),
        (.only(["https://example.com"]), "https://example.com.evil.org", false),
        (.any, "https://evil.example", true),
    ]

    @Test(arguments: origins.indices)
    func pagesOfOtherSitesAreKeptOut(_ row: Int) async throws {
        let row = Self.origins[row]
        try await withLoopback(server: { $0.origins = row.policy }, handler: { _ in }) { loopback in
            let origin = row.origin?.replacing("PORT", with: "\(loopback.server.port)")
            if row.isAllowed {
                let socket = try await loopback.connect { $0.headers[.origin] = origin }
                _ = try await socket.closed()
            } else {
                let error = try await failure { try await loopback.connect { $0.headers[.origin] = origin } }
                #expect(error.code == .handshakeRejected)
                #expect(error.response?.status == 403)
                #expect(error.isSentence)
            }
        }
    }
}
