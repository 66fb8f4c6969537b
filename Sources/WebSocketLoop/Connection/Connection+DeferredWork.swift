//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import Synchronization
import WebSocketCore

// Large messages are compressed and decompressed over several turns of the loop, so that the others have theirs in
// between. Nothing is read from the socket meanwhile.
extension Connection {
    /// Whether something waits for a later turn.
    var isHeldBack: Bool { inbound.backlog != nil || outbound.isCompressing }

    /// Nothing of this connection waits for a later turn any more.
    private func readOn() {
        guard !isHeldBack, !isPausedByReaders else { return }
        resumeReading()
    }

    // MARK: In

    /// Decompresses what the turn has time for. `false` when the rest waits, or there is none.
    func inflateNow(
        _ piece: FramePiece, _ bytes: UnsafeRawBufferPointer, _ inflater: Inflater
    ) throws(MessageAssembler.Violation) -> Bool {
        let room = loop.turnWork.budget.room(for: inflater.share)
        let used: Int
        do throws(Inflater.Failure) {
            used = try unsafe inflater.inflate(
                bytes, isLast: piece.endsMessage, room: room, scratch: loop.scratch, into: &inbound.assembler)
        } catch {
            switch error {
            case .corrupt:
                violation(.invalidPayloadData, "a compressed message is corrupt")
                return false
            case .violation(let violation): throw violation
            }
        }
        loop.turnWork.budget.spend(inflater.produced, of: &inflater.share)
        checkStreamMemory()
        guard inflater.isStopped else { return true }
        let backlog = inflater.backlog ?? holdBack(inflater)
        unsafe backlog.pieces.prepend(
            .init(piece: piece, isCompressed: true, bytes: Array(bytes.dropFirst(used)), isBegun: true))
        loop.turnWork.add(self)
        return false
    }

    private func holdBack(_ inflater: Inflater) -> DeferredInput {
        let backlog = DeferredInput(isCompressedMessage: true)
        inflater.backlog = backlog
        published.isInboundPartial.store(true, ordering: .relaxed)
        pauseReading()
        settleSoon()
        return backlog
    }

    /// A piece that came behind one that waits.
    func hold(_ piece: FramePiece, _ bytes: UnsafeRawBufferPointer, in backlog: DeferredInput) {
        unsafe backlog.pieces.append(
            .init(
                piece: piece, isCompressed: backlog.isCompressedMessage, bytes: Array(bytes), isBegun: false))
    }

    func goOnInflating() {
        guard let inflater = inbound.inflater, let backlog = inflater.backlog else { return }
        // As in a callback: what ends the connection ends it behind this.
        turnState.isInCallback = true
        defer { turnState.isInCallback = false }
        while canReceive {
            // Each of these comes back when it is over.
            if outbound.isCompressing || canSend && isPausedByReaders { return }
            guard !backlog.pieces.isEmpty else { break }
            guard loop.turnWork.budget.room(for: inflater.share) > 0 else { return loop.turnWork.add(self) }
            goOn(backlog.pieces.removeFirst())
        }
        inflater.backlog = nil
        if memory.charge.buffers > 0 { settleSoon() }
        noteInboundPartial()
        if let client, !backlog.rest.isEmpty, canReceive {
            unsafe backlog.rest.withUnsafeBytes { _ = unsafe takeFrames($0, client) }
        }
        readOn()
    }

    private func goOn(_ held: DeferredInput.Piece) {
        inbound.takesOn(isCompressed: held.isCompressed)
        unsafe held.bytes.withUnsafeBytes { bytes in
            guard held.isBegun else { return unsafe takeNow(held.piece, bytes) }
            guard let inflater = inbound.inflater else { return }
            do throws(MessageAssembler.Violation) {
                if try unsafe inflateNow(held.piece, bytes, inflater) {
                    try finish(held.piece)
                } else {
                    passPiecesOn()
                }
            } catch {
                refuse(error)
            }
        }
    }

    /// The connection has ended: what was not decompressed is lost with it, and counted.
    func dropBacklog() {
        guard let backlog = inbound.inflater?.backlog.take() else { return }
        inbound.noteDropped(backlog.countMessages(client?.parser))
    }

    // MARK: Out

    /// Compresses over the next turns. Other messages wait for the end of this one, as for that of one in several frames.
    func compressLater(_ content: CompressionUnderWay.Content, _ bytes: [UInt8], _ deflater: Deflater) {
        deflater.underWay = CompressionUnderWay(content, bytes)
        pauseReading()
        loop.turnWork.add(self)
        settleSoon()
    }

    func goOnCompressing() {
        guard let deflater = outbound.deflater, let work = deflater.underWay else { return }
        let count = min(
            work.bytes.count - work.offset, loop.turnWork.budget.room(for: deflater.share) / TurnBudget.compressing)
        guard count > 0 else { return loop.turnWork.add(self) }
        compress(count, of: work, deflater)
        loop.turnWork.budget.spend(count * TurnBudget.compressing, of: &deflater.share)
        guard work.offset == work.bytes.count else { return loop.turnWork.add(self) }
        finish(work, deflater)
    }

    /// Does at once what is left to do: libwebsockets will not wait for it.
    func compressTheRest() {
        guard let deflater = outbound.deflater, let work = deflater.underWay else { return }
        compress(work.bytes.count - work.offset, of: work, deflater)
        finish(work, deflater)
    }

    private func compress(_ count: Int, of work: CompressionUnderWay, _ deflater: Deflater) {
        let end = work.offset + count
        deflater.compress(
            work.bytes[work.offset..<end], endsPart: end == work.bytes.count, endsMessage: work.content.endsMessage,
            onto: &work.output, scratch: &loop.scratch)
        work.offset = end
    }

    private func finish(_ work: CompressionUnderWay, _ deflater: Deflater) {
        deflater.underWay = nil
        settleSoon()
        let content = work.content
        if case .message = content { outbound.hasCompressedMessage() }
        appendFrame(
            content.opcode, final: content.endsMessage, compressed: content.beginsMessage, work.output)
        switch content {
        case .message: outbound.noteFramed()
        case .part(let part, _): finish(part)
        }
        if let (frame, patience) = work.close { appendClose(frame, patience: patience) }
        admit()
        readOn()
    }

    /// The connection has ended.
    func dropCompression() {
        guard let work = outbound.deflater?.underWay.take(), case .part(let part, _) = work.content else { return }
        part.waiter.resume(.failure(closedSendError()))
    }
}
