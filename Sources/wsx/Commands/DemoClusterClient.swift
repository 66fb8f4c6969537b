//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSockets

/// What the clients of `demo --cluster` have seen.
struct ClusterLedger: Sendable {
    var received = 0
    /// A publication that the same client got before.
    var repeated = 0
    /// A position that does not follow the one before, without a word.
    var holes = 0
    /// A publication behind a later one of the same publisher.
    var disordered = 0
    var connects = 0
    /// Messages that came from the history after a reconnect.
    var recovered = 0
    /// Times that a client was told that messages may be missing: the history was lost with the broker.
    var told = 0

    mutating func add(_ other: ClusterLedger) {
        received += other.received
        repeated += other.repeated
        holes += other.holes
        disordered += other.disordered
        connects += other.connects
        recovered += other.recovered
        told += other.told
    }
}

/// A client that hears the topic, comes back wherever it can with its position, and verifies each message.
final class ClusterClient: Sendable {
    private struct State {
        var ledger = ClusterLedger()
        var position: WebSocketTopicPosition?
        /// The last number of each publisher.
        var numbers: [Substring: Int] = [:]
        /// What follows need not follow.
        var isTold = false
    }
    private let state = Mutex(State())

    var ledger: ClusterLedger { state.withLock { $0.ledger } }
    var position: WebSocketTopicPosition? { state.withLock { $0.position } }

    /// Until the task is cancelled.
    func run(_ path: String) async {
        while !Task.isCancelled {
            _ = try? await ClusterClient.withConnection(path) { socket in
                let position = self.state.withLock { state in
                    state.ledger.connects += 1
                    return state.position
                }
                try await socket.send(.text("?\(position?.description ?? "")"))
                for try await message in socket.messages { self.take(message.text ?? "") }
            }
            try? await Task.sleep(for: .milliseconds(Int.random(in: 20...200)))
        }
    }

    /// A connection through the balancer.
    static func withConnection<Result: Sendable>(
        _ path: String, _ body: @escaping @Sendable (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        var configuration = WebSocketClientConfiguration()
        configuration.connectTo = .unix(path: path)
        configuration.openTimeout = .seconds(5)
        return try await WebSocketClient.withConnection(to: "ws://cluster/", configuration: configuration) {
            try await body($0)
        }
    }

    private func take(_ text: String) {
        let words = text.split(separator: " ")
        state.withLock { state in
            switch words.first {
            case "=new":
                if let position = words.last.flatMap({ WebSocketTopicPosition(String($0)) }) {
                    state.position = position
                }
            case "=complete": state.ledger.recovered += words.last.flatMap { Int($0) } ?? 0
            case "=incomplete", "=error":
                state.isTold = true
                state.ledger.told += 1
            case let first?:
                guard words.count == 2, let position = WebSocketTopicPosition(String(first)) else { return }
                Self.take(position, words[1], &state)
            case nil: break
            }
        }
    }

    private static func take(_ position: WebSocketTopicPosition, _ text: Substring, _ state: inout State) {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let number = Int(parts[1]) else { return }
        state.ledger.received += 1
        if let last = state.position {
            if last.epoch != position.epoch {
                // Another epoch says by itself that the history was lost.
                if !state.isTold { state.ledger.told += 1 }
            } else if position.offset <= last.offset {
                state.ledger.repeated += 1
            } else if position.offset != last.offset + 1, !state.isTold {
                state.ledger.holes += 1
            }
        }
        state.isTold = false
        if let before = state.numbers[parts[0]], number <= before {
            if number == before { state.ledger.repeated += 1 } else { state.ledger.disordered += 1 }
        }
        state.numbers[parts[0]] = number
        state.position = position
    }
}

/// What one publisher has done.
final class PublisherCounts: Sendable {
    private let state = Mutex((published: 0, accepted: 0))

    var counts: (published: Int, accepted: Int) { state.withLock { $0 } }
    func accept() { state.withLock { $0.accepted += 1 } }
    func next() -> Int {
        state.withLock { state in
            state.published += 1
            return state.published
        }
    }
}
