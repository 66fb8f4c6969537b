//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
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
    fileprivate mutating func apply(_ config: wsx_session_config) throws(Failure) {
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

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_create(
    _ url: UnsafePointer<CChar>?, _ config: UnsafePointer<wsx_session_config>?,
    _ session: UnsafeMutablePointer<wsx_session>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(session, "session")
        result.pointee = wsx_session()
        guard let url = try text(url, "url") else { throw .argument("url is NULL") }
        var configuration = WebSocketSessionConfiguration()
        configuration.logger = Log.logger
        var queue: CallbackQueue?
        let config = try copied(config, "wsx_session_config")
        if let config {
            // What a program is told of by events does not belong into a log as well.
            if config.on_event != nil { configuration.logger = Log.severe }
            if let client = try copied(config.client, "wsx_client_config") { try configuration.client.apply(client) }
            queue = try CallbackQueue.named(config.queue)
            try configuration.apply(config)
        }
        let loop = configuration.client.eventLoop ?? Loops.next()
        configuration.client.eventLoop = loop
        let box: SessionBox
        do throws(WebSocketError) {
            // Found out now, while the caller can be told.
            _ = try configuration.client.request(for: url)
            let lastFailure = LastFailure()
            configuration.observers.append(lastFailure)
            box = SessionBox(
                try WebSocketSession(to: url, configuration: configuration), config ?? wsx_session_config(),
                queue: queue, loop: loop, lastFailure)
        } catch {
            throw Failure(error)
        }
        let id = Handles.sessions.insert(box)
        // Before any callback can name it.
        result.pointee = wsx_session(id: id)
        box.start(id)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_wait_connected(
    _ session: wsx_session, _ timeout_ms: Int64, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let box = try Handles.sessions.find(session.id, "session")
        let session = box.session
        let isConnected = try wait(-1, on: box.loop) { () async throws(WebSocketError) in
            await session.waitConnected(timeout: timeout_ms < 0 ? nil : .milliseconds(timeout_ms))
        }
        guard !isConnected else { return }
        if let failure = session.failure { throw Failure(failure) }
        guard !session.isShutdown else {
            throw Failure(
                session.lastDisconnect?.error
                    ?? WebSocketError(.connectionClosed, "the session has ended; open a new one"))
        }
        var error = WebSocketError(
            .timedOut,
            "the session was not connected within \(timeout_ms) ms; it goes on trying, so allow more time",
            phase: .connect)
        if let last = box.failure {
            error = WebSocketError(.timedOut, "\(error.message); the last attempt: \(last.message)", phase: .connect)
        }
        throw Failure(error)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_send(
    _ session: wsx_session, _ kind: wsx_kind, _ data: UnsafeRawPointer?, _ length: Int, _ timeout_ms: Int64,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let box = try Handles.sessions.find(session.id, "session")
        let message = try WebSocketMessage(try .init(kind), copying: try bytes(data, length))
        guard mayWait(for: box.loop) else {
            if !box.sendInside(message) { throw .full }
            return
        }
        let session = box.session
        // Found out without a wait, which with a timeout of 0 would be over first.
        if session.isShutdown, let failure = session.failure { throw Failure(failure) }
        try wait(timeout_ms, on: box.loop, phase: .send) { () async throws(WebSocketError) in
            try await session.send(message)
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_receive(
    _ session: wsx_session, _ timeout_ms: Int64, _ message: UnsafeMutablePointer<wsx_message>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let result = try required(message, "message")
        result.pointee = wsx_message()
        let box = try Handles.sessions.find(session.id, "session")
        guard !box.takesMessages else { throw .argument("the session's messages go to on_event") }
        let session = box.session
        result.pointee = wsx_message(
            try wait(timeout_ms, on: box.loop, phase: .receive) { () async throws(WebSocketError) in
                try await session.receive()
            })
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_subscribe(
    _ session: wsx_session, _ channel: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.sessions.find(session.id, "session")
        guard let channel = try text(channel, "channel") else { throw .argument("channel is NULL") }
        let session = box.session
        Task(executorPreference: box.loop.taskExecutor) {
            // Only the encoding of the channel could throw, and C's is a pattern. What goes wrong later is in the events.
            try? await session.subscribe(channel)
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_unsubscribe(
    _ session: wsx_session, _ channel: UnsafePointer<CChar>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.sessions.find(session.id, "session")
        guard let channel = try text(channel, "channel") else { throw .argument("channel is NULL") }
        let session = box.session
        Task(executorPreference: box.loop.taskExecutor) {
            // As in `wsx_session_subscribe`.
            try? await session.unsubscribe(channel)
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_connect(
    _ session: wsx_session, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.sessions.find(session.id, "session")
        let session = box.session
        // As in `wsx_session_subscribe`: whether it connects is told by the events.
        Task(executorPreference: box.loop.taskExecutor) { try? await session.connect() }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_disconnect(
    _ session: wsx_session, _ reconnect_after_ms: Int64, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: reconnect_after_ms, "reconnect_after_ms")
        let box = try Handles.sessions.find(session.id, "session")
        let session = box.session
        guard session.isConnected else {
            throw Failure(WSX_NOT_CONNECTED, "the session is \(session.state); there is no connection to leave")
        }
        let delay: Duration? = reconnect_after_ms < 0 ? nil : .milliseconds(reconnect_after_ms)
        // It throws when the connection has ended meanwhile, which is what was asked for.
        Task(executorPreference: box.loop.taskExecutor) { try? await session.disconnect(reconnectAfter: delay) }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_get_statistics(
    _ session: wsx_session, _ statistics: UnsafeMutablePointer<wsx_session_statistics>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let session = try Handles.sessions.find(session.id, "session").session
        try fill(statistics, "wsx_session_statistics") { () throws(Failure) in
            let now = session.statistics
            var value = wsx_session_statistics()
            value.is_connected = session.isConnected ? 1 : 0
            value.connects = UInt64(now.connects)
            value.disconnects = UInt64(now.disconnects)
            value.failed_attempts = UInt64(now.failedAttempts)
            value.gaps = UInt64(now.gaps)
            value.messages_received = UInt64(now.messagesReceived)
            value.bytes_received = UInt64(now.bytesReceived)
            value.messages_submitted = UInt64(now.messagesSubmitted)
            value.messages_written = UInt64(now.messagesWritten)
            value.messages_not_sent = UInt64(now.messagesNotSent)
            value.messages_unknown = UInt64(now.messagesUnknown)
            value.messages_pending = UInt64(now.messagesPending)
            value.messages_dropped = UInt64(now.messagesDropped)
            return value
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_shut_down(
    _ session: wsx_session, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try checkMayWait()
        let box = try Handles.sessions.find(session.id, "session")
        try wait(-1, on: box.loop) { () async throws(WebSocketError) in await box.shutDown() }
        Handles.sessions.remove(session.id)?.releaseWhenTold()
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_shut_down_start(
    _ session: wsx_session, _ done: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        guard let box = Handles.sessions.remove(session.id) else {
            _ = try Handles.sessions.find(session.id, "session")
            return
        }
        let user = Unchecked(user)
        Task(executorPreference: box.loop.taskExecutor) {
            await box.session.shutDown()
            guard let done else { return box.releaseWhenTold() }
            box.releaseWhenTold { done(user.value) }
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_session_free(_ session: wsx_session) -> wsx_status {
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard let box = Handles.sessions.remove(session.id) else { return wsx_status(WSX_INVALID_HANDLE) }
    Task(executorPreference: box.loop.taskExecutor) { await box.session.abort() }
    box.release()
    return wsx_status(WSX_OK)
}
