//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Subprocess
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct BenchPoolTests {
    @Test func measuresAPool() async throws {
        try await Command.listen { url in
            let outcome = try await Command.run([
                "bench", "pool", url, "--json", "--seconds", "0.3", "--connections", "3", "--tasks", "7",
            ])
            #expect(outcome.code == 0)
            let report = try object(outcome.output)
            let cycles = try #require(report["cycles"] as? Int)
            #expect(cycles >= 7)
            #expect(try #require(report["leases"] as? Int) > cycles)
            #expect((1...3).contains(try #require(report["connectionsOpened"] as? Int)))
            #expect(report["connectsFailed"] as? Int == 0)
            #expect(try #require(report["leaseNanoseconds"] as? Double) > 0)

            let text = try await Command.run(["bench", "pool", url, url, "--seconds", "0.1", "--tasks", "2"])
            #expect(text.code == 0)
            #expect(text.output.contains("ns for acquire and release"))
        }
    }

    @Test func aServerWithoutEchoIsNamed() async throws {
        try await withServer(.init(), { socket in _ = try await socket.closed() }) { url in
            let outcome = try await Command.run(["bench", "pool", url, "--seconds", "0.1", "--tasks", "2"])
            #expect(outcome.code == 124)
            #expect(outcome.error.contains("no echo came"), "\(outcome.error)")
        }
    }

    private static let mistakes: [(arguments: [String], code: Int32)] = [
        (["ws://127.0.0.1:1/"], 69), (["ws://127.0.0.1:1/", "--tasks", "0"], 64), (["ftp://127.0.0.1/"], 64),
        ([], 64),
    ]

    @Test(arguments: mistakes)
    func saysWhatIsWrong(_ arguments: [String], _ code: Int32) async throws {
        let outcome = try await Command.run(["bench", "pool", "--seconds", "0.1"] + arguments)
        #expect(outcome.code == code)
        #expect(outcome.output == "" && outcome.error != "")
    }
}
