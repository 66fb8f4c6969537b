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

    /// - Parameters:
    ///   - name: For debuggers; cut at 15 bytes.
    ///   - blocksSignals: Signals are the process's own affair. Not where users' code runs, whose child processes would
    ///     begin with all of them blocked.
    /// - Returns: `nil`, or why there is no thread (`EAGAIN`).
    static func start(
        _ name: String, blocksSignals: Bool, _ run: @escaping @Sendable () -> Void
    ) -> SystemError? {
        let body = unsafe Unmanaged.passRetained(Body(name, run))
        var thread = pthread_t()
        var (all, before) = (sigset_t(), sigset_t())
        unsafe sigfillset(&all)
        // A thread begins with the mask of the one that creates it.
        if blocksSignals { unsafe pthread_sigmask(SIG_SETMASK, &all, &before) }
        let status = unsafe pthread_create(
            &thread, nil,
            { argument in
                let body = unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                unsafe wsx_set_thread_name(body.name)
                body.run()
                return nil
            }, body.toOpaque())
        if blocksSignals { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        guard status == 0 else {
            unsafe body.release()
            return SystemError(status)
        }
        pthread_detach(thread)
        return nil
    }

    /// The thread that this runs on: never 0, and no other's while it lives.
    @inline(__always)
    static var current: UInt { UInt(pthread_self()) }

    static func yield() { sched_yield() }

    static func sleep(nanoseconds: UInt64) { usleep(UInt32(nanoseconds / 1_000)) }
}

/// Lets the creator of a thread wait until it runs.
@safe final class LoopSemaphore: @unchecked Sendable {
    // The semaphore is its own synchronisation.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { unsafe sem_init(semaphore, 0, 0) }
    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }
    func signal() { unsafe sem_post(semaphore) }
    func wait() { while unsafe sem_wait(semaphore) != 0 {} }
}
