//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSocketCore
import WebSockets
import WebSocketsRedis
import WebSocketsTestKit

/// What tests with a Redis share.
enum RedisTopics {
    static let rules: [String: WebSocketTopicRules] = [
        "h:": .init(history: .init(messages: 1_000, age: .seconds(600))), "o:": .init(order: .topic),
    ]

    /// Brokers that notice quickly.
    static func brokers(
        _ count: Int, _ redis: RedisProcess, _ change: (inout WebSocketRedisConfiguration) -> Void = { _ in }
    ) throws -> [any WebSocketTopicBroker] { try brokers(count, at: redis.url, change) }

    static func brokers(
        _ count: Int, at url: String, _ change: (inout WebSocketRedisConfiguration) -> Void = { _ in }
    ) throws -> [any WebSocketTopicBroker] {
        try (0..<count).map { _ in
            var configuration = WebSocketRedisConfiguration()
            configuration.reconnectPolicy.strategy = .fixed(pause)
            change(&configuration)
            return try WebSocketRedisBroker(url: url, configuration: configuration)
        }
    }

    /// Between two attempts.
    static let pause = Duration.milliseconds(50)
}

/// Several processes over a real Redis.
@Suite(.timeLimit(.minutes(5))) struct RedisTopicTests {
    private static func checks(
        _ make: @escaping @Sendable () async throws -> any WebSocketTopicBroker
    ) -> WebSocketTopicBrokerChecks { WebSocketTopicBrokerChecks(patience: .seconds(60), make: make) }

    @Test func theBrokerPassesTheChecks() async throws {
        let redis = try RedisProcess()
        #expect(try await Self.checks { try WebSocketRedisBroker(url: redis.url) }.run() == [])
    }

    /// The line of the documentation is enough, and no more than that is needed.
    @Test func theAccessRulesOfTheDocumentationAreEnough() async throws {
        let redis = try RedisProcess()
        var rules =
            "resetkeys ~wsx:* resetchannels &wsx:* -@all +@connection +hello +role +info +subscribe +unsubscribe"
        rules += " +publish +evalsha +script|load +hmget +hset +get +set +del +xadd +xrange +expire +hgetall +hdel"
        let words = ["ACL", "SETUSER", "wsx", "on", ">secret word"] + rules.split(separator: " ").map(String.init)
        #expect(try redis.ask(all: words) == "OK")
        try redis.ask("ACL", "SETUSER", "default", "off")
        let failures = try await Self.checks {
            var configuration = WebSocketRedisConfiguration()
            configuration.credentials = { .init(user: "wsx", password: "secret word") }
            return try WebSocketRedisBroker(url: redis.url, configuration: configuration)
        }.run()
        #expect(failures == [])
    }

    @Test func threeProcessesAreOneServer() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(3, redis), rules: RedisTopics.rules) { nodes in
            // One that goes takes its subscription along, 2 s later.
            var kept: [TopicClient] = []
            for topic in ["news", "o:news", "h:news", "a-topic:{with}ä"] {
                var subscribers: [TopicClient] = []
                for node in nodes { subscribers.append(try await node.subscriber(of: topic)) }
                kept += subscribers
                let publisher = try await nodes[1].connect()
                for number in 0..<50 { #expect(try await publisher.tell(">\(topic) \(number)") == "done") }
                for subscriber in subscribers {
                    for number in 0..<50 { #expect(try await subscriber.nextText() == "\(number)") }
                }
            }
            #expect(try redis.topics() == ["news", "o:news", "h:news", "a-topic:{with}ä"])
            try await eventually("all is settled") { nodes[1].topics.brokerStatistics?.waiting == 0 }
            #expect(nodes[1].topics.brokerStatistics?.accepted == 200)
            for client in kept { try await client.socket.close() }
            #expect(nodes.allSatisfy { $0.events.gaps.isEmpty && $0.events.alerts.isEmpty })
        }
        try await eventually("what ends takes its subscriptions along") { (try? redis.topics()) == [] }
    }

    @Test func aClientGoesOnAtAnotherProcessWhileMessagesFlow() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(3, redis), rules: RedisTopics.rules) { nodes in
            let publisher = try await nodes[0].connect()
            let first = try await publisher.tell("!h:x 0")
            var position = Substring(first)
            let flow = Task {
                for number in 1...300 {
                    nodes[0].topics.publish(.text("\(number)"), to: "h:x")
                    try await Task.sleep(for: .milliseconds(2))
                }
            }
            var expected = 1
            var round = 0
            while expected <= 300 {
                round += 1
                let client = try await nodes[round % 3].connect()
                #expect(try await client.tell("?h:x \(position)").hasPrefix("complete"))
                for _ in 0..<min(40, 301 - expected) {
                    let parts = try await client.next().split(separator: "|")
                    #expect(parts[2] == "\(expected)")
                    position = parts[1]
                    expected += 1
                }
                try await client.socket.close()
            }
            try await flow.value
        }
    }

    @Test func subscribersAreCountedEverywhere() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(3, redis), change: { $0.sharesCounts = true }) { nodes in
            let first = try await nodes[0].subscriber(of: "a")
            let others = [try await nodes[0].subscriber(of: "a"), try await nodes[1].subscriber(of: "a")]
            try await reaches(3, nodes)
            // One that is gone has left a number behind.
            try redis.ask("HSET", "wsx:p:{a}", "ghost", "5")
            #expect(try await nodes[2].topics.subscriberCount(of: "a", everywhere: true) == 3)
            #expect(try redis.ask("HEXISTS", "wsx:p:{a}", "ghost") == "0")
            try await first.socket.close()
            try await reaches(2, nodes)
            #expect(try await nodes[0].topics.subscriberCount(of: "a", everywhere: false) == 1)
            // What the broker has lost it is told again.
            redis.kill()
            try redis.start()
            try await reaches(2, nodes)
            #expect(try await nodes[2].topics.subscriberCount(of: "none", everywhere: true) == 0)
            for client in others { try await client.socket.close() }
            try await reaches(0, nodes)
        }
        try await withTopicNodes(RedisTopics.brokers(1, redis)) { nodes in
            await #expect(throws: WebSocketError.self) {
                try await nodes[0].topics.subscriberCount(of: "a", everywhere: true)
            }
        }
    }

    private func reaches(_ count: Int, _ nodes: [TopicNode]) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        for node in nodes {
            while true {
                let found = try? await node.topics.subscriberCount(of: "a", everywhere: true)
                if found == count { break }
                try #require(ContinuousClock.now < deadline, "\(found ?? -1) are not \(count)")
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    /// One whose lease is renewed, and that is not heard, is told; one that has ended is not.
    @Test func aProcessThatLivesAndIsNotHeardIsAnAlert() async throws {
        let redis = try RedisProcess()
        let brokers = try RedisTopics.brokers(2, redis) { $0.heartbeatInterval = .milliseconds(200) }
        try await withTopicNodes(brokers) { nodes in
            try redis.ask("SET", "wsx:l:mute", "1")
            #expect(try redis.ask("PUBLISH", "wsx:nodes", "mute") == "2")
            #expect(try redis.ask("PUBLISH", "wsx:nodes", "dead") == "2")
            try await eventually("both say it") { nodes.allSatisfy { !$0.events.alerts.isEmpty } }
            for node in nodes {
                #expect(node.events.alerts.map(\.code) == [.brokerUnavailable])
                #expect(node.events.alerts[0].message.contains("process mute is there"))
            }
        }
    }

    @Test func anotherProgramsPublicationIsAMessage() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(1, redis)) { nodes in
            let client = try await nodes[0].subscriber(of: "news")
            #expect(try redis.ask("PUBLISH", "wsx:c:{news}", "hällo") == "1")
            #expect(try await client.next() == "news||hällo")
            // What begins as ours, and is not, is left out and told.
            #expect(
                try redis.ask(
                    "EVAL", "return redis.call('PUBLISH', 'wsx:c:{news}', string.char(245, 2, 0))", "0") == "1")
            #expect(try redis.ask("PUBLISH", "wsx:c:{news}", "after") == "1")
            #expect(try await client.next() == "news||after")
            try await eventually("it is told") { nodes[0].events.alerts.map(\.code) == [.protocolViolation] }
            let figures = try #require(nodes[0].topics.brokerStatistics)
            #expect(figures.received == 3 && figures.foreign == 2 && figures.invalid == 1)
        }
    }

    @Test func applicationsWithAnotherPrefixHearNothing() async throws {
        let redis = try RedisProcess()
        let brokers = try RedisTopics.brokers(1, redis) + RedisTopics.brokers(1, redis) { $0.prefix = "other" }
        try await withTopicNodes(brokers) { nodes in
            let own = try await nodes[0].subscriber(of: "news")
            let other = try await nodes[1].subscriber(of: "news")
            nodes[0].topics.publish("for its own", to: "news")
            nodes[1].topics.publish("for others", to: "news")
            #expect(try await own.nextText() == "for its own")
            #expect(try await other.nextText() == "for others")
            #expect(nodes[1].topics.brokerName == "\(redis.url) (other)")
        }
    }

    @Test func whatCannotBeUsedIsNamed() throws {
        func code(_ url: String, _ change: (inout WebSocketRedisConfiguration) -> Void = { _ in }) -> String {
            var configuration = WebSocketRedisConfiguration()
            change(&configuration)
            do throws(WebSocketError) {
                return try WebSocketRedisBroker(url: url, configuration: configuration).name
            } catch {
                return error.code.description
            }
        }
        #expect(code("redis://localhost") == "redis://localhost:6379 (wsx)")
        #expect(code("rediss://user:p%40ss@example.com:7000/0") == "rediss://example.com:7000 (wsx)")
        #expect(code("redis://[::1]") == "redis://[::1]:6379 (wsx)")
        #expect(code("unix:/run/redis") == "unix:/run/redis (wsx)")
        for url in [
            "", "localhost", "http://localhost", "redis://", "redis://host/3", "redis://user@host", "unix:redis",
            "redis://u:%zz@host", "redis://host:99999",
        ] {
            #expect(code(url) == "invalidURL", "\(url)")
        }
        #expect(code("redis://h") { $0.prefix = "" } == "invalidConfiguration")
        #expect(code("redis://h") { $0.prefix = "a:b" } == "invalidConfiguration")
        #expect(code("redis://h") { $0.reconnectPolicy.maximumAttempts = 5 } == "invalidConfiguration")
        #expect(code("redis://h") { $0.probeInterval = .zero } == "invalidConfiguration")
        #expect(code("redis://h") { $0.heartbeatInterval = .zero } == "invalidConfiguration")
    }
}
