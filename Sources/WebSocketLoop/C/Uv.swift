//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSocketsShims
import Glibc

/// libuv's loop with the handles that an event loop of ours has on it: what wakes it, what runs its turns, what keeps it
/// from waiting, and its one timer. Loop-confined.
@safe final class UvLoop {
    let pointer: UnsafeMutablePointer<uv_loop_t>
    private let asyncHandle: UnsafeMutablePointer<uv_async_t>
    private let prepareHandle: UnsafeMutablePointer<uv_prepare_t>
    private let idleHandle: UnsafeMutablePointer<uv_idle_t>
    private let timerHandle: UnsafeMutablePointer<uv_timer_t>
    private var isIdleRunning = false
    /// A descriptor that libuv learns of only when it runs.
    var watchesMore = false

    /// What was missing.
    enum Failure: Error { case loop, wake }

    init() throws(Failure) {
        unsafe pointer = .allocate(capacity: 1)
        unsafe asyncHandle = .allocate(capacity: 1)
        unsafe prepareHandle = .allocate(capacity: 1)
        unsafe idleHandle = .allocate(capacity: 1)
        unsafe timerHandle = .allocate(capacity: 1)
        guard unsafe uv_loop_init(pointer) == 0 else { throw .loop }
        guard unsafe uv_async_init(pointer, asyncHandle, { _ in }) == 0 else {
            unsafe uv_loop_close(pointer)
            throw .wake
        }
        unsafe uv_prepare_init(pointer, prepareHandle)
        unsafe uv_idle_init(pointer, idleHandle)
        unsafe uv_timer_init(pointer, timerHandle)
    }

    /// Gives the memory back; after `close` only.
    deinit {
        unsafe asyncHandle.deallocate()
        unsafe prepareHandle.deallocate()
        unsafe idleHandle.deallocate()
        unsafe timerHandle.deallocate()
        unsafe pointer.deallocate()
    }

    /// From now on `turn` is called before libuv waits, and `fireTimers` when the timer is due. The loop is not retained.
    func serve(_ loop: WebSocketEventLoop) {
        let loop = unsafe Unmanaged.passUnretained(loop).toOpaque()
        unsafe prepareHandle.pointee.data = unsafe loop
        unsafe timerHandle.pointee.data = unsafe loop
        unsafe uv_prepare_start(prepareHandle) { handle in
            unsafe Unmanaged<WebSocketEventLoop>.fromOpaque(handle!.pointee.data).takeUnretainedValue().turn()
        }
    }

    // MARK: Running

    /// Until it is stopped, or nothing is left to wait for.
    func run() { unsafe uv_run(pointer, UV_RUN_DEFAULT) }

    func runWithoutWaiting() { unsafe uv_run(pointer, UV_RUN_NOWAIT) }

    /// How many milliseconds it would wait; negative for ever.
    var timeout: CInt { unsafe uv_backend_timeout(pointer) }

    func stop() {
        unsafe uv_stop(pointer)
        // `uv_stop` counts for the next check only: make sure there is one.
        setIdle(true)
    }

    /// Keeps libuv from waiting.
    @inline(__always)
    func setIdle(_ wanted: Bool) {
        if wanted != isIdleRunning { changeIdle(wanted) }
    }

    private func changeIdle(_ wanted: Bool) {
        isIdleRunning = wanted
        if wanted {
            unsafe uv_idle_start(idleHandle) { _ in }
        } else {
            unsafe uv_idle_stop(idleHandle)
        }
    }

    /// Gives libuv's own descriptor to a context, which then notices when libuv has something to do.
    func lendDescriptor(to vhost: Vhost) -> OpaquePointer? {
        let descriptor = unsafe fcntl(uv_backend_fd(pointer), F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { return nil }
        return unsafe wsx_lws_adopt_file(vhost.handle, descriptor)
    }

    // MARK: The timer

    /// Milliseconds; `nil` for none.
    func arm(_ milliseconds: UInt64?) {
        guard let milliseconds else {
            unsafe uv_timer_stop(timerHandle)
            return
        }
        unsafe uv_update_time(pointer)
        unsafe uv_timer_start(
            timerHandle,
            { handle in
                unsafe Unmanaged<WebSocketEventLoop>.fromOpaque(handle!.pointee.data).takeUnretainedValue().fireTimers()
            },
            milliseconds, 0)
    }

    // MARK: The end

    private var ownHandles: [UnsafeMutablePointer<uv_handle_t>?] {
        unsafe [
            wsx_uv_handle(asyncHandle), wsx_uv_handle(prepareHandle), wsx_uv_handle(idleHandle),
            wsx_uv_handle(timerHandle),
        ]
    }

    /// Our handles do not keep the loop running meanwhile.
    func withoutOwnHandles(_ body: () -> Void) {
        unsafe ownHandles.forEach { unsafe uv_unref($0) }
        setIdle(false)
        body()
        unsafe ownHandles.forEach { unsafe uv_ref($0) }
    }

    /// Closes the handles and the loop; 0, or why it could not be closed.
    func close() -> CInt {
        unsafe ownHandles.forEach { unsafe uv_close($0, nil) }
        run()
        return unsafe uv_loop_close(pointer)
    }

    var wake: UvWake { unsafe UvWake(asyncHandle) }
}

/// What wakes a libuv loop from any thread, as long as it is not closed.
@safe struct UvWake: @unchecked Sendable {
    // libuv's one function that may be called from anywhere.
    private let handle: UnsafeMutablePointer<uv_async_t>

    fileprivate init(_ handle: UnsafeMutablePointer<uv_async_t>) { unsafe self.handle = unsafe handle }

    func send() { unsafe uv_async_send(handle) }
}

extension WebSocketEventLoop {
    /// libuv's loop, for what is not in this folder yet.
    var uv: UnsafeMutablePointer<uv_loop_t> { unsafe uvLoop.pointer }
}
