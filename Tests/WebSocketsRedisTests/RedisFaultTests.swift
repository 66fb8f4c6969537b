//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import SimulationSupport
import Synchronization
import Testing
import WebSocketCore
import WebSockets
import WebSocketsRedis
import WebSocketsTestKit

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
            try redis.ask("SET", "mark", "1")
            try redis.ask("SAVE")
            for number in 5..<10 { _ = try await publisher.tell("!h:x \(number)") }
            for number in 0..<10 { #expect(try await keeper.nextText() == "\(number)") }
            redis.kill()
            try redis.start()
            try await eventually("the dump was read") { (try? redis.ask("GET", "mark")) == "1" }
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
            try redis.ask("CLIENT", "PAUSE", "500", "ALL")
            for number in 100..<200 { nodes[1].topics.publish(.text("\(number)"), to: "a") }
            for number in 100..<200 { #expect(try await client.nextText() == "\(number)") }
            #expect(nodes.allSatisfy { $0.events.gaps.isEmpty })
            #expect(nodes[1].topics.brokerStatistics?.connects == 1)
        }
    }

    @Test func aServerThatHangsIsLeft() async throws {
        let redis = try RedisProcess()
        let brokers = try RedisTopics.brokers(2, redis) {
            $0.probeInterval = .milliseconds(200)
            $0.probeTimeout = .seconds(5)
            $0.connectTimeout = .seconds(5)
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
            try await interruptionsAreTold("a", nodes[0])
        }
    }

    /// One event for each time that the topic was heard and then was not; on a machine that is busy there may be more of
    /// these than the test makes.
    private func interruptionsAreTold(_ topic: String, _ node: TopicNode) async throws {
        try await eventually("it is told") { !node.events.gaps.isEmpty }
        let gaps = node.events.gaps
        #expect(gaps.allSatisfy { $0 == .init(topic: topic, cause: .disconnected) })
        #expect(try gaps.count < #require(node.topics.brokerStatistics?.connects))
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

    private static let topicCount = TestDepth.choose(10_000, reduced: 2_000)

    /// A proxy cuts each connection after so many bytes, while 10,000 topics are subscribed again.
    @Test func cutsInTheMiddleOfSubscribingLeaveNothingOut() async throws {
        let redis = try RedisProcess(port: .plain)
        try await withWebSocketFaultProxy(to: redis.port) { proxy in
            let brokers = try RedisTopics.brokers(1, at: "redis://127.0.0.1:\(proxy.port)")
            try await withTopicNodes(brokers) { nodes in
                let topics = Set((0..<Self.topicCount).map { "topic\($0)" })
                let client = try await subscriber(of: topics, nodes[0])
                try await eventually("all are confirmed") { nodes[0].topics.confirmedTopics == topics }
                #expect(nodes[0].events.gaps.isEmpty)
                let cuts = [20_000, 60_000, 150_000, 300_000, 400_000].map { $0 * topics.count / 10_000 }
                for bytes in [3_000, 3_001] + cuts {
                    proxy.change { $0.toClient.limitData = .init(bytes: bytes, then: .reset) }
                    let connects = try #require(nodes[0].topics.brokerStatistics?.connects)
                    proxy.kill()
                    // The first of these connections was cut as well.
                    try await eventually("it is cut again") {
                        (nodes[0].topics.brokerStatistics?.connects ?? 0) >= connects + 2
                    }
                }
                proxy.change { $0.toClient.limitData = nil }
                // The present one may have been cut before that.
                try await eventually("all are confirmed") { nodes[0].topics.confirmedTopics == topics }
                #expect(try redis.topics() == topics)
                // For more than 1,000 topics there is one event, when all are heard again.
                try await eventually("it is told") { !nodes[0].events.gaps.isEmpty }
                #expect(nodes[0].events.gaps == [.init(topic: nil, cause: .disconnected)])
                nodes[0].topics.publish("there", to: "topic\(topics.count - 1)")
                #expect(try await client.nextText() == "there")
            }
        }
    }

    /// Only what stood at the cut can have missed something: here the first of the commands of 512 topics.
    @Test func aCutInTheMiddleOfTheFirstSubscribingIsToldForThoseThatStood() async throws {
        let redis = try RedisProcess(port: .plain)
        try await withWebSocketFaultProxy(to: redis.port) { proxy in
            proxy.refuse()
            let brokers = try RedisTopics.brokers(1, at: "redis://127.0.0.1:\(proxy.port)")
            try await withTopicNodes(brokers, waits: false) { nodes in
                let topics = Set((0..<Self.topicCount).map { "topic\($0)" })
                let client = try await subscriber(of: topics, nodes[0])
                // Behind the greeting this has 512 confirmations, and not 1,024.
                proxy.change { $0.toClient.limitData = .init(bytes: 40_000, then: .silence) }
                proxy.listen()
                try await eventually("some are confirmed") { nodes[0].topics.confirmedTopics.count == 512 }
                let stood = nodes[0].topics.confirmedTopics
                proxy.kill()
                // The next connection comes as far; nothing of the first one passes any more.
                try await eventually("it is cut") { nodes[0].topics.brokerStatistics?.connects == 2 }
                proxy.change { $0.toClient.limitData = nil }
                try await eventually("all are confirmed") { nodes[0].topics.confirmedTopics == topics }
                try await eventually("they are told") { nodes[0].events.gaps.count >= 512 }
                #expect(nodes[0].events.gaps.count == 512)
                #expect(Set(nodes[0].events.gaps.compactMap(\.topic)) == stood)
                try await client.socket.close()
            }
        }
    }

    /// A client of which the test has taken the connection, to subscribe it to very many topics.
    private func subscriber(of topics: Set<String>, _ node: TopicNode) async throws -> TopicClient {
        let client = try await node.connect()
        #expect(try await client.tell("-nothing") == "done")
        let socket = try #require(node.server.connections.first)
        for topic in topics { node.topics.subscribe(socket, to: topic) }
        return client
    }

    @Test func veryManyTopicsAreAskedForInBatches() async throws {
        let redis = try RedisProcess()
        redis.kill()
        try await withTopicNodes(RedisTopics.brokers(1, redis), waits: false) { nodes in
            let count = 2 * Self.topicCount
            var topics = Set((0..<count).map { "topic\($0)" })
            let client = try await subscriber(of: topics, nodes[0])
            try redis.start()
            try await eventually("all are confirmed") { nodes[0].topics.confirmedTopics == topics }
            // Up to 512 at once, and the one for the channel of the process.
            let connects = try #require(nodes[0].topics.brokerStatistics?.connects)
            #expect(try redis.calls(of: "subscribe") == ((count + 511) / 512 + 1) * connects)
            // Those that come and go meanwhile.
            let socket = try #require(nodes[0].server.connections.first)
            for number in 0..<2_000 {
                nodes[0].topics.unsubscribe(socket, from: "topic\(number)")
                nodes[0].topics.subscribe(socket, to: "other\(number)")
                if number.isMultiple(of: 2) { nodes[0].topics.subscribe(socket, to: "topic\(number)") }
                topics.insert("other\(number)")
                if !number.isMultiple(of: 2) { topics.remove("topic\(number)") }
            }
            try await eventually("those that went are given up") {
                nodes[0].topics.confirmedTopics == topics && (try? redis.topics()) == topics
            }
            #expect(nodes[0].events.gaps.isEmpty)
            try await client.socket.close()
        }
    }

    /// Whole messages come, or none, however a connection ends.
    @Test func cutsInTheMiddleOfAMessageAreGapsAndNothingElse() async throws {
        let redis = try RedisProcess(port: .plain)
        try await withWebSocketFaultProxy(to: redis.port) { proxy in
            let brokers =
                try RedisTopics.brokers(1, at: "redis://127.0.0.1:\(proxy.port)") + RedisTopics.brokers(1, redis)
            try await withTopicNodes(brokers) { nodes in
                let client = try await nodes[0].subscriber(of: "a")
                let text = String(repeating: "ä", count: 1_000)
                let flow = Task {
                    var number = 0
                    while !Task.isCancelled {
                        try await nodes[1].topics.publishConfirmed(.text("\(number) \(text)"), to: "a")
                        number += 1
                    }
                    return number
                }
                for bytes in stride(from: 4_000, to: 6_200, by: 201) {
                    proxy.change { $0.toClient.limitData = .init(bytes: bytes, then: .reset) }
                    let connects = try #require(nodes[0].topics.brokerStatistics?.connects)
                    proxy.kill()
                    try await eventually("it is cut again") {
                        (nodes[0].topics.brokerStatistics?.connects ?? 0) >= connects + 2
                    }
                }
                proxy.change { $0.toClient.limitData = nil }
                flow.cancel()
                _ = await flow.result
                try await mend(try await nodes[1].connect(), "a", nodes[0])
                var last = -1
                while true {
                    let words = try await client.nextText().split(separator: " ")
                    if words == ["mended"] { break }
                    let number = try #require(words.first.flatMap { Int($0) })
                    #expect(words.count == 2 && words[1] == text)
                    #expect(number > last)
                    last = number
                }
                try await interruptionsAreTold("a", nodes[0])
                #expect(nodes[1].events.gaps.isEmpty)
            }
        }
    }

    /// The topic is heard again, and so is a message.
    private func mend(_ publisher: TopicClient, _ topic: String, _ node: TopicNode) async throws {
        try await eventually("\(topic) is heard again") { node.topics.confirmedTopics.contains(topic) }
        #expect(try await publisher.tell("!\(topic) mended") == "accepted")
    }

    @Test func answersThatComeByteForByteAreRead() async throws {
        let redis = try RedisProcess(port: .plain)
        var conditions = WebSocketFaultProxy.Conditions()
        conditions.toClient.slicer = .init(size: 1)
        conditions.toServer.slicer = .init(size: 3)
        try await withWebSocketFaultProxy(to: redis.port, conditions: conditions) { proxy in
            let brokers = try RedisTopics.brokers(2, at: "redis://127.0.0.1:\(proxy.port)")
            try await withTopicNodes(brokers, rules: RedisTopics.rules) { nodes in
                let client = try await nodes[0].subscriber(of: "h:x")
                for number in 0..<50 {
                    try await nodes[1].topics.publishConfirmed(.text("\(number) ä"), to: "h:x")
                    #expect(try await client.nextText() == "\(number) ä")
                }
                #expect(nodes.allSatisfy { $0.topics.brokerStatistics?.connects == 1 && $0.events.gaps.isEmpty })
            }
        }
    }

    /// What does not get through in time is dropped and counted, or waits; who is here has it long since.
    @Test func aSlowBrokerHoldsUpNothingOfTheProcess() async throws {
        let redis = try RedisProcess(port: .plain)
        try await withWebSocketFaultProxy(to: redis.port) { proxy in
            let brokers =
                try RedisTopics.brokers(1, at: "redis://127.0.0.1:\(proxy.port)") + RedisTopics.brokers(1, redis)
            try await withTopicNodes(brokers, change: { $0.maximumWaitingBytes = 64 << 10 }) { nodes in
                let near = try await nodes[0].subscriber(of: "a")
                let far = try await nodes[1].subscriber(of: "a")
                proxy.change { $0.toServer.bandwidth = 100_000 }
                let text = String(repeating: "x", count: 10_000)
                for number in 0..<50 { nodes[0].topics.publish(.text("\(number) \(text)"), to: "a") }
                let figures = try #require(nodes[0].topics.brokerStatistics)
                #expect(figures.dropped > 0 && figures.waitingBytes <= 64 << 10)
                for number in 0..<50 { #expect(try await near.nextText() == "\(number) \(text)") }
                // These wait for room.
                for number in 50..<60 {
                    try await nodes[0].topics.publishConfirmed(.text("\(number) \(text)"), to: "a")
                    #expect(try await near.nextText() == "\(number) \(text)")
                }
                var last = -1
                while last < 59 {
                    let number = try #require(Int(try await far.nextText().split(separator: " ")[0]))
                    #expect(number > last)
                    last = number
                }
                try await eventually("it is told") { Set(nodes[0].events.alerts.map(\.code)) == [.sendQueueFull] }
                #expect(nodes.allSatisfy { $0.events.gaps.isEmpty })
                let after = try #require(nodes[0].topics.brokerStatistics)
                #expect(after.accepted + after.dropped == 60 && after.dropped == figures.dropped)
            }
        }
    }

    /// One process loses its way to the broker, without a word.
    @Test func aProcessThatIsCutOffIsAloneWithIt() async throws {
        let redis = try RedisProcess(port: .plain)
        try await withWebSocketFaultProxy(to: redis.port) { proxy in
            let brokers =
                try RedisTopics.brokers(1, at: "redis://127.0.0.1:\(proxy.port)") {
                    $0.probeInterval = .milliseconds(200)
                    $0.probeTimeout = .seconds(5)
                    $0.connectTimeout = .seconds(5)
                } + RedisTopics.brokers(2, redis)
            try await withTopicNodes(brokers) { nodes in
                var clients: [TopicClient] = []
                for node in nodes { clients.append(try await node.subscriber(of: "a")) }
                proxy.change { $0.isSilent = true }
                try await eventually("it is noticed") { nodes[0].topics.brokerStatistics?.isConnected == false }
                try await nodes[1].topics.publishConfirmed("among the others", to: "a")
                #expect(try await clients[1].nextText() == "among the others")
                #expect(try await clients[2].nextText() == "among the others")
                nodes[0].topics.publish("alone", to: "a")
                #expect(try await clients[0].nextText() == "alone")
                proxy.change { $0.isSilent = false }
                try await eventually("it is back") { nodes[0].topics.confirmedTopics == ["a"] }
                try await interruptionsAreTold("a", nodes[0])
                try await nodes[1].topics.publishConfirmed("to all", to: "a")
                for client in clients { while try await client.nextText() != "to all" {} }
                #expect(nodes[1...].allSatisfy { $0.events.gaps.isEmpty })
                #expect(nodes[1...].allSatisfy { $0.topics.brokerStatistics?.connects == 1 })
            }
        }
    }

    @Test func aServerThatComesBackFromItsLogIsAnotherEpoch() async throws {
        let redis = try RedisProcess(["--appendonly", "yes", "--appendfsync", "always"])
        try await withTopicNodes(RedisTopics.brokers(2, redis), rules: RedisTopics.rules) { nodes in
            let publisher = try await nodes[0].connect()
            let keeper = try await nodes[1].subscriber(of: "h:x")
            var position = ""
            for number in 0..<5 { position = try await publisher.tell("!h:x \(number)") }
            try redis.ask("SET", "mark", "1")
            for number in 0..<5 { #expect(try await keeper.nextText() == "\(number)") }
            redis.kill()
            try redis.start()
            try await eventually("the log was read") { (try? redis.ask("GET", "mark")) == "1" }
            try await eventually("it is told") { nodes[1].events.gaps == [.init(topic: "h:x", cause: .epochChanged)] }
            let returning = try await nodes[0].connect()
            #expect(try await returning.tell("?h:x \(position)") == "incomplete epochChanged")
            let after = try await publisher.tell("!h:x after")
            #expect(after.hasSuffix(":1") && after.prefix { $0 != ":" } != position.prefix { $0 != ":" })
            #expect(try await keeper.nextText() == "after")
        }
    }

    @Test func aServerThatStillReadsItsDataIsWaitedFor() async throws {
        let redis = try RedisProcess()
        try redis.ask("EVAL", "for i = 1, 500 do redis.call('SET', 'k' .. i, string.rep(tostring(i), 300)) end", "0")
        try redis.ask("SAVE")
        try await withTopicNodes(RedisTopics.brokers(1, redis)) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            redis.kill()
            try await eventually("it is noticed") { nodes[0].topics.brokerStatistics?.isConnected == false }
            // It takes a while, and answers meanwhile.
            redis.arguments = ["--key-load-delay", "4000", "--loading-process-events-interval-bytes", "1024"]
            try redis.start()
            try await eventually("it is told") { nodes[0].events.alerts.contains { $0.message.contains("LOADING") } }
            try await eventually("it is back") { nodes[0].topics.confirmedTopics == ["a"] }
            #expect(nodes[0].events.alerts.count { $0.message.contains("LOADING") } == 1, "once for all attempts")
            nodes[0].topics.publish("again", to: "a")
            #expect(try await client.nextText() == "again")
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
        try redis.ask(
            "ACL", "SETUSER", "wsx", "on", ">word", "~*", "+@all", "resetchannels", "&wsx:n:*", "&wsx:nodes",
            "&wsx:c:{ok*")
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
        // With the connections of those who look, this time and the next.
        let before = try redis.figure("total_connections_received", in: "stats", password: "right") + 1
        let brokers = try RedisTopics.brokers(1, redis) { $0.credentials = { .init(password: "wrong") } }
        let began = ContinuousClock.now
        try await withTopicNodes(brokers, waits: false) { nodes in
            try await eventually("it is told") { !nodes[0].events.alerts.isEmpty }
            try await Task.sleep(for: .milliseconds(500))
            // Attempts are never closer than the policy says.
            let attempts = try redis.figure("total_connections_received", in: "stats", password: "right") - before
            #expect(Double(attempts) <= (ContinuousClock.now - began) / RedisTopics.pause + 1)
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
                // Valkey 9 does not count larger ones, which it keeps once for all.
                let text = String(repeating: "x", count: 15_000)
                let isOver = Held()
                defer { isOver.flag.store(true, ordering: .relaxed) }
                slowLoop.execute {
                    isHeld.send()
                    while !isOver.flag.load(ordering: .relaxed) { usleep(5_000) }
                }
                try await isHeld.next()
                for number in 0..<400 {
                    try await nodes[2].topics.publishConfirmed(.text("\(number):\(text)"), to: "a")
                    #expect(try await fast.nextText().hasPrefix("\(number):"))
                }
                try await eventually("the broker gives it up") {
                    (try? redis.ask("CLIENT", "LIST", "TYPE", "pubsub").split(separator: "\n").count) == 2
                }
                isOver.flag.store(true, ordering: .relaxed)
                try await interruptionsAreTold("a", nodes[0])
                #expect(nodes[1].events.gaps.isEmpty && nodes[2].events.gaps.isEmpty)
                nodes[2].topics.publish("last", to: "a")
                while try await slow.nextText() != "last" {}
            }
        }
    }

    @Test func tlsIsVerified() async throws {
        let redis = try RedisProcess(["--tls-auth-clients", "no"], port: .tls)
        func brokers(_ change: (inout WebSocketRedisConfiguration) -> Void) throws -> [any WebSocketTopicBroker] {
            try (0..<2).map { _ in
                var configuration = WebSocketRedisConfiguration()
                configuration.reconnectPolicy.strategy = .fixed(.milliseconds(50))
                change(&configuration)
                return try WebSocketRedisBroker(url: "rediss://localhost:\(redis.port)", configuration: configuration)
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

    @Test func aServerThatWantsACertificateGetsOne() async throws {
        let redis = try RedisProcess(["--tls-auth-clients", "yes"], port: .tls)
        let ca = try TestEnvironment.certificate("ca")
        let identity = WebSocketTLSClientIdentity.files(
            certificate: try TestEnvironment.certificate("client"), key: try TestEnvironment.key("client"))
        func brokers(_ identity: WebSocketTLSClientIdentity?) throws -> [any WebSocketTopicBroker] {
            try RedisTopics.brokers(1, at: "rediss://localhost:\(redis.port)") {
                $0.tls.trust = .certificates(.file(ca))
                $0.tls.identity = identity
            }
        }
        try await withTopicNodes(brokers(identity)) { nodes in
            let client = try await nodes[0].subscriber(of: "a")
            #expect(try redis.topics() == ["a"])
            nodes[0].topics.publish("secret", to: "a")
            #expect(try await client.nextText() == "secret")
        }
        try await withTopicNodes(brokers(nil), waits: false) { nodes in
            try await eventually("it is told") { !nodes[0].events.alerts.isEmpty }
            #expect(nodes[0].topics.brokerStatistics?.connects == 0)
        }
    }

    /// However many histories are read while connections end, none of them outlives `run`.
    @Test func nothingIsLeftOfABrokerThatWasStopped() async throws {
        let redis = try RedisProcess()
        try await withLoops(1) { loops in
            var configuration = WebSocketRedisConfiguration()
            configuration.eventLoop = loops.loops[0]
            configuration.reconnectPolicy.strategy = .fixed(RedisTopics.pause)
            for _ in 0..<5 {
                let broker = try WebSocketRedisBroker(url: redis.url, configuration: configuration)
                let isConnected = Held()
                let running = Task {
                    await broker.run(
                        .observing { event in
                            if case .connected = event { isConnected.flag.store(true, ordering: .relaxed) }
                        })
                }
                try await eventually("it is connected") { isConnected.flag.load(ordering: .relaxed) }
                await withTaskGroup(of: Void.self) { group in
                    for number in 0..<16 {
                        group.addTask {
                            for _ in 0..<20 { _ = try? await broker.history(of: "t\(number)", after: nil, limit: 1) }
                        }
                    }
                    group.addTask {
                        for _ in 0..<10 { _ = try? redis.ask("CLIENT", "KILL", "TYPE", "normal") }
                    }
                }
                running.cancel()
                await running.value
                // Nothing would end the connection of such a one.
                await #expect(throws: WebSocketError.self) {
                    try await broker.history(of: "a", after: nil, limit: 1)
                }
            }
        }
    }
}

/// Whether a loop may go on.
private final class Held: Sendable {
    let flag = Atomic<Bool>(false)
}
