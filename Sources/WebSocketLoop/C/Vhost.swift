//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Glibc

/// One vhost, and the TLS context that its sockets have.
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
    /// The vhost of an attached loop is gone.
    var isFinalized = false

    init?(loop: WebSocketEventLoop, kind: Kind) {
        // Unguessable: a client's Host header must never pick a vhost.
        name = "wsx-\(String(Host.randomNumber(), radix: 36))\(String(Host.randomNumber(), radix: 36))"
        self.kind = kind
        var settings = unsafe wsx_vhost_settings()
        unsafe settings.name = loop.resources.keepForVhosts(name)
        unsafe settings.is_attached = loop.attachment != nil
        switch kind {
        case .plain: break
        case .client(let tls):
            unsafe settings.unused_client = unsafe tls.context
            unsafe loop.resources.fillTLSContext = { unsafe tls.fill($0) }
        case .server(let tls):
            unsafe settings.unused_client = unsafe tls.unusedClientContext
            unsafe loop.resources.fillTLSContext = { unsafe tls.fill($0) }
        }
        defer { unsafe loop.resources.fillTLSContext = nil }
        if let attachment = loop.attachment { unsafe attachment.accompany(self, &settings) }
        guard let handle = unsafe wsx_vhost_create(loop.context, &settings) else { return nil }
        unsafe self.handle = unsafe handle
    }

    /// `again`: libwebsockets puts it off while something is bound to the vhost, and has to be asked once more.
    func destroy(again: Bool = false) {
        precondition(users == 0, "a vhost with connections cannot be destroyed")
        guard isAlive || again, !isFinalized else { return }
        isAlive = false
        unsafe lws_vhost_destroy(handle)
    }
}
