//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims

/// A connection of libwebsockets' (a wsi), for its owner, on the loop's thread. Good until `WireOwner.destroyed`.
@safe struct Wire {
    let pointer: OpaquePointer

    @inline(__always)
    init(_ pointer: OpaquePointer) { unsafe self.pointer = unsafe pointer }

    /// libwebsockets reads nothing from the socket.
    func pauseReading() { unsafe lws_rx_flow_control(pointer, 0) }

    /// No time of libwebsockets' own runs, as it would for a server's handshake.
    func clearTimeout() { unsafe lws_set_timeout(pointer, NO_PENDING_TIMEOUT, 0) }

    /// Lets libwebsockets read a client whose TLS session is up. It may be gone afterwards.
    func letGo() { unsafe wsx_lws_let_go(lws_get_context(pointer), pointer) }

    /// Writes what the raw role's socket takes now; returns how much that was, or -1 when the socket is dead.
    func send(_ bytes: UnsafeRawBufferPointer) -> Int { unsafe wsx_lws_send(pointer, bytes.baseAddress, bytes.count) }

    /// Has `becameWritable` called once the socket takes bytes again.
    func awaitWritable() { unsafe lws_callback_on_writable(pointer) }

    /// Ends it now; not inside one of libwebsockets' callbacks.
    func kill() { unsafe wsx_lws_kill(pointer) }

    /// `nil` without TLS.
    var tlsStream: TLSStream? { unsafe TLSStream(wsi: pointer) }
    var tlsInfo: WebSocketTLSInfo? { unsafe WebSocketTLSInfo(wsi: pointer) }
}

extension WireOwner {
    /// What the owner owns; `nil` before libwebsockets has it, and after it is gone.
    var wire: Wire? { unsafe wsi.map { unsafe Wire($0) } }

    /// Gives the socket of a client to libwebsockets, in its raw role, and with it the count of its descriptor.
    ///
    /// - Returns: `false` when libwebsockets did not take it. Then it is closed.
    func adopt(_ descriptor: CInt, into vhost: Vhost?, secure: Bool) -> Bool {
        guard let vhost else {
            Sockets.close(descriptor)
            loop.counters.descriptors.subtract(1)
            return false
        }
        loop.resources.adopting = self
        let adopted = unsafe wsx_lws_adopt(vhost.handle, descriptor, secure)
        guard loop.resources.adopting == nil else {
            loop.resources.adopting = nil
            loop.counters.descriptors.subtract(1)
            return false
        }
        return unsafe adopted != nil
    }
}
