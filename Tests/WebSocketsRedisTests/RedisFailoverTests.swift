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

/// A primary and its replica, between which something else decides.
@Suite(.timeLimit(.minutes(5)), .serialized) struct RedisFailoverTests {
    private func brokers(_ count: Int, _ urls: [String]) throws -> [any WebSocketTopicBroker] {
        try (0..<count).map { _ in
            var configuration = WebSocketRedisConfiguration()
            configuration.reconnectPolicy.strategy = .fixed(RedisTopics.pause)
            configuration.checkInterval = .milliseconds(200)
            return try WebSocketRedisBroker(urls: urls, configuration: configuration)
        }
    }

    private func pair() async throws -> (primary: RedisProcess, replica: RedisProcess) {
        let primary = try RedisProcess(["--repl-diskless-sync-delay", "0"], port: .plain)
        let replica = try RedisProcess(["--repl-diskless-sync-delay", "0"], port: .plain)
        try await follow(replica, primary)
        return (primary, replica)
    }

    private func follow(_ replica: RedisProcess, _ primary: RedisProcess) async throws {
        try replica.ask("REPLICAOF", "127.0.0.1", "\(primary.port)")
        try await eventually("it is a replica") {
            (try? replica.ask("INFO", "replication").contains("master_link_status:up")) == true
        }
    }

    @Test func theNextIsTakenWhenThePrimaryIsGone() async throws {
        let (primary, replica) = try await pair()
        try await withTopicNodes(brokers(2, [primary.url, replica.url]), rules: RedisTopics.rules) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            let publisher = try await nodes[1].connect()
            let position = try await publisher.tell("!h:x 1")
            #expect(try primary.topics() == ["a"])
            primary.kill()
            // Until it is promoted, it will not do either, and that is told.
            try await eventually("both tell it") { nodes.allSatisfy { !$0.events.alerts.isEmpty } }
            for node in nodes {
                let message = try #require(node.events.alerts.first?.message)
                #expect(message.contains("none of the servers will do: \(primary.url): "))
                #expect(message.contains("; \(replica.url): ") && message.contains("slave"))
                #expect(node.topics.brokerStatistics?.isConnected == false)
            }
            try replica.ask("REPLICAOF", "NO", "ONE")
            try await eventually("both are there") {
                nodes.allSatisfy { $0.topics.brokerStatistics?.connects == 2 }
                    && nodes[0].topics.confirmedTopics == ["a"]
            }
            #expect(try replica.topics() == ["a"])
            #expect(try await publisher.tell("!a again") == "accepted")
            #expect(try await client.nextText() == "again")
            #expect(nodes[0].events.gaps == [WebSocketTopicGap(topic: "a", cause: .disconnected)])
            // The copy may have been behind: nothing is taken for complete.
            #expect(try await client.tell("?h:x \(position)") == "incomplete epochChanged")
        }
    }

    @Test func aPrimaryThatIsDemotedIsLeftForTheNextWithItsHistories() async throws {
        let (primary, replica) = try await pair()
        try await withTopicNodes(brokers(1, [primary.url, replica.url]), rules: RedisTopics.rules) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            let publisher = try await nodes[0].connect()
            func recover(_ position: String) async throws -> String {
                let client = try await nodes[0].connect()
                defer { client.socket.abort() }
                return try await client.tell("?h:x \(position)")
            }
            let old = try await publisher.tell("!h:x 1")
            _ = try await publisher.tell("!h:x 2")
            #expect(try await recover(old) == "complete 1")
            try replica.ask("REPLICAOF", "NO", "ONE")
            try await follow(primary, replica)
            try await eventually("it is at the new one") {
                nodes[0].topics.confirmedTopics.contains("a") && (try? replica.topics().contains("a")) == true
            }
            // Histories are read where they are written.
            #expect(try await recover(old) == "incomplete epochChanged")
            let new = try await publisher.tell("!h:x 3")
            _ = try await publisher.tell("!h:x 4")
            #expect(try await recover(new) == "complete 1")
            #expect(try await publisher.tell("!a again") == "accepted")
            #expect(try await client.nextText() == "again")
        }
    }

    @Test func oneThatIsNotThereIsPassedOver() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(brokers(1, ["unix:\(redis.socket).none", redis.url])) { nodes in
            #expect(nodes[0].topics.brokerStatistics?.connects == 1)
            #expect(nodes[0].events.alerts.isEmpty)
            #expect(nodes[0].topics.brokerName == "unix:\(redis.socket).none, \(redis.url) (wsx)")
        }
    }

    @Test func listsThatCannotBeUsedAreNamed() throws {
        func message(_ urls: [String], requiresPrimary: Bool = true) -> String {
            var configuration = WebSocketRedisConfiguration()
            configuration.requiresPrimary = requiresPrimary
            do throws(WebSocketError) {
                return try WebSocketRedisBroker(urls: urls, configuration: configuration).name
            } catch {
                return "\(error.code): \(error.message)"
            }
        }
        #expect(message(["redis://a", "rediss://u:p@b:7"]) == "redis://a:6379, rediss://b:7 (wsx)")
        #expect(message([]).hasPrefix("invalidConfiguration: there are 0 Redis URLs"))
        #expect(message(Array(repeating: "redis://a", count: 17)).hasPrefix("invalidConfiguration: there are 17"))
        #expect(message(["redis://a", "http://b"]).hasPrefix("invalidURL"))
        #expect(message(["redis://a", "redis://b"], requiresPrimary: false).contains("requiresPrimary is false"))
        #expect(message(["redis://a"], requiresPrimary: false) == "redis://a:6379 (wsx)")
    }
}
