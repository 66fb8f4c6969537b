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
    /// Positions that were left out without a word, and whose message the client had not had before.
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

/// One of the publications, by which it is known wherever it comes up.
struct ClusterMessage: Sendable {
    let publisher: String
    let number: Int
}

/// A client that hears the topic, comes back wherever it can with its position, and verifies each message.
final class ClusterClient: Sendable {
    /// Positions that were left out.
    fileprivate struct Jump {
        let missing: Range<UInt64>
        let epoch: String
        /// The last number of each publisher until then.
        let numbers: [String: Int]
    }

    fileprivate struct State {
        var ledger = ClusterLedger()
        var position: WebSocketTopicPosition?
        /// The last number of each publisher.
        var numbers: [String: Int] = [:]
        /// Jumps that may be explained yet: by the answer to a subscription, which comes behind messages that were held for
        /// it, or by a gap that the node tells.
        var unexplained: [Jump] = []
        /// Jumps that nothing has explained.
        var jumps: [Jump] = []
    }
    private let state = Mutex(State())

    var position: WebSocketTopicPosition? { state.withLock { $0.position } }
    var receivedCount: Int { state.withLock { $0.ledger.received } }

    /// What it has seen.
    ///
    /// - Parameter known: What stands at the positions of the topic, as far as publishers heard of it. A node leaves out what
    ///   it has delivered before: after the broker was lost, a publication without an answer is sent again, in another
    ///   epoch.
    func ledger(_ known: [WebSocketTopicPosition: ClusterMessage]) -> ClusterLedger {
        state.withLock { state in
            var ledger = state.ledger
            for jump in state.jumps + state.unexplained {
                ledger.holes += jump.missing.count { offset in
                    guard let position = WebSocketTopicPosition(epoch: jump.epoch, offset: offset),
                        let message = known[position], let last = jump.numbers[message.publisher]
                    else { return true }
                    return last < message.number
                }
            }
            return ledger
        }
    }

    /// Until the task is cancelled.
    func run(_ path: String) async {
        while !Task.isCancelled {
            _ = try? await ClusterClient.withConnection(path) { socket in
                let position = self.state.withLock { state in
                    state.ledger.connects += 1
                    return state.position
                }
                try await socket.send(.text("?\(position?.description ?? "")"))
                for try await message in socket.messages {
                    if self.take(message.text ?? "") == .comeBack { return }
                }
            }
            // What was left out on that connection will not be explained any more.
            state.withLock { $0.settleJumps() }
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

    /// What a client does next.
    private enum Next {
        case goOn
        /// What is missing may be in the history. Not by asking on the same connection: what is on its way on it would come
        /// twice.
        case comeBack
    }

    private func take(_ text: String) -> Next {
        let words = text.split(separator: " ").map(String.init)
        return state.withLock { state in
            switch words.first {
            case "=new", "=complete":
                if words[0] == "=new" {
                    state.adopt(words.last)
                } else {
                    state.ledger.recovered += words.last.flatMap { Int($0) } ?? 0
                }
                state.settleJumps()
                return .goOn
            case "=incomplete":
                state.excuseJumps()
                // What follows is behind this one.
                return state.adopt(words.last) ? .goOn : .comeBack
            case "=error":
                state.excuseJumps()
                return .comeBack
            case "!gap":
                state.excuseJumps()
                return words.last == "epochChanged" ? .goOn : .comeBack
            case let first?:
                guard words.count == 2, let position = WebSocketTopicPosition(first) else { return .goOn }
                state.take(position, words[1])
                return .goOn
            case nil: return .goOn
            }
        }
    }
}

extension ClusterClient.State {
    /// Whether it is a position. One that the client has passed already does not take it back.
    @discardableResult
    mutating func adopt(_ text: String?) -> Bool {
        guard let text, let new = WebSocketTopicPosition(text) else { return false }
        if let position, position.epoch == new.epoch, position.offset > new.offset { return true }
        position = new
        return true
    }

    mutating func excuseJumps() {
        unexplained = []
        ledger.told += 1
    }

    mutating func settleJumps() {
        jumps += unexplained
        unexplained = []
    }

    mutating func take(_ new: WebSocketTopicPosition, _ text: String) {
        let parts = text.split(separator: ":").map(String.init)
        guard parts.count == 2, let number = Int(parts[1]) else { return }
        ledger.received += 1
        if let position {
            if position.epoch != new.epoch {
                // Another epoch says by itself that the history was lost.
                ledger.told += 1
            } else if new.offset <= position.offset {
                ledger.repeated += 1
            } else if new.offset != position.offset + 1 {
                unexplained.append(
                    ClusterClient.Jump(
                        missing: (position.offset + 1)..<new.offset, epoch: new.epoch, numbers: numbers))
            }
        }
        if let before = numbers[parts[0]], number <= before {
            if number == before { ledger.repeated += 1 } else { ledger.disordered += 1 }
        }
        numbers[parts[0]] = number
        position = new
    }
}

/// Publishes, each message behind the answer to the one before.
final class ClusterPublisher: Sendable {
    private struct State {
        var published = 0
        var accepted = 0
        var connections = 0
        var known: [WebSocketTopicPosition: ClusterMessage] = [:]
        var isStopped = false
    }
    private let name: String
    private let state = Mutex(State())

    init(_ name: String) { self.name = name }

    var published: Int { state.withLock { $0.published } }
    var accepted: Int { state.withLock { $0.accepted } }
    /// What stands where, as far as it was told.
    var known: [WebSocketTopicPosition: ClusterMessage] { state.withLock { $0.known } }
    private var isStopped: Bool { state.withLock { $0.isStopped } }

    /// It comes to its end with the answer to its last message.
    func stop() { state.withLock { $0.isStopped = true } }

    func run(_ path: String) async {
        while !isStopped {
            _ = try? await ClusterClient.withConnection(path) { socket in try await self.publish(socket) }
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    private func publish(_ socket: WebSocketConnection) async throws {
        // At another node it is another publisher: what it sent last may still be on its way at the one before.
        let publisher = state.withLock { state in
            state.connections += 1
            return "\(name).\(state.connections)"
        }
        while !isStopped {
            let number = state.withLock { state in
                state.published += 1
                return state.published
            }
            try await socket.send(.text(">\(publisher):\(number)"))
            let words = try await socket.receive().text?.split(separator: " ").map(String.init) ?? []
            if words.first == "=accepted" {
                state.withLock { state in
                    state.accepted += 1
                    guard let position = words.last.flatMap({ WebSocketTopicPosition($0) }) else { return }
                    state.known[position] = ClusterMessage(publisher: publisher, number: number)
                }
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}
