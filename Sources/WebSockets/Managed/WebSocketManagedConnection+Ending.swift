//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
public import WebSocketCore
import WebSocketLoop

extension WebSocketManagedConnection {
    /// Closes the connection for good, and waits for its end, at most `closeTimeout`. Harmless when it is closed.
    ///
    /// - Parameters:
    ///   - code: 1000–1003, 1007–1014, 3000–4999, or `noStatusReceived` for a close frame without a code.
    ///   - reason: At most 123 bytes of UTF-8.
    /// - Returns: How the connection ended; nil when none was open.
    /// - Throws: `invalidCloseCode` or `closeReasonTooLong`, before anything happens; `cancelled`, while the close
    ///   itself goes on.
    @discardableResult
    public func close(
        code: WebSocketCloseCode = .normalClosure, reason: String = ""
    ) async throws(WebSocketError) -> WebSocketCloseInfo? {
        let frame = WebSocketCloseFrame(code: code, reason: reason)
        try frame.validate()
        let (socket, work) = begin(.closed)
        // First the connection: whether this call can wait or not, it closes.
        let info = try await socket?.wire.close(frame)
        noteEnd(of: socket)
        await work.end()
        forgetAll()
        return info
    }

    /// Before the caller goes on: the observer of the end may be told a moment later.
    private func noteEnd(of socket: WebSocketConnection?) {
        guard let info = socket?.closeInfo else { return }
        state.withLock { $0.closeInfo = info }
    }

    /// Ends the connection at once and for good, without a closing handshake. Calls that wait fail with
    /// `connectionClosed`, those that wait for the connection with `connectionUnavailable`.
    public func abort() {
        begin(.closed).socket?.abort()
        forgetAll()
    }

    /// Closes it also in a cancelled task.
    func close(_ end: ManagedConnectionMachine.End, _ frame: WebSocketCloseFrame) async {
        let (socket, work) = begin(end)
        await socket?.wire.closeRegardless(frame)
        noteEnd(of: socket)
        await work.end()
        forgetAll()
    }

    /// What went on behind the callers' backs.
    struct Work {
        let attempt: Task<Void, Never>?
        let drain: Task<Void, Never>?

        func end() async {
            await attempt?.value
            await drain?.value
        }
    }

    /// From here on it is closed for all callers.
    private func begin(_ end: ManagedConnectionMachine.End) -> (socket: WebSocketConnection?, work: Work) {
        let (socket, work, news) = state.withLock { state in
            var news = News()
            for id in state.machine.close(end) ?? [] {
                guard let waiter = state.waiters.remove(id: id) else { continue }
                news.told.append((waiter, .failure(.refused(.closed(end)))))
            }
            state.idleSleep?.cancel()
            state.idleSleep = nil
            return (state.socket, Work(attempt: state.attempt, drain: state.drain), news)
        }
        tell(news)
        idleTimer?.cancel()
        work.attempt?.cancel()
        return (socket, work)
    }

    private func forgetAll() {
        state.withLock { state in
            state.endTurn(clock.now())
            state.socket = nil
        }
    }

    // MARK: Idleness

    /// One timer, set to the moment at which the connection will have been idle for too long.
    func watchIdleness() {
        guard let idleTimeout = options.idleTimeout else { return }
        loop.execute { [weak self] in
            guard let self, state.withLock({ $0.machine.isIdle }) else { return }
            guard let idleTimer else { return sleep(for: idleTimeout) }
            idleTimer.start(max(idleTimeout - idleDuration, .milliseconds(1))) { [weak self] in self?.idlenessIsDue() }
        }
    }

    private func sleep(for idleTimeout: Duration) {
        let deadline = state.withLock { $0.idleSince } + idleTimeout
        let sleep = Task { [weak self, clock] in
            guard (try? await clock.sleep(until: deadline)) != nil else { return }
            self?.idlenessIsDue()
        }
        state.withLock { state in
            state.idleSleep?.cancel()
            state.idleSleep = sleep
        }
    }

    private func idlenessIsDue() {
        guard let idleTimeout = options.idleTimeout else { return }
        // Judged and closed in one: a caller that acquires it meanwhile comes before or after, never between.
        let (isClosed, isIdle) = state.withLock { state -> (Bool, Bool) in
            guard clock.now() - state.idleSince >= idleTimeout else { return (false, state.machine.isIdle) }
            return (state.machine.closeIfIdle(), false)
        }
        if isClosed {
            Task { await self.close(.idleTimeout, WebSocketCloseFrame(code: .normalClosure, reason: "idle")) }
        } else if isIdle {
            watchIdleness()
        }
    }
}
