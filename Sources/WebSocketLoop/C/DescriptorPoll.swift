//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSocketsShims

/// Readiness of one descriptor, on the loop. Does not own the descriptor.
@safe final class DescriptorPoll {
    struct Events: OptionSet {
        let rawValue: CInt
        static let readable = Events(rawValue: CInt(UV_READABLE.rawValue))
        static let writable = Events(rawValue: CInt(UV_WRITABLE.rawValue))
        /// The peer will send nothing more; what it has sent need not have been read.
        static let disconnected = Events(rawValue: CInt(UV_DISCONNECT.rawValue))
    }

    private unowned let loop: WebSocketEventLoop
    private let handle: UnsafeMutablePointer<uv_poll_t>
    private var action: (() -> Void)?
    private var isClosed = false
    private var wanted: Events = []

    /// `nil` when the descriptor cannot be polled, such as a regular file.
    init?(loop: WebSocketEventLoop, descriptor: CInt, action: @escaping () -> Void) {
        self.loop = loop
        unsafe handle = .allocate(capacity: 1)
        unsafe handle.initialize(to: uv_poll_t())
        guard unsafe uv_poll_init(loop.uvLoop.pointer, handle, descriptor) == 0 else {
            unsafe handle.deallocate()
            return nil
        }
        self.action = action
        // libuv holds the object until the handle is closed.
        unsafe handle.pointee.data = unsafe Unmanaged.passRetained(self).toOpaque()
    }

    func start(_ events: Events) {
        guard !isClosed else { return }
        wanted = events
        loop.uvLoop.watchesMore = true
        unsafe uv_poll_start(handle, events.rawValue) { handle, status, _ in
            let poll = unsafe Unmanaged<DescriptorPoll>.fromOpaque(handle!.pointee.data).takeUnretainedValue()
            // Errors come as readiness too: the read that follows finds them, though not before the bytes that came
            // in front of them. libuv stops at the first sign of one.
            poll.action?()
            if status < 0 && !poll.wanted.isEmpty { poll.start(poll.wanted) }
        }
    }

    func stop() {
        wanted = []
        guard !isClosed else { return }
        unsafe uv_poll_stop(handle)
    }

    /// After this the descriptor may be closed, or given to libwebsockets, at once.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        wanted = []
        action = nil
        unsafe uv_poll_stop(handle)
        unsafe uv_close(wsx_uv_handle(UnsafeMutableRawPointer(handle))) { handle in
            let pointer = unsafe UnsafeMutableRawPointer(handle!).assumingMemoryBound(to: uv_poll_t.self)
            let poll = unsafe Unmanaged<DescriptorPoll>.fromOpaque(pointer.pointee.data).takeRetainedValue()
            unsafe pointer.deallocate()
            withExtendedLifetime(poll) {}
        }
    }
}
