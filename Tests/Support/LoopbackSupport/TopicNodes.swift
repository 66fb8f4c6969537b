//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import Testing
package import WebSocketCore
package import WebSockets

/// One process of several, as far as topics are concerned: a server whose clients subscribe and publish by commands.
package struct TopicNode: Sendable {
    package let topics: WebSocketTopics
    package let server: WebSocketServer
    package let events: EventLog
    /// On which its server's connections are; all nodes have the same.
    package let loops: [WebSocketEventLoop]
    fileprivate let clientLoop: WebSocketEventLoop

    package func connect() async throws -> TopicClient {
        var configuration = WebSocketClientConfiguration()
        configuration.eventLoop = clientLoop
        configuration.options.keepAlive = nil
        return TopicClient(
            try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(server.port)/", configuration: configuration))
    }

    /// A client that hears a topic, which the broker has confirmed.
    package func subscriber(of topic: String) async throws -> TopicClient {
        let client = try await connect()
        #expect(try await client.tell("+\(topic)") == "done")
        try await eventually("\(topic) is confirmed") { topics.confirmedTopics.contains(topic) }
        return client
    }
}

/// Every event of a node's topics.
package final class EventLog: Sendable {
    private let events = Mutex<[WebSocketTopicEvent]>([])

    func add(_ event: WebSocketTopicEvent) { events.withLock { $0.append(event) } }
    package var all: [WebSocketTopicEvent] { events.withLock { $0 } }
    package var gaps: [WebSocketTopicGap] {
        all.compactMap { event in if case .gap(let gap) = event { gap } else { nil } }
    }
    package var alerts: [WebSocketError] {
        all.compactMap { event in if case .alert(let error) = event { error } else { nil } }
    }
}

/// A client of a node. For one task.
package final class TopicClient {
    package let socket: WebSocketConnection
    private var inbox: [String] = []

    init(_ socket: WebSocketConnection) { self.socket = socket }

    /// Sends a command: `+topic`, `-topic`, `?topic position`, `>topic text`. Returns what the node says to it.
    package func tell(_ command: String) async throws -> String {
        try await socket.send(.text(command))
        while true {
            let text = try await socket.receive().text ?? ""
            if text.hasPrefix("=") { return String(text.dropFirst()) }
            inbox.append(text)
        }
    }

    /// The next message: `topic|position|text`.
    package func next() async throws -> String {
        if !inbox.isEmpty { return inbox.removeFirst() }
        return try await socket.receive().text ?? ""
    }

    /// The text of the next message.
    package func nextText() async throws -> String {
        String(try await next().split(separator: "|", omittingEmptySubsequences: false).last ?? "")
    }
}

/// Waits for a condition that other threads bring about.
package func eventually(
    _ what: String, within patience: Duration = .seconds(60), sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () -> Bool
) async throws {
    let deadline = ContinuousClock.now + patience
    while true {
        let start = ContinuousClock.now
        if condition() { return }
        let now = ContinuousClock.now
        try #require(now < deadline, "\(what)", sourceLocation: sourceLocation)
        // A look at 10,000 topics takes time and a lock, which must not keep from happening what is waited for.
        try await Task.sleep(for: max(.milliseconds(5), (now - start) * 4))
    }
}

/// Runs a node for each broker, and ends them.
package func withTopicNodes(
    _ brokers: [any WebSocketTopicBroker], rules: [String: WebSocketTopicRules] = [:],
    change: (inout WebSocketTopicConfiguration) -> Void = { _ in }, waits: Bool = true,
    _ body: ([TopicNode]) async throws -> Void
) async throws {
    try await withTopicNodes(sharing: brokers.map { [$0] }, rules: rules, change: change, waits: waits, body)
}

/// Runs a node for each list of brokers, and ends them.
package func withTopicNodes(
    sharing brokers: [[any WebSocketTopicBroker]], rules: [String: WebSocketTopicRules] = [:],
    change: (inout WebSocketTopicConfiguration) -> Void = { _ in }, waits: Bool = true,
    _ body: ([TopicNode]) async throws -> Void
) async throws {
    var configuration = WebSocketTopicConfiguration()
    configuration.rules = rules
    configuration.framing = { delivery in
        .text("\(delivery.topic)|\(delivery.position.map(\.description) ?? "")|\(delivery.message.text ?? "")")
    }
    change(&configuration)
    try await withLoops(1) { clientLoops in
        try await withLoops(2) { serverLoops in
            var nodes: [TopicNode] = []
            var tasks: [Task<Void, any Error>] = []
            for brokers in brokers {
                let topics = try WebSocketTopics(brokers: brokers, configuration: configuration)
                var serverConfiguration = WebSocketServerConfiguration()
                serverConfiguration.eventLoopGroup = serverLoops
                serverConfiguration.options.keepAlive = nil
                let server = try WebSocketServer(configuration: serverConfiguration)
                let log = EventLog()
                let events = topics.events
                tasks.append(Task { for await event in events { log.add(event) } })
                tasks.append(Task { try await topics.run() })
                tasks.append(Task { try await server.run { try await serve($0, topics) } })
                nodes.append(
                    TopicNode(
                        topics: topics, server: server, events: log, loops: serverLoops.loops,
                        clientLoop: clientLoops.loops[0]))
            }
            let result: Result<Void, any Error>
            do {
                if waits {
                    for node in nodes {
                        try await eventually("the broker is connected") {
                            node.topics.brokerStatistics?.isConnected == true
                        }
                    }
                }
                result = .success(try await body(nodes))
            } catch {
                result = .failure(error)
            }
            for node in nodes { await node.server.shutDown() }
            for task in tasks { task.cancel() }
            for task in tasks { _ = await task.result }
            for node in nodes {
                let figures = try #require(node.topics.brokerStatistics)
                let sum = figures.accepted + figures.dropped + figures.unknown + figures.waiting
                #expect(figures.published == sum, "every publication has one outcome: \(figures)")
            }
            try result.get()
        }
    }
}

@Sendable private func serve(_ socket: WebSocketConnection, _ topics: WebSocketTopics) async throws {
    for try await message in socket.messages {
        let text = message.text ?? ""
        let words = text.dropFirst().split(separator: " ", maxSplits: 1).map(String.init)
        var answer = "done"
        switch text.first {
        case "+": topics.subscribe(socket, to: words[0])
        case "-": topics.unsubscribe(socket, from: words[0])
        case ">": topics.publish(.text(words[1]), to: words[0], except: socket)
        case "!":
            do throws(WebSocketError) {
                answer = try await topics.publishConfirmed(.text(words[1]), to: words[0])?.description ?? "accepted"
            } catch {
                answer = error.code.description
            }
        default:
            do throws(WebSocketError) {
                switch try await topics.subscribe(
                    socket, to: words[0], after: words.count > 1 ? WebSocketTopicPosition(words[1]) : nil)
                {
                case .new(let position): answer = "new \(position)"
                case .complete(let messages, _): answer = "complete \(messages.count)"
                case .incomplete(let reason, _): answer = "incomplete \(reason)"
                }
            } catch {
                answer = error.code.description
            }
        }
        try await socket.send(.text("=" + answer))
    }
}
