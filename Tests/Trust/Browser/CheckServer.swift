//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Logging
import Synchronization
import WebSockets

/// The server that the page talks to.
final class CheckServer: Sendable {
    let server: WebSocketServer
    let url: String
    private let running: Task<Void, any Error>
    private let record: Record

    /// What the browser's side looked like from here.
    final class Record: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func note(_ line: String) { lines.withLock { $0.append(line) } }
    }

    init(tls: WebSocketTLSServerConfiguration?) throws {
        var configuration = WebSocketServerConfiguration()
        configuration.tls = tls
        configuration.subprotocols = ["chat"]
        // One of the checks is a handler that fails.
        configuration.logger.logLevel = .critical
        let server = try WebSocketServer(configuration: configuration)
        self.server = server
        url = "\(tls != nil ? "https" : "http")://127.0.0.1:\(server.port)/"
        let record = Record()
        self.record = record
        let routes = try Self.routes(record)
        running = Task { try await server.run(routes: routes) }
    }

    private static func routes(_ record: Record) throws -> WebSocketRoutes {
        var routes = WebSocketRoutes()
        try routes.http("/") { _ in
            .respond(status: 200, headers: [.contentType: "text/html; charset=utf-8"], body: Array(CheckPage.html.utf8))
        }
        try routes.webSocket("/echo") { socket in
            record.note("deflate \(socket.deflate == nil ? "no" : "yes")")
            for try await message in socket.messages { try await socket.send(message) }
        }
        try routes.webSocket(
            "/small",
            decide: { _ in
                var options = WebSocketOptions()
                options.maximumMessageSize = 100
                return .accept(options: options)
            }
        ) { socket in _ = try await socket.receive() }
        try routes.webSocket("/refused", decide: { _ in .respond(status: 403, text: "no") }) { _ in }
        try routes.webSocket("/close/:code") { socket in
            let code = socket.routeParameters["code"].flatMap { UInt16($0) } ?? 0
            try await socket.close(code: .init(rawValue: code), reason: "because \(code)")
        }
        try routes.webSocket("/closed") { socket in
            while (try? await socket.receive()) != nil {}
            let frame = try await socket.closed().received
            record.note("closed \(frame.map { "\($0.code.rawValue) \($0.reason)" } ?? "without a frame")")
        }
        try routes.webSocket("/push") { socket in
            try await socket.send("first")
            try await socket.withMessageWriter(as: .text) { writer in
                for part in ["one ", "message ", "in parts"] { try await writer.write(part) }
            }
            record.note("ping \(try await socket.ping() > .zero ? "answered" : "not answered")")
            for number in 0..<2_000 {
                var bytes = [UInt8](repeating: UInt8(number & 255), count: 1_024)
                bytes[0] = UInt8(number >> 8)
                try await socket.send(bytes)
            }
        }
        try routes.webSocket("/last") { socket in
            try await socket.send("here")
            _ = try await socket.closed()
        }
        return routes
    }

    /// What must have been noted when the page's checks have passed.
    static let expected: Set<String> = [
        "deflate yes", "ping answered", "closed 1005 ", "closed 1000 done", "closed 3000 ", "closed 4999 grüße 👋",
    ]

    var missing: Set<String> { Self.expected.subtracting(record.all) }

    func shutDown() async throws {
        await server.shutDown()
        try await running.value
    }
}
