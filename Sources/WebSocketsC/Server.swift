//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import HTTPTypes
import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop
import WebSockets

/// What a server's handle stands for.
final class ServerBox: Sendable {
    let server: WebSocketServer
    let callbacks: Callbacks
    /// Whether `on_request` decides.
    let asks: Bool

    private struct Open {
        /// Those whose end the program has not heard of.
        var boxes: [UInt64: ConnectionBox] = [:]
        var isStopping = false
    }
    private let open = Mutex(Open())

    /// What a reload reads again.
    private let tls: Mutex<WebSocketTLSServerConfiguration?>

    init(_ server: WebSocketServer, _ callbacks: Callbacks, asks: Bool, tls: WebSocketTLSServerConfiguration?) {
        self.server = server
        self.callbacks = callbacks
        self.asks = asks
        self.tls = Mutex(tls)
    }

    func reload(_ config: wsx_server_config?) throws(Failure) {
        var wanted = tls.withLock { $0 }
        if let config { wanted = try .named(by: config) }
        guard let wanted else {
            throw Failure(
                WSX_INVALID_CONFIGURATION, "there is no certificate_file to read; the server was created without one")
        }
        do throws(WebSocketError) { try server.reloadTLS(wanted) } catch { throw Failure(error) }
        tls.withLock { $0 = wanted }
    }

    /// Serves until the server is shut down, which every way to free the handle leads to.
    func start() {
        Task { [self] in
            try? await server.run { [self] socket in
                let box = take(socket, freesItself: true)
                _ = try? await socket.closed()
                if isStopping { box.resume(forGood: true) }
                await box.finished()
            }
            callbacks.release(on: Loops.next())
        }
    }

    /// Makes a connection the program's.
    private func take(_ socket: WebSocketConnection, freesItself: Bool) -> ConnectionBox {
        // The last callback comes after all of this connection's.
        callbacks.beginUse()
        let box = ConnectionBox.make(
            callbacks: callbacks.forOneConnection(), loop: socket.eventLoop, freesItself: freesItself,
            whenGone: { [self] id in
                _ = open.withLock { $0.boxes.removeValue(forKey: id) }
                callbacks.endUse()
            })
        open.withLock { $0.boxes[box.id] = box }
        box.opened(socket)
        return box
    }

    /// Does the handshake on a socket, which is this server's from here on.
    func adopt(_ descriptor: CInt, freesItself: Bool) async throws(WebSocketError) -> ConnectionBox {
        let socket = try await server.accept(try WebSocketConnectedSocket(adopting: descriptor))
        let box = take(socket, freesItself: freesItself)
        // Nothing else looks when it ends: no handler runs for it.
        socket.wire.addEndObserver { [self] _ in if isStopping { box.resume(forGood: true) } }
        return box
    }

    private var isStopping: Bool { open.withLock { $0.isStopping } }

    /// The handle is gone, or is about to be. A connection that the program has paused for good does not keep the server
    /// from its end.
    func stop(timeout: Duration) async {
        let ended = open.withLock { open in
            open.isStopping = true
            return open.boxes.values.filter(\.hasEnded)
        }
        for box in ended { box.resume(forGood: true) }
        await server.shutDown(timeout: timeout)
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
        configuration.logger = Log.logger
        configuration.eventLoopGroup = Loops.shared
        var callbacks = Callbacks(nil, queue: nil)
        if let config = try copied(config, "wsx_server_config") {
            callbacks = Callbacks(
                try copied(config.callbacks, "wsx_callbacks"), queue: try CallbackQueue.named(config.queue))
            try configuration.apply(config)
            if let hook = config.on_request {
                configuration.onRequestAttaching = decider(hook, callbacks, config.on_request_dropped)
            }
        }
        let made: WebSocketServer
        do throws(WebSocketError) { made = try WebSocketServer(configuration: configuration) } catch {
            throw Failure(error)
        }
        let box = ServerBox(made, callbacks, asks: configuration.onRequestAttaching != nil, tls: configuration.tls)
        result.pointee = wsx_server(id: Handles.servers.insert(box))
        box.start()
    }
}

extension WebSocketServerConfiguration {
    fileprivate mutating func apply(_ config: wsx_server_config) throws(Failure) {
        if let host = try text(config.host, "host") { self.host = host }
        guard (0...65_535).contains(config.port) else { throw .argument("port is \(config.port)") }
        port = Int(config.port)
        guard (0...0o777).contains(config.unix_socket_mode) else {
            throw .argument("unix_socket_mode is \(config.unix_socket_mode); it must be in 0...0777")
        }
        if let path = try text(config.unix_socket, "unix_socket") {
            let mode = config.unix_socket_mode == 0 ? 0o600 : UInt32(config.unix_socket_mode)
            addresses = [.unix(path: path, permissions: mode)]
        }
        let descriptors = try list(config.listen_descriptors, config.listen_descriptor_count, "listen_descriptors")
        if !descriptors.isEmpty { addresses = descriptors.map { .descriptor($0) } }
        if config.does_not_listen != 0 { addresses = [] }
        tls = try WebSocketTLSServerConfiguration.named(by: config)
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
        if config.idle_timeout_ms != -1 {
            idleTimeout = try Duration.setting(config.idle_timeout_ms, "idle_timeout_ms")
        }
        try options.apply(
            close: config.close_timeout_ms, pings: (config.ping_interval_ms, config.ping_timeout_ms),
            maximumMessage: config.maximum_message_size, outbound: config.outbound_bytes)
        if config.maximum_connections > 0 { maximumConnections = config.maximum_connections }
        if try !isOn(config.deflate, "deflate", byDefault: true) { options.compression = .disabled }
    }
}

extension WebSocketTLSServerConfiguration {
    /// What C names; nil without a certificate.
    fileprivate static func named(by config: wsx_server_config) throws(Failure) -> Self? {
        var tls: Self
        switch (try text(config.certificate_file, "certificate_file"), try text(config.key_file, "key_file")) {
        case (nil, nil):
            guard config.client_ca_file == nil, config.identity_count == 0 else {
                throw .argument("client_ca_file and identities need certificate_file and key_file beside them")
            }
            return nil
        case (let certificate?, let key?):
            tls = .files(
                certificate: certificate, key: key, passphrase: try text(config.key_passphrase, "key_passphrase"))
        default: throw .argument("certificate_file and key_file belong together")
        }
        for identity in try list(config.identities, config.identity_count, "identities") {
            guard let certificate = try text(identity.certificate_file, "certificate_file"),
                let key = try text(identity.key_file, "key_file")
            else { throw .argument("each of identities needs certificate_file and key_file") }
            let names = try texts(identity.names, "names")
            guard !names.isEmpty else { throw .argument("each of identities needs names") }
            tls.additionalIdentities.append(
                Identity(
                    serverNames: names, certificateChain: .file(certificate), privateKey: .file(key),
                    passphrase: try text(identity.key_passphrase, "key_passphrase")))
        }
        if let authorities = try text(config.client_ca_file, "client_ca_file") {
            switch config.client_certificate_optional {
            case 0: tls.clientCertificates = .required(.file(authorities))
            case 1: tls.clientCertificates = .optional(.file(authorities))
            default: throw .argument("client_certificate_optional is neither 0 nor 1")
            }
        }
        tls.minimumVersion = try .named(config.minimum_tls)
        return tls
    }
}

// MARK: Deciding

private typealias Hook =
    @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<wsx_request>?, UnsafeMutablePointer<wsx_response>?) -> Void

private func decider(
    _ hook: @escaping Hook, _ callbacks: Callbacks, _ dropped: RequestData.Dropped?
) -> WebSocketAttachingHook {
    { request in
        callbacks.beginUse()
        defer { callbacks.endUse() }
        guard let queue = callbacks.queue else {
            var decision = WebSocketAttachingDecision(.accept())
            asCallback { decision = decide(request, hook, callbacks, dropped) }
            return decision
        }
        return await suspend { continuation in
            queue.push(
                .init(
                    run: { continuation.resume(returning: decide(request, hook, callbacks, dropped)) },
                    dropped: {
                        continuation.resume(returning: .init(.respond(status: 503, text: "shutting down")))
                    }))
        }
    }
}

private func decide(
    _ request: WebSocketUpgradeRequest, _ hook: Hook, _ callbacks: Callbacks, _ dropped: RequestData.Dropped?
) -> WebSocketAttachingDecision {
    let strings = CStrings()
    var view = wsx_request()
    view.size = MemoryLayout<wsx_request>.size
    view.method = strings.string(request.method)
    view.target = strings.string(request.target)
    view.host = strings.string(request.host)
    view.origin = request.origin.map { strings.string($0) }
    view.remote_address = strings.string(request.remoteAddress?.description ?? "")
    view.headers = strings.list(request.headers)
    view.subprotocols = strings.list(request.subprotocols)
    view.is_websocket = request.isWebSocket ? 1 : 0
    view.is_secure = request.isSecure ? 1 : 0
    view.local_address = strings.string(request.localAddress?.description ?? "")
    view.certificate = strings.certificate(request.tls?.peerCertificate)
    var response = wsx_response()
    response.size = MemoryLayout<wsx_response>.size
    response.status = 101
    withExtendedLifetime(strings) { withUnsafePointer(to: view) { hook(callbacks.user, $0, &response) } }
    // From here on it is given back, unless a connection takes it.
    let data = response.data.map { RequestData($0, callbacks, dropped) }
    do throws(Failure) {
        let headers = try fields(response.headers)
        guard response.status == 101 else {
            return .init(
                .respond(
                    status: Int(response.status), headers: headers,
                    body: Array(try bytes(response.body, response.body_length))), attachment: data)
        }
        let name = try text(response.subprotocol, "subprotocol")
        return .init(
            .accept(subprotocol: name.map { .named($0) } ?? .automatic, headers: headers),
            user: try text(response.user, "user"), attachment: data)
    } catch {
        return .init(.respond(status: 500, text: "the server could not answer"))
    }
}
