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
    /// - Throws: `connectionUnavailable`, with ``WebSocketError/unavailableCause``, when it cannot connect
    ///   or was closed for good; `cancelled`, while the attempt goes on.
    public func connect() async throws(WebSocketError) { try await want(.connection, "connect") }

    /// Waits for what is claimed; takes part in it no longer when it throws.
    func want(
        _ claim: ManagedConnectionMachine.Claim, _ what: String, timeout: Duration? = nil
    ) async throws(WebSocketError) {
        let timer = timeout.map { _ in LoopTimer(loop) }
        defer { timer?.cancel() }
        try await loop.wait(
            for: what,
            register: { waiter in
                let id = waiter.id
                guard self.want(claim, waiter), let timer, let timeout else { return }
                timer.start(timeout) { [weak self] in
                    self?.giveUp(id)?.resume(.failure(self?.tooLate(timeout) ?? .cancelled(what)))
                }
            },
            cancel: { self.giveUp($0) })
    }

    /// Whether the caller has to wait.
    private func want(_ claim: ManagedConnectionMachine.Claim, _ waiter: LoopWaiter<Void>) -> Bool {
        let answer = state.withLock { state in
            // It is closing, and has not said so yet.
            if let socket = state.socket, socket.state != .open { state.forgetSocket() }
            let answer = state.machine.want(claim, for: waiter.id)
            state.touch(clock.now())
            switch answer {
            case .wait: state.waiters.append(id: waiter.id, waiter)
            case .start:
                state.waiters.append(id: waiter.id, waiter)
                start(&state)
            case .ready, .refuse: break
            }
            return answer
        }
        switch answer {
        case .refuse(let refusal): waiter.resume(.failure(.refused(refusal)))
        case .ready:
            watchIdleness()
            waiter.resume(.success(()))
        case .wait, .start: return true
        }
        return false
    }

    /// The waiter, if it was still waiting.
    private func giveUp(_ id: UInt64) -> LoopWaiter<Void>? {
        let (waiter, news) = state.withLock { state -> (LoopWaiter<Void>?, News) in
            guard let waiter = state.waiters.remove(id: id) else { return (nil, News()) }
            return (waiter, follow(state.machine.giveUp(id), &state))
        }
        tell(news)
        return waiter
    }

    private func tooLate(_ timeout: Duration) -> WebSocketError {
        let isConnecting = state.withLock { $0.attempt != nil && !$0.machine.isConnected }
        return WebSocketError(
            .acquireTimedOut,
            isConnecting
                ? "the connection was not open within \(timeout); wait longer, or check that the server answers"
                : "the connection was in use for \(timeout); release it sooner, wait longer, or use a pool")
    }

    // MARK: Attempts

    private func start(_ state: inout State) {
        state.attempt = Task { await self.attempt() }
    }

    private func attempt() async {
        let result: Result<WebSocketConnection, WebSocketError>
        do throws(WebSocketError) {
            result = .success(try await WebSocketClient.connect(to: address, configuration: configuration))
        } catch {
            result = .failure(error)
        }
        if !loop.execute({ self.attemptEnded(result) }) { attemptEnded(result) }
    }

    private func attemptEnded(_ result: Result<WebSocketConnection, WebSocketError>) {
        let socket = try? result.get()
        let (news, generation) = state.withLock { state -> (News?, Int) in
            state.attempt = nil
            state.touch(clock.now())
            guard let end = state.machine.attemptEnded(isConnected: socket != nil) else { return (nil, 0) }
            var news = News()
            for id in end.waiters {
                guard let waiter = state.waiters.remove(id: id) else { continue }
                news.told.append((waiter, result.map { _ in }.mapError { .unavailable($0) }))
            }
            if let socket {
                state.socket = socket
                state.generation += 1
            }
            news.told += follow(end.next, &state).told
            return (news, state.generation)
        }
        guard let news else {
            socket?.abort()
            return
        }
        // Also when it has ended before this line.
        socket?.wire.addEndObserver { [weak self] info in self?.ended(generation, info) }
        watchIdleness()
        tell(news)
    }

    private func ended(_ generation: Int, _ info: WebSocketCloseInfo) {
        let handlers = state.withLock { state in
            if state.generation == generation {
                state.forgetSocket()
                state.closeInfo = info
            }
            return state.handlers
        }
        for handler in handlers { handler(info) }
    }

    // MARK: Turns

    /// What callers are told once the lock is released.
    struct News {
        var told: [(LoopWaiter<Void>, Result<Void, WebSocketError>)] = []
    }

    /// Does what the machine says about whose turn it has become.
    func follow(_ next: ManagedConnectionMachine.Next, _ state: inout State) -> News {
        var news = News()
        switch next {
        case .noCaller, .join: break
        case .start: start(&state)
        case .ready(let id):
            if let waiter = state.waiters.remove(id: id) { news.told.append((waiter, .success(()))) }
        }
        return news
    }

    func tell(_ news: News) { for (waiter, result) in news.told { waiter.resume(result) } }
}
