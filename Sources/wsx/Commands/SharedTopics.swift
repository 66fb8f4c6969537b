//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import WebSockets
import WebSocketsRedis

/// `--topics --redis`: paths are topics, which all servers with the same Redis and prefix share.
final class SharedTopics: Sendable {
    let topics: WebSocketTopics

    init(_ url: String, prefix: String, authorities: String?) throws(WebSocketError) {
        var configuration = WebSocketRedisConfiguration()
        configuration.prefix = prefix
        if let authorities { configuration.tls.trust = .certificates(.file(authorities)) }
        if let password = getenv("WSX_REDIS_PASSWORD").map({ String(cString: $0) }) {
            let user = getenv("WSX_REDIS_USER").map { String(cString: $0) }
            configuration.credentials = { .init(user: user, password: password) }
        }
        topics = try WebSocketTopics(broker: WebSocketRedisBroker(url: url, configuration: configuration))
    }

    /// Keeps the connection, and reports what happens to it, until the task is cancelled.
    func run(_ reporter: ConnectionReporter) async {
        let reporting = Task { [events = topics.events] in for await event in events { await reporter.broker(event) } }
        try? await topics.run()
        reporting.cancel()
        await reporting.value
    }

    /// Serves a connection that is subscribed, to its end.
    func serve(_ socket: WebSocketConnection, _ topic: String) async throws(WebSocketError) {
        for try await message in socket.messages { topics.publish(message, to: topic, except: socket) }
    }
}
