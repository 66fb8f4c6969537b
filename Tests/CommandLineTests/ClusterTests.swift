//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Subprocess
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ClusterTests {
    @Test func aClusterWhoseBrokerAndNodeAreKilledLosesNothingInSilence() async throws {
        let outcome = try await Command.run(["demo", "--cluster", "--json", "--seconds", "6", "--connections", "40"])
        #expect(outcome.code == 0, "\(outcome.error)")
        let report = try object(outcome.lines.first)
        #expect(report["ok"] as? Bool == true, "\(report)")
        #expect(report["clients"] as? Int == 40)
        for key in ["repeated", "holesInSilence", "disordered", "clientsBehind"] {
            #expect(report[key] as? Int == 0, "\(key)")
        }
        let accepted = try #require(report["accepted"] as? Int)
        #expect(accepted > 0)
        #expect(try #require(report["received"] as? Int) > accepted)
        #expect(try #require(report["reconnects"] as? Int) > 0)
        #expect(try #require(report["toldOfLostHistory"] as? Int) > 0)
    }

    @Test func serversWithTheSameRedisShareTheirTopics() async throws {
        let redis = try RedisProcess()
        let arguments = ["listen", "--json", "--topics", "--redis", redis.url]
        let outcome = try await Command.interact(arguments) { first in
            let firstURL = try #require(try object(await first.nextLine())["url"] as? String)
            #expect(try object(await first.nextLine())["state"] as? String == "connected")
            let other = try await Command.interact(arguments) { second in
                let secondURL = try #require(try object(await second.nextLine())["url"] as? String)
                #expect(try object(await second.nextLine())["state"] as? String == "connected")
                let one = try await WebSocketClient.connect(to: firstURL + "/room")
                let two = try await WebSocketClient.connect(to: secondURL + "/room")
                _ = try await (first.nextLine(), second.nextLine())
                try await eventually("both are subscribed") { (try? redis.subscribers(of: "/room")) == 2 }
                try await one.send("hello")
                #expect(try await two.receive() == "hello")
                let status = try await Self.status(firstURL)
                let broker = try #require(status["broker"] as? [String: Any])
                #expect(broker["connected"] as? Bool == true)
                #expect(broker["broker"] as? String == "\(redis.url) (wsx)")
                #expect(broker["published"] as? Int == 1)
                #expect(try await one.close().isNormal)
                #expect(try await two.close().isNormal)
                try second.send(.terminate)
            }
            #expect(other.code == 0)
            try first.send(.terminate)
        }
        #expect(outcome.code == 0)
    }

    /// What a process had at the broker goes with it, and the others do not notice.
    @Test func aServerThatIsKilledTakesItsSubscriptionsAlong() async throws {
        let redis = try RedisProcess()
        let arguments = ["listen", "--json", "--topics", "--redis", redis.url]
        let outcome = try await Command.interact(arguments) { first in
            let firstURL = try #require(try object(await first.nextLine())["url"] as? String)
            #expect(try object(await first.nextLine())["state"] as? String == "connected")
            let one = try await WebSocketClient.connect(to: firstURL + "/room")
            let two = try await WebSocketClient.connect(to: firstURL + "/room")
            let other = try await Command.interact(arguments) { second in
                let secondURL = try #require(try object(await second.nextLine())["url"] as? String)
                #expect(try object(await second.nextLine())["state"] as? String == "connected")
                let three = try await WebSocketClient.connect(to: secondURL + "/room")
                try await eventually("both are subscribed") { (try? redis.subscribers(of: "/room")) == 2 }
                try await three.send("hello")
                #expect(try await one.receive() == "hello")
                #expect(try await two.receive() == "hello")
                try second.send(.kill)
                await #expect(throws: WebSocketError.self) { try await three.receive() }
            }
            #expect(other.code == nil)
            try await eventually("its subscription is gone") { (try? redis.subscribers(of: "/room")) == 1 }
            try await one.send("still here")
            #expect(try await two.receive() == "still here")
            let status = try await Self.status(firstURL)
            let broker = try #require(status["broker"] as? [String: Any])
            #expect(broker["connects"] as? Int == 1)
            #expect(broker["gaps"] as? Int == 0)
            #expect(try await one.close().isNormal)
            #expect(try await two.close().isNormal)
            try first.send(.terminate)
        }
        #expect(outcome.code == 0)
    }

    private static func status(_ url: String) async throws -> [String: Any] {
        let text = try await answer(url, "/status.json", ["Connection: close"])
        let body = try #require(text.firstRange(of: "\r\n\r\n")).upperBound
        return try object(text[body...].split(separator: "\n").first.map(String.init))
    }

    @Test(arguments: [
        ["--redis", "redis://localhost"], ["--topics", "--redis", "http://localhost"],
        ["--topics", "--redis-prefix", "a"],
        ["--topics", "--redis", "redis://localhost", "--redis-prefix", "a:b"],
    ])
    func optionsThatCannotBeUsedAreUsageErrors(arguments: [String]) async throws {
        #expect(try await Command.run(["listen"] + arguments).code == 64)
    }
}
