//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketPool

/// What real threads see of the pool can be explained by one operation after the other (Wing and Gong, 1993).
@Suite
struct LinearizabilityTests {
    /// One operation on a pool of connections that are all open, as its caller saw it.
    struct Operation: Sendable, CustomStringConvertible {
        enum Kind: Sendable, Hashable {
            /// `tryAcquire`, with what it got.
            case take(Int?)
            /// `acquire`, which waits until there is one.
            case wait(Int)
            case give(Int)
        }

        var kind: Kind
        /// Readings of one counter for all threads.
        var invoked: Int
        var returned: Int

        var description: String { "\(self.invoked)–\(self.returned) \(self.kind)" }

        /// The specification: the idle connections are a stack.
        func apply(to idle: [Int]) -> [Int]? {
            switch self.kind {
            case .take(nil): idle.isEmpty ? idle : nil
            case .take(let connection?), .wait(let connection):
                idle.last == connection ? Array(idle.dropLast()) : nil
            case .give(let connection): idle.contains(connection) ? nil : idle + [connection]
            }
        }
    }

    private final class Counter: Sendable {
        private let value = Atomic(0)
        func next() -> Int { self.value.add(1, ordering: .sequentiallyConsistent).newValue }
    }

    /// The states in which the history can end if it begins in one of `states`: none if nothing explains it.
    static func outcomes(of history: [Operation], from states: Set<[Int]>) -> Set<[Int]> {
        struct Node: Hashable {
            var done: Int
            var idle: [Int]
        }
        var seen: Set<Node> = []
        var open = states.map { Node(done: 0, idle: $0) }
        var results: Set<[Int]> = []
        while let node = open.popLast() {
            guard seen.insert(node).inserted else { continue }
            let pending = history.indices.filter { node.done & (1 << $0) == 0 }
            if pending.isEmpty { results.insert(node.idle) }
            // Nothing can come after an operation that began when it had returned.
            let horizon = pending.map { history[$0].returned }.min() ?? 0
            for index in pending where history[index].invoked < horizon {
                if let idle = history[index].apply(to: node.idle) {
                    open.append(Node(done: node.done | (1 << index), idle: idle))
                }
            }
        }
        return results
    }

    @Test
    func theCheckerTellsWhatCanBeExplainedFromWhatCannot() {
        func explains(_ operations: [(Operation.Kind, Int, Int)], from idle: [Int]) -> Bool {
            let history = operations.map { Operation(kind: $0.0, invoked: $0.1, returned: $0.2) }
            return !Self.outcomes(of: history, from: [idle]).isEmpty
        }
        #expect(explains([(.take(1), 0, 1), (.take(nil), 2, 3), (.give(1), 4, 5), (.take(1), 6, 7)], from: [1]))
        // Overlapping operations may take effect in either order, others may not.
        #expect(explains([(.take(1), 0, 3), (.take(nil), 1, 2)], from: [1]))
        #expect(!explains([(.take(1), 2, 3), (.take(nil), 0, 1)], from: [1]))
        // One connection, lent twice.
        #expect(!explains([(.take(1), 0, 3), (.take(1), 1, 2)], from: [1]))
        // The wrong end of the stack.
        #expect(!explains([(.take(1), 0, 1)], from: [1, 2]))
        // A lost release.
        #expect(!explains([(.take(1), 0, 1), (.give(1), 2, 3), (.take(nil), 4, 5)], from: [1]))
        #expect(explains([(.wait(1), 0, 9), (.give(1), 4, 5)], from: []))
    }

    @Test(
        "Three tasks on two connections: every window of twelve operations has an explanation", .timeLimit(.minutes(5)))
    func windows() async throws {
        var configuration = RegressionTests.small(2)
        configuration.validationBypass = nil
        let server = MockServer()
        let pool = TypedPool(configuration: configuration) { try await server.connect($0) }
        let running = Task { try await pool.run() }
        let opened = try await pool.warmUp(2)
        #expect(opened == 2)

        let counter = Counter()
        let names = server.seen.connections.map(ObjectIdentifier.init)
        @Sendable func name(_ lease: TypedLease<MockConnection>) throws -> Int {
            try #require(names.firstIndex(of: ObjectIdentifier(lease.connection)))
        }
        var states: Set<[Int]> = [[0, 1], [1, 0]]
        for round in 0..<ModelTests.setting("POOL_WINDOWS", default: TestDepth.choose(2_000, reduced: 300)) {
            let history = try await withThrowingTaskGroup(of: [Operation].self) { group in
                for task in 0..<3 {
                    group.addTask {
                        var random = PoolRandom(seed: UInt64(round * 3 + task))
                        var operations: [Operation] = []
                        func note(_ kind: Operation.Kind, _ invoked: Int) {
                            let returned = counter.next()
                            operations.append(Operation(kind: kind, invoked: invoked, returned: returned))
                        }
                        for _ in 0..<2 {
                            if random.next() % 2 == 0 { await Task.yield() }
                            let invoked = counter.next()
                            let lease: TypedLease<MockConnection>?
                            if random.next() % 3 == 0 {
                                lease = pool.tryAcquire()
                                note(.take(try lease.map(name)), invoked)
                            } else {
                                let granted = try await pool.acquire()
                                note(.wait(try name(granted)), invoked)
                                lease = granted
                            }
                            guard let lease else { continue }
                            if random.next() % 2 == 0 { await Task.yield() }
                            let connection = try name(lease)
                            let released = counter.next()
                            lease.release()
                            note(.give(connection), released)
                        }
                        return operations
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            let next = Self.outcomes(of: history, from: states)
            guard !next.isEmpty else {
                Issue.record("round \(round): nothing explains \(history) from \(states)")
                break
            }
            states = next
        }
        await pool.shutDown()
        try await running.value
    }
}
