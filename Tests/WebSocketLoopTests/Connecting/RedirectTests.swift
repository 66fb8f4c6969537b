//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop

@Suite(.timeLimit(.minutes(5))) struct RedirectTests {
    private static func request(
        _ port: Int, _ fields: HTTPFields = [:], maximum: Int = 10, openTimeout: Duration = .seconds(60),
        change: (inout ClientRequest.Way) -> Void = { _ in }
    ) throws -> ClientRequest {
        var way = ClientRequest.Way()
        way.maximumRedirects = maximum
        change(&way)
        return try ClientRequest(
            url: WebSocketURL("ws://127.0.0.1:\(port)/first"), fields: fields, subprotocols: ["one"], options: .quiet,
            openTimeout: openTimeout, tls: WebSocketTLSClientConfiguration(), way: way)
    }

    /// Answers the next request with a redirect; returns the request.
    @discardableResult
    private static func redirect(
        _ listener: WebSocketBytePeerListener, to location: String, status: Int = 302
    ) async throws -> WebSocketWireHead {
        let peer = try await listener.accept()
        let head = try await peer.readHead()
        let answer = "HTTP/1.1 \(status) Elsewhere\r\nLocation: \(location)\r\nContent-Length: 0\r\n\r\n"
        try await peer.write(Array(answer.utf8))
        // The client gives the connection up.
        #expect(try await peer.readToEnd().isEmpty)
        return head
    }

    @Test(arguments: [300, 301, 302, 303, 307, 308])
    func aRedirectIsFollowedWithinItsOrigin(status: Int) async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let fields: HTTPFields = [.authorization: "Basic secret", .cookie: "a=b", .origin: "https://x"]
            let request = try Self.request(listener.port, fields)
            async let connecting = group.loops[0].connect(request)
            let first = try await Self.redirect(listener, to: "second?q", status: status)
            #expect(first.startLine == "GET /first HTTP/1.1")
            let peer = try await listener.accept()
            let second = try await peer.acceptHandshake(subprotocol: "one")
            let client = try await connecting
            #expect(second.startLine == "GET /second?q HTTP/1.1")
            #expect(second["Authorization"] == "Basic secret" && second["Cookie"] == "a=b")
            #expect(second["Origin"] == "https://x" && second["Sec-WebSocket-Protocol"] == "one")
            #expect(second["Sec-WebSocket-Key"] != first["Sec-WebSocket-Key"])
            #expect(client.details.url?.target == "/second?q")
            #expect(client.details.subprotocol == "one")
            peer.close()
            await client.end()
        }
    }

    @Test func credentialsStayBehindForGood() async throws {
        try await withLoops { group in
            let (here, there) = (try WebSocketBytePeerListener(), try WebSocketBytePeerListener())
            let fields: HTTPFields = [
                .authorization: "Basic secret", .cookie: "a=b", .proxyAuthorization: "Basic x", .origin: "https://x",
            ]
            let request = try Self.request(here.port, fields)
            async let connecting = group.loops[0].connect(request)
            let first = try await Self.redirect(here, to: "http://127.0.0.1:\(there.port)/there")
            #expect(first["Authorization"] == "Basic secret" && first["Cookie"] == "a=b")
            let second = try await Self.redirect(there, to: "ws://127.0.0.1:\(here.port)/back", status: 307)
            let peer = try await here.accept()
            let third = try await peer.acceptHandshake()
            let client = try await connecting
            for head in [second, third] {
                for name in ["Authorization", "Cookie", "Proxy-Authorization"] {
                    #expect(!head.fields.contains { $0.name == name }, "\(name)")
                }
                #expect(head["Origin"] == "https://x")
            }
            #expect(second["Host"] == "127.0.0.1:\(there.port)")
            #expect(third.startLine == "GET /back HTTP/1.1")
            peer.close()
            await client.end()
        }
    }

    @Test func aLocationMayBringItsOwnCredentials() async throws {
        try await withLoops { group in
            let (here, there) = (try WebSocketBytePeerListener(), try WebSocketBytePeerListener())
            let request = try Self.request(here.port, [.authorization: "Basic secret"])
            async let connecting = group.loops[0].connect(request)
            try await Self.redirect(here, to: "ws://u:p@127.0.0.1:\(there.port)/")
            let peer = try await there.accept()
            let head = try await peer.acceptHandshake()
            let client = try await connecting
            #expect(head["Authorization"] == "Basic dTpw")
            peer.close()
            await client.end()
        }
    }

    @Test(arguments: [0, 1, 10])
    func noMoreThanTheMaximumIsFollowed(maximum: Int) async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request(listener.port, maximum: maximum)
            async let connecting = error { await (try group.loops[0].connect(request)).end() }
            for _ in 0...maximum { try await Self.redirect(listener, to: "/again") }
            let error = try await connecting
            #expect(error.code == (maximum == 0 ? .handshakeRejected : .redirectRefused), "\(error)")
            #expect(error.response?.status == 302)
            #expect(error.response?.headers[.location] == "/again")
            #expect(error.message.contains("maximumRedirects"))
        }
    }

    /// One deadline for all hops.
    @Test func redirectsShareTheDeadline() async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request(listener.port, openTimeout: .seconds(3))
            async let connecting = error { await (try group.loops[0].connect(request)).end() }
            try await Self.redirect(listener, to: "/silent")
            let peer = try await listener.accept()
            let error = try await connecting
            #expect(error.code == .timedOut && error.phase == .upgrade)
            peer.close()
        }
    }

    private static func response(_ location: String?, status: Int = 302) -> WebSocketError.Response {
        .init(status: status, headers: location.map { [.location: $0] } ?? [:])
    }

    @Test func tlsIsNotGivenUp() throws {
        var way = ClientRequest.Way()
        way.maximumRedirects = 10
        var tls = WebSocketTLSClientConfiguration()
        tls.serverName = "other.example"
        let request = try ClientRequest(
            url: WebSocketURL("wss://host/"), fields: [:], subprotocols: [], options: .quiet,
            openTimeout: .seconds(1), tls: tls, way: way)
        for location in ["ws://host/", "http://host/", "ws://other/?token=secret"] {
            let error = #expect(throws: WebSocketError.self) {
                try request.following(Self.response(location), hops: 0)
            }
            #expect(error?.code == .redirectRefused)
            #expect(error?.response?.headers[.location] == location)
            #expect(error?.message.contains("secret") == false)
        }
        #expect(
            try request.following(Self.response("https://host:444/x"), hops: 0)?.url.description == "wss://host:444/x")
        // From no TLS to TLS it may lead.
        let plain = try Self.request(1)
        #expect(try plain.following(Self.response("wss://host/"), hops: 0)?.tls != nil)
    }

    @Test func whatIsNoRedirectIsNotFollowed() throws {
        let request = try Self.request(1)
        for status in [200, 304, 305, 306, 400, 401, 503] {
            #expect(try request.following(Self.response("/x", status: status), hops: 0)?.url == nil)
        }
        #expect(try request.following(Self.response(nil), hops: 0)?.url == nil)
        #expect(try Self.request(1, maximum: 0).following(Self.response("/x"), hops: 0)?.url == nil)
        #expect(try request.following(Self.response("/a \u{E4}"), hops: 0)?.url.target == "/a%20%C3%A4")
        for location in ["ftp://x/", "ws://", "ws://a b/", "ws://host:0/", "mailto:a@b", "/%zz", "//\u{202E}/"] {
            let error = #expect(throws: WebSocketError.self) {
                try request.following(Self.response(location), hops: 0)
            }
            #expect(error?.code == .redirectRefused, "\(location)")
        }
    }

    @Test func anotherPlaceToConnectToKeepsTheOrigin() throws {
        let request = try Self.request(1) { $0.connectTo = .unix(path: "/x") }
        #expect(try request.following(Self.response("/y"), hops: 0)?.url.target == "/y")
        let error = #expect(throws: WebSocketError.self) {
            try request.following(Self.response("ws://elsewhere/"), hops: 0)
        }
        #expect(error?.code == .redirectRefused && error?.message.contains("connectTo") == true)
    }

    @Test(arguments: [-1, 101]) func theMaximumIsChecked(maximum: Int) throws {
        let error = #expect(throws: WebSocketError.self) { try Self.request(1, maximum: maximum) }
        #expect(error?.code == .invalidConfiguration && error?.message.contains("maximumRedirects") == true)
    }
}
