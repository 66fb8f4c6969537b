//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What connections hold together, and what follows when that becomes too much: first those that hold more than their
/// share are no longer read, then no new ones are let in, at last those that still grow go.
///
/// A connection below its share is never asked to slow down or to leave: when all of them are below theirs, the total
/// is below the high mark.
package struct MemoryLedger: Sendable {
    /// Charges of what comes and goes are multiples of this, so that few messages change one.
    package static let step = 32 << 10
    /// What a limit may be, in bytes.
    package static let range = (1 << 20)...(1 << 50)

    /// What one connection is charged.
    package struct Charge: Sendable, Hashable {
        /// Bytes that are free again when tasks receive and the peer reads: a multiple of `step`.
        package var buffers = 0
        /// Bytes that stay as long as the connection does.
        package var fixed = 0

        package var total: Int { buffers + fixed }

        package init(buffers: Int = 0, fixed: Int = 0) {
            self.buffers = buffers
            self.fixed = fixed
        }
    }

    /// What is asked of a connection whose charge has changed.
    package enum Verdict: Sendable {
        case goOn
        /// Its peer is not to be read, as far as that is of use.
        case slowDown
        /// It holds more than its share of a total that is used up.
        case leave
        /// The total is used up, by others: the largest of those are to leave.
        case makeRoom
    }

    package struct Outcome: Sendable {
        package var verdict = Verdict.goOn
        /// Whether a connection that was slowed down may go on.
        package var maySpeedUp = true
        /// The high mark was reached with this.
        package var becameTight = false
        /// The low mark was: all who were slowed down go on.
        package var relaxed = false
    }

    /// `nil` for none.
    package private(set) var limit: Int?
    package private(set) var used = 0
    package private(set) var peak = 0
    /// How many connections are charged for buffers.
    package private(set) var holders = 0
    /// What of `used` no back-pressure makes smaller.
    package private(set) var fixed = 0
    /// From the high mark on, down to the low one.
    package private(set) var isTight = false
    /// Connections that were slowed down, and that left; upgrades that were refused.
    package private(set) var slowedDown = 0
    package private(set) var left = 0
    package private(set) var refused = 0

    package init(limit: Int?) { self.limit = limit }

    // MARK: Marks

    /// Three quarters.
    package static func high(of limit: Int) -> Int { limit - limit / 4 }
    /// Half.
    package static func low(of limit: Int) -> Int { limit / 2 }
    /// Seven eighths.
    package static func full(of limit: Int) -> Int { limit - limit / 8 }

    /// What a connection may hold in any case; more than all memory without a limit.
    package var share: Int {
        guard let limit else { return .max }
        return max(Self.step, (Self.high(of: limit) - fixed) / max(1, holders))
    }

    package var isUsedUp: Bool { limit.map { used > $0 } ?? false }

    // MARK: Changes

    package mutating func change(from old: Charge, to new: Charge) -> Outcome {
        used += new.total - old.total
        fixed += new.fixed - old.fixed
        holders += (new.buffers > 0 ? 1 : 0) - (old.buffers > 0 ? 1 : 0)
        peak = max(peak, used)
        var outcome = mark()
        guard limit != nil else { return outcome }
        outcome.maySpeedUp = !isTight || new.buffers <= share / 2
        guard new.total > old.total else { return outcome }
        if isUsedUp {
            // Where no buffers are left to be given back only those that want more can go.
            outcome.verdict = mustLeave(new) || holders == 0 ? .leave : .makeRoom
        } else if isTight, new.buffers >= share {
            outcome.verdict = .slowDown
        }
        return outcome
    }

    /// Whether this charge is among those that use up the total.
    package func mustLeave(_ charge: Charge) -> Bool { isUsedUp && charge.buffers >= share }

    /// Another limit holds from now on. With one that is used up already the largest are to leave.
    package mutating func set(limit: Int?) -> Outcome {
        self.limit = limit
        var outcome = mark()
        if isUsedUp { outcome.verdict = .makeRoom }
        return outcome
    }

    private mutating func mark() -> Outcome {
        var outcome = Outcome()
        let wasTight = isTight
        if let limit {
            if used >= Self.high(of: limit) { isTight = true }
            if used <= Self.low(of: limit) { isTight = false }
        } else {
            isTight = false
        }
        outcome.becameTight = isTight && !wasTight
        outcome.relaxed = wasTight && !isTight
        return outcome
    }

    // MARK: Newcomers

    /// Whether one more connection may come. Counted when not.
    package mutating func admits() -> Bool {
        guard let limit, used >= Self.full(of: limit) else { return true }
        refused += 1
        return false
    }

    package mutating func noteSlowedDown() { slowedDown += 1 }
    package mutating func noteLeft() { left += 1 }
}
