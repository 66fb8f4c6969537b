//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import Synchronization
import WebSocketCore
import WebSocketLoop
import WebSockets

/// What a session's handle stands for.
final class SessionBox: @unchecked Sendable {
    // Sendable: what C gave is not changed, and it says itself on which thread it is used.
    let session: WebSocketSession
    let loop: WebSocketEventLoop
    private let config: wsx_session_config
    private let queue: CallbackQueue?
    private let isSilent = Atomic<Bool>(false)
    /// Ends when everything has been told, or waits to be dispatched.
    private let telling = Mutex<Task<Void, Never>?>(nil)
    /// Messages that were sent from threads that may not wait.
    private let inside = Atomic<Int>(0)

    var takesMessages: Bool { config.on_event != nil }
    /// Why the last attempt failed, since the last connection.
    private let lastFailure: LastFailure

    init(
        _ session: WebSocketSession, _ config: wsx_session_config, queue: CallbackQueue?, loop: WebSocketEventLoop,
        _ lastFailure: LastFailure
    ) {
        self.lastFailure = lastFailure
        self.session = session
        self.config = config
        self.queue = queue
        self.loop = loop
    }

    /// Why there is no connection, if that is known.
    var failure: WebSocketError? { lastFailure.error }

    func start(_ id: UInt64) {
        let session = session
        if config.on_event != nil {
            lastFailure.onFailure { [weak self] error in
                self?.tell(id) { WebSocketSessionEvent.withFailedAttempt(error, $0) }
            }
        }
        // Both end with the session, which every way to free the handle ends.
        Task(executorPreference: loop.taskExecutor) { try? await session.run() }
        guard config.on_event != nil else { return }
        let task = Task(executorPreference: loop.taskExecutor) { [self] in
            do throws(WebSocketError) {
                for try await event in session.events {
                    guard tell(id, { event.withEvent($0) }) else { continue }
                    while !isSilent.load(ordering: .acquiring), await queue?.waitForRoom() == false {}
                }
                tell(id) { WebSocketSessionEvent.withEnd(nil, $0) }
            } catch {
                // Through this interface a session that gave up is not told to begin again.
                await session.shutDown()
                tell(id) { WebSocketSessionEvent.withEnd(error, $0) }
            }
        }
        telling.withLock { $0 = task }
    }

    @discardableResult
    private func tell(
        _ id: UInt64, _ event: @escaping @Sendable ((UnsafePointer<wsx_session_event>) -> Void) -> Void
    ) -> Bool {
        let run: @Sendable () -> Void = { [self] in
            guard !isSilent.load(ordering: .acquiring) else { return }
            event { config.on_event?(config.user, wsx_session(id: id), $0) }
        }
        if let queue { return queue.push(run) }
        asCallback(run)
        return false
    }

    /// Sends without waiting; whether there was room.
    func sendInside(_ message: WebSocketMessage) -> Bool {
        guard inside.wrappingAdd(1, ordering: .relaxed).newValue <= 256 else {
            inside.wrappingSubtract(1, ordering: .relaxed)
            return false
        }
        Task(executorPreference: loop.taskExecutor) { [self] in
            // The caller has gone on: what becomes of the message is in the statistics, as `wsx.h` says.
            try? await session.send(message)
            inside.wrappingSubtract(1, ordering: .relaxed)
        }
        return true
    }

    /// Returns when the session has ended and, where that needs no thread of the program's, has been told so.
    func shutDown() async {
        await session.shutDown()
        if queue == nil { await told() }
    }

    private func told() async { await telling.withLock({ $0 })?.value }

    /// The handle is gone and the session has ended, which is told first.
    func releaseWhenTold(_ done: (@Sendable () -> Void)? = nil) {
        Task(executorPreference: loop.taskExecutor) { [self] in
            await told()
            release(isSilencing: false)
            guard let done else { return }
            if let queue {
                queue.push(done)
            } else {
                // After the last event, which a task of its own tells.
                Task(executorPreference: loop.taskExecutor) { asCallback(done) }
            }
        }
    }

    /// The handle is gone and the session has been told to end.
    ///
    /// - Parameter isSilencing: What waits to be dispatched is not told any more.
    func release(isSilencing: Bool = true) {
        if isSilencing { isSilent.store(true, ordering: .releasing) }
        // On the loop, where the pump is: nothing comes between its question and its wait.
        loop.execute { self.queue?.wakeAll() }
        guard config.on_released != nil else { return }
        let last: @Sendable () -> Void = { [self] in config.on_released?(config.user) }
        if let queue {
            queue.push(last)
        } else {
            Task(executorPreference: loop.taskExecutor) { asCallback(last) }
        }
    }
}

/// Remembers why a session has no connection.
final class LastFailure: WebSocketSessionObserver {
    private struct State {
        var error: WebSocketError?
        var told: (@Sendable (WebSocketError) -> Void)?
    }
    private let state = Mutex(State())

    var error: WebSocketError? { state.withLock { $0.error } }

    func onFailure(_ tell: @escaping @Sendable (WebSocketError) -> Void) { state.withLock { $0.told = tell } }

    func attemptFailed(_ error: WebSocketError) {
        let tell = state.withLock { state in
            state.error = error
            return state.told
        }
        tell?(error)
    }

    func connected(isReconnect: Bool, after downtime: Duration?) { state.withLock { $0.error = nil } }
}

extension WebSocketSessionEvent {
    /// An attempt to connect has failed.
    fileprivate static func withFailedAttempt(
        _ error: WebSocketError, _ body: (UnsafePointer<wsx_session_event>) -> Void
    ) {
        var event = wsx_session_event()
        event.size = MemoryLayout<wsx_session_event>.size
        event.text = StaticString("").cString
        event.type = Int32(WSX_EVENT_ATTEMPT_FAILED)
        with(error, &event, body)
    }

    /// The event as C reads it.
    fileprivate func withEvent(_ body: (UnsafePointer<wsx_session_event>) -> Void) {
        var event = wsx_session_event()
        event.size = MemoryLayout<wsx_session_event>.size
        event.text = StaticString("").cString
        switch self {
        case .message(let message):
            event.type = Int32(WSX_EVENT_MESSAGE)
            event.kind = message.kind.number
            message.withData { bytes in
                event.data = bytes.baseAddress ?? UnsafeRawPointer(StaticString("").cString)
                event.length = bytes.count
                withUnsafePointer(to: event) { body($0) }
            }
            return
        case .connected(let isReconnect):
            event.type = Int32(WSX_EVENT_CONNECTED)
            event.is_reconnect = isReconnect ? 1 : 0
        case .disconnected(let end):
            event.type = Int32(WSX_EVENT_DISCONNECTED)
            event.is_proactive = end.reason.isProactive ? 1 : 0
            event.duration_ms = end.connectedFor.wholeMilliseconds
            let error = end.error ?? end.closeInfo.map { .closed($0) }
            end.reason.rawValue.withCString { text in
                event.text = text
                Self.with(error, &event, body)
            }
            return
        case .gap(let gap):
            event.type = Int32(WSX_EVENT_GAP)
            switch gap.cause {
            case .reconnected(let after): event.duration_ms = after.wholeMilliseconds
            case .overflow(let dropped): event.dropped = UInt64(clamping: dropped)
            }
        case .renewed: event.type = Int32(WSX_EVENT_RENEWED)
        // Nothing through this interface recognises answers.
        case .subscription: return
        case .alert(let alert):
            event.type = Int32(WSX_EVENT_ALERT)
            alert.message.withCString { text in
                event.text = text
                withUnsafePointer(to: event) { body($0) }
            }
            return
        }
        withUnsafePointer(to: event) { body($0) }
    }

    /// Why the session has ended; nil when it was shut down.
    fileprivate static func withEnd(_ error: WebSocketError?, _ body: (UnsafePointer<wsx_session_event>) -> Void) {
        var event = wsx_session_event()
        event.size = MemoryLayout<wsx_session_event>.size
        event.text = StaticString("").cString
        event.type = Int32(WSX_EVENT_ENDED)
        with(error, &event, body)
    }

    private static func with(
        _ error: WebSocketError?, _ event: inout wsx_session_event, _ body: (UnsafePointer<wsx_session_event>) -> Void
    ) {
        guard let error else {
            withUnsafePointer(to: event) { body($0) }
            return
        }
        withUnsafePointer(to: wsx_error(Failure(error))) { pointer in
            event.error = pointer
            withUnsafePointer(to: event) { body($0) }
        }
    }
}

extension WebSocketSessionConfiguration {
    mutating func apply(_ config: wsx_session_config) throws(Failure) {
        let minimum = try Duration.setting(config.reconnect_minimum_ms, "reconnect_minimum_ms") ?? .seconds(1)
        let maximum = try Duration.setting(config.reconnect_maximum_ms, "reconnect_maximum_ms") ?? .seconds(60)
        reconnect.strategy = .fullJitter(base: minimum, maximum: maximum)
        switch config.maximum_attempts {
        case -1: reconnect.maximumAttempts = nil
        case 0: break
        case 1...: reconnect.maximumAttempts = Int(config.maximum_attempts)
        default: throw .argument("maximum_attempts is \(config.maximum_attempts); use -1 for no limit")
        }
        switch config.overflow {
        case 0: overflow = .suspendReading
        case 1: overflow = .dropOldest
        case 2: overflow = .dropNewest
        case 3: overflow = .disconnect
        default: throw .argument("overflow is \(config.overflow); it must be in 0...3")
        }
        guard config.outbound_queue >= 0, config.inbound_messages >= 0 else {
            throw .argument("a number of messages is too large")
        }
        outboundQueue = config.outbound_queue
        if config.inbound_messages > 0 { inboundMessages = config.inbound_messages }
        if config.maximum_connection_age_ms != -1 {
            maximumConnectionAge = try Duration.setting(config.maximum_connection_age_ms, "maximum_connection_age_ms")
        }
        makesBeforeBreaking = config.make_before_break != 0
        if let pattern = try text(config.subscribe, "subscribe") {
            subscriptions.subscribe = { .text(pattern.filled(with: $0)) }
        }
        if let pattern = try text(config.unsubscribe, "unsubscribe") {
            subscriptions.unsubscribe = { .text(pattern.filled(with: $0)) }
        }
    }
}

extension String {
    /// With every `%s` replaced.
    fileprivate func filled(with channel: String) -> String {
        var result = ""
        var rest = self[...]
        while let percent = rest.firstIndex(of: "%") {
            result += rest[..<percent]
            rest = rest[percent...]
            if rest.hasPrefix("%s") {
                result += channel
                rest = rest.dropFirst(2)
            } else {
                result += "%"
                rest = rest.dropFirst()
            }
        }
        return result + rest
    }
}
