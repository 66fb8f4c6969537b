//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// A server as topics.py asks for it, every connection of which is subscribed to one topic and publishes to it:
//   bench-topics none|local|shared SECONDS_MAX [REDIS_URL]
// `none` has no broker, `local` has one that the topic does not use, `shared` publishes through it.
// Prints {"port":N}, tells each connection with a "+" that its subscription stands, and serves until SIGTERM or the limit.
import Glibc
import WebSockets
import WebSocketsRedis

let arguments = CommandLine.arguments
guard arguments.count >= 3, let limit = UInt32(arguments[2]), ["none", "local", "shared"].contains(arguments[1]),
    arguments[1] == "none" || arguments.count == 4
else {
    print("usage: bench-topics none|local|shared SECONDS_MAX [REDIS_URL]")
    exit(64)
}
let group = try WebSocketEventLoopGroup(count: 1)
let topics: WebSocketTopics
if arguments[1] == "none" {
    topics = WebSocketTopics()
} else {
    var redis = WebSocketRedisConfiguration()
    redis.eventLoop = group.next()
    var configuration = WebSocketTopicConfiguration()
    configuration.rules["here"] = WebSocketTopicRules(isShared: false)
    topics = try WebSocketTopics(
        broker: WebSocketRedisBroker(url: arguments[3], configuration: redis), configuration: configuration)
}
let isShared = arguments[1] == "shared"
let topic = isShared ? "all" : "here"

var configuration = WebSocketServerConfiguration()
configuration.eventLoopGroup = group
configuration.options.compression = .disabled
configuration.options.keepAlive = nil
let server = try WebSocketServer(configuration: configuration)

signal(SIGTERM) { _ in exit(0) }
alarm(limit)
print("{\"port\":\(server.port)}")
fflush(nil)
Task.detached { try await topics.run() }
try await server.run { socket in
    topics.subscribe(socket, to: topic)
    // One connection to the broker, in order: behind the answer to this the subscription stands.
    if isShared { try await topics.publishConfirmed(.text(""), to: "ready") }
    try await socket.send(.binary([UInt8(ascii: "+")]))
    for try await message in socket.messages { topics.publish(message, to: topic) }
}
