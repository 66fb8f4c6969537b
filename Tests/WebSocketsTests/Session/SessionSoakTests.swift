//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Logging
import LoopbackSupport
import Synchronization
import Testing
import WebSockets
import WebSocketsTestKit

/// A session on a bad network. `scripts/trust/soak` makes it last.
@Suite(.timeLimit(.minutes(600)))
struct SessionSoakTests {
    /// What the server got, by connection.
    private final class Received: Sendable {
        private let numbers = Mutex<[[Int]]>([])
        func open() -> Int {
            numbers.withLock { numbers in
                numbers.append([])
                return numbers.count - 1
            }
        }
        func add(_ number: Int, on connection: Int) { numbers.withLock { $0[connection].append(number) } }
        var all: [[Int]] { numbers.withLock { $0 } }
    }

    private static func setting(_ name: String, _ otherwise: Double) -> Double {
        getenv(name).flatMap { Double(String(cString: $0)) } ?? otherwise
    }

    /// Resident memory in bytes.
    private static func memory() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let words = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            .split(separator: " ")
        return (Int(words[1]) ?? 0) * Int(getpagesize())
    }

    @Test func theLedgerIsExactOnABadNetwork() async throws {
        let seconds = Self.setting("WSX_SOAK_SECONDS", 1)
        let seed = UInt64(Self.setting("WSX_SOAK_SEED", 1))
        let received = Received()
        try await withLoopback { socket in
            let connection = received.open()
            for try await message in socket.messages {
                if case .text(let text) = message, let number = Int(text) { received.add(number, on: connection) }
                try await socket.send(message)
            }
        } _: { loopback in
            try await withWebSocketFaultProxy(to: loopback.server.port) { proxy in
                var configuration = WebSocketSessionConfiguration()
                configuration.client = loopback.client
                configuration.logger.logLevel = .critical
                configuration.outboundQueue = 2_000
                configuration.outboundDeadline = nil
                configuration.reconnect.strategy = .fixed(.milliseconds(10))
                configuration.reconnect.maximumAttempts = nil
                let statistics = try await WebSocketSession.withSession(
                    to: "ws://127.0.0.1:\(proxy.port)/", configuration: configuration
                ) { session in
                    #expect(await session.waitConnected())
                    let sent = try await Self.soak(session, proxy, for: .seconds(seconds), seed: seed)
                    proxy.kill()
                    try await until("the cut is noticed", on: loopback.loop) {
                        session.statistics.reactiveDisconnects > 0
                    }
                    // A calm network at the end: everything that was kept arrives.
                    try await until("everything has its outcome", on: loopback.loop) {
                        session.statistics.messagesPending == 0
                    }
                    let statistics = session.statistics
                    #expect(statistics.messagesSubmitted == sent + statistics.messagesRefused)
                    return statistics
                }
                #expect(statistics.isBalanced)
                #expect(statistics.messagesNotSent == 0 && statistics.messagesCancelled == 0)
                #expect(statistics.reactiveDisconnects > 0)
                let all = received.all
                for numbers in all {
                    #expect(numbers == numbers.sorted(), "a connection brought messages out of order")
                }
                let arrived = all.flatMap { $0 }
                #expect(Set(arrived).count == arrived.count, "a message came twice")
                // What did not arrive was written or unknown when a connection broke, and the session says so.
                #expect(arrived.count <= statistics.messagesWritten + statistics.messagesUnknown)
                #expect(statistics.gaps == statistics.connects - 1)
            }
        }
    }

    /// Sends numbers and breaks the network; returns how many were sent.
    private static func soak(
        _ session: WebSocketSession, _ proxy: WebSocketFaultProxy, for duration: Duration, seed: UInt64
    ) async throws -> Int {
        let end = ContinuousClock.now + duration
        let isOver = Box(false)
        return try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                var generator = SessionRandom(seed: seed)
                while ContinuousClock.now < end {
                    try await Task.sleep(for: .milliseconds(Int64.random(in: 20...200, using: &generator)))
                    switch Int.random(in: 0..<4, using: &generator) {
                    case 0:
                        proxy.change { $0.isSilent = true }
                        try await Task.sleep(for: .milliseconds(Int64.random(in: 10...100, using: &generator)))
                        proxy.change { $0.isSilent = false }
                    case 1:
                        proxy.refuse()
                        try await Task.sleep(for: .milliseconds(Int64.random(in: 10...100, using: &generator)))
                        proxy.listen()
                    default: proxy.kill()
                    }
                }
                isOver.change { $0 = true }
                return 0
            }
            group.addTask {
                while !isOver.value { _ = try? await session.receive(timeout: .milliseconds(50)) }
                return 0
            }
            group.addTask {
                var number = 0
                var before = 0
                while !isOver.value {
                    do throws(WebSocketError) {
                        try await session.send("\(number)")
                        number += 1
                    } catch {
                        // The queue is full while there is no connection.
                        #expect(error.code == .sendQueueFull)
                        _ = await session.waitConnected(timeout: .seconds(10))
                    }
                    if number % 50 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                    if duration >= .seconds(60), before == 0, ContinuousClock.now > end - duration * 0.75 {
                        before = memory()
                    }
                }
                if before > 0 { #expect(memory() - before < 32 << 20, "memory grows") }
                return number
            }
            return try await group.reduce(0) { $0 + $1 }
        }
    }
}
