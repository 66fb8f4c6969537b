//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets

/// What a wsi belongs to. libwebsockets holds one retain of it, from `adopt(wsi:)` or the call that creates the wsi until
/// `LWS_CALLBACK_WSI_DESTROY`. All methods run on the loop's thread; those named after callbacks run inside one, where
/// no user code runs and no wsi is killed synchronously.
@usableFromInline @safe package class WireOwner {
    package let loop: WebSocketEventLoop
    var wsi: OpaquePointer?

    init(loop: WebSocketEventLoop) { self.loop = loop }

    // Callbacks of established connections. Returning other than 0 closes the wsi.
    func received(_ bytes: UnsafeRawBufferPointer) -> CInt { 0 }
    func receivedPong(_ bytes: UnsafeRawBufferPointer) {}
    func receivedClose(_ payload: UnsafeRawBufferPointer) -> CInt { -1 }
    func becameWritable() -> CInt { 0 }
    /// libwebsockets ends the connection for a reason that it does not tell.
    func willClose() {}

    /// libwebsockets has made the wsi of a socket that it was given.
    func instantiated(_ wsi: OpaquePointer) {}

    // Callbacks of a server's handshake.
    func confirmsExtension() -> Bool { false }
    func willAnswerUpgrade() -> CInt { 0 }
    /// What libwebsockets adds to its 101; `nil` ends the connection instead.
    func responseToUpgrade() -> ServerResponseText? { ServerResponseText() }
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

/// libwebsockets' one callback on a context of ours.
let lwsCallback:
    @convention(c) (
        OpaquePointer?, lws_callback_reasons, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, Int
    ) -> CInt = { wsi, reason, user, input, length in
        unsafe WireOwner.call(wsi, reason, user, input, length) {
            guard let wsi = unsafe wsi, let context = unsafe lws_get_context(wsi),
                let pointer = unsafe lws_context_user(context)
            else { return nil }
            return unsafe Unmanaged<WebSocketEventLoop>.fromOpaque(pointer).takeUnretainedValue()
        }
    }

extension WireOwner {
    /// One callback of libwebsockets: recovers the owner, hands over one event, returns the verdict.
    ///
    /// - Parameter loop: Finds the loop for what has no owner yet.
    @inline(__always)
    static func call(
        _ wsi: OpaquePointer?, _ reason: lws_callback_reasons, _ user: UnsafeMutableRawPointer?,
        _ input: UnsafeMutableRawPointer?, _ length: Int, loop: () -> WebSocketEventLoop?
    ) -> CInt {
        switch reason {
        // A server's connection is in libwebsockets' WebSocket role, a client's in its raw one.
        case LWS_CALLBACK_RECEIVE, LWS_CALLBACK_RAW_RX:
            return unsafe owner(of: wsi)?.received(UnsafeRawBufferPointer(start: input, count: length)) ?? -1
        case LWS_CALLBACK_SERVER_WRITEABLE, LWS_CALLBACK_RAW_WRITEABLE:
            return unsafe owner(of: wsi)?.becameWritable() ?? 0
        case LWS_CALLBACK_RECEIVE_PONG:
            unsafe owner(of: wsi)?.receivedPong(UnsafeRawBufferPointer(start: input, count: length))
            return 0
        case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
            return unsafe owner(of: wsi)?.receivedClose(UnsafeRawBufferPointer(start: input, count: length)) ?? -1
        case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
            unsafe owner(of: wsi)?.willClose()
            return 0

        case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED, LWS_CALLBACK_RAW_ADOPT:
            // The first callback of an adopted socket in which its opaque data stays set.
            guard let wsi = unsafe wsi, let owner = loop()?.resources.adopting.take() else { return -1 }
            unsafe lws_set_opaque_user_data(wsi, owner.retainedPointer())
            unsafe owner.instantiated(wsi)
            return 0
        case LWS_CALLBACK_ESTABLISHED: return unsafe owner(of: wsi)?.established() ?? -1
        case LWS_CALLBACK_CONFIRM_EXTENSION_OKAY:
            return unsafe owner(of: wsi)?.confirmsExtension() == true ? 0 : 1
        case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: return unsafe owner(of: wsi)?.willAnswerUpgrade() ?? -1
        case LWS_CALLBACK_ADD_HEADERS:
            guard let owner = unsafe owner(of: wsi), let input = unsafe input else { return 0 }
            return unsafe owner.writeResponse(to: input.assumingMemoryBound(to: lws_process_html_args.self)) ? 0 : -1

        case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
            // The wsi is a fake one that knows only its context and its vhost.
            guard let user = unsafe user else { return -1 }
            return unsafe loop()?.resources.fillTLSContext?(OpaquePointer(user)) == true ? 0 : -1

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
}
