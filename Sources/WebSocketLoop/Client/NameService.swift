//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// Looks names up on threads of its own, one for each look-up, so that none waits for another.
///
/// It stays with `getaddrinfo`, because a name means what the machine says that it means: nsswitch.conf, mDNS,
/// `/etc/hosts` and search domains count, and an asynchronous resolver such as c-ares knows a part of that only. The
/// price is that a look-up cannot be taken back, and that it holds a thread for as long as DNS does not answer, with
/// usual settings up to 30 s. libuv's pool has four threads for that: four dead names would hold everything up.
@safe package final class NameService: Sendable {
    package enum Answer: Sendable, Hashable {
        /// In the order in which they should be tried.
        case addresses([String])
        /// `getaddrinfo`'s code, and `errno` when that is `EAI_SYSTEM`.
        case failure(CInt, errno: CInt)
    }

    package typealias Waiter = @Sendable (Answer) -> Void
    private typealias LookUps = NameLookUps<Waiter>

    private struct State {
        var lookUps: LookUps
        var lastTicket: LookUps.Ticket = 0
        /// What the thread that reads the hosts file has to look for.
        var local: [(ticket: LookUps.Ticket, name: String, waiter: Waiter)] = []
        var overflow: [String] = []
        var isReadingHosts = false
    }

    /// What all loops of the process use.
    package static let shared = NameService(lookUp: SystemNames.lookUp, hosts: readHosts)

    private let state: Mutex<State>
    private let lookUp: @Sendable (String) -> Answer
    private let hosts: @Sendable () -> [UInt8]

    /// - Parameters:
    ///   - lookUp: Finds a name's addresses. May block; called on threads of the service.
    ///   - hosts: The text of `/etc/hosts`.
    package init(
        limits: NameLookUps<Waiter>.Limits = .init(), lookUp: @escaping @Sendable (String) -> Answer,
        hosts: @escaping @Sendable () -> [UInt8]
    ) {
        state = Mutex(State(lookUps: LookUps(limits: limits)))
        self.lookUp = lookUp
        self.hosts = hosts
    }

    /// Threads that look something up now.
    package var threadCount: Int { state.withLock { $0.lookUps.threadCount } }

    /// Begins a look-up, from any thread. `waiter` is called once, on a thread of the service or on this one, unless
    /// `cancel` comes first.
    package func begin(_ name: String, _ waiter: @escaping Waiter) -> UInt64 {
        enum Step { case none, start(LookUps.Job), readHosts }
        let (ticket, step): (UInt64, Step) = state.withLock { state in
            state.lastTicket += 1
            let ticket = state.lastTicket
            if HostsFile.isLocalhost(name) {
                state.local.append((ticket, name, waiter))
            } else {
                switch state.lookUps.add(ticket, name, waiter) {
                case .joined: return (ticket, .none)
                case .start(let job): return (ticket, .start(job))
                // What the hosts file knows need not wait for a place.
                case .queued: state.overflow.append(name)
                }
            }
            defer { state.isReadingHosts = true }
            return (ticket, state.isReadingHosts ? .none : .readHosts)
        }
        switch step {
        case .none: break
        case .start(let job): start(job)
        case .readHosts: startReadingHosts()
        }
        return ticket
    }

    /// The waiter is not called any more, unless that has begun; its place is free.
    package func cancel(_ ticket: UInt64) {
        // What is let go of here runs code of its own, so that happens without the lock.
        let (waiter, next): (Waiter?, LookUps.Job?) = state.withLock { state in
            if let index = state.local.firstIndex(where: { $0.ticket == ticket }) {
                return (state.local.remove(at: index).waiter, nil)
            }
            return state.lookUps.cancel(ticket)
        }
        if let next { start(next) }
        _ = waiter
    }

    // MARK: Threads

    private func start(_ job: LookUps.Job) {
        let failure = DetachedThread.start("wsx-name", blocksSignals: true) { [self] in
            var next: LookUps.Job? = job
            while let job = next {
                let answer = lookUp(job.name)
                let (waiters, following) = state.withLock { $0.lookUps.finished(job.thread) }
                for waiter in waiters { waiter(answer) }
                next = following
            }
        }
        guard let failure else { return }
        for waiter in state.withLock({ $0.lookUps.refused(job.thread) }) {
            waiter(SystemNames.noThread(failure))
        }
    }

    private func startReadingHosts() {
        // Where there is no thread left this one reads the file.
        if DetachedThread.start("wsx-hosts", blocksSignals: true, { [self] in answerFromHosts() }) != nil {
            answerFromHosts()
        }
    }

    private func answerFromHosts() {
        while true {
            let (local, overflow) = state.withLock { state in
                let work = (state.local.map { ($0.ticket, $0.name) }, state.overflow)
                state.overflow = []
                if work.0.isEmpty && work.1.isEmpty { state.isReadingHosts = false }
                return work
            }
            guard !local.isEmpty || !overflow.isEmpty else { return }
            let text = hosts()
            for (ticket, name) in local {
                let known = Self.localhost(HostsFile.addresses(of: name, in: text))
                let waiter: Waiter? = state.withLock { state in
                    state.local.firstIndex { $0.ticket == ticket }.map { state.local.remove(at: $0).waiter }
                }
                waiter?(.addresses(known))
            }
            for name in overflow {
                let known = HostsFile.addresses(of: name, in: text)
                guard !known.isEmpty else { continue }
                for waiter in state.withLock({ $0.lookUps.takeQueued(name) }) { waiter(.addresses(known)) }
            }
        }
    }

    // MARK: Answers

    /// What the hosts file says of a `localhost` name, or the loopback addresses; IPv6 first, where there is IPv6.
    private static func localhost(_ known: [String]) -> [String] {
        let all = known.isEmpty ? ["::1", "127.0.0.1"] : known
        let loopback = IPAddress.bytes("::1") ?? []
        let hasIPv6 = Sockets.hasRoute(to: loopback)
        let usable = all.filter { hasIPv6 || $0 != "::1" }
        let chosen = usable.isEmpty ? all : usable
        return chosen.filter { $0.contains(":") } + chosen.filter { !$0.contains(":") }
    }

    /// Empty when it cannot be read.
    @Sendable private static func readHosts() -> [UInt8] { (try? FileBytes.read("/etc/hosts")) ?? [] }
}
