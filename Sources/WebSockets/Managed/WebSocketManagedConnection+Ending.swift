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
    public func close(code: WebSocketCloseCode = .normalClosure, reason: String = "") async {
        await close(.closed, WebSocketCloseFrame(code: code, reason: reason))
    }

    func close(_ end: ManagedConnectionMachine.End, _ frame: WebSocketCloseFrame) async {
        let (socket, attempt) = state.withLock { state in
            _ = state.machine.close(end)
            state.idleSleep?.cancel()
            defer {
                state.attempt = nil
                state.idleSleep = nil
            }
            return (state.socket, state.attempt)
        }
        idleTimer?.cancel()
        attempt?.cancel()
        await attempt?.value
        await socket?.wire.closeRegardless(frame)
        state.withLock { $0.socket = nil }
    }

    /// One timer, set to the moment at which the connection will have been idle for too long.
    func watchIdleness() {
        guard let idleTimeout = options.idleTimeout else { return }
        loop.execute { [weak self] in
            guard let self, state.withLock({ $0.machine.isIdle }) else { return }
            guard let idleTimer else { return sleep(for: idleTimeout) }
            idleTimer.start(max(idleTimeout - idleDuration, .milliseconds(1))) { [weak self] in self?.idlenessIsDue() }
        }
    }

    func sleep(for idleTimeout: Duration) {
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

    func idlenessIsDue() {
        guard let idleTimeout = options.idleTimeout, state.withLock({ $0.machine.isIdle }) else { return }
        guard idleDuration >= idleTimeout else { return watchIdleness() }
        Task { await self.close(.idleTimeout, WebSocketCloseFrame(code: .normalClosure, reason: "idle")) }
    }
}
