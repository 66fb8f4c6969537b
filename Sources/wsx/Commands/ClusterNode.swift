//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import WebSockets
import WebSocketsRedis

/// One of the processes of `wsx demo --cluster`. A client says `?POSITION` to hear the topic from there on, and `>TEXT` to
/// publish; answers begin with `=`, messages are `POSITION TEXT`, and `!gap` says that some may be missing.
struct ClusterNode: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster-node", abstract: "One node of demo --cluster.", shouldDisplay: false)

    @Option(help: ArgumentHelp("Where the Redis is.", visibility: .hidden))
    var redis: String

    @Option(help: ArgumentHelp("Where to listen.", visibility: .hidden))
    var unix: String

    static let topic = "demo"
    /// Who hears the topic here, is told here what the node has missed.
    private static let gaps = "gaps"

    func run() async throws {
        var redisConfiguration = WebSocketRedisConfiguration()
        redisConfiguration.reconnectPolicy.strategy = .fixed(.milliseconds(100))
        var shared = WebSocketTopicConfiguration()
        shared.rules[Self.topic] = .init(history: .init(messages: 10_000, age: .seconds(600)))
        shared.maximumRecoveredMessages = 10_000
        shared.rules[Self.gaps] = .init(isShared: false)
        shared.framing = { delivery in
            guard let position = delivery.position else { return delivery.message }
            return .text("\(position) \(delivery.message.text ?? "")")
        }
        let topics = try WebSocketTopics(
            broker: WebSocketRedisBroker(url: redis, configuration: redisConfiguration), configuration: shared)
        var configuration = WebSocketServerConfiguration()
        configuration.addresses = [.unix(path: unix)]
        configuration.origins = .any
        let server = try WebSocketServer(configuration: configuration)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await topics.run() }
            let events = topics.events
            group.addTask {
                for await event in events {
                    if case .gap(let gap) = event { topics.publish(.text("!gap \(gap.cause)"), to: Self.gaps) }
                }
            }
            group.addTask { try await server.run { try await Self.serve($0, topics) } }
            try await group.waitForAll()
        }
    }

    @Sendable private static func serve(_ socket: WebSocketConnection, _ topics: WebSocketTopics) async throws {
        for try await message in socket.messages {
            let text = message.text ?? ""
            let answer: String
            do throws(WebSocketError) {
                if text.hasPrefix(">") {
                    let position = try await topics.publishConfirmed(.text(String(text.dropFirst())), to: topic)
                    answer = "accepted \(position?.description ?? "")"
                } else {
                    topics.subscribe(socket, to: gaps)
                    switch try await topics.subscribe(
                        socket, to: topic, after: WebSocketTopicPosition(String(text.dropFirst())))
                    {
                    case .new(let position): answer = "new \(position)"
                    case .complete(let messages, _): answer = "complete \(messages.count)"
                    case .incomplete(_, let position): answer = "incomplete \(position?.description ?? "")"
                    }
                }
            } catch {
                answer = "error \(error.code)"
            }
            try await socket.send(.text("=" + answer))
        }
    }
}
