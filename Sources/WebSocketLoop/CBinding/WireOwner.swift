//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims

/// What a wsi belongs to. libwebsockets holds one retain of it, from `adopt(wsi:)` or the call that creates the wsi until
/// `LWS_CALLBACK_WSI_DESTROY`. All methods run on the loop's thread; those named after callbacks run inside one, where
/// no user code runs and no wsi is killed synchronously.
@usableFromInline @safe package class WireOwner {
    package let loop: EventLoop
    var wsi: OpaquePointer?

    init(loop: EventLoop) { self.loop = loop }

    // Callbacks of established connections. Returning other than 0 closes the wsi.
    func received(_ bytes: UnsafeRawBufferPointer) -> CInt { 0 }
    func receivedPong(_ bytes: UnsafeRawBufferPointer) {}
    func receivedClose(_ payload: UnsafeRawBufferPointer) -> CInt { -1 }
    func becameWritable() -> CInt { 0 }
    /// libwebsockets ends the connection for a reason that it does not tell.
    func willClose() {}

    // Callbacks of a client's handshake.
    func tcpConnected() {}
    func verifiedCertificate(_ store: OpaquePointer, isValid: Bool) -> CInt { 0 }
    func appendHandshakeHeaders(_ position: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, room: Int) -> CInt { 0 }
    func receivedResponse() -> CInt { 0 }
    /// A part of a refusal's body.
    func receivedBody(_ bytes: UnsafeRawBufferPointer) {}
    func willEstablish() -> CInt { 0 }
    func connectionFailed(_ text: String) {}

    // Callbacks of a server's handshake.
    func instantiated(_ wsi: OpaquePointer) {}
    func confirmsExtension() -> Bool { false }
    func willAnswerUpgrade() -> CInt { 0 }
    func addResponseHeaders(_ arguments: UnsafeMutablePointer<lws_process_html_args>) -> CInt { 0 }

    // Both.
    func established() -> CInt { 0 }
    /// The wsi is gone. Always comes, once, for every wsi that got an owner.
    func destroyed() {}
}

extension WireOwner {
    /// The retained pointer that libwebsockets keeps.
    func retainedPointer() -> UnsafeMutableRawPointer { unsafe Unmanaged.passRetained(self).toOpaque() }

    /// Hands the wsi and libwebsockets' retain over to another owner.
    func handOver(to other: WireOwner) {
        guard let wsi = unsafe wsi else { preconditionFailure("there is no wsi to hand over") }
        unsafe other.wsi = unsafe wsi
        unsafe self.wsi = nil
        unsafe lws_set_opaque_user_data(wsi, other.retainedPointer())
        unsafe Unmanaged.passUnretained(self).release()
    }

    static func owner(of wsi: OpaquePointer?) -> WireOwner? {
        unsafe lws_get_opaque_user_data(wsi).map { unsafe Unmanaged<WireOwner>.fromOpaque($0).takeUnretainedValue() }
    }
}

/// libwebsockets' one callback: recovers the owner, hands over one event, returns the verdict.
let lwsCallback:
    @convention(c) (
        OpaquePointer?, lws_callback_reasons, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, Int
    ) -> CInt = { wsi, reason, user, input, length in
        switch reason {
        case LWS_CALLBACK_RECEIVE, LWS_CALLBACK_CLIENT_RECEIVE:
            return unsafe WireOwner.owner(of: wsi)?.received(UnsafeRawBufferPointer(start: input, count: length)) ?? -1
        case LWS_CALLBACK_SERVER_WRITEABLE, LWS_CALLBACK_CLIENT_WRITEABLE:
            return unsafe WireOwner.owner(of: wsi)?.becameWritable() ?? 0
        case LWS_CALLBACK_RECEIVE_PONG, LWS_CALLBACK_CLIENT_RECEIVE_PONG:
            unsafe WireOwner.owner(of: wsi)?.receivedPong(UnsafeRawBufferPointer(start: input, count: length))
            return 0
        case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
            return unsafe WireOwner.owner(of: wsi)?.receivedClose(UnsafeRawBufferPointer(start: input, count: length))
                ?? -1
        case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL, LWS_CALLBACK_WS_CLIENT_DROP_PROTOCOL:
            unsafe WireOwner.owner(of: wsi)?.willClose()
            return 0

        case LWS_CALLBACK_WSI_CREATE:
            // For a client this is the moment TCP is connected.
            if let owner = unsafe WireOwner.owner(of: wsi) {
                unsafe owner.wsi = unsafe wsi
                owner.tcpConnected()
            }
            return 0
        case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
            guard let owner = unsafe WireOwner.owner(of: wsi), let input = unsafe input else { return -1 }
            let position = unsafe input.assumingMemoryBound(to: UnsafeMutablePointer<CChar>?.self)
            return unsafe owner.appendHandshakeHeaders(position, room: length)
        case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
            return unsafe WireOwner.owner(of: wsi)?.receivedResponse() ?? -1
        case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
            unsafe WireOwner.owner(of: wsi)?.receivedBody(UnsafeRawBufferPointer(start: input, count: max(0, length)))
            return 0
        case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
            return unsafe WireOwner.owner(of: wsi)?.willEstablish() ?? -1
        case LWS_CALLBACK_CLIENT_ESTABLISHED, LWS_CALLBACK_ESTABLISHED:
            return unsafe WireOwner.owner(of: wsi)?.established() ?? -1
        case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
            if let owner = unsafe WireOwner.owner(of: wsi) {
                let text = unsafe input.map {
                    unsafe String(decoding: UnsafeRawBufferPointer(start: $0, count: length), as: UTF8.self)
                }
                owner.connectionFailed(text ?? "")
            }
            return 0

        case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
            // The first callback of an adopted socket in which its opaque data stays set.
            guard let wsi = unsafe wsi, let pointer = unsafe lws_context_user(lws_get_context(wsi)) else { return -1 }
            let loop = unsafe Unmanaged<EventLoop>.fromOpaque(pointer).takeUnretainedValue()
            guard let owner = loop.adopting.take() else { return -1 }
            unsafe lws_set_opaque_user_data(wsi, owner.retainedPointer())
            unsafe owner.instantiated(wsi)
            return 0
        case LWS_CALLBACK_CONFIRM_EXTENSION_OKAY:
            return unsafe WireOwner.owner(of: wsi)?.confirmsExtension() == true ? 0 : 1
        case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
            return unsafe WireOwner.owner(of: wsi)?.willAnswerUpgrade() ?? -1
        case LWS_CALLBACK_ADD_HEADERS:
            guard let owner = unsafe WireOwner.owner(of: wsi), let input = unsafe input else { return 0 }
            return unsafe owner.addResponseHeaders(input.assumingMemoryBound(to: lws_process_html_args.self))

        case LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION:
            guard let owner = unsafe WireOwner.owner(of: wsi), let user = unsafe user else { return 0 }
            return unsafe owner.verifiedCertificate(OpaquePointer(user), isValid: length != 0)
        case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
            // The wsi is a fake one that knows only its context.
            guard let context = unsafe lws_get_context(wsi), let pointer = unsafe lws_context_user(context),
                let user = unsafe user
            else {
                return -1
            }
            let loop = unsafe Unmanaged<EventLoop>.fromOpaque(pointer).takeUnretainedValue()
            return unsafe loop.serverTLSBeingCreated?.fill(OpaquePointer(user)) == true ? 0 : -1

        case LWS_CALLBACK_WSI_DESTROY:
            guard let pointer = unsafe lws_get_opaque_user_data(wsi) else { return 0 }
            unsafe lws_set_opaque_user_data(wsi, nil)
            let owner = unsafe Unmanaged<WireOwner>.fromOpaque(pointer).takeRetainedValue()
            unsafe owner.wsi = nil
            owner.destroyed()
            return 0
        default:
            // Many of these carry a fake wsi: nothing of it may be touched.
            return 0
        }
    }
