//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Logging
import WebSocketCore

/// What a server adds to the 101 that libwebsockets writes.
struct ServerResponseText {
    /// The answer to the client's key, where libwebsockets knows another key (`HandshakeText.placeholderKey`).
    var accept: String?
    /// Behind `permessage-deflate`; empty where there is nothing to add.
    var deflateParameters = ""
    /// Whole lines.
    var fields = ""
}

extension WireOwner {
    /// Gives a server's socket to libwebsockets, with the beginning of what it shall read from it. Everything up to the
    /// established connection may happen within.
    ///
    /// - Returns: Whether libwebsockets made a wsi for this owner. The descriptor is libwebsockets' in any case: it closes
    ///   it also when it fails.
    func adoptServerSocket(_ descriptor: CInt, into vhost: OpaquePointer, _ bytes: [UInt8]) -> Bool {
        loop.adopting = self
        _ = unsafe wsx_tls_take_alert(nil)
        // It logs an error, “calling service”, for each.
        LibWebSockets.withoutErrors {
            _ = unsafe bytes.withUnsafeBytes {
                unsafe lws_adopt_socket_vhost_readbuf(
                    vhost, descriptor, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
            }
        }
        return loop.adopting.take() == nil
    }

    /// Whether libwebsockets can have a socket of this number now.
    static func hasRoom(for descriptor: CInt) -> Bool {
        descriptor < LibWebSockets.maximumDescriptors && wsx_socket_shortage() == 0
    }

    /// libwebsockets reads nothing until `letGo`.
    func holdBack() { unsafe wsi.map { _ = unsafe lws_rx_flow_control($0, 0) } }

    /// libwebsockets has no deadline for it: it would keep it in a list that it walks for each of its timeouts.
    func clearTimeout() { unsafe wsi.map { unsafe lws_set_timeout($0, NO_PENDING_TIMEOUT, 0) } }

    /// First the TLS state is noticed, then the bytes in the buffer are read; a third look finds what OpenSSL has already
    /// decrypted behind the request. libuv would report none of these.
    ///
    /// - Parameter next: Whose the wsi is meanwhile, if it is this owner's no more.
    func letGo(or next: () -> WireOwner?) {
        unsafe wsi.map { _ = unsafe lws_rx_flow_control($0, 1) }
        for _ in 0..<3 {
            guard let wsi = unsafe self.wsi ?? next()?.wsi else { return }
            if unsafe wsx_lws_pretend_readable(loop.context, wsi) != 0 { return }
        }
    }

    /// libwebsockets writes its 101, and asks what more shall stand in it.
    func writeResponse(to arguments: UnsafeMutablePointer<lws_process_html_args>) -> Bool {
        guard let start = unsafe arguments.pointee.p else { return false }
        // `max_len` is the room up to the service buffer's end.
        let room = unsafe Int(arguments.pointee.max_len)
        unsafe loop.serviceBuffer = unsafe UnsafeRawPointer(start) + room - LibWebSockets.serviceBufferSize
        guard let response = responseToUpgrade() else { return false }
        if let accept = response.accept, unsafe !Self.replaceAccept(with: accept, before: start) { return false }
        var position = UnsafeMutableRawPointer(start)
        var text = response.fields
        if !response.deflateParameters.isEmpty {
            // libwebsockets has just written `…permessage-deflate` and a line's end.
            unsafe position -= 2
            text = response.deflateParameters + "\r\n" + text
        }
        let count = text.utf8.count
        guard count < room - 4 else {
            loop.logger.error("the response headers are too long")
            return false
        }
        unsafe UnsafeMutableRawBufferPointer(start: position, count: count).copyBytes(from: text.utf8)
        unsafe arguments.pointee.p = unsafe (position + count).assumingMemoryBound(to: CChar.self)
        return true
    }

    /// The head that went in before the TLS handshake could not hold the client's key, so the answer to it is put in place
    /// of the one that libwebsockets has just written in front of `end`.
    private static func replaceAccept(with accept: String, before end: UnsafeMutablePointer<CChar>) -> Bool {
        let placeholder = Array(AcceptKey.of(HandshakeText.placeholderKey).utf8)
        // Everything in front of it: three fixed lines, this one, and perhaps the extension's.
        for distance in placeholder.count...320 {
            let candidate = unsafe UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(end) - distance, count: placeholder.count)
            if unsafe candidate.elementsEqual(placeholder) {
                unsafe candidate.copyBytes(from: accept.utf8)
                return true
            }
        }
        return false
    }
}
