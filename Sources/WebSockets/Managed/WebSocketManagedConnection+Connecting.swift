//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore
import WebSocketLoop

extension WebSocketManagedConnection {
    /// Opens the connection unless it is open. Callers at the same time share one attempt.
    ///
    /// - Throws: `connectionUnavailable`, with ``WebSocketCore/WebSocketError/unavailableCause``, when it cannot connect
    ///   or was closed for good; `cancelled`, while the attempt goes on.
    public func connect() async throws(WebSocketError) { try await connect(acquires: false) }

    func connect(acquires: Bool) async throws(WebSocketError) {
        let hasAcquired = Mutex(false)
        do throws(WebSocketError) {
            try await loop.wait(
                for: acquires ? "acquire" : "connect",
                register: { waiter in
                    let isRefused = self.wantConnection(waiter, acquires: acquires)
                    hasAcquired.withLock { $0 = acquires && !isRefused }
                },
                cancel: { id in self.state.withLock { $0.waiters.remove(id: id) } })
        } catch {
            if hasAcquired.withLock({ $0 }) { state.withLock { $0.machine.acquireFailed() } }
            throw error
        }
    }

    /// Whether the caller was refused.
    func wantConnection(_ waiter: LoopWaiter<Void>, acquires: Bool) -> Bool {
        let action = state.withLock { state in
            // It is closing, and nobody has said so yet.
            if let socket = state.socket, socket.state != .open { state.forgetSocket() }
            let action = acquires ? state.machine.acquire() : state.machine.connect()
            state.touch(clock.now())
            if action == .start || action == .join { state.waiters.append(id: waiter.id, waiter) }
            return action
        }
        switch action {
        case .refuse(let refusal):
            waiter.resume(.failure(.refused(refusal)))
            return true
        case .ready:
            watchIdleness()
            waiter.resume(.success(()))
        case .join: break
        case .start:
            let attempt = Task { await self.attempt() }
            state.withLock { $0.attempt = attempt }
        }
        return false
    }

    func attempt() async {
        let result: Result<WebSocketConnection, WebSocketError>
        do throws(WebSocketError) {
            result = .success(try await WebSocketClient.connect(to: url, configuration: configuration))
        } catch {
            result = .failure(error)
        }
        if !loop.execute({ self.attemptEnded(result) }) { attemptEnded(result) }
    }

    func attemptEnded(_ result: Result<WebSocketConnection, WebSocketError>) {
        let socket = try? result.get()
        let (isWanted, waiters, generation) = state.withLock { state in
            let isWanted = state.machine.attemptEnded(isConnected: socket != nil)
            state.attempt = nil
            state.touch(clock.now())
            if isWanted, let socket {
                state.socket = socket
                state.generation += 1
            }
            return (isWanted, state.waiters.removeAll(), state.generation)
        }
        guard isWanted else {
            socket?.abort()
            for waiter in waiters { waiter.resume(.failure(.refused(.closed(.closed)))) }
            return
        }
        switch result {
        case .success(let socket):
            // Also when it has ended before this line.
            socket.wire.addEndObserver { [weak self] info in self?.ended(generation, info) }
            watchIdleness()
            for waiter in waiters { waiter.resume(.success(())) }
        case .failure(let cause):
            for waiter in waiters { waiter.resume(.failure(.unavailable(cause))) }
        }
    }

    func ended(_ generation: Int, _ info: WebSocketCloseInfo) {
        let handlers = state.withLock { state in
            if state.generation == generation { state.forgetSocket() }
            return state.handlers
        }
        for handler in handlers { handler(info) }
    }
}
