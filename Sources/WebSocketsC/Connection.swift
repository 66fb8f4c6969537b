//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import HTTPTypes
import WebSocketCore
import WebSocketLoop
import WebSockets

// MARK: Opening

/// What both ways of opening begin with.
private func begin(
    _ url: UnsafePointer<CChar>?, _ config: UnsafePointer<wsx_client_config>?
) throws(Failure) -> (ConnectionBox, @Sendable () async throws(WebSocketError) -> WebSocketConnection) {
    guard let url = try text(url, "url") else { throw .argument("url is NULL") }
    var configuration = WebSocketClientConfiguration()
    var callbacks: wsx_callbacks?
    var queue: CallbackQueue?
    if let config = try copied(config, "wsx_client_config") {
        try configuration.apply(config)
        callbacks = try copied(config.callbacks, "wsx_callbacks")
        queue = try CallbackQueue.named(config.queue)
    }
    let loop = configuration.eventLoop ?? Loops.next()
    configuration.eventLoop = loop
    // Found out now, while the caller can be told.
    do throws(WebSocketError) { _ = try configuration.request(for: url) } catch { throw Failure(error) }
    let box = ConnectionBox.make(callbacks: Callbacks(callbacks, queue: queue), loop: loop)
    let ready = configuration
    return (
        box,
        { () async throws(WebSocketError) -> WebSocketConnection in
            try await WebSocketClient.connect(to: url, configuration: ready)
        }
    )
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connect(
    _ url: UnsafePointer<CChar>?, _ config: UnsafePointer<wsx_client_config>?,
    _ connection: UnsafeMutablePointer<wsx_connection>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(connection, "connection")
        result.pointee = wsx_connection()
        try checkMayWait()
        let (box, open) = try begin(url, config)
        do throws(Failure) {
            try wait(-1, on: box.loop) { () async throws(WebSocketError) in box.opened(try await open()) }
        } catch {
            Handles.connections.remove(box.id)?.release(isTold: false)
            throw error
        }
        result.pointee = wsx_connection(id: box.id)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_connect_start(
    _ url: UnsafePointer<CChar>?, _ config: UnsafePointer<wsx_client_config>?,
    _ connection: UnsafeMutablePointer<wsx_connection>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(connection, "connection")
        result.pointee = wsx_connection()
        let (box, open) = try begin(url, config)
        // Before any callback can name it.
        result.pointee = wsx_connection(id: box.id)
        box.keep(
            Task(executorPreference: box.loop.taskExecutor) {
                do throws(WebSocketError) {
                    box.opened(try await open())
                } catch {
                    box.failed(error)
                }
            })
    }
}

// MARK: Sending

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_send(
    _ connection: wsx_connection, _ kind: wsx_kind, _ data: UnsafeRawPointer?, _ length: Int, _ timeout_ms: Int64,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let box = try Handles.connections.find(connection.id, "connection")
        let wire = try box.wire()
        let kind = try WebSocketMessage.Kind(kind)
        let bytes = try bytes(data, length)
        if wire.loop.isOnLoop {
            try check(bytes, are: kind)
            switch wire.send(kind, bytes) {
            case .sent: return
            case .full:
                box.tellOfRoom(wire)
                throw .full
            case .closed: throw Failure(wire.closedSendError())
            }
        }
        let message = try WebSocketMessage(kind, copying: bytes)
        if wire.sendNow(message) { return }
        guard wire.isUsable else { throw Failure(wire.closedSendError()) }
        guard timeout_ms != 0, mayWait(for: wire.loop) else {
            box.tellOfRoom(wire)
            throw .full
        }
        try wait(timeout_ms, on: wire.loop, phase: .send) { () async throws(WebSocketError) in
            try await wire.sendSlowly(message)
        }
    }
}

extension Failure {
    static var full: Self { Self(WSX_FULL, "the outbound buffer is full; the peer does not read as fast as you write") }
}

private func check(_ bytes: UnsafeRawBufferPointer, are kind: WebSocketMessage.Kind) throws(Failure) {
    guard kind == .text else { return }
    var validator = UTF8Validator()
    guard validator.consume(bytes), validator.isComplete else { throw .notText }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_send_nocopy(
    _ connection: wsx_connection, _ kind: wsx_kind, _ data: UnsafeRawPointer?, _ length: Int,
    _ release: (@convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, wsx_status) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.connections.find(connection.id, "connection")
        let wire = try box.wire()
        let kind = try WebSocketMessage.Kind(kind)
        let bytes = try bytes(data, length)
        guard let release else { throw .argument("release is NULL") }
        try check(bytes, are: kind)
        guard wire.isUsable else { throw Failure(wire.closedSendError()) }
        let callbacks = box.callbacks
        // The program leaves the memory alone until it is told.
        let memory = Unchecked((bytes: bytes, data: data, user: user))
        let finish: @Sendable (Int) -> Void = { status in
            let tell: @Sendable () -> Void = { release(memory.value.user, memory.value.data, wsx_status(status)) }
            if let queue = callbacks.queue { queue.push(tell) } else { asCallback(tell) }
        }
        let isAccepted = wire.loop.execute {
            switch wire.send(kind, memory.value.bytes) {
            case .sent: finish(WSX_OK)
            case .closed: finish(wire.closedSendError().code.status)
            case .full:
                Task(executorPreference: wire.loop.taskExecutor) {
                    do throws(WebSocketError) {
                        let copy = Array(memory.value.bytes)
                        try await wire.sendSlowly(
                            kind == .binary ? .binary(copy) : .text(String(decoding: copy, as: UTF8.self)))
                        finish(WSX_OK)
                    } catch {
                        finish(error.code.status)
                    }
                }
            }
        }
        guard isAccepted else { throw Failure(WSX_SHUT_DOWN, "the event loop has been shut down") }
    }
}

// MARK: Receiving

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_receive(
    _ connection: wsx_connection, _ timeout_ms: Int64, _ message: UnsafeMutablePointer<wsx_message>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let result = try required(message, "message")
        result.pointee = wsx_message()
        let box = try Handles.connections.find(connection.id, "connection")
        let wire = try box.wire()
        guard !box.callbacks.takesMessages else {
            throw .argument("the connection's messages go to on_message")
        }
        switch wire.popMessageNow() {
        case .message(let message): result.pointee = wsx_message(message)
        case .ended(let error): throw Failure(error)
        case .empty:
            guard timeout_ms != 0 else {
                throw Failure(
                    WebSocketError(
                        .timedOut, "no message is there; wait for one, with a timeout other than 0", phase: .receive))
            }
            result.pointee = wsx_message(
                try wait(timeout_ms, on: wire.loop, phase: .receive) { () async throws(WebSocketError) in
                    try await wire.receive()
                })
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_message_free(_ message: UnsafeMutablePointer<wsx_message>?) -> wsx_status {
    guard let message else { return wsx_status(WSX_INVALID_ARGUMENT) }
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard Handles.messages.remove(message.pointee.id) != nil else { return wsx_status(WSX_INVALID_HANDLE) }
    message.pointee = wsx_message()
    return wsx_status(WSX_OK)
}
