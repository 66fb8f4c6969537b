//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

/// What the coordinator of a session passes on.
enum SessionCoreWorld: SessionWorld {
    typealias Connection = any SessionConnection
    typealias EventWaiter = LoopContinuation<Result<WebSocketSessionEvent?, WebSocketError>>
    typealias SendWaiter = LoopContinuation<Result<WebSocketSendOutcome, WebSocketError>>
    typealias MessageWaiter = LoopContinuation<Result<WebSocketMessage, WebSocketError>>
    typealias StateWaiter = LoopContinuation<Bool?>
    typealias Signal = LoopContinuation<Void>
    typealias Work = CancellableWork

    static func makeWork() -> CancellableWork { CancellableWork() }
}

/// The shell around the coordinator: takes the lock, asks, unlocks, acts.
final class SessionCore: Sendable {
    typealias World = SessionCoreWorld
    typealias Coordinator = SessionCoordinator<World>
    typealias Open = @Sendable (SessionAttempt) async throws(WebSocketError) -> any SessionConnection

    let configuration: WebSocketSessionConfiguration
    let clock: SessionClock
    let coordinator: Mutex<Coordinator>
    let lane = SessionLane()
    let timer = SessionTimer()
    let open: Open
    let name: String
    private let lastID = Atomic<UInt64>(0)

    init(
        configuration: WebSocketSessionConfiguration, clock: SessionClock, seed: UInt64, name: String,
        endpointCount: Int = 1, open: @escaping Open
    ) {
        self.configuration = configuration
        self.clock = clock
        self.name = name
        self.open = open
        coordinator = Mutex(
            Coordinator(settings: configuration.coordinatorSettings(endpointCount: endpointCount), seed: seed))
    }

    func nextID() -> UInt64 { lastID.wrappingAdd(1, ordering: .relaxed).newValue }

    // MARK: Ask, then act

    /// Hands an event to the coordinator and does what follows.
    @discardableResult
    func perform<Value: Sendable>(_ event: (inout Coordinator, Duration) -> Value) -> Value {
        let (value, effects) = coordinator.withLock { coordinator in
            let now = clock.now()
            let value = event(&coordinator, now)
            return (value, coordinator.finish(at: now))
        }
        act(effects)
        return value
    }

    func act(_ effects: [Coordinator.Effect]) { for effect in effects { act(effect) } }

    private func act(_ effect: Coordinator.Effect) {
        switch effect {
        case .connect(let epoch, let attempt, let work):
            lane.post { await work.run { await self.connect(epoch, attempt) } }
        case .cancel(let work): work.cancel()
        case .prepare(let epoch, let connection, let facts, let work):
            connection.observe(
                written: { total in self.act(self.coordinator.withLock { $0.written(epoch, total: total) }) },
                ended: { ledger in
                    let end = SessionTransportEnd(info: ledger.info, written: ledger.written, inDoubt: ledger.inDoubt)
                    self.perform { $0.transportEnded(epoch, end, at: $1) }
                })
            lane.post(on: connection.executor) { await self.pump(epoch, connection) }
            lane.post { await work.run { await self.prepare(epoch, connection, facts) } }
        case .close(let connection, let frame): connection.beginClosing(frame)
        case .abort(let connection): connection.abort()
        case .ask(let question, let epoch, let snapshot): lane.post { await self.ask(question, epoch, snapshot) }
        case .decide(let cause, let attempt, let decision):
            let answer = configuration.reconnect.answer(cause, attempt: attempt, clock: WallClock.seconds)
            perform { $0.decided(answer, decision, at: $1) }
        case .subscribe(let epoch, let channels): subscribe(channels, epoch)
        case .unsubscribe(let epoch, let channels): for channel in channels { try? tellUnsubscribed(channel, epoch) }
        case .write(let connection): lane.post(on: connection.executor) { await self.write() }
        case .give(let waiter, let result): waiter.resume(returning: result)
        case .settle(let waiter, let result): waiter.resume(returning: result)
        case .reply(let waiter, let result): waiter.resume(returning: result)
        case .known(let waiter, let verdict): waiter.resume(returning: verdict)
        case .signal(let waiter): waiter.resume(returning: ())
        case .tell(let notice): tell(notice)
        case .arm(let deadline): timer.arm(deadline)
        case .finishWork: lane.finish()
        case .finishTimer: timer.finish()
        }
    }

    private func tell(_ notice: SessionNotice) {
        switch notice {
        case .stateChanged(_, let state): configuration.logger.debug("session \(state)", metadata: ["url": "\(name)"])
        case .alerted(let alert):
            configuration.logger.warning(
                "session alert",
                metadata: [
                    "url": "\(name)", "kind": "\(alert.kind)", "message": "\(alert.message.escapedForLog)",
                ])
        case .connected, .renewed, .attemptFailed, .disconnected, .gapped, .messagesLost, .messageDropped: break
        }
        for observer in configuration.observers { notice.report(to: observer) }
    }

    // MARK: Running

    /// `run` is called: what callers want is done from now on.
    func beginRunning() throws(WebSocketError) {
        guard perform({ $0.beginRunning(at: $1) }) else {
            throw WebSocketError(
                .invalidConfiguration, "run() was called before; a session runs once, so start a new one")
        }
    }

    /// Runs until the session has ended. Cancellation ends it at once.
    func drive() async {
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.lane.drive() }
                group.addTask { await self.timer.run(self.clock) { self.perform { $0.tick(at: $1) } } }
                self.perform { $0.start(at: $1) }
            }
        } onCancel: {
            self.perform { $0.abort(at: $1) }
        }
        perform { coordinator, _ in coordinator.stopRunning() }
    }

    func beginShutdown() { perform { $0.shutDown(at: $1) } }
}

extension SessionNotice {
    fileprivate func report(to observer: any WebSocketSessionObserver) {
        switch self {
        case .stateChanged(let old, let new): observer.stateChanged(from: old, to: new)
        case .connected(let isReconnect, let downtime): observer.connected(isReconnect: isReconnect, after: downtime)
        case .renewed: observer.renewed()
        case .attemptFailed(let error): observer.attemptFailed(error)
        case .disconnected(let end): observer.disconnected(end)
        case .gapped(let gap): observer.gapped(gap)
        case .alerted(let alert): observer.alerted(alert)
        case .messagesLost(let count): observer.messagesLost(count)
        case .messageDropped: observer.messageDropped()
        }
    }
}
