//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Synchronization
import WebSocketCore

/// What ties a loop to an `lws_context` that a program services, on the program's thread.
///
/// The loop keeps a libuv loop of its own for its timers, look-ups and dials. No thread waits in it: its descriptor is a raw
/// file on a vhost of ours, and it is run, without waiting, in turns. A turn is a timer of the context: inside the
/// callbacks of libwebsockets, theirs as ours, no wsi may be ended and no user's code runs.
@safe final class ContextAttachment: @unchecked Sendable {
    // What makes it Sendable: `isServiced` is a lock, `serviceThread` atomic, and the rest is used only by the thread
    // that services the context.

    let context: OpaquePointer
    /// The thread that services the context; 0 before it began to.
    let serviceThread = Atomic<UInt>(0)
    /// Whether other threads may wake the context.
    private let isServiced = Mutex(true)
    private let parts: UnsafeMutablePointer<wsx_attachment>
    /// Until the end: nothing else may keep it.
    private(set) var loop: WebSocketEventLoop?
    /// libuv's descriptor.
    private var file: OpaquePointer?
    /// What has to go before the vhosts can.
    private var connections: Set<OpaquePointer> = unsafe []
    private var vhosts = 0
    private var isInTurn = false
    private var isTurnDue = false
    /// The context is being destroyed.
    private var isContextLeaving = false

    init(_ context: OpaquePointer) {
        unsafe self.context = unsafe context
        unsafe parts = .allocate(capacity: 1)
        unsafe parts.initialize(to: wsx_attachment())
    }

    deinit { unsafe parts.deallocate() }

    func start(_ loop: WebSocketEventLoop) throws(WebSocketError) {
        self.loop = loop
        let before = loop.enter()
        defer { loop.leave(before) }
        unsafe parts.pointee.owner = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe parts.pointee.on_turn = {
            unsafe Unmanaged<ContextAttachment>.fromOpaque($0!).takeUnretainedValue().turn()
        }
        unsafe parts.pointee.on_leaving = {
            unsafe Unmanaged<ContextAttachment>.fromOpaque($0!).takeUnretainedValue().contextLeaves()
        }
        guard let vhost = loop.resources.vhosts.plainVhost(of: loop),
            let file = unsafe loop.uvLoop.lendDescriptor(to: vhost)
        else {
            loop.resources.vhosts.destroyAll()
            loop.resources.vhosts.removeAll()
            self.loop = nil
            throw WebSocketError(
                .resourceExhausted,
                "the lws_context took no vhost or descriptor; check its fd_limit_per_thread and the process's limits")
        }
        unsafe self.file = unsafe file
        unsafe wsx_attachment_begin(context, parts)
        requestTurn()
        wake()
    }

    // MARK: Turns

    /// From any thread; at most once for what waits in the inbox.
    func wake() {
        isServiced.withLock { if $0 { unsafe lws_cancel_service(context) } }
    }

    /// A turn as soon as the context serves timers again. On its thread.
    private func requestTurn() {
        guard !isInTurn, !isTurnDue, !isContextLeaving else { return }
        isTurnDue = true
        unsafe wsx_attachment_schedule(context, parts, 1)
    }

    private func turn() {
        guard let loop, !isContextLeaving else { return }
        serviceThread.store(DetachedThread.current, ordering: .relaxed)
        isTurnDue = false
        isInTurn = true
        let before = loop.enter()
        var rounds = 0
        repeat {
            loop.uvLoop.watchesMore = false
            loop.uvLoop.runWithoutWaiting()
            rounds += 1
        } while loop.uvLoop.watchesMore && rounds < 8
        if loop.isStopping && detach(loop) { return }
        loop.leave(before)
        isInTurn = false
        let timeout = loop.wantsTurn ? 0 : loop.uvLoop.timeout
        if timeout == 0 {
            requestTurn()
        } else {
            unsafe wsx_attachment_schedule(context, parts, timeout < 0 ? -1 : Int64(timeout) * 1_000)
        }
    }

    // MARK: Callbacks

    /// One callback of libwebsockets for something of ours.
    func callback(
        _ wsi: OpaquePointer, _ reason: lws_callback_reasons, _ body: (OpaquePointer) -> CInt
    ) -> CInt {
        switch reason {
        case LWS_CALLBACK_EVENT_WAIT_CANCELLED, LWS_CALLBACK_RAW_RX_FILE:
            requestTurn()
            return 0
        // For a wsi that there is not.
        case LWS_CALLBACK_PROTOCOL_INIT, LWS_CALLBACK_PROTOCOL_DESTROY, LWS_CALLBACK_GET_THREAD_ID: return 0
        // While a vhost is made: the fake wsi is nothing to serve.
        case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: return unsafe body(wsi)
        case LWS_CALLBACK_RAW_ADOPT: unsafe connections.insert(wsi)
        case LWS_CALLBACK_WSI_DESTROY:
            unsafe connections.remove(wsi)
            if unsafe wsi == file { unsafe file = nil }
        default: break
        }
        guard let loop else { return 0 }
        switch reason {
        // 4.3 destroys a context's connections and vhosts before its notifier says so.
        case LWS_CALLBACK_RAW_CLOSE, LWS_CALLBACK_RAW_CLOSE_FILE, LWS_CALLBACK_WSI_DESTROY:
            if unsafe wsx_lws_context_is_being_destroyed(context) { contextLeaves() }
        default: break
        }
        let before = loop.enter()
        let verdict = unsafe body(wsi)
        loop.leave(before)
        requestTurn()
        // Event libraries tell of it where they look at no timers.
        if reason == LWS_CALLBACK_WSI_DESTROY { wake() }
        return verdict
    }

    // MARK: The end

    /// The context's owner destroys it: nothing of it is gone yet, or, from 4.3 on, perhaps all of it.
    private func contextLeaves() {
        guard !isContextLeaving, let loop else { return }
        isContextLeaving = true
        isServiced.withLock { $0 = false }
        let before = loop.enter()
        loop.stop()
        loop.leave(before)
        if vhosts == 0 { end(loop) }
    }

    /// Ends what is left on the loop, and then the vhosts, as far as it goes in this turn. Whether all of it is gone.
    private func detach(_ loop: WebSocketEventLoop) -> Bool {
        while let wsi = unsafe connections.popFirst() {
            // Killing may free the wsi at once; its owner knows.
            let owner = unsafe WireOwner.owner(of: wsi)
            (owner as? Connection)?.abort()
            // Also one that had ended for us and was only closing.
            if let owner, unsafe owner.wsi != nil { unsafe wsx_lws_kill(wsi) }
        }
        guard loop.counters.connections.value == 0 else { return false }
        if let file = unsafe file { unsafe wsx_lws_kill(file) }
        guard unsafe file == nil else { return false }
        loop.resources.vhosts.destroyAll()
        // Something is still bound to one, such as a wsi whose destruction has just been told: again in a moment.
        guard vhosts == 0 else { return false }
        end(loop)
        return true
    }

    /// Makes a vhost tell when it is gone, and keep what it needs until then.
    func accompany(_ vhost: Vhost, _ settings: inout wsx_vhost_settings) {
        vhosts += 1
        unsafe settings.owner = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe settings.finalize_argument =
            unsafe Unmanaged.passRetained(Companion(attachment: self, vhost: vhost)).toOpaque()
        unsafe settings.finalize = { _, companion in
            let companion = unsafe Unmanaged<Companion>.fromOpaque(companion!).takeRetainedValue()
            companion.vhost.isFinalized = true
            companion.attachment.vhostIsGone()
        }
    }

    private final class Companion {
        let attachment: ContextAttachment
        let vhost: Vhost
        init(attachment: ContextAttachment, vhost: Vhost) {
            self.attachment = attachment
            self.vhost = vhost
        }
    }

    private func vhostIsGone() {
        vhosts -= 1
        if vhosts == 0, isContextLeaving, let loop { end(loop) }
    }

    private func end(_ loop: WebSocketEventLoop) {
        isServiced.withLock { $0 = false }
        unsafe wsx_attachment_end(context, parts)
        self.loop = nil
        loop.leave(0)
        loop.endElsewhere()
    }
}

/// libwebsockets' one callback on a program's context.
let attachedCallback:
    @convention(c) (
        OpaquePointer?, lws_callback_reasons, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, Int
    ) -> CInt = { wsi, reason, user, input, length in
        // The context's own user pointer is theirs; the vhost is always one of ours.
        guard let wsi = unsafe wsi, let vhost = unsafe lws_get_vhost(wsi), let pointer = unsafe lws_vhost_user(vhost)
        else { return 0 }
        let attachment = unsafe Unmanaged<ContextAttachment>.fromOpaque(pointer).takeUnretainedValue()
        return unsafe attachment.callback(wsi, reason) { wsi in
            unsafe WireOwner.call(wsi, reason, user, input, length) { attachment.loop }
        }
    }
