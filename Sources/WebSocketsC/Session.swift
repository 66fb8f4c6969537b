//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import Synchronization
import WebSocketCore
import WebSocketLoop
import WebSockets

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
