//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Which names are being looked up, on which threads, and who waits for what. Holds no thread and no lock.
///
/// A thread that looks a name up cannot be stopped, so what counts against the limit is what a caller still waits for:
/// a look-up that nothing waits for any more gives its place to the next one, and its thread goes on beside it.
package struct NameLookUps<Waiter: Sendable>: Sendable {
    package struct Limits: Sendable {
        /// Look-ups at a time that something waits for.
        package var wanted: Int
        /// Threads, those included that nothing waits for any more.
        package var threads: Int
        /// Threads for one name. The second is for a caller that comes when nothing waits for the first any more:
        /// that one may have asked a network that is gone.
        package var perName: Int

        package init(wanted: Int = 64, threads: Int = 256, perName: Int = 2) {
            self.wanted = wanted
            self.threads = threads
            self.perName = perName
        }
    }

    /// Names one caller's wish. Never reused.
    package typealias Ticket = UInt64

    /// What a new thread has to do.
    package struct Job: Sendable, Equatable {
        package let thread: UInt64
        package let name: String
    }

    package enum Outcome: Sendable, Equatable {
        /// Another caller's look-up of the same name serves this one too.
        case joined
        case start(Job)
        /// There is no place. `cancel` and `finished` say when there is one.
        case queued
    }

    private struct LookUp {
        let name: String
        var waiters: [(ticket: Ticket, waiter: Waiter)]
        var isWanted: Bool { !waiters.isEmpty }
    }

    private let limits: Limits
    /// By their threads' numbers, which rise.
    private var running: [UInt64: LookUp] = [:]
    private var queue: [LookUp] = []
    private var lastThread: UInt64 = 0

    package init(limits: Limits) { self.limits = limits }

    /// Threads that exist.
    package var threadCount: Int { running.count }

    private var hasRoom: Bool {
        running.count < limits.threads && running.values.count(where: \.isWanted) < limits.wanted
    }

    /// A caller wants a name's addresses.
    package mutating func add(_ ticket: Ticket, _ name: String, _ waiter: Waiter) -> Outcome {
        let known = running.filter { $0.value.name == name }
        let wanted = known.first { $0.value.isWanted }?.key
        if let thread = wanted ?? (known.count >= limits.perName ? known.keys.max() : nil) {
            running[thread]?.waiters.append((ticket, waiter))
            return .joined
        }
        if let index = queue.firstIndex(where: { $0.name == name }) {
            queue[index].waiters.append((ticket, waiter))
            return .joined
        }
        let lookUp = LookUp(name: name, waiters: [(ticket, waiter)])
        guard hasRoom else {
            queue.append(lookUp)
            return .queued
        }
        return .start(start(lookUp))
    }

    private mutating func start(_ lookUp: LookUp) -> Job {
        lastThread += 1
        running[lastThread] = lookUp
        return Job(thread: lastThread, name: lookUp.name)
    }

    private mutating func startNext() -> Job? { hasRoom && !queue.isEmpty ? start(queue.removeFirst()) : nil }

    /// The caller waits no longer.
    ///
    /// - Returns: The waiter, unless it was answered; and what may begin in its place.
    package mutating func cancel(_ ticket: Ticket) -> (waiter: Waiter?, next: Job?) {
        for (thread, lookUp) in running {
            guard let index = lookUp.waiters.firstIndex(where: { $0.ticket == ticket }) else { continue }
            let waiter = running[thread]?.waiters.remove(at: index).waiter
            return (waiter, startNext())
        }
        for place in queue.indices {
            guard let index = queue[place].waiters.firstIndex(where: { $0.ticket == ticket }) else { continue }
            let waiter = queue[place].waiters.remove(at: index).waiter
            if !queue[place].isWanted { queue.remove(at: place) }
            return (waiter, nil)
        }
        return (nil, nil)
    }

    /// A thread has its answer.
    ///
    /// - Returns: Who waited for it, and what the thread does next; `nil` ends it.
    package mutating func finished(_ thread: UInt64) -> (waiters: [Waiter], next: Job?) {
        let waiters = running.removeValue(forKey: thread)?.waiters.map(\.waiter) ?? []
        return (waiters, startNext())
    }

    /// The system gives no thread. While others run the look-up waits for one of them.
    ///
    /// - Returns: Who is to be told that there will be no answer.
    package mutating func refused(_ thread: UInt64) -> [Waiter] {
        guard let lookUp = running.removeValue(forKey: thread) else { return [] }
        if running.isEmpty { return lookUp.waiters.map(\.waiter) }
        queue.insert(lookUp, at: 0)
        return []
    }

    /// The answer came from elsewhere before there was a place.
    ///
    /// - Returns: Who waited for it.
    package mutating func takeQueued(_ name: String) -> [Waiter] {
        guard let index = queue.firstIndex(where: { $0.name == name }) else { return [] }
        return queue.remove(at: index).waiters.map(\.waiter)
    }
}
