//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSocketLoop

/// Deadlines of a loop. Each test waits for the deadlines themselves.
@Suite(.timeLimit(.minutes(5))) struct EventLoopTimerTests {
    private final class Journal: Sendable {
        private let entries = Mutex<[Int]>([])
        var all: [Int] { entries.withLock { $0 } }
        func write(_ entry: Int) { entries.withLock { $0.append(entry) } }
    }

    private static let millisecond: UInt64 = 1_000_000

    @Test(arguments: EventLoopJobTests.backends)
    func deadlinesComeInTheirOrder(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            let journal = Journal()
            await withCheckedContinuation { continuation in
                loop.execute {
                    let now = loop.now
                    for (number, delay) in [(4, 40), (1, 10), (3, 30), (0, 0), (2, 20)] as [(Int, UInt64)] {
                        _ = loop.schedule(at: now + delay * Self.millisecond) { journal.write(number) }
                    }
                    // Of two at the same time the first comes first.
                    _ = loop.schedule(at: now + 40 * Self.millisecond) { journal.write(5) }
                    _ = loop.schedule(at: now + 50 * Self.millisecond) { continuation.resume() }
                }
            }
            #expect(journal.all == [0, 1, 2, 3, 4, 5])
        }
    }

    @Test(arguments: EventLoopJobTests.backends)
    func aDeadlineIsNeverEarly(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            for delay in [0, 100_000, 999_999, 1_000_001, 3_500_000] as [UInt64] {
                let early = await withCheckedContinuation { continuation in
                    loop.execute {
                        let deadline = loop.now + delay
                        _ = loop.schedule(at: deadline) { continuation.resume(returning: loop.now < deadline) }
                    }
                }
                #expect(!early, "\(delay)")
            }
        }
    }

    @Test(arguments: EventLoopJobTests.backends)
    func aCancelledDeadlineDoesNotCome(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            let journal = Journal()
            await withCheckedContinuation { continuation in
                loop.execute {
                    let now = loop.now
                    let first = loop.schedule(at: now + 5 * Self.millisecond) { journal.write(1) }
                    let second = loop.schedule(at: now + 20 * Self.millisecond) { journal.write(2) }
                    _ = loop.schedule(at: now + 10 * Self.millisecond) {
                        journal.write(3)
                        loop.cancel(second)
                    }
                    _ = loop.schedule(at: now + 30 * Self.millisecond) { continuation.resume() }
                    loop.cancel(first)
                    // A used token names nothing.
                    loop.cancel(first)
                }
            }
            #expect(journal.all == [3])
        }
    }

    /// A deadline may set the next one, and an earlier one moves the loop's timer forward.
    @Test(arguments: EventLoopJobTests.backends)
    func deadlinesMayBeMoved(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            let journal = Journal()
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                loop.execute {
                    let far = loop.schedule(after: 3_600_000 * Self.millisecond) { journal.write(-1) }
                    @Sendable func next(_ number: Int) {
                        journal.write(number)
                        if number == 5 {
                            continuation.resume()
                        } else {
                            _ = loop.schedule(after: 2 * Self.millisecond) { next(number + 1) }
                        }
                    }
                    _ = loop.schedule(after: 2 * Self.millisecond) {
                        next(0)
                        loop.cancel(far)
                    }
                }
            }
            #expect(journal.all == [0, 1, 2, 3, 4, 5])
        }
    }

    /// A deadline that another thread sets wakes a loop that sleeps.
    @Test(arguments: EventLoopJobTests.backends)
    func aSleepingLoopIsWokenForAnEarlierDeadline(backend: WebSocketEventLoop.Backend) async throws {
        try await withLoops(backend: backend) { group in
            let loop = group.loops[0]
            let far = await loop.run { loop.schedule(after: 3_600_000 * Self.millisecond) {} }
            for _ in 0..<20 {
                await withCheckedContinuation { continuation in
                    loop.execute { _ = loop.schedule(after: Self.millisecond) { continuation.resume() } }
                }
            }
            #expect(loop.diagnostics.timers == 1)
            await loop.run { loop.cancel(far) }
            #expect(loop.diagnostics.timers == 0)
        }
    }

    @Test func keepAliveFailsAConnectionWithoutPongs() async throws {
        let options = WebSocketOptions.with {
            $0.keepAlive = .init(interval: .milliseconds(20), timeout: .milliseconds(50))
        }
        for side in Side.allCases {
            try await withPair(side, options: options) { pair in
                let ping = try await pair.peer.readFrame()
                #expect(ping.opcode == 9 && ping.payload.count == 8)
                let error = try await error { _ = try await pair.ours.receive() }
                #expect(error.code == .timedOut && error.phase == .ping)
                #expect(try await pair.peer.readFrame().closeCode == 1011)
                try await pair.peer.send(.close(1011))
                #expect(try await pair.ours.closed().cause == .pingTimeout)
            }
        }
    }

    @Test func keepAliveGoesOnWhilePongsCome() async throws {
        let options = WebSocketOptions.with {
            $0.keepAlive = .init(interval: .milliseconds(5), timeout: .seconds(60))
        }
        for side in Side.allCases {
            try await withPair(side, options: options) { pair in
                var payloads: Set<[UInt8]> = []
                for _ in 0..<10 {
                    let ping = try await pair.peer.readFrame()
                    payloads.insert(ping.payload)
                    try await pair.peer.send(.init(0xA, ping.payload))
                }
                #expect(payloads.count == 10)
            }
        }
    }
}
