//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Subprocess
import Synchronization
import Testing
import WebSockets

@testable import wsx

@Suite(.timeLimit(.minutes(5)))
struct DemoAndDoctorTests {
    @Test func theDemoVerifiesEveryByte() async throws {
        let outcome = try await Command.run(["demo", "--json", "--seconds", "1", "--connections", "4"])
        #expect(outcome.code == 0)
        #expect(outcome.error == "")
        #expect(outcome.lines.count == 1)
        let report = try object(outcome.lines.first)
        #expect(report["ok"] as? Bool == true)
        #expect(report["connections"] as? Int == 4)
        let pool = try #require(report["pool"] as? [String: Any])
        #expect(pool["connectionsOpened"] as? Int == 4)
        let sent = try #require(report["messagesSent"] as? Int)
        #expect(sent >= 4 * 28)
        #expect(report["messagesReceived"] as? Int == sent)
        #expect(report["messagesWrong"] as? Int == 0)
        #expect(report["largestMessage"] as? Int == 256 << 10)
        let latency = try #require(report["latencyMicroseconds"] as? [String: Any])
        let percentiles = ["p50", "p99", "p99.9"].compactMap { latency[$0] as? Double }
        #expect(percentiles.count == 3)
        #expect(percentiles == percentiles.sorted())
        let tls = try #require(report["tls"] as? [String: Any])
        #expect(tls["version"] as? String == "TLSv1.3")
        #expect((report["deflate"] as? String)?.hasPrefix("permessage-deflate") == true)
        let compression = try #require(report["compression"] as? [String: Any])
        let ratio = try #require(compression["ratio"] as? Double)
        // Half of the messages are random, the other half shrinks to next to nothing.
        #expect((0.2..<0.8).contains(ratio))
        let session = try #require(report["session"] as? [String: Any])
        #expect(session["messages"] as? Int == 2_000)
        #expect(session["lost"] as? Int == 0)
        #expect(try #require(session["connections"] as? Int) >= 2)
        let libraries = try #require(report["libraries"] as? [String: String])
        #expect(Set(libraries.keys) == ["libwebsockets", "OpenSSL", "zlib", "libuv"])
    }

    @Test func theDemoIsReadable() async throws {
        let outcome = try await Command.run(["demo", "--seconds", "0.1", "--connections", "1"])
        #expect(outcome.code == 0)
        #expect(outcome.error == "", "no progress without a terminal")
        let words = [
            "all is well", "0 wrong", "0 lost", "per second", "p99.9", "TLSv1.3", "permessage-deflate",
            "libwebsockets 4.",
        ]
        for word in words { #expect(outcome.output.contains(word)) }
    }

    @Test func theDemoServesAPageThatMeasures() async throws {
        let outcome = try await Command.interact(["demo", "--web", "--quiet"]) { demo in
            let line = try #require(try await demo.nextLine())
            let port = try #require(line.wholeMatch(of: /open https:\/\/localhost:([1-9][0-9]*)\//)?.output.1)
            var configuration = WebSocketClientConfiguration()
            configuration.tls.verification = .insecureNoVerification
            configuration.headers[.origin] = "https://localhost:\(port)"
            configuration.options.compression = .deflate()
            // What the page's script does.
            try await WebSocketClient.withConnection(
                to: "wss://localhost:\(port)/live", configuration: configuration
            ) { socket in
                try await socket.send("1")
                #expect(try await socket.receive() == .text("1"))
                let bytes = [UInt8](repeating: 7, count: 1_024)
                try await socket.send(bytes)
                #expect(try await socket.receive() == .binary(bytes))
            }
            // Another site's page may not.
            configuration.headers[.origin] = "https://elsewhere.test"
            let refusal = try await refusalOf("wss://localhost:\(port)/live", configuration)
            #expect(refusal.response?.status == 403)
            configuration.headers[.origin] = nil
            let missing = try await refusalOf("wss://localhost:\(port)/", configuration)
            #expect(missing.response?.status == 404)
            let head = try await headOfPage(port: Int(port)!)
            #expect(head.hasPrefix("HTTP/1.1 200 "))
            #expect(head.contains("Content-Length: \(DemoPage.html.utf8.count)\r\n"), "\(head)")
            #expect(head.contains("default-src 'none'"))
            // Nothing comes from elsewhere.
            #expect(DemoPage.html.contains("<canvas") && DemoPage.html.firstMatch(of: /(?:src|href)=/) == nil)
            try demo.send(.terminate)
        }
        #expect(outcome.code == 0)
    }

    private func refusalOf(
        _ url: String, _ configuration: WebSocketClientConfiguration
    ) async throws -> WebSocketError {
        do throws(WebSocketError) {
            try await WebSocketClient.connect(to: url, configuration: configuration).abort()
        } catch {
            return error
        }
        return try #require(nil, "\(url) was not refused")
    }

    /// The head of the page.
    private func headOfPage(port: Int) async throws -> String {
        let client = try RawTLSClient(port: port)
        return try #require(
            await client.answer(to: "GET / HTTP/1.1\r\nHost: localhost:\(port)\r\nConnection: close\r\n\r\n"))
    }

    @Test func theDoctorFindsNothing() async throws {
        let outcome = try await Command.run(["doctor", "--json"])
        #expect(outcome.code == 0)
        let report = try object(outcome.lines.first)
        #expect(report["ok"] as? Bool == true)
        let checks = try #require(report["checks"] as? [[String: Any]])
        #expect(
            checks.map { $0["name"] as? String } == [
                "libwebsockets", "OpenSSL", "zlib", "libuv", "event loop", "CA certificates", "descriptors",
                "tested",
            ])
        let version = try #require(checks.last?["value"] as? String)
        #expect(version.contains("the suite runs with"))
        let loaded = try #require(WebSocketLibraries.versions.first?.loaded)
        #expect(WebSocketLibraries.isTested == WebSocketLibraries.testedVersions.contains(loaded))
        let text = try await Command.run(["doctor"])
        #expect(text.code == 0)
        #expect(text.lines.count == checks.count)
        #expect(text.lines.allSatisfy { $0.hasPrefix("ok") })
    }

    /// A stand-in for Autobahn's fuzzing server, as far as its protocol goes.
    @Test func theAutobahnClientRunsEveryCase() async throws {
        let visited = Mutex<[String]>([])
        let server = try WebSocketServer()
        let running = Task {
            try await server.run { socket in
                let target = socket.requestTarget ?? ""
                visited.withLock { $0.append(target) }
                if target == "/getCaseCount" {
                    try await socket.send("3")
                } else if target.hasPrefix("/runCase?case=2&") {
                    // Some cases end without a close frame.
                    socket.abort()
                } else if target.hasPrefix("/runCase") {
                    try await socket.send("echo this")
                    let echo = try await socket.receive()
                    let verdict = "\(echo == "echo this" ? "echoed" : "wrong") \(socket.deflate != nil)"
                    visited.withLock { $0.append(verdict) }
                }
            }
        }
        let outcome = try await Command.run(
            ["autobahn-client", "--agent", "wsx 1/2", "ws://127.0.0.1:\(server.port)/"])
        await server.shutDown()
        try await running.value
        #expect(outcome.code == 0)
        #expect(
            visited.withLock { $0 } == [
                "/getCaseCount", "/runCase?case=1&agent=wsx%201%2F2", "echoed true",
                "/runCase?case=2&agent=wsx%201%2F2", "/runCase?case=3&agent=wsx%201%2F2", "echoed true",
                "/updateReports?agent=wsx%201%2F2",
            ])
    }
}
