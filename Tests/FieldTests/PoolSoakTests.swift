//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Synchronization
import Testing
import WebSockets

/// A pool under every kind of use and misuse at once, with its default settings: each borrower gets its own answer, and
/// the ledger adds up to the last connection. `scripts/trust/soak --pool` runs it for longer.
@Suite(.timeLimit(.minutes(60)))
struct PoolSoakTests {
    private static func setting(_ name: String, _ otherwise: Int) -> Int {
        getenv(name).flatMap { Int(String(cString: $0)) } ?? otherwise
    }

    private struct Mishap: Error {}

    /// What the borrowers saw.
    private struct Tally: Sendable {
        var calls = 0
        var served = 0
        var timedOut = 0
        var cancelled = 0
        var failed = 0
        var answers = 0
        var foreign = 0
        var doubleReleases = 0

        mutating func note(_ error: any Error) {
            switch (error as? WebSocketError)?.code {
            case .acquireTimedOut: timedOut += 1
            case .cancelled: cancelled += 1
            default: failed += 1
            }
        }
    }

    /// The server's side: it answers, late or never, and leaves, well or badly, as the question says.
    private static func serve(_ socket: WebSocketConnection) async throws {
        for try await message in socket.messages {
            let text = message.text ?? ""
            switch text.prefix(4) {
            case "quit": return
            case "drop":
                socket.abort()
                return
            case "mute": break
            case "late":
                try await Task.sleep(for: .milliseconds(5))
                try await socket.send(message)
            default: try await socket.send(message)
            }
        }
    }

    @Test func everyBorrowerGetsItsOwnAnswerAndTheLedgerAddsUp() async throws {
        let seconds = Self.setting("WSX_SOAK_SECONDS", 2)
        let seed = UInt64(Self.setting("WSX_SOAK_SEED", 1))
        let opened = Atomic<Int>(0)
        try await withLoopback(
            handler: { socket in
                opened.add(1, ordering: .relaxed)
                try await Self.serve(socket)
            }
        ) { loopback in
            var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 6, client: loopback.client)
            configuration.client.options.closeTimeout = .seconds(10)
            let pool = try WebSocketConnectionPool(to: loopback.url, configuration: configuration)
            let running = Task { try await pool.run() }
            let end = ContinuousClock.now + .seconds(seconds)
            let tally = try await withThrowingTaskGroup(of: Tally.self) { group in
                for worker in 0..<16 {
                    group.addTask {
                        var tally = Tally()
                        var random = SplitMix(seed &* 31 &+ UInt64(worker))
                        var round = 0
                        while ContinuousClock.now < end {
                            round += 1
                            try await Self.borrow(pool, "\(worker).\(round)", &random, &tally)
                        }
                        return tally
                    }
                }
                group.addTask {
                    // What operators do meanwhile.
                    var random = SplitMix(seed)
                    while ContinuousClock.now < end {
                        try await Task.sleep(for: .milliseconds(Int(random.next() % 50)))
                        switch random.next() % 4 {
                        case 0: pool.reset()
                        case 1: pool.releaseUnused()
                        case 2:
                            pool.suspend()
                            pool.resume()
                        default: try pool.resize(maximumConnections: 3 + Int(random.next() % 4))
                        }
                    }
                    return Tally()
                }
                return try await group.reduce(into: Tally()) { sum, part in
                    sum.calls += part.calls
                    sum.served += part.served
                    sum.timedOut += part.timedOut
                    sum.cancelled += part.cancelled
                    sum.failed += part.failed
                    sum.answers += part.answers
                    sum.foreign += part.foreign
                    sum.doubleReleases += part.doubleReleases
                }
            }
            await pool.shutDown()
            try await running.value
            let counts = pool.statistics.counts
            let totals = pool.statistics.totals
            #expect(tally.foreign == 0, "an answer of another borrower")
            #expect(tally.answers > 0 && tally.calls == tally.served + tally.timedOut + tally.cancelled + tally.failed)
            #expect(totals.acquired == tally.served)
            #expect(totals.acquireTimeouts == tally.timedOut)
            #expect(totals.acquireCancellations == tally.cancelled)
            #expect(totals.acquireFailures == tally.failed)
            #expect(totals.leasesEnded == totals.acquired)
            #expect(totals.releasesIgnored == tally.doubleReleases)
            #expect(counts.total == 0 && counts.waiting == 0, "\(counts)")
            #expect(
                totals.connectsStarted == totals.connectsSucceeded + totals.connectsFailed + totals.connectsCancelled)
            #expect(totals.connectionsClosed + totals.connectionsDetached == totals.connectsSucceeded)
            // An attempt that was cancelled may have come as far as the server's handler.
            let unclaimed = opened.load(ordering: .relaxed) - totals.connectsSucceeded
            #expect((0...totals.connectsCancelled + totals.connectsFailed).contains(unclaimed))
        }
    }

    private static func borrow(
        _ pool: WebSocketConnectionPool, _ name: String, _ random: inout SplitMix, _ tally: inout Tally
    ) async throws {
        let kind = random.next() % 10
        if kind == 9 {
            guard let lease = pool.tryAcquire() else { return }
            tally.calls += 1
            tally.served += 1
            lease.release(discard: random.next() % 4 == 0)
            return
        }
        tally.calls += 1
        if kind == 8 {
            let lease: WebSocketLease
            do { lease = try await pool.acquire(timeout: .seconds(60)) } catch { return tally.note(error) }
            tally.served += 1
            if let socket = try? lease.socket {
                try? await Self.ask(socket, "plain \(name)", &tally)
            }
            let wasValid = lease.isValid
            lease.release()
            // The second one is ignored; so is the only one of a lease whose connection had died, without being counted.
            if wasValid {
                lease.release()
                tally.doubleReleases += 1
            }
            return
        }
        var entered = false
        var inside = Tally()
        do {
            switch kind {
            case 0:
                let cancelled = Task {
                    var isServed = false
                    do {
                        try await pool.withConnection { socket in
                            isServed = true
                            try await socket.send("mute \(name)")
                            _ = try await socket.receive()
                        }
                        return (isServed, nil as (any Error)?)
                    } catch {
                        return (isServed, error as (any Error)?)
                    }
                }
                if random.next() % 2 == 0 { await Task.yield() }
                cancelled.cancel()
                let (isServed, error) = await cancelled.value
                entered = isServed
                if let error { throw error }
            case 1:
                try await pool.withConnection { socket in
                    entered = true
                    try await socket.send("late \(name)")
                    _ = try await socket.receive(within: .milliseconds(1))
                }
            case 2:
                try await pool.withConnection { socket in
                    entered = true
                    try await socket.send("late \(name)")
                    throw Mishap()
                }
            case 3:
                try await pool.withConnection { socket in
                    entered = true
                    try await socket.send(name.hasSuffix("3") ? "drop" : "quit")
                    _ = try await socket.receive()
                }
            case 4:
                try await pool.withConnection(timeout: .milliseconds(2)) { socket in
                    entered = true
                    try await Self.ask(socket, "plain \(name)", &inside)
                }
            default:
                try await pool.withConnection { socket in
                    entered = true
                    try await Self.ask(socket, "plain \(name)", &inside)
                }
            }
        } catch {
            if !entered { tally.note(error) }
        }
        if entered { tally.served += 1 }
        tally.answers += inside.answers
        tally.foreign += inside.foreign
    }

    private static func ask(_ socket: WebSocketConnection, _ question: String, _ tally: inout Tally) async throws {
        try await socket.send(question)
        let answer = try await socket.receive()
        if answer == .text(question) { tally.answers += 1 } else { tally.foreign += 1 }
    }
}

private struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
