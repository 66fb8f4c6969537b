//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSockets

@testable import wsx

/// --max-messages, --base64, --print-ping-rtts, --close-status-code and -reason.
@Suite(.timeLimit(.minutes(5)))
struct ConnectMessageTests {
    @Test func closesAfterSoManyMessages() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run(
                ["connect", "--max-messages", "3", url], input: (1...10).map { "\($0)\n" }.joined())
            #expect(outcome.code == 0, "\(outcome.error)")
            #expect(outcome.output == "1\n2\n3\n")
        }
    }

    @Test func base64GoesBothWays() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run(["connect", "--base64", url], input: "/wCA\n\nAQ==\r\nAQI=\n")
            #expect(outcome.code == 0, "\(outcome.error)")
            #expect(outcome.output == "/wCA\n\nAQ==\nAQI=\n")
            for bad in ["A", "AA=A", "====", "a b=", "AAA!", "AA==" + "AA=="] {
                let refused = try await Command.run(["connect", "--base64", url], input: "/wCA\n\(bad)\n")
                #expect(refused.code == 64, "\(bad)")
                #expect(refused.error.contains("line 2"), "\(refused.error)")
            }
        }
    }

    @Test func base64IsDecodedStrictly() {
        for bytes: [UInt8] in [[], [0], [0, 255], [1, 2, 3], Array(0...255)] {
            #expect(decodedBase64(Array(HandshakeText.base64(bytes).utf8)) == bytes)
        }
    }

    @Test func roundTripsArePrinted() async throws {
        try await Command.listen { url in
            let outcome = try await Command.interact(
                ["connect", "--json", "--print-rtt", "--ping-interval", "0.01", url]
            ) { client in
                #expect(try object(await client.nextLine())["event"] as? String == "open")
                let pong = try object(await client.nextLine())
                #expect(pong["event"] as? String == "pong")
                #expect(try #require(pong["roundTripNanoseconds"] as? Int) > 0)
                try await client.endInput()
            }
            #expect(outcome.code == 0, "\(outcome.error)")
        }
    }

    @Test func closesWithTheCodeAndReasonAskedFor() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run(
                ["connect", "--json", "--close-code", "4001", "--close-reason", "enough", url], input: "x\n")
            #expect(outcome.code == 0, "\(outcome.error)")
            let close = try #require(try outcome.objects().last)
            #expect(close["event"] as? String == "close")
            #expect(close["sent"] as? Int == 4001)
        }
    }

    @Test(arguments: [
        (["--close-code", "1005"], "--close-code"), (["--close-code", "999"], "--close-code"),
        (["--close-reason", String(repeating: "é", count: 62)], "--close-reason"),
        (["--max-messages", "0"], "at least 1"), (["--max-messages", "2", "-1"], "leave one out"),
        (["--base64", "--binary"], "leave --binary out"),
        (["--print-rtt", "--ping-interval", "0"], "leave one out"),
    ])
    func badOptionsAreRefused(_ options: [String], _ text: String) async throws {
        let outcome = try await Command.run(["connect", "ws://127.0.0.1:1"] + options)
        #expect(outcome.code == 64)
        #expect(outcome.error.contains(text), "\(outcome.error)")
        #expect(outcome.error.split(separator: "\n").count == 1)
    }
}
