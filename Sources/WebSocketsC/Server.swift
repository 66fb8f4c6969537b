//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import HTTPTypes
import WebSocketCore
import WebSocketLoop
import WebSockets

/// What a server's handle stands for.
final class ServerBox: Sendable {
    let server: WebSocketServer
    let callbacks: Callbacks

    init(_ server: WebSocketServer, _ callbacks: Callbacks) {
        self.server = server
        self.callbacks = callbacks
    }

    /// Serves until the server is shut down, which every way to free the handle leads to.
    func start() {
        Task { [self] in
            try? await server.run { [callbacks] socket in
                let box = ConnectionBox.make(
                    callbacks: callbacks.forOneConnection(), loop: socket.eventLoop, freesItself: true)
                box.opened(socket)
                _ = try? await socket.closed()
                await box.finished()
            }
            callbacks.release(on: WebSocketEventLoopGroup.shared.next())
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_create(
    _ config: UnsafePointer<wsx_server_config>?, _ server: UnsafeMutablePointer<wsx_server>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(server, "server")
        result.pointee = wsx_server()
        var configuration = WebSocketServerConfiguration()
        var callbacks = Callbacks(nil, queue: nil)
        if let config = try copied(config, "wsx_server_config") {
            callbacks = Callbacks(
                try copied(config.callbacks, "wsx_callbacks"), queue: try CallbackQueue.named(config.queue))
            try configuration.apply(config)
            if let hook = config.on_request { configuration.onRequest = decider(hook, callbacks) }
        }
        let made: WebSocketServer
        do throws(WebSocketError) { made = try WebSocketServer(configuration: configuration) } catch {
            throw Failure(error)
        }
        let box = ServerBox(made, callbacks)
        result.pointee = wsx_server(id: Handles.servers.insert(box))
        box.start()
    }
}

extension WebSocketServerConfiguration {
    fileprivate mutating func apply(_ config: wsx_server_config) throws(Failure) {
        if let host = try text(config.host, "host") { self.host = host }
        guard (0...65_535).contains(config.port) else { throw .argument("port is \(config.port)") }
        port = Int(config.port)
        if let path = try text(config.unix_socket, "unix_socket") { addresses = [.unix(path: path)] }
        if config.does_not_listen != 0 { addresses = [] }
        switch (try text(config.certificate_file, "certificate_file"), try text(config.key_file, "key_file")) {
        case (nil, nil): break
        case (let certificate?, let key?): tls = .files(certificate: certificate, key: key)
        default: throw .argument("certificate_file and key_file belong together")
        }
        subprotocols = try texts(config.subprotocols, "subprotocols")
        let patterns = try texts(config.origins, "origins")
        if patterns.contains("*") {
            origins = .any
        } else if !patterns.isEmpty {
            origins = .only(Set(patterns))
        }
        if let time = try Duration.setting(config.handshake_timeout_ms, "handshake_timeout_ms") {
            handshakeTimeout = time
        }
        idleTimeout = try Duration.setting(config.idle_timeout_ms, "idle_timeout_ms")
        try options.apply(
            close: config.close_timeout_ms, pings: (config.ping_interval_ms, config.ping_timeout_ms),
            maximumMessage: config.maximum_message_size, outbound: config.outbound_bytes)
        if config.maximum_connections > 0 { maximumConnections = config.maximum_connections }
        if try !isOn(config.deflate, "deflate", byDefault: true) { options.compression = .disabled }
    }
}

// MARK: Deciding

private typealias Hook =
    @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<wsx_request>?, UnsafeMutablePointer<wsx_response>?) -> Void

private func decider(_ hook: @escaping Hook, _ callbacks: Callbacks) -> WebSocketUpgradeHook {
    { request in
        guard let queue = callbacks.queue else {
            var decision = WebSocketUpgradeDecision.accept()
            asCallback { decision = decide(request, hook, callbacks.user) }
            return decision
        }
        return await withCheckedContinuation { continuation in
            queue.push(
                .init(
                    run: { continuation.resume(returning: decide(request, hook, callbacks.user)) },
                    dropped: { continuation.resume(returning: .respond(status: 503, text: "shutting down")) }))
        }
    }
}

private func decide(
    _ request: WebSocketUpgradeRequest, _ hook: Hook, _ user: UnsafeMutableRawPointer?
) -> WebSocketUpgradeDecision {
    var pool = CStrings()
    var view = wsx_request()
    view.size = MemoryLayout<wsx_request>.size
    view.method = pool.string(request.method)
    view.target = pool.string(request.target)
    view.host = pool.string(request.host)
    view.origin = request.origin.map { pool.string($0) }
    view.remote_address = pool.string(request.remoteAddress?.description ?? "")
    view.headers = pool.list(request.headers.flatMap { [$0.name.rawName, $0.value] })
    view.subprotocols = pool.list(request.subprotocols)
    view.is_websocket = request.isWebSocket ? 1 : 0
    view.is_secure = request.isSecure ? 1 : 0
    var response = wsx_response()
    response.size = MemoryLayout<wsx_response>.size
    response.status = 101
    withUnsafePointer(to: view) { hook(user, $0, &response) }
    defer { pool.free() }
    do throws(Failure) {
        let headers = try fields(response.headers)
        guard response.status == 101 else {
            return .respond(
                status: Int(response.status), headers: headers,
                body: Array(try bytes(response.body, response.body_length)))
        }
        let name = try text(response.subprotocol, "subprotocol")
        return .accept(subprotocol: name.map { .named($0) } ?? .automatic, headers: headers)
    } catch {
        return .respond(status: 500, text: "the server could not answer")
    }
}

/// Strings for C, until `free`.
private struct CStrings {
    private var strings: [UnsafeMutablePointer<CChar>] = []
    private var lists: [UnsafeMutablePointer<UnsafePointer<CChar>?>] = []

    mutating func string(_ text: String) -> UnsafePointer<CChar> {
        let count = text.utf8.count
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: count + 1)
        for (index, byte) in text.utf8.enumerated() { memory[index] = CChar(bitPattern: byte) }
        memory[count] = 0
        strings.append(memory)
        return UnsafePointer(memory)
    }

    mutating func list(_ texts: [String]) -> UnsafePointer<UnsafePointer<CChar>?> {
        let memory = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: texts.count + 1)
        for (index, text) in texts.enumerated() { (memory + index).initialize(to: string(text)) }
        (memory + texts.count).initialize(to: nil)
        lists.append(memory)
        return UnsafePointer(memory)
    }

    func free() {
        for memory in strings { memory.deallocate() }
        for memory in lists { memory.deallocate() }
    }
}

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
public func wsx_server_adopt(
    _ server: wsx_server, _ descriptor: CInt, _ connection: UnsafeMutablePointer<wsx_connection>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(connection, "connection")
        result.pointee = wsx_connection()
        let box = try Handles.servers.find(server.id, "server")
        let callbacks = box.callbacks.forOneConnection()
        let id = try wait(-1, on: nil) { () async throws(WebSocketError) in
            let socket = try await box.server.accept(try WebSocketConnectedSocket(adopting: descriptor))
            let adopted = ConnectionBox.make(callbacks: callbacks, loop: socket.eventLoop)
            adopted.opened(socket)
            return adopted.id
        }
        result.pointee = wsx_connection(id: id)
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
        try checkMayWait()
        let box = try Handles.servers.find(server.id, "server")
        let timeout: Duration? = timeout_ms < 0 ? nil : .milliseconds(timeout_ms)
        try wait(-1, on: nil) { () async throws(WebSocketError) in await box.server.shutDown(timeout: timeout) }
        _ = Handles.servers.remove(server.id)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_server_free(_ server: wsx_server) -> wsx_status {
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard let box = Handles.servers.remove(server.id) else { return wsx_status(WSX_INVALID_HANDLE) }
    Task { await box.server.shutDown(timeout: .zero) }
    return wsx_status(WSX_OK)
}
