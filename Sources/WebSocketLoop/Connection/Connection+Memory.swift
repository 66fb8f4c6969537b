//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// What a connection is charged of its loop's budget, and between which marks that need not be looked at again.
/// Loop-confined.
struct ConnectionMemory {
    var charge = MemoryLedger.Charge()
    /// Reading is paused because the connection holds more than its share.
    var isSlowedDown = false
    /// What it holds is being given up.
    var isLeaving = false
    /// The charge has to be looked at when the turn ends.
    fileprivate(set) var mustSettle = false
    /// What was charged of frames, and of messages in parts.
    fileprivate var outbound = 0
    fileprivate var partial = 0
    fileprivate var hasStreams = false

    fileprivate static func charged(_ bytes: Int) -> Int { bytes - bytes % MemoryLedger.step }

    /// Whether a figure is no longer within the step that was charged. One comparison, both ways.
    @inline(__always)
    fileprivate static func isBeyond(_ bytes: Int, _ charged: Int) -> Bool {
        UInt(bitPattern: bytes &- charged) >= UInt(MemoryLedger.step)
    }
}

extension WebSocketEventLoop {
    var memory: LoopMemory { resources.memory }
}

// Charges are settled at the end of a turn, when what goes out at once has gone and what is received at once has been, and
// only when a mark was passed.
extension Connection {
    // MARK: Marks

    /// The turn is over: whether what waits for the peer has passed a mark.
    @inline(__always)
    func checkOutboundMemory() {
        if ConnectionMemory.isBeyond(outbound.waitingBytes, memory.outbound) { settleMemory() }
    }

    /// A part of a message has come, or gone.
    @inline(__always)
    func checkPartialMemory() {
        if ConnectionMemory.isBeyond(partialBytes, memory.partial) { settleSoon() }
    }

    /// A message was or is being compressed or decompressed.
    @inline(__always)
    func checkStreamMemory() {
        if hasStreams != memory.hasStreams { settleSoon() }
    }

    func settleSoon() {
        memory.mustSettle = true
        inbound.mustCheck()
        markDirty()
    }

    private var partialBytes: Int { inbound.assembler.byteCount + (inbound.pieces?.current?.unreadBytes ?? 0) }
    private var hasStreams: Bool { inbound.inflater?.hasStream == true || outbound.deflater?.hasStream == true }

    // MARK: Charges

    /// Charges what is held now, and does what the budget asks for.
    func settleMemory() {
        memory.mustSettle = false
        let queued = arrivals.settle()
        guard closeInfo == nil else { return settleAfterEnd(queued) }
        let work = outbound.deflater?.underWay
        memory.outbound = ConnectionMemory.charged(outbound.waitingBytes)
        memory.partial = ConnectionMemory.charged(partialBytes)
        memory.hasStreams = hasStreams
        let fleeting =
            (inbound.backlog?.byteCount ?? 0) + (work.map { $0.bytes.count + $0.output.count } ?? 0)
        let drainable = queued + memory.outbound
        let charge = MemoryLedger.Charge(
            buffers: drainable + memory.partial + ConnectionMemory.charged(fleeting),
            fixed: (inbound.inflater?.streamBytes ?? 0) + (outbound.deflater?.streamBytes ?? 0))
        guard charge != memory.charge else { return drainable == 0 ? speedUp() : () }
        let outcome = loop.memory.charge(self, charge)
        switch outcome.verdict {
        case .leave: leaveForMemory()
        // A message of which only a part is here takes no memory less when the rest waits.
        case .slowDown where drainable > 0: slowDown()
        case .slowDown, .goOn, .makeRoom:
            if outcome.maySpeedUp || drainable == 0 { speedUp() }
        }
    }

    /// Messages that can still be received.
    private func settleAfterEnd(_ queued: Int) {
        let old = memory.charge
        memory.charge = MemoryLedger.Charge(buffers: queued)
        _ = loop.memory.budget.change(from: old, to: memory.charge)
    }

    private func slowDown() {
        guard canSend, !memory.isSlowedDown else { return }
        memory.isSlowedDown = true
        loop.memory.note(self, isSlowedDown: true)
        pauseReading()
    }

    /// Reading goes on, unless it is paused for another reason.
    func speedUp() {
        guard memory.isSlowedDown else { return }
        memory.isSlowedDown = false
        loop.memory.note(self, isSlowedDown: false)
        resumeReading()
    }

    /// A task has taken messages, and one of the marks is reached.
    func messagesWereTaken() {
        if memory.charge.buffers > 0 { settleMemory() }
        resumeReading()
    }

    // MARK: The end

    /// The budget is used up, and this connection holds more than its share: the peer is told to come again later, and
    /// what is held is given back at once.
    func leaveForMemory() {
        guard closeInfo == nil, !memory.isLeaving else { return }
        memory.isLeaving = true
        loop.memory.noteLeft(self)
        fail(
            WebSocketCloseFrame(code: .tryAgainLater, reason: "out of memory"), cause: .peerViolation,
            error: WebSocketError(
                .resourceExhausted,
                "the memory budget is used up, and this connection held more than its share; the connection was closed with 1013, try again later"
            ))
        dropBacklog()
        inbound.noteDropped(arrivals.removeAll())
        inbound.assembler.discard()
        // The close frame would wait behind what the peer does not read; or there is none, because another one is out.
        if !outbound.isFlushed || canReceive { loop.killAtTurnEnd(self) }
        settleMemory()
    }

    /// The connection has ended. What tasks can still receive stays charged until they have.
    func releaseMemory() {
        outbound.dropBurst(to: &loop.frameMemory)
        client?.held.removeAll(to: &loop.frameMemory)
        inbound.assembler.discard()
        loop.memory.forget(self)
        memory.isSlowedDown = false
        guard memory.charge.total > 0 || !arrivals.isEmpty else { return }
        settleMemory()
    }
}
