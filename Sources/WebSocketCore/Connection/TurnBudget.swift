//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What the connections of a loop may compress and decompress in one turn. Counted in bytes and not in time: bytes are what
/// peers decide about, and the same on every machine.
///
/// A byte that comes out of decompression counts once, one that goes into compression as often as it takes longer.
package struct TurnBudget: Sendable {
    /// What one connection has spent in one direction.
    package struct Share: Sendable {
        fileprivate var turn: UInt64 = 0
        fileprivate var spent = 0
        package init() {}
    }

    /// For all connections of a loop: some milliseconds.
    package static let total = 2 << 20
    /// For one connection in one direction.
    package static let share = total / 4
    /// What a connection may spend when the others have spent everything, so that small messages never wait.
    package static let always = total / 32
    /// How much longer compressing takes than decompressing.
    package static let compressing = 8

    private var turn: UInt64 = 1
    private var spent = 0
    private var largest = 0

    package init() {}

    package mutating func startTurn() {
        guard spent > 0 else { return }
        largest = max(largest, spent)
        spent = 0
        turn &+= 1
    }

    /// Whether a connection that waits may go on in this turn.
    package var isLeft: Bool { spent < Self.total }

    /// The most that was spent in one turn.
    package var largestTurn: Int { max(largest, spent) }

    /// What a connection may spend now.
    @inline(__always)
    package func room(for share: Share) -> Int {
        let own = share.turn == turn ? share.spent : 0
        return max(Self.always - own, min(Self.share - own, Self.total - spent), 0)
    }

    @inline(__always)
    package mutating func spend(_ cost: Int, of share: inout Share) {
        spent += cost
        if share.turn != turn { share = Share(turn: turn, spent: 0) }
        share.spent += cost
    }

    /// Spends it if there is room for all of it.
    @inline(__always)
    package mutating func spendWhole(_ cost: Int, of share: inout Share) -> Bool {
        guard cost <= room(for: share) else { return false }
        spend(cost, of: &share)
        return true
    }
}

extension TurnBudget.Share {
    fileprivate init(turn: UInt64, spent: Int) {
        self.turn = turn
        self.spent = spent
    }
}
