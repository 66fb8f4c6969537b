//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import WebSocketCore

/// A connection of libwebsockets' (a wsi), for its owner, on the loop's thread. Good until `WireOwner.destroyed`.
@safe struct Wire {
    let pointer: OpaquePointer

    @inline(__always)
    init(_ pointer: OpaquePointer) { unsafe self.pointer = unsafe pointer }

    // MARK: In

    /// libwebsockets reads nothing from the socket.
    @inline(__always)
    func pauseReading() { unsafe lws_rx_flow_control(pointer, 0) }

    @inline(__always)
    func resumeReading() { unsafe lws_rx_flow_control(pointer, 1) }

    /// No time of libwebsockets' own runs, as it would for a server's handshake.
    func clearTimeout() { unsafe lws_set_timeout(pointer, NO_PENDING_TIMEOUT, 0) }

    /// Lets libwebsockets read a client whose TLS session is up. It may be gone afterwards.
    func letGo() { unsafe wsx_lws_let_go(lws_get_context(pointer), pointer) }

    // What a server's library tells of the piece of a frame that it hands over.

    @inline(__always)
    var isFinalFragment: Bool { unsafe lws_is_final_fragment(pointer) != 0 }
    @inline(__always)
    var isFirstFragment: Bool { unsafe lws_is_first_fragment(pointer) != 0 }
    @inline(__always)
    var isBinary: Bool { unsafe lws_frame_is_binary(pointer) != 0 }
    @inline(__always)
    var remainingBytes: UInt64 { unsafe UInt64(lws_remaining_packet_payload(pointer)) }
    @inline(__always)
    var reservedBits: UInt8 { unsafe UInt8(truncatingIfNeeded: lws_get_reserved_bits(pointer)) }

    /// Whether the end of the stream has been read.
    var hasEnded: Bool { unsafe wsx_stream_has_ended(pointer) != 0 }

    // MARK: Out

    /// Hands a burst of whole frames to a server's library, which keeps what the socket does not take. `false` when the
    /// socket is dead.
    @inline(__always)
    func write(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int) -> Bool {
        unsafe wsx_lws_write_raw(pointer, bytes, count) >= 0
    }

    /// Whether the library still holds a part of what it was given.
    @inline(__always)
    var holdsBytes: Bool { unsafe lws_partial_buffered(pointer) != 0 }

    /// Writes to the socket, or through its TLS. Returns how much was taken; `nil` when the socket is dead.
    @inline(__always)
    func send(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int? {
        let taken = unsafe wsx_lws_send(pointer, bytes, count)
        return taken < 0 ? nil : taken
    }

    /// `becameWritable` is called when the socket takes bytes again.
    func askForRoom() { unsafe lws_callback_on_writable(pointer) }

    /// Whether the library itself waits for room.
    func wantsToWrite(on loop: WebSocketEventLoop) -> Bool { unsafe wsx_lws_wants_write(loop.uv, pointer) }

    /// Lets the library write now what it would write in the next turn. The connection may end by it.
    func letWrite() { unsafe wsx_lws_pretend_writable(lws_get_context(pointer), pointer) }

    // MARK: The end

    /// Ends this side's half of the stream, of TLS first.
    func finishSending() { unsafe wsx_lws_finish_sending(pointer) }

    /// The library sends a close frame with 1002 when it ends the connection by itself.
    func closesWithProtocolError() { unsafe lws_close_reason(pointer, LWS_CLOSE_STATUS_PROTOCOL_ERR, nil, 0) }

    /// Ends the connection once everything is written.
    func end() { unsafe wsx_lws_end(pointer) }

    /// Ends it now; not inside one of libwebsockets' callbacks.
    func kill() { unsafe wsx_lws_kill(pointer) }

    /// What the kernel knows of the socket.
    var health: wsx_socket_health {
        var health = wsx_socket_health()
        unsafe wsx_socket_health(lws_get_socket_fd(pointer), &health)
        return health
    }

    // MARK: TLS

    /// `nil` without TLS.
    var tlsStream: TLSStream? { unsafe TLSStream(wsi: pointer) }
    var tlsInfo: WebSocketTLSInfo? { unsafe WebSocketTLSInfo(wsi: pointer) }
}

extension WireOwner {
    /// What the owner owns; `nil` before libwebsockets has it, and after it is gone.
    @inline(__always)
    var wire: Wire? {
        guard let wsi = unsafe wsi else { return nil }
        return unsafe Wire(wsi)
    }

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

extension WebSocketEventLoop {
    /// The code of the close frame with this reason that was read last, where libwebsockets has put another in its place.
    func closeCodeAsRead(reason: UnsafeRawBufferPointer, isMasked: Bool) -> UInt16? {
        guard let start = unsafe serviceBuffer else { return nil }
        let count = min(LibWebSockets.readSize + LibWebSockets.headroom, serviceBufferSize)
        return unsafe CloseFrameSearch.code(
            in: UnsafeRawBufferPointer(start: start, count: count), reason: reason, isMasked: isMasked)
    }
}
