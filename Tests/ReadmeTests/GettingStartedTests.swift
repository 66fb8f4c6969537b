//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// The article's two programs, run against each other.
@Suite(.timeLimit(.minutes(5)))
struct GettingStartedTests {
    /// Runs a program, and gives its first line while it goes on.
    private static func firstLine(
        of program: @escaping @Sendable (Print) async throws -> Void, in group: inout ThrowingTaskGroup<Void, any Error>
    ) async throws -> String {
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        group.addTask {
            defer { continuation.finish() }
            try await program { continuation.yield($0.map { "\($0)" }.joined(separator: " ")) }
        }
        var iterator = lines.makeAsyncIterator()
        if let line = await iterator.next() { return line }
        try await group.next()
        return ""
    }

    @Test func theProgramsPrintWhatTheArticleSays() async throws {
        let certificate = try TestEnvironment.certificate("valid")
        let (authority, key) = (try TestEnvironment.certificate("ca"), try TestEnvironment.key("valid"))
        try await withThrowingTaskGroup(of: Void.self) { group in
            let listening = try await Self.firstLine(
                of: { try await echoServer(port: 0, certificate: certificate, key: key, print: $0) }, in: &group)
            #expect(listening.hasPrefix("listening on port "))
            let port = String(listening.split(separator: " ").last ?? "")
            let answer = try await Self.firstLine(
                of: { try await echoClient(port: port, certificate: authority, print: $0) }, in: &group)
            #expect(answer == "hello over TLSv1.3")
            group.cancelAll()
        }
    }
}
