//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization

/// One thread of the process that waits for sockets, so that no task ever blocks one of Swift's.
final class SocketWaiter: Sendable {
    static let shared = SocketWaiter()

    enum Outcome: Sendable { case ready, timedOut, cancelled }

    private struct Entry {
        let descriptor: CInt
        let events: Int16
        let deadline: UInt64
        let continuation: CheckedContinuation<Outcome, Never>
    }

    private struct Shared {
        var entries: [UInt64: Entry] = [:]
        /// Cancelled before they were entered.
        var cancelled: Set<UInt64> = []
        var nextID: UInt64 = 0
    }

    private let shared = Mutex(Shared())
    private let wakeReader: CInt
    private let wakeWriter: CInt

    private init() {
        var ends: [CInt] = [-1, -1]
        precondition(pipe(&ends) == 0, "no pipe: errno \(errno)")
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        wakeReader = ends[0]
        wakeWriter = ends[1]
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<SocketWaiter>.fromOpaque(argument!).takeUnretainedValue().run()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        precondition(status == 0, "no thread: \(status)")
        pthread_detach(thread)
    }

    /// Suspends until the descriptor is ready, was forgotten, or the time is over.
    func wait(for events: Int32, on descriptor: CInt, timeout: Duration) async -> Outcome {
        let id = shared.withLock { shared in
            shared.nextID += 1
            return shared.nextID
        }
        let (seconds, attoseconds) = timeout.components
        let deadline = Self.now + UInt64(seconds) * 1_000 + UInt64(attoseconds / 1_000_000_000_000_000)
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isCancelled = shared.withLock { shared in
                    if shared.cancelled.remove(id) != nil { return true }
                    shared.entries[id] = Entry(
                        descriptor: descriptor, events: Int16(events), deadline: deadline, continuation: continuation)
                    return false
                }
                if isCancelled { continuation.resume(returning: .cancelled) } else { wake() }
            }
        } onCancel: {
            let entry = shared.withLock { shared in
                let entry = shared.entries.removeValue(forKey: id)
                if entry == nil { shared.cancelled.insert(id) }
                return entry
            }
            entry?.continuation.resume(returning: .cancelled)
        }
    }

    /// Ends all waits for a descriptor that is about to be closed.
    func forget(_ descriptor: CInt) {
        let entries = shared.withLock { shared in
            let ids = shared.entries.filter { $0.value.descriptor == descriptor }.map(\.key)
            return ids.compactMap { shared.entries.removeValue(forKey: $0) }
        }
        for entry in entries { entry.continuation.resume(returning: .cancelled) }
    }

    private static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000 + UInt64(time.tv_nsec) / 1_000_000
    }

    private func wake() {
        var byte: UInt8 = 0
        // A full pipe wakes just as well.
        _ = Glibc.write(wakeWriter, &byte, 1)
    }

    private func run() {
        var drain = [UInt8](repeating: 0, count: 256)
        while true {
            let entries = shared.withLock { $0.entries.map { (id: $0.key, entry: $0.value) } }
            var polled = [pollfd(fd: wakeReader, events: Int16(POLLIN), revents: 0)]
            polled += entries.map { pollfd(fd: $0.entry.descriptor, events: $0.entry.events, revents: 0) }
            let now = Self.now
            let timeout = entries.map { $0.entry.deadline > now ? Int32($0.entry.deadline - now) : 0 }.min() ?? -1
            poll(&polled, nfds_t(polled.count), timeout)
            if polled[0].revents != 0 { while Glibc.read(wakeReader, &drain, drain.count) > 0 {} }
            let after = Self.now
            for (index, (id, entry)) in entries.enumerated() {
                let isReady = polled[index + 1].revents != 0
                guard isReady || entry.deadline <= after else { continue }
                // What takes the entry out resumes it.
                guard shared.withLock({ $0.entries.removeValue(forKey: id) }) != nil else { continue }
                entry.continuation.resume(returning: isReady ? .ready : .timedOut)
            }
        }
    }
}
