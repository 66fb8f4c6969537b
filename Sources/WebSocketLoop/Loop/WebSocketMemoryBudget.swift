//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore

/// How much memory the connections of one or several loop groups may hold together.
///
/// Every connection has limits of its own, and thousands of connections that are all at their limits hold thousands of
/// times as much. A budget bounds the sum of what peers and callers make a connection keep: messages that no task has
/// received and parts of those that arrive, frames that the peer has not read, and zlib's streams. As it fills up,
///
/// 1. from three quarters on, connections that hold more than their share are not read until they hold half of it, or
///    the budget is half full again; their peers feel TCP's backpressure, and nothing is lost;
/// 2. from seven eighths on, servers answer new clients with 503 and `Retry-After`;
/// 3. at the limit, a connection that holds more than its share is closed with 1013, and what it held is given back.
///    What was not received of it is counted in ``WebSocketCloseInfo/droppedMessages``, receivers get
///    `resourceExhausted`. A peer that does not read does not see the close frame either and is cut off.
///
/// The share is what is left of three quarters of the limit without zlib's streams, divided by the connections that
/// hold something. One below its share is neither slowed down nor closed for what others hold.
///
/// A connection is charged in steps of 32 KiB, and what it has below one counts as nothing: for each 1,000 connections
/// that may be up to 100 MB beside the limit. Neither does the budget know what your tasks keep, messages that wait in
/// `send`, the memory of TLS, and the operating system's buffers.
///
/// Everything here may be used from any thread.
public final class WebSocketMemoryBudget: Sendable {
    private struct State {
        var ledger: MemoryLedger
        /// Those with connections that hold something.
        var loops: [ObjectIdentifier: WebSocketEventLoop] = [:]
    }

    /// The process's, which every loop has that was given no other. Its limit is ``defaultLimit``.
    public static let shared = WebSocketMemoryBudget(MemoryLedger(limit: defaultLimit))

    /// Half of the memory that the process may have: of the machine's, or of its control group's where that is less. In
    /// bytes.
    public static let defaultLimit = max(MemoryLedger.range.lowerBound, Host.memoryBytes / 2)

    private let state: Mutex<State>

    private init(_ ledger: MemoryLedger) { state = Mutex(State(ledger: ledger)) }

    /// A budget of its own, for groups that get it.
    ///
    /// - Parameter limit: In bytes, 1,048,576 (1 MiB)...1,125,899,906,842,624 (1 PiB); `nil` counts and limits nothing.
    /// - Throws: `invalidConfiguration` for a limit outside that range.
    public convenience init(limit: Int?) throws(WebSocketError) {
        try Self.check(limit)
        self.init(MemoryLedger(limit: limit))
    }

    private static func check(_ limit: Int?) throws(WebSocketError) {
        guard let limit, !MemoryLedger.range.contains(limit) else { return }
        throw WebSocketError(
            .invalidConfiguration,
            "the memory budget's limit is \(limit) bytes; it must be in \(MemoryLedger.range.lowerBound)...\(MemoryLedger.range.upperBound), or nil for none"
        )
    }

    /// The limit in bytes; `nil` for none.
    public var limit: Int? { state.withLock(\.ledger.limit) }

    /// Changes the limit, for connections that are open too.
    ///
    /// - Parameter limit: As of `init(limit:)`. One below what is held closes the largest connections.
    /// - Throws: `invalidConfiguration` for a limit outside the range. Then nothing has changed.
    public func setLimit(_ limit: Int?) throws(WebSocketError) {
        try Self.check(limit)
        let (outcome, loops) = state.withLock { ($0.ledger.set(limit: limit), Array($0.loops.values)) }
        tell(loops, outcome)
    }

    /// What is held now, and what has come of it.
    public var statistics: WebSocketMemoryStatistics { WebSocketMemoryStatistics(state.withLock(\.ledger)) }

    // MARK: For loops

    /// The charge of a connection changes. From any thread.
    ///
    /// - Parameter loop: Whose connections hold something from now on.
    func change(
        from old: MemoryLedger.Charge, to new: MemoryLedger.Charge, on loop: WebSocketEventLoop? = nil
    ) -> MemoryLedger.Outcome {
        let (outcome, loops) = state.withLock { state in
            if let loop { state.loops[ObjectIdentifier(loop)] = loop }
            let outcome = state.ledger.change(from: old, to: new)
            return (outcome, outcome.relaxed || outcome.verdict == .makeRoom ? Array(state.loops.values) : [])
        }
        tell(loops, outcome)
        return outcome
    }

    private func tell(_ loops: [WebSocketEventLoop], _ outcome: MemoryLedger.Outcome) {
        for loop in loops {
            if outcome.relaxed { loop.execute { loop.memory.speedUp() } }
            if outcome.verdict == .makeRoom { loop.execute { loop.memory.letTheLargestLeave() } }
        }
    }

    /// No connection of the loop holds anything any more.
    func forget(_ loop: WebSocketEventLoop) { state.withLock { $0.loops[ObjectIdentifier(loop)] = nil } }

    func mustLeave(_ charge: MemoryLedger.Charge) -> Bool { state.withLock { $0.ledger.mustLeave(charge) } }
    /// Whether one more connection may come. Counted when not.
    func admits() -> Bool { state.withLock { $0.ledger.admits() } }
    func noteSlowedDown() { state.withLock { $0.ledger.noteSlowedDown() } }
    func noteLeft() { state.withLock { $0.ledger.noteLeft() } }
}

/// What a budget's connections hold, and what has come of it. All figures are of one moment.
public struct WebSocketMemoryStatistics: Sendable, Hashable {
    /// Bytes that are charged now.
    public let bytes: Int
    /// The most that was ever charged, in bytes.
    public let peakBytes: Int
    /// Connections that hold messages or frames: those that the share is made of.
    public let holders: Int
    /// Whether those that hold more than their share are not read.
    public let isTight: Bool
    /// How often a connection was not read for this reason.
    public let slowedDown: Int
    /// Connections that were closed with 1013.
    public let closed: Int
    /// Clients that servers have answered with 503, or cut off at once where many are answered already.
    public let refused: Int

    init(_ ledger: MemoryLedger) {
        bytes = ledger.used
        peakBytes = ledger.peak
        holders = ledger.holders
        isTight = ledger.isTight
        slowedDown = ledger.slowedDown
        closed = ledger.left
        refused = ledger.refused
    }
}
