//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct RouteTests {
    private static func routes() throws -> WebSocketRoutes {
        var routes = WebSocketRoutes()
        try routes.webSocket("/echo", handler: echo)
        try routes.webSocket("/rooms/:room/users/:user") { socket in
            let parameters = socket.routeParameters
            try await socket.send("\(parameters["room"] ?? "") \(parameters["user"] ?? "")")
        }
        try routes.webSocket("/files/*path") { socket in try await socket.send(socket.routeParameters["path"] ?? "") }
        try routes.webSocket(
            "/members",
            decide: { request in request.query == "me" ? .accept() : .respond(status: 403, text: "members only") },
            handler: { socket in try await socket.send("welcome") })
        try routes.http("/health") { _ in .respond(status: 200, text: "ok") }
        try routes.http("/users/:name", methods: ["GET", "DELETE"]) { request in
            .respond(status: 200, text: "\(request.method) \(request.parameters["name"] ?? "")")
        }
        try routes.redirect("/old", to: "/echo", permanently: true)
        return routes
    }

    private func withRoutes(
        _ change: (inout WebSocketServerConfiguration) -> Void = { _ in },
        _ body: (WebSocketServer, WebSocketClientConfiguration) async throws -> Void
    ) async throws {
        try await withLoops { loops in
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            configuration.options.keepAlive = nil
            change(&configuration)
            let server = try WebSocketServer(configuration: configuration)
            let routes = try Self.routes()
            let running = Task { try await server.run(routes: routes) }
            do {
                try await withLoops { clientLoops in
                    try await body(server, try clientConfiguration(on: clientLoops))
                }
            } catch {
                await server.shutDown()
                throw error
            }
            await server.shutDown()
            try await running.value
        }
    }

    @Test func thePathChoosesTheHandlerAndFillsTheParameters() async throws {
        try await withRoutes { server, client in
            let rows = [
                ("/rooms/lobby/users/al%20ice", "lobby al ice"), ("/rooms/a%2Fb/users/%E6%BC%A2?x=/", "a/b 漢"),
                ("/files/a/b%20c/d", "a/b c/d"), ("/files/", ""), ("/members?me", "welcome"),
                ("/r%6Foms/x/users/y", "x y"),
            ]
            for (target, expected) in rows {
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(server.port)\(target)", configuration: client)
                #expect(try await socket.receive() == .text(expected), "\(target)")
                _ = try await socket.closed()
            }
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(server.port)/echo", configuration: client)
            try await socket.send("x")
            #expect(try await socket.receive() == "x")
            #expect(socket.routeParameters == [:])
            try await socket.close()
        }
    }

    @Test func otherRequestsGetTheirStatus() async throws {
        try await withRoutes { server, _ in
            let rows: [(String, Int)] = [
                (RawRequest.upgrade("/"), 404), (RawRequest.upgrade("/echo/"), 404), (RawRequest.upgrade("/ECHO"), 404),
                (RawRequest.upgrade("/rooms//users/x"), 404), (RawRequest.upgrade("/rooms/x/users/%FF"), 404),
                (RawRequest.upgrade("/rooms/x/users/%zz"), 404), (RawRequest.upgrade("/members"), 403),
                (RawRequest.upgrade("/health"), 404), (RawRequest.plain("/echo"), 426),
                (RawRequest.plain("/echo", method: "PUT"), 405), (RawRequest.plain("/health"), 200),
                (RawRequest.plain("/health?verbose"), 200), (RawRequest.plain("/health", method: "POST"), 405),
                (RawRequest.plain("/nothing"), 404), (RawRequest.upgrade("/old"), 308), (RawRequest.plain("/old"), 308),
            ]
            for (request, status) in rows {
                let answer = try await RawClient(port: server.port).answer(to: request)
                #expect(answer.status == status, "\(request.prefix(40).debugDescription)")
                if status == 308 { #expect(answer["Location"] == "/echo") }
            }
            let deleted = try await RawClient(port: server.port).answer(
                to: RawRequest.plain("/users/al%20ice", method: "DELETE"))
            #expect(deleted.body == "DELETE al ice\n")
            let refused = try await RawClient(port: server.port).answer(
                to: RawRequest.plain("/users/alice", method: "PUT"))
            #expect(refused["Allow"] == "DELETE, GET")
        }
    }

    @Test func routesComeBehindTheServersOwnRules() async throws {
        try await withRoutes({ $0.authentication = .bearer(realm: "r", tokens: ["t": "u"]) }) { server, _ in
            func status(_ request: String) async throws -> Int {
                try await RawClient(port: server.port).headOfAnswer(to: request).status
            }
            let found1 = try await status(RawRequest.upgrade("/echo"))
            #expect(found1 == 401)
            let found2 = try await status(RawRequest.upgrade("/echo", ["Authorization: Bearer t"]))
            #expect(found2 == 101)
            let found3 = try await status(RawRequest.upgrade("/echo", ["Origin: http://evil.net"]))
            #expect(found3 == 403)
            // A health check needs no credentials.
            let found4 = try await status(RawRequest.plain("/health"))
            #expect(found4 == 200)
        }
    }

    @Test(arguments: ["", "echo", "/a b", "/:", "/*", "/*a/b", "/:a/:a", "/%41", "/a?b", "/é"])
    func malformedPatternsAreRefused(pattern: String) async throws {
        var routes = WebSocketRoutes()
        let error = try await failure { try routes.webSocket(pattern, handler: echo) }
        #expect(error.code == .invalidConfiguration)
        #expect(error.isSentence)
    }
}
