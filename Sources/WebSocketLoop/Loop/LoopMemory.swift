//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import WebSocketCore

/// Which of a loop's connections are charged to its budget. Loop-confined.
final class LoopMemory {
    let budget: WebSocketMemoryBudget
    private var charged: [ObjectIdentifier: Connection] = [:]
    private var slowedDown: [ObjectIdentifier: Connection] = [:]
    private var warnings: [String: UInt64] = [:]
    private var broadcastBytes = 0

    /// Bytes of broadcasts that may wait for the end of a turn; what comes beyond goes out at once.
    private static let maximumBroadcastBytes = 4 << 20
    /// Between two warnings of the same kind.
    private static let warningInterval: UInt64 = 60_000_000_000

    init(_ budget: WebSocketMemoryBudget) { self.budget = budget }

    // MARK: Charges

    /// The connection's charge is this from now on.
    func charge(_ connection: Connection, _ new: MemoryLedger.Charge) -> MemoryLedger.Outcome {
        let old = connection.memory.charge
        connection.memory.charge = new
        if new.total > 0, old.total == 0 { charged[ObjectIdentifier(connection)] = connection }
        let isFirst = old.total == 0 && charged.count == 1
        let outcome = budget.change(from: old, to: new, on: isFirst ? connection.loop : nil)
        if new.total == 0 { forget(connection) }
        if outcome.becameTight {
            warn(connection.loop, "the memory budget is three quarters full; connections that hold much are not read")
        }
        return outcome
    }

    /// There is nothing to be asked of the connection any more.
    func forget(_ connection: Connection) {
        let id = ObjectIdentifier(connection)
        slowedDown[id] = nil
        guard charged.removeValue(forKey: id) != nil, charged.isEmpty else { return }
        budget.forget(connection.loop)
    }

    /// The connection is not read, or is again.
    func note(_ connection: Connection, isSlowedDown: Bool) {
        slowedDown[ObjectIdentifier(connection)] = isSlowedDown ? connection : nil
        if isSlowedDown { budget.noteSlowedDown() }
    }

    func noteLeft(_ connection: Connection) {
        budget.noteLeft()
        warn(connection.loop, "the memory budget is used up; connections that hold much are closed with 1013")
    }

    private func warn(_ loop: WebSocketEventLoop, _ text: String) {
        guard warnings[text].map({ loop.now - $0 > Self.warningInterval }) ?? true else { return }
        warnings[text] = loop.now
        let statistics = budget.statistics
        loop.logger.warning(
            "\(text); raise its limit, or lower those of connections",
            metadata: [
                "loop": "\(loop.name)", "bytes": "\(statistics.bytes)", "connections": "\(statistics.holders)",
                "limit": "\(budget.limit.map { "\($0)" } ?? "none")",
            ])
    }

    // MARK: What the budget asks for

    /// There is room again.
    func speedUp() {
        for connection in slowedDown.values { connection.speedUp() }
    }

    /// The largest connections leave, until there is room or only those are left that hold no more than their share.
    func letTheLargestLeave() {
        while let largest = charged.values.max(by: { $0.memory.charge.buffers < $1.memory.charge.buffers }),
            budget.mustLeave(largest.memory.charge)
        {
            let before = largest.memory.charge
            largest.leaveForMemory()
            // What is still to be written goes with the end of the turn.
            if largest.memory.charge == before { return }
        }
    }

    // MARK: Broadcasts

    func startTurn() { broadcastBytes = 0 }

    /// A frame of a broadcast waits for the end of the turn: whether there are too many of them for that.
    func mustFlush(_ count: Int) -> Bool {
        broadcastBytes += count
        return broadcastBytes > Self.maximumBroadcastBytes
    }
}
