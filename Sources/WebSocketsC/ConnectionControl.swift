//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import HTTPTypes
import WebSocketCore
import WebSocketLoop
import WebSockets

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_ping(
    _ connection: wsx_connection, _ timeout_ms: Int64, _ microseconds: UnsafeMutablePointer<Int64>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let wire = try Handles.connections.find(connection.id, "connection").wire()
        let nanoseconds = try wait(timeout_ms, on: wire.loop, phase: .ping) { () async throws(WebSocketError) in
            try await wire.ping()
        }
        microseconds?.pointee = Int64(clamping: nanoseconds / 1_000)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_ping_start(
    _ connection: wsx_connection, _ timeout_ms: Int64,
    _ done: (@convention(c) (UnsafeMutableRawPointer?, Int64, UnsafePointer<wsx_error>?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        guard let done else { throw .argument("done is NULL") }
        let box = try Handles.connections.find(connection.id, "connection")
        let wire = try box.wire()
        let user = Unchecked(user)
        let queue = box.callbacks.queue
        let ping = Task(executorPreference: wire.loop.taskExecutor) { () -> Result<UInt64, WebSocketError> in
            do throws(WebSocketError) { return .success(try await wire.ping()) } catch { return .failure(error) }
        }
        let timer = LoopTimer(wire.loop)
        if timeout_ms >= 0 {
            wire.loop.execute { timer.start(.milliseconds(timeout_ms)) { ping.cancel() } }
        }
        Task(executorPreference: wire.loop.taskExecutor) {
            let result = await ping.value
            timer.cancel()
            switch result {
            case .success(let nanoseconds):
                tell(queue) { done(user.value, Int64(clamping: nanoseconds / 1_000), nil) }
            case .failure(let error):
                // Nothing but the timer cancels it.
                let failure =
                    error.code == .cancelled ? Failure.timedOut(after: timeout_ms, .ping) : Failure(error)
                let reason = Unchecked(wsx_error(failure))
                tell(queue) { withUnsafePointer(to: reason.value) { done(user.value, -1, $0) } }
            }
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_close(
    _ connection: wsx_connection, _ code: UInt16, _ reason: UnsafePointer<CChar>?,
    _ info: UnsafeMutablePointer<wsx_close_info>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        info?.pointee = wsx_close_info()
        let wire = try Handles.connections.find(connection.id, "connection").wire()
        let frame = WebSocketCloseFrame(
            code: WebSocketCloseCode(rawValue: code), reason: try text(reason, "reason") ?? "")
        do throws(WebSocketError) { try frame.validate() } catch { throw Failure(error) }
        guard mayWait(for: wire.loop) else {
            Task(executorPreference: wire.loop.taskExecutor) { await wire.closeRegardless(frame) }
            return
        }
        let ended = try wait(-1, on: wire.loop) { () async throws(WebSocketError) in try await wire.close(frame) }
        info?.pointee = wsx_close_info(ended)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_close_start(
    _ connection: wsx_connection, _ code: UInt16, _ reason: UnsafePointer<CChar>?,
    _ done: (@convention(c) (UnsafeMutableRawPointer?, UnsafePointer<wsx_close_info>?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.connections.find(connection.id, "connection")
        let wire = try box.wire()
        let frame = WebSocketCloseFrame(
            code: WebSocketCloseCode(rawValue: code), reason: try text(reason, "reason") ?? "")
        do throws(WebSocketError) { try frame.validate() } catch { throw Failure(error) }
        let user = Unchecked(user)
        let queue = box.callbacks.queue
        Task(executorPreference: wire.loop.taskExecutor) {
            await wire.closeRegardless(frame)
            guard let done else { return }
            let info = wire.finalCloseInfo.map { wsx_close_info($0) } ?? wsx_close_info()
            tell(queue) { withUnsafePointer(to: info) { done(user.value, $0) } }
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connection_pause(
    _ connection: wsx_connection, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in try Handles.connections.find(connection.id, "connection").pause() }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connection_resume(
    _ connection: wsx_connection, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in try Handles.connections.find(connection.id, "connection").resume() }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_abort(_ connection: wsx_connection, _ error: UnsafeMutablePointer<wsx_error>?) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let wire = try Handles.connections.find(connection.id, "connection").wire()
        Task(executorPreference: wire.loop.taskExecutor) { wire.abort() }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connection_free(_ connection: wsx_connection) -> wsx_status {
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard let box = Handles.connections.remove(connection.id) else { return wsx_status(WSX_INVALID_HANDLE) }
    box.release()
    return wsx_status(WSX_OK)
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connection_set_data(
    _ connection: wsx_connection, _ data: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try Handles.connections.find(connection.id, "connection").data = data
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connection_data(
    _ connection: wsx_connection, _ data: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(data, "data")
        result.pointee = nil
        result.pointee = try Handles.connections.find(connection.id, "connection").data
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connection_get_info(
    _ connection: wsx_connection, _ info: UnsafeMutablePointer<wsx_connection_info>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.connections.find(connection.id, "connection")
        try fill(info, "wsx_connection_info") { () throws(Failure) in
            var value = wsx_connection_info()
            value.latency_us = -1
            guard !box.isConnecting else { return value }
            guard !box.hasFailed else {
                value.state = Int32(WSX_STATE_CLOSED)
                return value
            }
            let socket = try box.socket()
            switch socket.state {
            case .open: value.state = Int32(WSX_STATE_OPEN)
            case .closing: value.state = Int32(WSX_STATE_CLOSING)
            case .closed: value.state = Int32(WSX_STATE_CLOSED)
            }
            value.deflate = socket.deflate == nil ? 0 : 1
            if let latency = socket.latency { value.latency_us = Int64(latency / .microseconds(1)) }
            if let ended = socket.closeInfo { value.close = wsx_close_info(ended) }
            put(socket.subprotocol ?? "", into: &value.subprotocol)
            put(socket.remoteAddress?.description ?? "", into: &value.remote_address)
            put(socket.tls?.version ?? "", into: &value.tls_version)
            put(socket.tls?.cipher ?? "", into: &value.tls_cipher)
            return value
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connection_get_handshake(
    _ connection: wsx_connection, _ handshake: UnsafeMutablePointer<wsx_handshake>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let socket = try Handles.connections.find(connection.id, "connection").socket()
        try fill(handshake, "wsx_handshake") { () throws(Failure) in
            let strings = CStrings()
            var value = wsx_handshake()
            value.target = strings.string(socket.requestTarget ?? "")
            value.headers = strings.list(socket.requestHeaders)
            value.user = socket.user.map { strings.string($0) }
            value.url = socket.url.map { strings.string($0.description) }
            value.status = Int32(socket.response?.status ?? 0)
            value.response_headers = strings.list(socket.response?.headers ?? [:])
            value.certificate = strings.certificate(socket.tls?.peerCertificate)
            value.remote_address = strings.string(socket.remoteAddress?.description ?? "")
            value.local_address = strings.string(socket.localAddress?.description ?? "")
            value.id = Handles.strings.insert(strings)
            return value
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_handshake_free(_ handshake: UnsafeMutablePointer<wsx_handshake>?) -> wsx_status {
    guard let handshake else { return wsx_status(WSX_INVALID_ARGUMENT) }
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard Handles.strings.remove(handshake.pointee.id) != nil else { return wsx_status(WSX_INVALID_HANDLE) }
    let size = handshake.pointee.size
    put(wsx_handshake(), into: UnsafeMutableRawPointer(handshake), size)
    return wsx_status(WSX_OK)
}
