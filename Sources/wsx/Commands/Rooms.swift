//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSockets

/// Connections that hear each other: `--broadcast` and `--topics`.
///
/// A sender is read no faster than its listeners read, so that a fast one costs no healthy listener its connection. A
/// listener that takes nothing for a while is closed with 1008.
final class Rooms: Sendable {
    private let rooms = Mutex<[String: [UInt64: Member]]>([:])

    /// The connection hears the room from now on.
    func join(_ socket: WebSocketConnection, _ room: String) {
        rooms.withLock { $0[room, default: [:]][socket.id] = Member(socket) }
    }

    private func leave(_ socket: WebSocketConnection, _ room: String) -> Member? {
        rooms.withLock { rooms in
            let member = rooms[room]?.removeValue(forKey: socket.id)
            if rooms[room]?.isEmpty == true { rooms[room] = nil }
            return member
        }
    }

    /// Serves a connection that has joined, to its end.
    func serve(_ socket: WebSocketConnection, _ room: String) async throws(WebSocketError) {
        let own = rooms.withLock { $0[room]?[socket.id] }
        let pumping = Task(executorPreference: socket.eventLoop.taskExecutor) { await own?.pump() }
        let result: Result<Void, WebSocketError>
        do throws(WebSocketError) {
            for try await message in socket.messages {
                let others = rooms.withLock { ($0[room] ?? [:]).values.filter { $0.socket !== socket } }
                for other in others { await other.take(message) }
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        leave(socket, room)?.end()
        await pumping.value
        try result.get()
    }
}

/// One connection of a room, and what waits for it.
private final class Member: Sendable {
    let socket: WebSocketConnection

    private struct State {
        var messages: [WebSocketMessage] = []
        /// Of the messages that wait or are being sent.
        var bytes = 0
        /// A sign of life.
        var sent = 0
        var isEnded = false
        var pump: CheckedContinuation<Void, Never>?
        var senders: [CheckedContinuation<Void, Never>] = []

        mutating func wakeSenders() {
            for sender in senders { sender.resume() }
            senders = []
        }
        mutating func wakePump() { pump.take()?.resume() }
    }
    private let state = Mutex(State())

    private static let limit = 256 << 10
    private static let patience = Duration.seconds(10)

    init(_ socket: WebSocketConnection) { self.socket = socket }

    /// What a message counts, however short it is.
    private static func weight(_ message: WebSocketMessage) -> Int { message.byteCount + 64 }

    /// Takes a message for the connection; waits for room.
    func take(_ message: WebSocketMessage) async {
        while true {
            let isDone = state.withLock { state in
                guard !state.isEnded, state.bytes >= Self.limit else {
                    if !state.isEnded {
                        state.messages.append(message)
                        state.bytes += Self.weight(message)
                        state.wakePump()
                    }
                    return true
                }
                return false
            }
            if isDone { return }
            guard await isMoving() else {
                end()
                let socket = socket
                Task { try? await socket.close(code: .policyViolation, reason: "reads too slowly") }
                return
            }
        }
    }

    /// Waits for room; `false` when nothing was taken for a while.
    private func isMoving() async -> Bool {
        let before = state.withLock { $0.sent }
        let timer = Task {
            try await Task.sleep(for: Self.patience)
            state.withLock { $0.wakeSenders() }
        }
        await withCheckedContinuation { continuation in
            state.withLock { state in
                if state.isEnded || state.bytes < Self.limit {
                    continuation.resume()
                } else {
                    state.senders.append(continuation)
                }
            }
        }
        timer.cancel()
        return state.withLock { $0.isEnded || $0.sent != before || $0.bytes < Self.limit }
    }

    /// Sends what is taken, until the end.
    func pump() async {
        while true {
            let messages = state.withLock { state in
                defer { state.messages = [] }
                return state.messages
            }
            for message in messages {
                guard (try? await socket.send(message)) != nil else { return end() }
                state.withLock { state in
                    state.sent += 1
                    state.bytes -= Self.weight(message)
                    if state.bytes <= Self.limit / 2 { state.wakeSenders() }
                }
            }
            guard messages.isEmpty else { continue }
            await withCheckedContinuation { continuation in
                state.withLock { state in
                    if state.isEnded || !state.messages.isEmpty {
                        continuation.resume()
                    } else {
                        state.pump = continuation
                    }
                }
            }
            if state.withLock({ $0.isEnded }) { return }
        }
    }

    /// Takes nothing more.
    func end() {
        state.withLock { state in
            state.isEnded = true
            state.messages = []
            state.wakePump()
            state.wakeSenders()
        }
    }
}
