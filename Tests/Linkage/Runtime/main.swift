// SPDX-License-Identifier: Apache-2.0

// A server and its client. `scripts/elsewhere runtime` runs it where only what the Dockerfile of Documentation/Containers.md installs is there.
import WebSockets

let server = try WebSocketServer(configuration: .init(port: 0))
async let serving: Void = server.run { socket in
    for try await message in socket.messages { try await socket.send(message) }
}
let reply = try await WebSocketClient.withConnection(to: "ws://\(server.address)/") { socket in
    try await socket.send("hello")
    return try await socket.receive()
}
await server.shutDown()
try await serving
guard reply.text == "hello" else { fatalError("the server sent \(reply)") }
print("runtime-check: echoed on \(WebSocketEventLoopGroup.shared.next().backend)")
