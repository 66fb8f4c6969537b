//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

extension TopicRouter {
    /// Until the task is cancelled.
    func run() async throws(WebSocketError) {
        let isFirst = state.withLock { state in
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard isFirst else {
            throw WebSocketError(.invalidConfiguration, "the topics run already; call run() once")
        }
        // One of its own for each run, because a stream whose reader is cancelled is over.
        let (pulses, pulse) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        state.withLock { $0.pulse = pulse }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.broker.run(WebSocketTopicBrokerEvents { self.take($0) }) }
            group.addTask { await self.keepTime(pulses) }
            if !configuration.observers.isEmpty { group.addTask { await self.report() } }
            await group.next()
            group.cancelAll()
        }
        // An adapter tells it; one that does not must not leave callers waiting.
        take(.disconnected(WebSocketError(.shutDown, "the topics were stopped; serve with new ones")))
        tellCounts()
        state.withLock { state in
            state.isRunning = false
            state.pulse = nil
        }
        wake()
    }

    // MARK: Observers

    private func report() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: configuration.observationInterval)
            tellCounts()
        }
    }

    /// Tells observers what was counted since the last time. Only while it runs, so never twice at once.
    private func tellCounts() {
        guard !configuration.observers.isEmpty else { return }
        let now = statistics
        let last = state.withLock { state in
            defer { state.reported = now }
            return state.reported
        }
        for observer in configuration.observers { observer.counted(now, since: last) }
    }

    private func keepTime(_ pulses: AsyncStream<Void>) async {
        var iterator = pulses.makeAsyncIterator()
        while !Task.isCancelled {
            guard state.withLock({ $0.machine.nextDeadline }) != nil else {
                guard await iterator.next() != nil else { return }
                continue
            }
            await tick()
        }
    }

    private func take(_ event: WebSocketTopicBrokerEvents.Event) {
        ask { machine, now, actions in
            switch event {
            case .connected(let generation): machine.connected(generation: generation, now: now, &actions)
            case .disconnected(let error): machine.disconnected(error, now: now, &actions)
            case .subscribed(let topics): machine.subscribed(topics, now: now, &actions)
            case .refused(let topic, let error): machine.refused(topic, error, now: now, &actions)
            case .received(let deliveries): machine.received(deliveries, now: now, &actions)
            case .unreadable(let topic): machine.unreadable(topic, now: now, &actions)
            case .settled(let outcomes):
                for (id, outcome) in outcomes { machine.settled(id, outcome, now: now, &actions) }
            case .alert(let error): actions.append(.tell(.alert(error)))
            }
        }
    }

    // MARK: Time

    /// There is a deadline. One that comes while nothing runs must not leave a caller waiting.
    func wake() {
        let mustTick = state.withLock { state in
            guard !state.isRunning, !state.isTicking, state.machine.nextDeadline != nil else { return false }
            state.isTicking = true
            return true
        }
        guard mustTick else {
            state.withLock { $0.pulse }?.yield()
            return
        }
        Task {
            while state.withLock({ state in
                let goesOn = !state.isRunning && state.machine.nextDeadline != nil
                if !goesOn { state.isTicking = false }
                return goesOn
            }) {
                await tick()
            }
        }
    }

    /// Does what is due, or waits a while.
    private func tick() async {
        guard let deadline = state.withLock({ $0.machine.nextDeadline }) else { return }
        let now = Self.now
        if deadline <= now { ask { $0.tick(now: $1, &$2) } }
        let wait = min(max(deadline > now ? deadline - now : 0, 5_000_000), 250_000_000)
        try? await Task.sleep(for: .nanoseconds(wait))
    }
}
