//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import Glibc
import Synchronization

/// The `lws_context` of a loop, and how it is driven. Loop-confined.
@safe final class LoopContext {
    let pointer: OpaquePointer
    let backend: WebSocketEventLoop.Backend
    /// libwebsockets' own wake eventfd under libuv, which its teardown closes twice.
    let wakeDescriptor: CInt
    private var nestedPoll: NestedPoll?

    /// Serialises the creation and destruction of contexts in the process.
    private static let creation = Mutex<Void>(())

    /// Creates a loop's context; `nil` when neither backend can be had.
    init?(of loop: WebSocketEventLoop, uv: UvLoop, backend wanted: WebSocketEventLoop.Backend?) {
        _ = unsafe LibWebSockets.initialize
        let owner = unsafe Unmanaged.passUnretained(loop).toOpaque()
        func create(_ uv: UnsafeMutablePointer<uv_loop_t>?) -> OpaquePointer? {
            // Handed out of the lock; the context is the loop's alone.
            nonisolated(unsafe) var settings = unsafe wsx_context_settings(owner: owner, uv: uv)
            nonisolated(unsafe) var result: OpaquePointer?
            Self.creation.withLock { _ in unsafe result = unsafe wsx_context_create(&settings) }
            return unsafe result
        }
        if wanted != .poll, let pointer = unsafe create(uv.pointer) {
            unsafe self.pointer = unsafe pointer
            backend = .libuv
            wakeDescriptor = unsafe wsx_uv_only_poll_descriptor(uv.pointer)
        } else if wanted != .libuv, let pointer = unsafe create(nil) {
            unsafe self.pointer = unsafe pointer
            backend = .poll
            wakeDescriptor = -1
        } else {
            return nil
        }
    }

    /// A program's own. Nothing here drives or destroys it.
    init(attached pointer: OpaquePointer) {
        unsafe self.pointer = unsafe pointer
        backend = .attached
        wakeDescriptor = -1
    }

    /// Makes a context that polls by itself see what libuv has to do. `false` when it cannot.
    func nest(in loop: WebSocketEventLoop) -> Bool {
        guard backend == .poll else { return true }
        nestedPoll = unsafe NestedPoll(loop: loop, context: pointer)
        return nestedPoll != nil
    }

    /// Serves the loop until it is stopped.
    func run(_ uv: UvLoop, until isStopping: () -> Bool) {
        if let nestedPoll { nestedPoll.run(until: isStopping) } else { uv.run() }
    }

    /// Destroys it, on the loop's thread, outside of libuv. `false` when that could not be done safely: it and all that it
    /// points to have to stay then.
    ///
    /// - Parameter waitsOn: Asked again and again while another file of the process has a number that must be free.
    func destroy(_ uv: UvLoop, waitsOn: () -> Bool) -> Bool {
        guard backend == .libuv else {
            nestedPoll?.close()
            nestedPoll = nil
            destroyOnce()
            uv.runWithoutWaiting()
            return true
        }
        if LibWebSockets.isLoaded(atLeast: [4, 3]) {
            destroyOnce()
        } else if !destroyOnceGuarded(waitsOn) {
            return false
        }
        // Until libwebsockets' handles are gone; ours are unreferenced for that long.
        uv.withoutOwnHandles { uv.run() }
        destroyOnce()
        return true
    }

    /// 4.1.6 closes its wake eventfd twice under libuv: once in the first `lws_context_destroy` and once in a later close
    /// callback, when the number may belong to another file. A duplicate of a spare descriptor takes the number in between,
    /// so that the second close hits it and no descriptor of the process. 4.3 closes it once: the duplicate would stay.
    ///
    /// A file that another thread opens meanwhile may get the number. Nothing goes on then until that file is closed.
    private func destroyOnceGuarded(_ waitsOn: () -> Bool) -> Bool {
        let spare = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
        let victim = wakeDescriptor
        destroyOnce()
        guard spare >= 0 else { return true }
        defer { close(spare) }
        guard victim >= 0 else { return true }
        while true {
            let copy = fcntl(spare, F_DUPFD_CLOEXEC, victim)
            if copy == victim { return true }
            if copy >= 0 { close(copy) }
            guard waitsOn() else { return false }
        }
    }

    private func destroyOnce() {
        // The loop's alone.
        nonisolated(unsafe) let pointer = unsafe pointer
        Self.creation.withLock { _ in unsafe lws_context_destroy(pointer) }
    }
}

extension WebSocketEventLoop {
    /// libwebsockets' context, for what is not in this folder yet.
    var context: OpaquePointer! { unsafe lwsContext?.pointer }
}

/// Drives a context that polls by itself beside a libuv loop: the libuv loop's backend descriptor is a raw file of
/// the context, and its timeout a timer of it. A context that a program services is lived on in the same way.
@safe private final class NestedPoll {
    private unowned let loop: WebSocketEventLoop
    private let context: OpaquePointer
    private let timer: UnsafeMutablePointer<lws_sorted_usec_list_t>

    init?(loop: WebSocketEventLoop, context: OpaquePointer) {
        self.loop = loop
        unsafe self.context = unsafe context
        unsafe timer = .allocate(capacity: 1)
        unsafe timer.initialize(to: lws_sorted_usec_list_t())
        guard let vhost = loop.resources.vhosts.plainVhost(of: loop),
            unsafe loop.uvLoop.lendDescriptor(to: vhost) != nil
        else { return nil }
    }

    func run(until isStopping: () -> Bool) {
        let uv = loop.uvLoop
        while true {
            uv.watchesMore = false
            uv.runWithoutWaiting()
            if isStopping() { return }
            let timeout = uv.timeout
            if loop.wantsTurn || timeout == 0 {
                unsafe lws_service(context, -1)
                continue
            }
            if timeout > 0 { unsafe wsx_lws_wake_after(context, timer, Int64(timeout) * 1_000) }
            unsafe lws_service(context, 0)
        }
    }

    func close() { unsafe wsx_lws_wake_after(context, timer, -1) }

    deinit { unsafe timer.deallocate() }
}
