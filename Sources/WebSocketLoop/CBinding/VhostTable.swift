//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc

/// The vhosts of one loop: one for plain sockets, and one per TLS context. 4.1.6 cannot destroy a vhost that anything is
/// bound to, so one goes only when its last connection is gone.
struct VhostTable {
    private var plainVhost: Vhost?
    private var clients: [ObjectIdentifier: Vhost] = [:]
    private var servers: [ObjectIdentifier: Vhost] = [:]

    /// Clients keep at most so many TLS vhosts that no connection uses.
    private static let maximumUnusedClients = 16

    init() {}

    mutating func plain(of loop: WebSocketEventLoop) -> OpaquePointer? {
        if let plainVhost { return unsafe plainVhost.handle }
        plainVhost = Vhost(loop: loop, name: Vhost.uniqueName(), kind: .plain)
        return unsafe plainVhost?.handle
    }

    var plainName: String? { plainVhost?.name }

    /// The vhost of a client's TLS context, counted as used until `release`.
    mutating func acquire(_ tls: ClientTLSContext, of loop: WebSocketEventLoop) -> Vhost? {
        if let known = clients[ObjectIdentifier(tls)] {
            known.users += 1
            return known
        }
        if clients.count >= Self.maximumUnusedClients {
            clients = clients.filter { entry in
                if entry.value.users == 0 { entry.value.destroy() }
                return entry.value.isAlive
            }
        }
        guard let vhost = Vhost(loop: loop, name: Vhost.uniqueName(), kind: .client(tls)) else { return nil }
        vhost.users = 1
        clients[ObjectIdentifier(tls)] = vhost
        return vhost
    }

    /// The vhost of a server's TLS context. It lives as long as the loop: servers are few.
    mutating func acquire(_ tls: ServerTLSContext, of loop: WebSocketEventLoop) -> Vhost? {
        if let known = servers[ObjectIdentifier(tls)] { return known }
        guard let vhost = Vhost(loop: loop, name: Vhost.uniqueName(), kind: .server(tls)) else { return nil }
        servers[ObjectIdentifier(tls)] = vhost
        return vhost
    }

    /// Ends all vhosts of a loop that leaves its context. Nothing may be bound to them any more.
    func destroyAll() {
        for vhost in clients.values { vhost.destroy(again: true) }
        plainVhost?.destroy(again: true)
    }

    mutating func removeAll() {
        // The context destroys its vhosts; the SSL_CTXs must outlive that.
        plainVhost = nil
        clients = [:]
        servers = [:]
    }
}

/// One vhost and the strings that libwebsockets keeps pointers to.
@safe final class Vhost {
    enum Kind {
        case plain
        case client(ClientTLSContext)
        case server(ServerTLSContext)
    }

    let name: String
    private(set) var handle: OpaquePointer!
    /// Keeps the TLS context alive as long as connections may use it.
    private let kind: Kind
    var users = 0
    private(set) var isAlive = true

    init?(loop: WebSocketEventLoop, name: String, kind: Kind) {
        self.name = name
        self.kind = kind
        // 4.1.6 frees a vhost's memory some time after `lws_vhost_destroy`, without saying when: the name stays as long
        // as the loop.
        let nameMemory = unsafe strdup(name)!
        unsafe loop.vhostNames.append(nameMemory)
        var info = unsafe lws_context_creation_info()
        unsafe info.vhost_name = unsafe UnsafePointer(nameMemory)
        unsafe info.protocols = unsafe LibWebSockets.protocols
        unsafe info.extensions = unsafe wsx_lws_extension_table()
        unsafe info.retry_and_idle_policy = unsafe LibWebSockets.noKeepAlive
        unsafe info.timeout_secs = LibWebSockets.never
        // The vhost's own, not the context's: without it a TLS handshake ended after 10 s.
        unsafe info.timeout_secs_ah_idle = LibWebSockets.never
        unsafe info.connect_timeout_secs = LibWebSockets.never
        unsafe info.alpn = unsafe UnsafePointer(Self.alpn)
        // An explicit empty proxy keeps libwebsockets from obeying the environment's `http_proxy`.
        unsafe info.http_proxy_address = unsafe UnsafePointer(Self.emptyString)
        switch kind {
        case .plain:
            unsafe info.port = CONTEXT_PORT_NO_LISTEN_SERVER
            // The host's listeners and adopted sockets are for its own vhosts only.
            if loop.attachment != nil { unsafe info.port = CONTEXT_PORT_NO_LISTEN }
        case .client(let tls):
            // Without a client's context libwebsockets would load the system's CAs into one that is never used.
            unsafe secure(&info, unusedClient: tls.context)
            unsafe loop.fillTLSContext = { unsafe tls.fill($0) }
        case .server(let tls):
            unsafe secure(&info, unusedClient: tls.unusedClientContext)
            unsafe loop.fillTLSContext = { unsafe tls.fill($0) }
        }
        defer { unsafe loop.fillTLSContext = nil }
        if let attachment = loop.attachment {
            unsafe info.protocols = unsafe LibWebSockets.attachedProtocols
            unsafe attachment.accompany(self, &info)
        }
        guard let handle = unsafe lws_create_vhost(loop.context, &info) else { return nil }
        unsafe self.handle = unsafe handle
    }

    /// Sockets adopted into the vhost get an SSL. libwebsockets has that for vhosts of servers only, and picks such a one
    /// for a socket of a host's by its port, which is none, and its name, which nothing can guess.
    private func secure(_ info: inout lws_context_creation_info, unusedClient: OpaquePointer) {
        unsafe info.port = CONTEXT_PORT_NO_LISTEN_SERVER
        unsafe info.options =
            UInt64(LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT) | UInt64(LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX)
        unsafe info.provided_client_ssl_ctx = unsafe unusedClient
    }

    /// The vhost of an attached loop is gone.
    var isFinalized = false

    /// `again`: libwebsockets puts it off while something is bound to the vhost, and has to be asked once more.
    func destroy(again: Bool = false) {
        precondition(users == 0, "a vhost with connections cannot be destroyed")
        guard isAlive || again, !isFinalized else { return }
        isAlive = false
        unsafe lws_vhost_destroy(handle)
    }

    // Kept for ever and never changed; libwebsockets only wants them without `const`.
    nonisolated(unsafe) private static let emptyString = unsafe strdup("")!
    nonisolated(unsafe) private static let alpn = unsafe strdup("http/1.1")!

    /// Unguessable: a client's Host header must never pick a vhost.
    static func uniqueName() -> String {
        var random: (UInt64, UInt64) = (0, 0)
        unsafe withUnsafeMutableBytes(of: &random) { unsafe wsx_random_bytes($0.baseAddress!, $0.count) }
        return "wsx-\(String(random.0, radix: 36))\(String(random.1, radix: 36))"
    }
}
