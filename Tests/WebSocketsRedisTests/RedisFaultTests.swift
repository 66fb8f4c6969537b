//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Testing
import WebSocketCore
import WebSockets
import WebSocketsRedis

/// What befalls a Redis, and what becomes of its processes then.
@Suite(.timeLimit(.minutes(5)), .serialized) struct RedisFaultTests {
    /// Publishes until a message comes through, and returns how many it took.
    private func mend(_ from: TopicClient, _ topic: String, _ to: TopicClient, _ word: String) async throws {
        #expect(try await from.tell("!\(topic) \(word)") != "")
        while try await to.nextText() != word {}
    }

    @Test func aServerThatIsKilledAndComesBackEmptyIsToldOnce() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(3, redis), rules: RedisTopics.rules) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            _ = try await client.tell("+b")
            let keeper = try await nodes[1].subscriber(of: "h:x")
            let publisher = try await nodes[2].connect()
            let before = try await publisher.tell("!h:x before")
            #expect(try await keeper.nextText() == "before")
            try await eventually("both are confirmed") { nodes[0].topics.confirmedTopics == ["a", "b"] }
            redis.kill()
            try await eventually("it is noticed") {
                nodes.allSatisfy { $0.topics.brokerStatistics?.isConnected == false }
            }
            // Subscribers of the same process go on.
            nodes[0].topics.publish("alone", to: "a")
            #expect(try await client.nextText() == "alone")
            try redis.start()
            try await eventually("gaps are told") { nodes[0].events.gaps.count == 2 && nodes[1].events.gaps.count == 1 }
            #expect(
                Set(nodes[0].events.gaps) == [
                    .init(topic: "a", cause: .disconnected), .init(topic: "b", cause: .disconnected),
                ])
            #expect(nodes[1].events.gaps == [.init(topic: "h:x", cause: .epochChanged)])
            #expect(nodes[2].events.gaps.isEmpty)
            #expect(try redis.topics() == ["a", "b", "h:x"])
            try await mend(publisher, "a", client, "again")
            let after = try await publisher.tell("!h:x after")
            #expect(after.hasSuffix(":1") && after != before)
            #expect(try await keeper.nextText() == "after")
            let returning = try await nodes[0].connect()
            #expect(try await returning.tell("?h:x \(before)") == "incomplete epochChanged")
        }
    }

    @Test func aServerThatComesBackWithAnOldDumpIsAnotherEpoch() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(2, redis), rules: RedisTopics.rules) { nodes in
            let publisher = try await nodes[0].connect()
            let keeper = try await nodes[1].subscriber(of: "h:x")
            for number in 0..<5 { _ = try await publisher.tell("!h:x \(number)") }
            try redis.ask("SAVE")
            for number in 5..<10 { _ = try await publisher.tell("!h:x \(number)") }
            for number in 0..<10 { #expect(try await keeper.nextText() == "\(number)") }
            redis.kill()
            try redis.start()
            #expect(try redis.ask("EXISTS", "wsx:m:{h:x}") == "1", "the dump was read")
            try await eventually("it is noticed") { nodes[1].events.gaps.map(\.cause) == [.epochChanged] }
            for number in 10..<20 { _ = try await publisher.tell("!h:x \(number)") }
            for number in 10..<20 { #expect(try await keeper.nextText() == "\(number)") }
        }
    }

    @Test func aPausedServerLosesNothing() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(2, redis)) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            redis.signal(SIGSTOP)
            for number in 0..<100 { nodes[1].topics.publish(.text("\(number)"), to: "a") }
            try await Task.sleep(for: .milliseconds(500))
            redis.signal(SIGCONT)
            for number in 0..<100 { #expect(try await client.nextText() == "\(number)") }
            #expect(nodes.allSatisfy { $0.events.gaps.isEmpty })
            #expect(nodes[1].topics.brokerStatistics?.connects == 1)
        }
    }

    @Test func aServerThatHangsIsLeft() async throws {
        let redis = try RedisProcess()
        let brokers = try RedisTopics.brokers(2, redis) {
            $0.probeInterval = .milliseconds(200)
            $0.probeTimeout = .milliseconds(300)
            $0.connectTimeout = .milliseconds(500)
        }
        try await withTopicNodes(brokers) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            redis.signal(SIGSTOP)
            try await eventually("it is noticed") {
                nodes.allSatisfy { $0.topics.brokerStatistics?.isConnected == false }
            }
            nodes[0].topics.publish("alone", to: "a")
            #expect(try await client.nextText() == "alone")
            redis.signal(SIGCONT)
            try await eventually("it is back") { nodes[0].topics.confirmedTopics == ["a"] }
            try await eventually("it is told") { nodes[0].events.gaps.map(\.cause) == [.disconnected] }
        }
    }

    @Test func connectionsThatAreCutAreMendedFromHistory() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(2, redis), rules: RedisTopics.rules) { nodes in
            let client = try await nodes[0].subscriber(of: "h:x")
            let flow = Task {
                for number in 0..<400 {
                    nodes[1].topics.publish(.text("\(number)"), to: "h:x")
                    try await Task.sleep(for: .milliseconds(2))
                }
            }
            for _ in 0..<4 {
                try redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
                try await Task.sleep(for: .milliseconds(150))
            }
            // In order, none missing and none twice: what was sent and not answered is known to the script.
            for number in 0..<400 { #expect(try await client.nextText() == "\(number)") }
            try await flow.value
            #expect(nodes[0].events.gaps.isEmpty)
            #expect((nodes[0].topics.brokerStatistics?.connects ?? 0) > 1)
            #expect(nodes[1].topics.brokerStatistics?.dropped == 0)
            #expect(nodes[1].topics.brokerStatistics?.unknown == 0)
        }
    }

    @Test func cutsInTheMiddleOfSubscribingLeaveNothingOut() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(1, redis)) { nodes in
            let client = try await nodes[0].connect()
            #expect(try await client.tell("-nothing") == "done")
            let socket = try #require(nodes[0].server.connections.first)
            let topics = Set((0..<10_000).map { "topic\($0)" })
            for topic in topics { nodes[0].topics.subscribe(socket, to: topic) }
            for _ in 0..<10 {
                try redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
                try await Task.sleep(for: .milliseconds(60))
            }
            try await eventually("all are confirmed") { nodes[0].topics.confirmedTopics == topics }
            #expect(try redis.topics() == topics)
            // For very many topics there is one event.
            #expect(nodes[0].events.gaps.count < 100)
            nodes[0].topics.publish("there", to: "topic9999")
            #expect(try await client.nextText() == "there")
        }
    }

    @Test func scriptsThatAreFlushedAreLoadedAgain() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(2, redis), rules: RedisTopics.rules) { nodes in
            let client = try await nodes[0].subscriber(of: "h:x")
            for round in 0..<5 {
                try redis.ask("SCRIPT", "FLUSH")
                for number in 0..<200 { nodes[1].topics.publish(.text("\(round).\(number)"), to: "h:x") }
                for number in 0..<200 { #expect(try await client.nextText() == "\(round).\(number)") }
            }
            try await eventually("all is settled") { nodes[1].topics.brokerStatistics?.waiting == 0 }
            #expect(nodes[1].topics.brokerStatistics?.accepted == 1_000)
            try redis.ask("SCRIPT", "FLUSH")
            let other = try await nodes[0].connect()
            #expect(try await other.tell("?h:y").hasPrefix("new "))
        }
    }

    @Test func aServerWithoutMemoryRefusesAndGoesOn() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(1, redis), rules: RedisTopics.rules) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            let other = try await nodes[0].connect()
            try redis.ask("CONFIG", "SET", "maxmemory", "1")
            // Redis lets the first one through that finds it so.
            while try await other.tell("!h:x no") != "brokerRefused" {}
            nodes[0].topics.publish("no", to: "h:x")
            try await eventually("it is told") { !nodes[0].events.alerts.isEmpty }
            #expect(nodes[0].events.alerts[0].message.contains("OOM"))
            nodes[0].topics.publish("plain", to: "a")
            #expect(try await client.nextText() == "plain")
            try redis.ask("CONFIG", "SET", "maxmemory", "0")
            #expect(try await other.tell("!h:x yes").contains(":"))
        }
    }

    @Test func channelsThatAreForbiddenAreAlertsAndOthersWork() async throws {
        let redis = try RedisProcess()
        try redis.ask("ACL", "SETUSER", "wsx", "on", ">word", "~*", "+@all", "resetchannels", "&wsx:n:*", "&wsx:c:{ok*")
        let brokers = try RedisTopics.brokers(1, redis) { $0.credentials = { .init(user: "wsx", password: "word") } }
        try await withTopicNodes(brokers) { nodes in
            let client = try await nodes[0].connect()
            #expect(try await client.tell("-nothing") == "done")
            let socket = try #require(nodes[0].server.connections.first)
            for topic in ["ok1", "forbidden", "ok2"] { nodes[0].topics.subscribe(socket, to: topic) }
            try await eventually("the others are confirmed") { nodes[0].topics.confirmedTopics == ["ok1", "ok2"] }
            try await eventually("it is told") { !nodes[0].events.alerts.isEmpty }
            #expect(nodes[0].events.alerts[0].code == .brokerRefused)
            #expect(nodes[0].events.alerts[0].message.contains("wsx:c:{forbidden}"))
            #expect(try await client.tell("!forbidden no") == "brokerRefused")
            #expect(try await client.tell("!ok1 yes") == "accepted")
        }
    }

    @Test func aWrongPasswordIsAnAlertAndNoStorm() async throws {
        let redis = try RedisProcess(["--requirepass", "right"])
        let brokers = try RedisTopics.brokers(1, redis) { $0.credentials = { .init(password: "wrong") } }
        try await withTopicNodes(brokers, waits: false) { nodes in
            try await eventually("it is told") { !nodes[0].events.alerts.isEmpty }
            try await Task.sleep(for: .milliseconds(500))
            #expect(nodes[0].events.alerts.map(\.code) == [.brokerRefused])
            #expect(nodes[0].events.alerts[0].message.contains("WRONGPASS"))
            #expect(!nodes[0].events.alerts[0].message.contains("“wrong”"))
        }
        let right = try RedisTopics.brokers(1, redis) { $0.credentials = { .init(password: "right") } }
        try await withTopicNodes(right) { _ in }
    }

    @Test func aPrimaryThatIsDemotedIsLeft() async throws {
        let redis = try RedisProcess()
        let brokers = try RedisTopics.brokers(1, redis) { $0.checkInterval = .milliseconds(200) }
        try await withTopicNodes(brokers) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            try redis.ask("REPLICAOF", "127.0.0.1", "1")
            try await eventually("it is left") { nodes[0].topics.brokerStatistics?.isConnected == false }
            try await eventually("it is told") { nodes[0].events.alerts.contains { $0.message.contains("slave") } }
            try redis.ask("REPLICAOF", "NO", "ONE")
            try await eventually("it is back") { nodes[0].topics.confirmedTopics == ["a"] }
            nodes[0].topics.publish("again", to: "a")
            #expect(try await client.nextText() == "again")
        }
    }

    @Test func aHistoryThatIsGoneIsNoSilentHole() async throws {
        let redis = try RedisProcess()
        try await withTopicNodes(RedisTopics.brokers(1, redis), rules: RedisTopics.rules) { nodes in
            let publisher = try await nodes[0].connect()
            let first = try await publisher.tell("!h:x 1")
            for number in 2...10 { _ = try await publisher.tell("!h:x \(number)") }
            func recover() async throws -> String {
                let client = try await nodes[0].connect()
                defer { client.socket.abort() }
                return try await client.tell("?h:x \(first)")
            }
            #expect(try await recover() == "complete 9")
            try redis.ask("XTRIM", "wsx:h:{h:x}", "MAXLEN", "3")
            #expect(try await recover() == "incomplete tooOld")
            try redis.ask("DEL", "wsx:h:{h:x}")
            #expect(try await recover() == "incomplete tooOld")
            try redis.ask("DEL", "wsx:m:{h:x}")
            #expect(try await recover() == "incomplete epochChanged")
        }
    }

    @Test func aSlowProcessIsCutOffAlone() async throws {
        let redis = try RedisProcess()
        try redis.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 512kb 1")
        try await withLoops(1) { loops in
            let slowLoop = loops.loops[0]
            let brokers =
                try RedisTopics.brokers(1, redis) { $0.eventLoop = slowLoop } + RedisTopics.brokers(2, redis)
            try await withTopicNodes(brokers) { nodes in
                let slow = try await nodes[0].subscriber(of: "a")
                let fast = try await nodes[1].subscriber(of: "a")
                let isHeld = LoopbackSupport.Events<Void>()
                let text = String(repeating: "x", count: 60_000)
                slowLoop.execute {
                    isHeld.send()
                    usleep(3_000_000)
                }
                try await isHeld.next()
                for number in 0..<100 {
                    try await nodes[2].topics.publishConfirmed(.text("\(number):\(text)"), to: "a")
                    #expect(try await fast.nextText().hasPrefix("\(number):"))
                }
                try await eventually("it is told") { nodes[0].events.gaps.map(\.cause) == [.disconnected] }
                #expect(nodes[1].events.gaps.isEmpty && nodes[2].events.gaps.isEmpty)
                nodes[2].topics.publish("last", to: "a")
                while try await slow.nextText() != "last" {}
            }
        }
    }

    @Test func tlsIsVerified() async throws {
        let port = 20_000 + Int(getpid()) % 20_000
        let redis = try RedisProcess([
            "--tls-port", "\(port)", "--tls-cert-file", TestEnvironment.certificate("valid"), "--tls-key-file",
            TestEnvironment.key("valid"), "--tls-ca-cert-file", TestEnvironment.certificate("ca"), "--tls-auth-clients",
            "no",
        ])
        func brokers(_ change: (inout WebSocketRedisConfiguration) -> Void) throws -> [any WebSocketTopicBroker] {
            try (0..<2).map { _ in
                var configuration = WebSocketRedisConfiguration()
                configuration.reconnectPolicy.strategy = .fixed(.milliseconds(50))
                change(&configuration)
                return try WebSocketRedisBroker(url: "rediss://localhost:\(port)", configuration: configuration)
            }
        }
        let ca = try TestEnvironment.certificate("ca")
        try await withTopicNodes(brokers { $0.tls.trust = .certificates(.file(ca)) }, rules: RedisTopics.rules) {
            nodes in
            let client = try await nodes[0].subscriber(of: "h:x")
            let text = String(repeating: "x", count: 50_000)
            for number in 0..<100 {
                try await nodes[1].topics.publishConfirmed(.text("\(number)\(text)"), to: "h:x")
                #expect(try await client.nextText() == "\(number)\(text)")
            }
            let other = try await nodes[1].connect()
            #expect(try await other.tell("?h:x").hasPrefix("new "))
        }
        try await withTopicNodes(brokers { _ in }, waits: false) { nodes in
            try await eventually("it is told") { nodes[0].events.alerts.contains { $0.code == .tlsFailed } }
            #expect(nodes[0].topics.brokerStatistics?.connects == 0)
        }
        withExtendedLifetime(redis) {}
    }
}
