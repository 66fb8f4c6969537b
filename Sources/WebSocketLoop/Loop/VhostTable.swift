//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The vhosts of one loop: one for plain sockets, and one per TLS context. 4.1.6 cannot destroy a vhost that anything is
/// bound to, so one goes only when its last connection is gone.
struct VhostTable {
    private var plainVhost: Vhost?
    private var clients: [ObjectIdentifier: Vhost] = [:]
    private var servers: [ObjectIdentifier: Vhost] = [:]

    /// Clients keep at most this many TLS vhosts that no connection uses.
    private static let maximumUnusedClients = 16

    init() {}

    /// The vhost of plain sockets.
    mutating func plainVhost(of loop: WebSocketEventLoop) -> Vhost? {
        if plainVhost == nil { plainVhost = Vhost(loop: loop, kind: .plain) }
        return plainVhost
    }

    mutating func plain(of loop: WebSocketEventLoop) -> OpaquePointer? { unsafe plainVhost(of: loop)?.handle }

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
        guard let vhost = Vhost(loop: loop, kind: .client(tls)) else { return nil }
        vhost.users = 1
        clients[ObjectIdentifier(tls)] = vhost
        return vhost
    }

    /// The vhost of a server's TLS context. It lives as long as the loop: servers are few.
    mutating func acquire(_ tls: ServerTLSContext, of loop: WebSocketEventLoop) -> Vhost? {
        if let known = servers[ObjectIdentifier(tls)] { return known }
        guard let vhost = Vhost(loop: loop, kind: .server(tls)) else { return nil }
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
