//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSockets

/// The demo's second stage: a session goes on sending while its server is killed and comes back.
///
/// Each message is a number, and its echo acknowledges it. On a new connection the session first sends what has no echo;
/// the server knows by the number what it already has. So every number arrives, and counts once.
struct DemoSession: Sendable {
    struct Report: Sendable {
        var messages = 0
        /// Numbers that never arrived, or whose echo never came.
        var lost = 0
        /// Numbers that arrived more than once and were counted once.
        var repeated = 0
        var connections = 0
        var downtime = Duration.zero
    }

    /// What the client has sent without an echo, and what the server has.
    private final class Ledger: Sendable {
        private struct State {
            var unacknowledged: Set<Int> = []
            var acknowledged = 0
            var received: Set<Int> = []
            var repeated = 0
            var sockets: [WebSocketConnection] = []
        }
        private let state = Mutex(State())

        func sends(_ number: Int) { state.withLock { _ = $0.unacknowledged.insert(number) } }
        var unacknowledged: [Int] { state.withLock { $0.unacknowledged.sorted() } }
        /// Returns how many have been acknowledged.
        func acknowledged(_ number: Int) -> Int {
            state.withLock { state in
                if state.unacknowledged.remove(number) != nil { state.acknowledged += 1 }
                return state.acknowledged
            }
        }
        func received(_ number: Int) {
            state.withLock { if !$0.received.insert(number).inserted { $0.repeated += 1 } }
        }
        func opened(_ socket: WebSocketConnection) { state.withLock { $0.sockets.append(socket) } }
        func cutAll() {
            let sockets = state.withLock { state in
                defer { state.sockets = [] }
                return state.sockets
            }
            for socket in sockets { socket.abort() }
        }
        func missing(of count: Int) -> Int {
            state.withLock { state in
                (0..<count).count { !state.received.contains($0) } + state.unacknowledged.count
            }
        }
        var repeated: Int { state.withLock { $0.repeated } }
    }

    let server: WebSocketServerConfiguration
    let client: WebSocketClientConfiguration
    let messages = 2_000

    func run() async throws -> Report {
        let ledger = Ledger()
        let handler: @Sendable @concurrent (WebSocketConnection) async throws -> Void = { socket in
            ledger.opened(socket)
            for try await message in socket.messages {
                if case .text(let text) = message, let number = Int(text) { ledger.received(number) }
                try await socket.send(message)
            }
        }
        let first = try WebSocketServer(configuration: server)
        let serving = Task { try await first.run(handler) }
        var serverAgain = server
        serverAgain.port = first.port

        var configuration = WebSocketSessionConfiguration()
        configuration.client = client
        configuration.outboundQueue = messages
        configuration.reconnect.strategy = .fixed(.milliseconds(50))
        configuration.reconnect.maximumAttempts = 100
        configuration.resume = { connection in
            for number in ledger.unacknowledged { try await connection.send("\(number)") }
            return true
        }
        let url = "wss://localhost:\(first.port)/session"
        return try await WebSocketSession.withSession(to: url, configuration: configuration, on: .loop) {
            [messages, serverAgain] session in
            let (halfway, reached) = AsyncStream.makeStream(of: Void.self)
            let (death, died) = AsyncStream.makeStream(of: Void.self)
            return try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for number in 0..<messages {
                        ledger.sends(number)
                        try await session.send("\(number)")
                        // A steady stream, so that the server dies in the middle of it.
                        if number % 20 == 19 { try await Task.sleep(for: .milliseconds(1)) }
                        // However late it dies, something is left to send.
                        if number == messages * 2 / 3 { for await _ in death {} }
                    }
                }
                group.addTask {
                    defer { reached.finish() }
                    while true {
                        let message = try await session.receive(timeout: .seconds(20))
                        guard case .text(let text) = message, let number = Int(text) else { continue }
                        let count = ledger.acknowledged(number)
                        if count == messages / 3 { reached.finish() }
                        if count == messages { return }
                    }
                }
                for await _ in halfway {}
                let begin = ContinuousClock.now
                ledger.cutAll()
                died.finish()
                await first.shutDown()
                try await serving.value
                try await Task.sleep(for: .milliseconds(100))
                let second = try WebSocketServer(configuration: serverAgain)
                var report = Report(messages: messages, downtime: ContinuousClock.now - begin)
                let servingAgain = Task { try await second.run(handler) }
                let result: Result<Void, any Error>
                do { result = .success(try await group.waitForAll()) } catch { result = .failure(error) }
                report.connections = session.statistics.connects
                await session.shutDown()
                await second.shutDown()
                try await servingAgain.value
                try result.get()
                report.lost = ledger.missing(of: messages)
                report.repeated = ledger.repeated
                return report
            }
        }
    }
}
