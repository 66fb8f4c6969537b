//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSockets
import WebSocketsJSON

/// JSON-RPC 2.0 over a pool of connections.
///
///     swift run rpc serve 8080
///     swift run rpc ws://127.0.0.1:8080/ 1000            adds numbers, ten callers at a time
@main
struct RPC {
    struct Request: Codable {
        var jsonrpc = "2.0"
        let id: Int
        let method: String
        let params: [Int]
    }

    struct Response: Codable {
        struct Failure: Codable, Error {
            let code: Int
            let message: String
        }

        var jsonrpc = "2.0"
        let id: Int
        var result: Int?
        var error: Failure?
    }

    static func main() async throws {
        switch Array(CommandLine.arguments.dropFirst()) {
        case ["serve"]: try await serve(port: 8080)
        case let words where words.count == 2 && words[0] == "serve": try await serve(port: Int(words[1]) ?? 8080)
        case let words where words.count == 2: try await call(words[0], times: Int(words[1]) ?? 1)
        default: print("usage: rpc serve [PORT] | rpc URL CALLS")
        }
    }

    static func serve(port: Int) async throws {
        let server = try WebSocketServer(configuration: .init(port: port))
        print("listening on \(server.address)")
        try await server.run { socket in
            for try await request in socket.messages(json: Request.self) {
                var response = Response(id: request.id)
                switch request.method {
                case "add": response.result = request.params.reduce(0, +)
                default: response.error = .init(code: -32_601, message: "there is no method \(request.method)")
                }
                try await socket.send(json: response)
            }
        }
    }

    static func call(_ url: String, times count: Int) async throws {
        var configuration = WebSocketConnectionPoolConfiguration()
        configuration.maximumConnections = 4
        try await WebSocketConnectionPool.withPool(to: url, configuration: configuration) { pool in
            try await withThrowingTaskGroup(of: Int.self) { group in
                var (begun, right) = (0, 0)
                func begin() {
                    let number = begun
                    begun += 1
                    group.addTask { try await add(number, number, over: pool, id: number) == 2 * number ? 1 : 0 }
                }
                while begun < min(count, 10) { begin() }
                while let one = try await group.next() {
                    right += one
                    if begun < count { begin() }
                }
                print("\(right) of \(count) sums were right")
            }
        }
    }

    static func add(_ a: Int, _ b: Int, over pool: WebSocketConnectionPool, id: Int) async throws -> Int {
        try await pool.withConnection { socket in
            let request = Request(id: id, method: "add", params: [a, b])
            let response = try await socket.request(json: request, timeout: .seconds(5), reply: Response.self) {
                $0.id == id
            }
            if let failure = response.error { throw failure }
            return response.result ?? 0
        }
    }
}
