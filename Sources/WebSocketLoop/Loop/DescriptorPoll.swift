//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSocketsShims

/// Readiness of one descriptor, on the loop. Does not own the descriptor.
final class DescriptorPoll {
    struct Events: OptionSet {
        let rawValue: CInt
        static let readable = Events(rawValue: CInt(UV_READABLE.rawValue))
        static let writable = Events(rawValue: CInt(UV_WRITABLE.rawValue))
    }

    private let handle: UnsafeMutablePointer<uv_poll_t>
    private var action: (() -> Void)?
    private var isClosed = false

    /// `nil` when the descriptor cannot be polled, such as a regular file.
    init?(loop: EventLoop, descriptor: CInt, action: @escaping () -> Void) {
        handle = .allocate(capacity: 1)
        handle.initialize(to: uv_poll_t())
        guard uv_poll_init(loop.uv, handle, descriptor) == 0 else {
            handle.deallocate()
            return nil
        }
        self.action = action
        // libuv holds the object until the handle is closed.
        handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    func start(_ events: Events) {
        guard !isClosed else { return }
        uv_poll_start(handle, events.rawValue) { handle, _, _ in
            // Errors come as readiness too: the read that follows finds them.
            Unmanaged<DescriptorPoll>.fromOpaque(handle!.pointee.data).takeUnretainedValue().action?()
        }
    }

    func stop() {
        guard !isClosed else { return }
        uv_poll_stop(handle)
    }

    /// After this the descriptor may be closed, or given to libwebsockets, at once.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        action = nil
        uv_poll_stop(handle)
        uv_close(wsx_uv_handle(UnsafeMutableRawPointer(handle))) { handle in
            let pointer = UnsafeMutableRawPointer(handle!).assumingMemoryBound(to: uv_poll_t.self)
            let poll = Unmanaged<DescriptorPoll>.fromOpaque(pointer.pointee.data).takeRetainedValue()
            pointer.deallocate()
            withExtendedLifetime(poll) {}
        }
    }
}
