//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import WebSocketCore

/// libwebsockets' wsi of an established connection, for the length of one call: it is gone after `destroyed`.
@safe struct Wire {
    private let wsi: OpaquePointer

    fileprivate init(_ wsi: OpaquePointer) { unsafe self.wsi = unsafe wsi }

    // MARK: In

    @inline(__always)
    func pauseReading() { unsafe lws_rx_flow_control(wsi, 0) }

    @inline(__always)
    func resumeReading() { unsafe lws_rx_flow_control(wsi, 1) }

    // What a server's library tells of the piece of a frame that it hands over.

    @inline(__always)
    var isFinalFragment: Bool { unsafe lws_is_final_fragment(wsi) != 0 }
    @inline(__always)
    var isFirstFragment: Bool { unsafe lws_is_first_fragment(wsi) != 0 }
    @inline(__always)
    var isBinary: Bool { unsafe lws_frame_is_binary(wsi) != 0 }
    @inline(__always)
    var remainingBytes: UInt64 { unsafe UInt64(lws_remaining_packet_payload(wsi)) }
    @inline(__always)
    var reservedBits: UInt8 { unsafe UInt8(truncatingIfNeeded: lws_get_reserved_bits(wsi)) }

    /// Whether the end of the stream has been read.
    var hasEnded: Bool { unsafe wsx_stream_has_ended(wsi) != 0 }

    // MARK: Out

    /// Hands a burst of whole frames to a server's library, which keeps what the socket does not take. `false` when the
    /// socket is dead.
    @inline(__always)
    func write(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int) -> Bool {
        unsafe wsx_lws_write_raw(wsi, bytes, count) >= 0
    }

    /// Whether the library still holds a part of what it was given.
    @inline(__always)
    var holdsBytes: Bool { unsafe lws_partial_buffered(wsi) != 0 }

    /// Writes to the socket, or through its TLS. Returns how much was taken; `nil` when the socket is dead.
    @inline(__always)
    func send(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int) -> Int? {
        let taken = unsafe wsx_lws_send(wsi, bytes, count)
        return taken < 0 ? nil : taken
    }

    /// `becameWritable` is called when the socket takes bytes again.
    func askForRoom() { unsafe lws_callback_on_writable(wsi) }

    /// Whether the library itself waits for room.
    func wantsToWrite(on loop: WebSocketEventLoop) -> Bool { unsafe wsx_lws_wants_write(loop.uv, wsi) }

    /// Lets the library write now what it would write in the next turn. The connection may end by it.
    func letWrite() { unsafe wsx_lws_pretend_writable(lws_get_context(wsi), wsi) }

    // MARK: The end

    /// Ends this side's half of the stream, of TLS first.
    func finishSending() { unsafe wsx_lws_finish_sending(wsi) }

    /// The library sends a close frame with 1002 when it ends the connection by itself.
    func closesWithProtocolError() { unsafe lws_close_reason(wsi, LWS_CLOSE_STATUS_PROTOCOL_ERR, nil, 0) }

    /// Ends the connection once everything is written.
    func end() { unsafe wsx_lws_end(wsi) }

    /// Ends the connection at once. Not inside a callback.
    func kill() { unsafe wsx_lws_kill(wsi) }

    /// What the kernel knows of the socket.
    var health: wsx_socket_health {
        var health = wsx_socket_health()
        unsafe wsx_socket_health(lws_get_socket_fd(wsi), &health)
        return health
    }
}

extension WireOwner {
    @inline(__always)
    var wire: Wire? {
        guard let wsi = unsafe wsi else { return nil }
        return unsafe Wire(wsi)
    }
}

extension WebSocketEventLoop {
    /// The code of the close frame with this reason that was read last, where libwebsockets has put another in its place.
    func closeCodeAsRead(reason: UnsafeRawBufferPointer, isMasked: Bool) -> UInt16? {
        guard let start = unsafe serviceBuffer else { return nil }
        let count = min(LibWebSockets.readSize + Int(wsx_lws_pre()), serviceBufferSize)
        return unsafe CloseFrameSearch.code(
            in: UnsafeRawBufferPointer(start: start, count: count), reason: reason, isMasked: isMasked)
    }
}
