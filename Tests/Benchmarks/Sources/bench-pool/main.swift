//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What the pool costs; one line of JSON for each measurement:
//   bench-pool c10a|c10b|c10c [SECONDS]
//
// c10a  acquire and release, uncontended, nanoseconds
// c10b  64 tasks over 8 connections, microseconds for each cycle of acquire, yield, release
// c10c  acquire, echo, release beside the same echo without a pool, messages a second; the server is in this process
//
// Each is measured in several rounds of which the best counts: other work on the machine only ever adds.
import Glibc
import WebSockets

let arguments = CommandLine.arguments
let mode = arguments.count > 1 ? arguments[1] : ""
let seconds = arguments.count > 2 ? Double(arguments[2]) ?? 3 : 3
guard ["c10a", "c10b", "c10c"].contains(mode) else {
    print("usage: bench-pool c10a|c10b|c10c [SECONDS]")
    exit(64)
}

let loops = try WebSocketEventLoopGroup(count: 1)
let serverLoops = try WebSocketEventLoopGroup(count: 1)
var serverConfiguration = WebSocketServerConfiguration()
serverConfiguration.eventLoopGroup = serverLoops
serverConfiguration.options.compression = .disabled
let server = try WebSocketServer(configuration: serverConfiguration)
let serving = Task {
    try await server.run { socket in
        for try await message in socket.messages { try await socket.send(message) }
    }
}
var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 8)
configuration.client.eventLoop = loops.loops[0]
configuration.client.options.keepAlive = nil
// Every lease would wait for a pong otherwise, once the connections have been idle for half a second.
configuration.validationBypass = nil
let url = "ws://127.0.0.1:\(server.port)/"
try await WebSocketConnectionPool.withPool(to: url, configuration: configuration) { pool in
    switch mode {
    case "c10a": try await uncontended(pool, seconds: seconds)
    case "c10b": try await contended(pool, loop: loops.loops[0], seconds: seconds)
    default: try await echo(pool, url, configuration.client, seconds: seconds)
    }
}
await server.shutDown()
try await serving.value
