//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import Glibc

/// A thread of ours that ends by itself.
enum DetachedThread {
    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void
        init(_ name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Signals are the process's own affair: all of them are blocked there.
    ///
    /// - Parameter name: For debuggers; cut at 15 bytes.
    /// - Returns: 0, or why there is no thread (`EAGAIN`).
    static func start(_ name: String, _ run: @escaping @Sendable () -> Void) -> CInt {
        let body = unsafe Unmanaged.passRetained(Body(name, run))
        var thread = pthread_t()
        var (all, before) = (sigset_t(), sigset_t())
        unsafe sigfillset(&all)
        // A thread begins with the mask of the one that creates it.
        unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
        let status = unsafe pthread_create(
            &thread, nil,
            { argument in
                let body = unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                unsafe wsx_set_thread_name(body.name)
                body.run()
                return nil
            }, body.toOpaque())
        unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
        if status == 0 { pthread_detach(thread) } else { unsafe body.release() }
        return status
    }
}
