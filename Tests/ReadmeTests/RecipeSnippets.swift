//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The code of the article with recipes for feeds and orders, compiled. `ReadmeTests` compares the two: change both.
// `RecipeTests` runs it.
import WebSockets

/// A recipe: what it sets, and what it does with events.
func loggingIn(
    _ configuration: inout WebSocketSessionConfiguration, key: String, sign: @escaping @Sendable () -> String
) {
    configuration.prepare = { connection in
        try await connection.send("{\"op\":\"login\",\"key\":\"\(key)\",\"sign\":\"\(sign())\"}")
        guard try await connection.receive() == .text("{\"op\":\"login\",\"ok\":true}") else {
            throw WebSocketError(
                .handshakeRejected, "the venue refused the login; check the key and this machine's clock")
        }
    }
}

func confirmedSubscriptions(_ configuration: inout WebSocketSessionConfiguration) {
    configuration.subscriptions.subscribe = { .text("{\"op\":\"sub\",\"id\":\"\($0)\"}") }
    configuration.subscriptions.unsubscribe = { .text("{\"op\":\"unsub\",\"id\":\"\($0)\"}") }
    configuration.subscriptions.reply = { message, awaited in
        for channel in awaited {
            if message == .text("{\"op\":\"ack\",\"id\":\"\(channel)\"}") { return .accepted(channel) }
            if message == .text("{\"op\":\"nack\",\"id\":\"\(channel)\"}") { return .rejected(channel, reason: "no") }
        }
        return nil
    }
}

func answeringHeartbeats(_ configuration: inout WebSocketSessionConfiguration) {
    configuration.answer = { message in
        message == .text("{\"op\":\"ping\"}") ? .text("{\"op\":\"pong\"}") : nil
    }
}

func freshCredentials(
    _ configuration: inout WebSocketSessionConfiguration, freshKey: @escaping @Sendable () async throws -> String,
    freshToken: @escaping @Sendable () async throws -> String
) {
    configuration.client.beforeConnect = { attempt in
        var attempt = attempt
        attempt.url += "?listenKey=\(try await freshKey())"
        attempt.headers[.authorization] = "Bearer \(try await freshToken())"
        return attempt
    }
}

func pacedSubscriptions(_ configuration: inout WebSocketSessionConfiguration) {
    configuration.subscriptions.subscribeBatch = { channels in
        .text("{\"op\":\"sub\",\"ids\":[\(channels.map { "\"\($0)\"" }.joined(separator: ","))]}")
    }
    configuration.subscriptions.batchSize = 50
    configuration.subscriptions.interval = .milliseconds(200)
}

func order(_ id: Int, on session: WebSocketSession) async throws -> WebSocketMessage {
    let reply = try await session.request(.text("{\"id\":\(id),\"op\":\"buy\"}"), timeout: .seconds(5)) { message in
        message.text?.hasPrefix("{\"id\":\(id),") == true
    }
    return reply
}

func fatalCredentials(_ configuration: inout WebSocketSessionConfiguration) {
    configuration.reconnect.decision = { cause in
        if case .disconnected(let end) = cause, [1008, 4001].contains(end.closeInfo?.received?.code.rawValue) {
            return .fatal
        }
        return WebSocketReconnectPolicy.classify(cause)
    }
}

func mendingHoles(
    _ session: WebSocketSession, channel: String, sequence: (WebSocketMessage) -> Int?,
    apply: (WebSocketMessage) async -> Void
) async throws {
    var last: Int?
    for try await event in session.events {
        switch event {
        case .message(let message):
            guard let number = sequence(message) else { continue }
            // What an old connection still brings during a renewal is older, and known.
            if let last, number <= last { continue }
            if let last, number > last + 1 {
                // The venue begins a subscription with a snapshot.
                try await session.unsubscribe(channel)
                try await session.subscribe(channel)
            }
            last = number
            await apply(message)
        // Whatever comes next is a beginning.
        case .gap: last = nil
        case .connected, .disconnected, .renewed, .subscription, .alert: break
        }
    }
}

func measuringLatency(
    _ configuration: inout WebSocketSessionConfiguration, note: @escaping @Sendable (Duration) -> Void
) {
    struct Latency: WebSocketObserver {
        let note: @Sendable (Duration) -> Void
        func ponged(_ connection: WebSocketConnectionSummary, roundTrip: Duration) { note(roundTrip) }
    }
    configuration.client.observers.append(Latency(note: note))
}
