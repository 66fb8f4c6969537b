//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import HTTPTypes
import Synchronization
import WebSocketCore
import WebSocketLoop
import WebSockets

// MARK: While it runs

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_port(
    _ server: wsx_server, _ port: UnsafeMutablePointer<Int32>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try required(port, "port").pointee = Int32(try Handles.servers.find(server.id, "server").server.port)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_reload_tls(
    _ server: wsx_server, _ config: UnsafePointer<wsx_server_config>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.servers.find(server.id, "server")
        try box.reload(try copied(config, "wsx_server_config"))
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_adopt(
    _ server: wsx_server, _ descriptor: CInt, _ connection: UnsafeMutablePointer<wsx_connection>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(connection, "connection")
        result.pointee = wsx_connection()
        let box = try Handles.servers.find(server.id, "server")
        guard box.callbacks.queue?.isDispatchedHere != true || !box.asks else {
            throw Failure(
                WSX_WRONG_THREAD,
                "the call would wait for on_request, which this thread dispatches; use wsx_server_adopt_start")
        }
        let id = try wait(-1, on: nil) { () async throws(WebSocketError) in
            try await box.adopt(descriptor, freesItself: false).id
        }
        result.pointee = wsx_connection(id: id)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_adopt_start(
    _ server: wsx_server, _ descriptor: CInt,
    _ done: (@convention(c) (UnsafeMutableRawPointer?, wsx_connection, UnsafePointer<wsx_error>?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.servers.find(server.id, "server")
        // Looked at now, while the caller can be told.
        let taken: CInt
        do throws(WebSocketError) {
            taken = try WebSocketConnectedSocket(adopting: descriptor).release()
        } catch {
            throw Failure(error)
        }
        let user = Unchecked(user)
        let queue = box.callbacks.queue
        Task {
            do throws(WebSocketError) {
                let adopted = try await box.adopt(taken, freesItself: done == nil)
                guard let done else { return }
                let id = adopted.id
                // After on_open, which the loop tells.
                adopted.loop.execute { tell(queue) { done(user.value, wsx_connection(id: id), nil) } }
            } catch {
                guard let done else { return }
                let reason = Unchecked(wsx_error(Failure(error)))
                tell(queue) { withUnsafePointer(to: reason.value) { done(user.value, wsx_connection(), $0) } }
            }
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_broadcast(
    _ server: wsx_server, _ kind: wsx_kind, _ data: UnsafeRawPointer?, _ length: Int,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let server = try Handles.servers.find(server.id, "server").server
        server.broadcast(try WebSocketMessage(try .init(kind), copying: try bytes(data, length)))
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_get_statistics(
    _ server: wsx_server, _ statistics: UnsafeMutablePointer<wsx_server_statistics>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let server = try Handles.servers.find(server.id, "server").server
        try fill(statistics, "wsx_server_statistics") { () throws(Failure) in
            let now = server.statistics
            var value = wsx_server_statistics()
            value.sockets = UInt64(clamping: now.sockets)
            value.accepted = UInt64(clamping: now.accepted)
            value.refused_for_limits = UInt64(clamping: now.refusedForLimits)
            value.broadcast_sent = UInt64(clamping: now.broadcasts.sent)
            value.broadcast_dropped = UInt64(clamping: now.broadcasts.dropped + now.broadcasts.replaced)
            return value
        }
    }
}

// MARK: Ending

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_shut_down(
    _ server: wsx_server, _ timeout_ms: Int64, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        try checkMayWait()
        let box = try Handles.servers.find(server.id, "server")
        let timeout = Duration.limit(timeout_ms)
        try wait(-1, on: nil) { () async throws(WebSocketError) in await box.stop(timeout: timeout) }
        _ = Handles.servers.remove(server.id)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_shut_down_start(
    _ server: wsx_server, _ timeout_ms: Int64, _ done: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        guard let box = Handles.servers.remove(server.id) else {
            _ = try Handles.servers.find(server.id, "server")
            return
        }
        let timeout = Duration.limit(timeout_ms)
        let user = Unchecked(user)
        Task {
            await box.stop(timeout: timeout)
            guard let done else { return }
            tell(box.callbacks.queue) { done(user.value) }
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_free(_ server: wsx_server) -> wsx_status {
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard let box = Handles.servers.remove(server.id) else { return wsx_status(WSX_INVALID_HANDLE) }
    Task { await box.stop(timeout: .zero) }
    return wsx_status(WSX_OK)
}
