//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketCore

/// What a loop is busy with, for the watchdog's thread to read.
final class LoopActivity: Sendable {
    /// When the turn began whose jobs run now; 0 while none do.
    let busySince = Atomic<UInt64>(0)
    /// The job that runs now: the address of its task.
    let job = Atomic<UInt>(0)
    /// Tasks that serve a connection, by their addresses.
    let handlers = Mutex<[UInt: Connection]>([:])
}

/// Names handlers that hold their loop, while they do: a thread of its own looks at all loops several times in the
/// shortest `blockedLoopThreshold`. It lives as long as there are loops.
final class LoopWatchdog: Sendable {
    static let shared = LoopWatchdog()

    private struct Watched {
        let threshold: UInt64
        let name: String
        let logger: Logger
        let activity: LoopActivity
        /// The turn that was told about.
        var reported: UInt64 = 0
    }

    private struct State {
        var loops: [ObjectIdentifier: Watched] = [:]
        var isRunning = false
    }
    private let state = Mutex(State())

    private static let shortestPause: UInt64 = 10_000_000
    private static let longestPause: UInt64 = 500_000_000

    func watch(_ activity: LoopActivity, name: String, logger: Logger, threshold: UInt64) {
        let mustStart = state.withLock { state in
            state.loops[ObjectIdentifier(activity)] = Watched(
                threshold: threshold, name: name, logger: logger, activity: activity)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard mustStart else { return }
        if DetachedThread.start("wsx-watchdog", blocksSignals: true, { self.run() }) != nil {
            state.withLock { $0.isRunning = false }
        }
    }

    func forget(_ activity: LoopActivity) { state.withLock { $0.loops[ObjectIdentifier(activity)] = nil } }

    private func run() {
        while let pause = look() { DetachedThread.sleep(nanoseconds: pause) }
    }

    /// Looks once; how long to wait until the next look, or `nil` when there is nothing left to look at.
    private func look() -> UInt64? {
        let (pause, late): (UInt64?, [(Watched, UInt64)]) = state.withLock { state in
            guard !state.loops.isEmpty else {
                state.isRunning = false
                return (nil, [])
            }
            let now = Host.nanoseconds
            var late: [(Watched, UInt64)] = []
            for (id, watched) in state.loops {
                let since = watched.activity.busySince.load(ordering: .acquiring)
                guard since != 0, since != watched.reported, now > since, now - since > watched.threshold else {
                    continue
                }
                state.loops[id]?.reported = since
                late.append((watched, now - since))
            }
            let shortest = state.loops.values.lazy.map(\.threshold).min() ?? 0
            return (min(Self.longestPause, max(Self.shortestPause, shortest / 4)), late)
        }
        for (watched, held) in late { Self.report(watched, held) }
        return pause
    }

    private static func report(_ watched: Watched, _ held: UInt64) {
        let job = watched.activity.job.load(ordering: .relaxed)
        let connection = watched.activity.handlers.withLock { $0[job] }
        var metadata: Logger.Metadata = ["loop": "\(watched.name)", "milliseconds": "\(held / 1_000_000)"]
        if let connection {
            metadata["connection"] = "\(connection.details.remoteAddress?.description ?? "unknown")"
            if let target = connection.details.requestTarget {
                metadata["target"] = "\(ShownTarget.path(target).escapedForLog)"
            }
        }
        watched.logger.warning(
            connection == nil
                ? "a task is holding the loop; move blocking work to the global executor"
                : "a connection's handler is holding the loop; move blocking work to the global executor",
            metadata: metadata)
    }
}

extension Connection {
    /// Lets the watchdog name this connection while the current task holds the loop, until ``forgetCurrentTask()``.
    package func nameCurrentTask() { loop.activity.handlers.withLock { $0[Self.currentTask] = self } }
    package func forgetCurrentTask() { loop.activity.handlers.withLock { $0[Self.currentTask] = nil } }

    /// A task and the jobs that run it have one address.
    private static var currentTask: UInt {
        unsafe withUnsafeCurrentTask { unsafe $0.map { unsafe unsafeBitCast($0, to: UInt.self) } ?? 0 }
    }
}
