//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// Something to send that waits for room.
struct PendingSend: Sendable {
    enum Content {
        case message(WebSocketMessage, WebSocketMessageCompression)
        /// The first part of a message in several frames.
        case part(WaitingPart)
        /// Nothing: the sender only wants to hear that there is room.
        case room
    }
    let content: Content
    /// `nil` when the message was accepted already and only has to keep its place.
    let waiter: LoopWaiter<Void>?

    /// Whether a sender waits for it.
    var isWaited: Bool {
        switch content {
        case .message: waiter != nil
        case .part, .room: true
        }
    }
}

// The way of a message out, on the loop: frames, a burst to the socket at the end of the turn, room for those who wait.
extension Connection {
    package enum SendResult {
        case sent
        /// No room: wait.
        case full
        case closed
    }

    /// Takes a message if there is room. On the loop only.
    @inline(__always)
    package func send(_ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer) -> SendResult {
        guard canSend else { return .closed }
        guard outbound.hasRoom else { return .full }
        unsafe append(kind, payload)
        return .sent
    }

    /// A whole message, in one frame.
    func append(
        _ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer,
        _ compression: WebSocketMessageCompression = .automatic
    ) {
        queued &+= 1
        noteSent()
        let opcode: FrameEncoder.Opcode = kind == .text ? .text : .binary
        if let deflater, deflater.takes(payload.count, compression) {
            if mayCompressNow(payload.count, deflater) {
                if let count = unsafe deflater.compress(payload, into: &loop.scratch) {
                    appendScratch(opcode, final: true, compressed: true, count)
                    return noteFramed()
                }
            } else if hasLaterTurns, deflater.begin() {
                return unsafe compressLater(opcode, Array(payload), deflater)
            }
        }
        unsafe appendFrame(opcode, compressed: false, payload)
        noteFramed()
    }

    /// Whether the turn has time for this many bytes.
    @inline(__always)
    func mayCompressNow(_ count: Int, _ deflater: Deflater) -> Bool {
        loop.turnWork.budget.spendWhole(count * TurnBudget.compressing, of: &deflater.share)
    }

    /// Whether what is sent now may wait. libwebsockets answers a client's close frame before the next turn.
    var hasLaterTurns: Bool { client != nil || !mustAnswerClose }

    /// A whole message, which other messages wait for until it is framed.
    private func compressLater(_ opcode: FrameEncoder.Opcode, _ bytes: [UInt8], _ deflater: Deflater) {
        outbound.reserve()
        outboundBytes.store(outbound.bytes, ordering: .relaxed)
        messagesQueued += 1
        compressLater(.message(opcode), bytes, deflater)
    }

    func endReservation() { outbound.endReservation() }

    @inline(__always)
    func noteFramed() { messagesInFrames += 1 }

    /// What has been compressed into the loop's working memory.
    func appendScratch(_ opcode: FrameEncoder.Opcode, final: Bool, compressed: Bool, _ count: Int) {
        unsafe appendFrame(
            opcode, final: final, compressed: compressed,
            UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(loop.scratch.memory)[..<count]))
        unsafe loop.scratch.trim()
    }

    // One thread writes the balance, so these need no atomic addition.

    @inline(__always)
    func noteSent() {
        balance.store(balance.load(ordering: .relaxed) &+ 1, ordering: .releasing)
    }

    /// Control frames ignore the marks: they are small, and needed most when the peer is slow.
    func appendControl(_ opcode: FrameEncoder.Opcode, _ payload: UnsafeRawBufferPointer) {
        unsafe appendFrame(opcode, compressed: false, payload)
    }

    @inline(__always)
    func appendFrame(
        _ opcode: FrameEncoder.Opcode, final: Bool = true, compressed: Bool, _ payload: UnsafeRawBufferPointer
    ) {
        // A client masks every frame (RFC 6455 §5.3), a server none.
        let maskKey: UInt32? = unsafe isClient ? loop.maskKeys.next() : nil
        let destination = unsafe frames.reserve(
            FrameEncoder.maximumHeaderBytes + payload.count, from: &loop.frameMemory)
        let header = unsafe FrameEncoder.writeHeader(
            opcode, final: final, compressed: compressed, payloadBytes: payload.count, maskKey: maskKey, to: destination
        )
        if let base = payload.baseAddress {
            unsafe FrameEncoder.copy(base, count: payload.count, maskKey: maskKey, to: destination + header)
        }
        let size = header + payload.count
        frames.commit(size)
        outbound.took(size)
        outboundBytes.store(outbound.bytes, ordering: .relaxed)
        markDirty()
    }

    func appendFrame(_ opcode: FrameEncoder.Opcode, final: Bool = true, compressed: Bool, _ payload: [UInt8]) {
        unsafe payload.withUnsafeBytes { unsafe appendFrame(opcode, final: final, compressed: compressed, $0) }
    }

    /// Hands everything queued to libwebsockets as one burst of whole frames. Whole, because it may put a pong of its
    /// own between two bursts.
    func flush() {
        guard !isChoked && frames.count > 0, let wire else { return }
        if liveness.awaitsBurst { liveness.burstBegins() }
        if let client { return flush(client, wire) }
        let count = frames.count
        let isTaken = unsafe wire.write(frames.bytes, count)
        unsafe frames.removeAll(to: &loop.frameMemory)
        guard isTaken else {
            // The socket is dead. libwebsockets learns that by itself, but not necessarily soon.
            loop.killSoon(self)
            return
        }
        if wire.holdsBytes {
            isChoked = true
            handedBytes = count
            messagesHanded = messagesInFrames
            messagesInFrames = 0
            wire.askForRoom()
            return
        }
        noteWritten(messagesInFrames)
        messagesInFrames = 0
        drained(count)
    }

    /// A pong goes out before what answers the messages behind its ping. libwebsockets would send it in the next turn,
    /// when the socket is polled for writing, which is what tells that there is one.
    func sendPongFirst() {
        guard !isClient, !isChoked && frames.count > 0, canSend, let wire,
            wire.wantsToWrite(on: loop)
        else { return }
        wire.letWrite()
    }

    func resumeWriting() -> CInt {
        guard isChoked, let wire else { return 0 }
        taken &+= 1
        let isOut: Bool
        if let client {
            guard let sent = sendHeld(client, wire) else { return -1 }
            isOut = sent
        } else {
            isOut = !wire.holdsBytes
        }
        guard isOut else {
            wire.askForRoom()
            return 0
        }
        isChoked = false
        let count = handedBytes
        handedBytes = 0
        noteWritten(messagesHanded)
        messagesHanded = 0
        drained(count)
        if let client {
            answerLatePing(client)
            finishSendingIfDone(client)
        }
        if frames.count > 0 { markDirty() }
        return 0
    }

    func drained(_ count: Int) {
        bytesWritten &+= count
        if liveness.awaitsBurst { burstIsOut() }
        outbound.drained(count)
        admit()
    }

    /// Lets those go on who wait for room.
    func admit() {
        guard canSend else { return }
        if outbound.admitsReserved { admitParts() }
        // Before others, one of whom might begin another message in parts.
        serverSide?.drained(self)
        while let next = outbound.nextAdmitted() {
            if next.isWaited { pressure.endWait(at: loop.now) }
            take(next)
        }
        outboundBytes.store(outbound.bytes, ordering: .relaxed)
    }

    /// There is room for it.
    func take(_ pending: PendingSend) {
        switch pending.content {
        case .message(let message, let compression):
            if pending.waiter == nil { messagesQueued -= 1 }
            unsafe message.withBytes { unsafe append(message.kind, $0, compression) }
            pending.waiter?.resume(.success(()))
        case .part(let part): begin(part)
        case .room: pending.waiter?.resume(.success(()))
        }
    }

    /// The operating system has taken messages whole.
    @inline(__always)
    func noteWritten(_ count: Int) {
        guard count > 0 else { return }
        messagesWritten += count
        if let whenWritten = whenWritten { whenWritten(messagesWritten) }
    }

    /// The last burst goes no further. Returns how many messages may have been sent or not.
    func settleHeldBurst() -> Int {
        // What the socket has not taken of a server's is with libwebsockets, which does not say how much that is.
        guard let client else { return messagesHanded }
        guard client.held.count > 0 else { return 0 }
        let sent = unsafe SentFrames(
            of: UnsafeRawBufferPointer(start: client.held.bytes, count: client.held.count), taken: client.taken)
        messagesHanded -= sent.wholeMessages
        noteWritten(sent.wholeMessages)
        return sent.isInsideMessage ? 1 : 0
    }
}
