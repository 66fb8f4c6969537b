//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization

/// What lives on a loop. Always counted; a test that has ended everything it began must find zeros.
public struct WebSocketLoopDiagnostics: Sendable, Hashable, CustomStringConvertible {
    /// libwebsockets' connection objects, handshakes included.
    public let connections: Int
    /// Calls that are suspended in the library.
    public let pendingContinuations: Int
    /// Tasks that the library started by itself.
    public let internalTasks: Int
    /// Deadlines.
    public let timers: Int
    /// Sockets and duplicates that the library opened and has not closed.
    public let descriptors: Int

    /// True if nothing of the library is alive on the loop.
    public var isZero: Bool {
        connections == 0 && pendingContinuations == 0 && internalTasks == 0 && timers == 0 && descriptors == 0
    }

    /// All counts on one line.
    public var description: String {
        "connections \(connections), continuations \(pendingContinuations), tasks \(internalTasks), timers \(timers), descriptors \(descriptors)"
    }
}

extension WebSocketEventLoop {
    /// A snapshot; each figure is exact, all of them together only when the loop is at rest.
    public var diagnostics: WebSocketLoopDiagnostics {
        WebSocketLoopDiagnostics(
            connections: counters.connections.value, pendingContinuations: counters.continuations.value,
            internalTasks: counters.tasks.value, timers: counters.timers.value, descriptors: counters.descriptors.value)
    }
}

/// Counters of one loop, changed on it and read from anywhere.
final class LoopCounters: Sendable {
    let connections = LoopCounter()
    let continuations = LoopCounter()
    let tasks = LoopCounter()
    let timers = LoopCounter()
    let descriptors = LoopCounter()
}

final class LoopCounter: Sendable {
    private let count = Atomic<Int>(0)
    var value: Int { count.load(ordering: .relaxed) }
    func add(_ amount: Int) { count.wrappingAdd(amount, ordering: .relaxed) }
    func subtract(_ amount: Int) { count.wrappingSubtract(amount, ordering: .relaxed) }
}
