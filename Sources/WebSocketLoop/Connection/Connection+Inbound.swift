//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

/// A part of a data frame's payload, whichever side has parsed the frame.
struct FramePiece {
    let kind: WebSocketMessage.Kind
    let startsMessage: Bool
    let startsFrame: Bool
    /// Bytes of the frame that come after this piece.
    let remaining: UInt64
    let endsMessage: Bool
}

// The way of a message in, on the loop: pieces of frames, messages, and those who receive them.
extension Connection {
    /// libwebsockets has read a part of a frame of data for a server.
    @inline(__always)
    func take(_ bytes: UnsafeRawBufferPointer) -> CInt {
        guard canReceive, let wire else { return 0 }
        isInCallback = true
        defer { isInCallback = false }
        heard &+= 1
        let isFinal = wire.isFinalFragment
        let isFirst = wire.isFirstFragment
        let remaining = wire.remainingBytes
        let startsFrame = !isMidFrame
        isMidFrame = remaining != 0
        if let inflater, startsFrame {
            let bits = wire.reservedBits
            // libwebsockets lets every reserved bit pass once an extension is active.
            if bits & 0x30 != 0 || (!isFirst && bits != 0) {
                violation(.protocolError, "a frame has reserved bits that nothing was negotiated for")
                return 0
            }
            if isFirst {
                let isCompressed = bits & 0x40 != 0
                if let backlog = inflater.backlog {
                    backlog.isCompressedMessage = isCompressed
                } else {
                    isCompressedMessage = isCompressed
                }
            }
        }
        unsafe take(
            FramePiece(
                kind: wire.isBinary ? .binary : .text, startsMessage: isFirst,
                startsFrame: startsFrame, remaining: remaining, endsMessage: isFinal), bytes)
        return 0
    }

    /// A piece of a message.
    @inline(__always)
    func take(_ piece: FramePiece, _ bytes: UnsafeRawBufferPointer) {
        if let backlog = inflater?.backlog { return unsafe hold(piece, bytes, in: backlog) }
        unsafe takeNow(piece, bytes)
    }

    /// A piece of a message that waits for nothing.
    @inline(__always)
    func takeNow(_ piece: FramePiece, _ bytes: UnsafeRawBufferPointer) {
        do throws(MessageAssembler.Violation) {
            if piece.startsMessage && piece.endsMessage && piece.startsFrame && !isCompressedMessage {
                if let messageHandler = messageHandler {
                    try unsafe deliverBorrowed(bytes, piece.kind, to: messageHandler)
                } else {
                    unsafe deliver(
                        try MessageAssembler.whole(piece.kind, bytes, maximumSize: options.maximumMessageSize))
                }
                return
            }
            try unsafe assemble(piece, bytes)
        } catch {
            refuse(error)
        }
    }

    /// A piece of a message that does not come whole in one.
    private func assemble(
        _ piece: FramePiece, _ bytes: UnsafeRawBufferPointer
    ) throws(MessageAssembler.Violation) {
        if piece.startsMessage {
            if refusesMessages { return refuseMessage() }
            assembler.begin(piece.kind)
            published.isInboundPartial.store(true, ordering: .relaxed)
            if pieces != nil { claimPieces() }
        }
        if piece.startsFrame {
            try assembler.beginFrame(
                announced: UInt64(bytes.count) + piece.remaining, compressed: isCompressedMessage)
        }
        if isCompressedMessage, let inflater {
            guard try unsafe inflateNow(piece, bytes, inflater) else { return passPiecesOn() }
        } else {
            try unsafe assembler.append(bytes)
        }
        try finish(piece)
    }

    /// All of a piece has gone into its message.
    func finish(_ piece: FramePiece) throws(MessageAssembler.Violation) {
        if piece.endsMessage {
            isCompressedMessage = false
            if let reader = pieces?.current {
                try finishPieces(reader)
            } else {
                deliver(try assembler.finish())
                published.isInboundPartial.store(inflater?.backlog != nil, ordering: .releasing)
            }
        } else {
            passPiecesOn()
        }
    }

    func deliver(_ message: WebSocketMessage) {
        noteArrived()
        if let messageHandler = messageHandler {
            unsafe message.withBytes { unsafe messageHandler($0.bytes, message.kind) }
            return
        }
        enqueue(message)
    }

    /// A message for those who call `receive`.
    @inline(__always)
    func enqueue(_ message: WebSocketMessage) {
        let isClosing = !canSend
        enum Next { case nothing, pause, check }
        var waiter: LoopWaiter<WebSocketMessage>?
        let next: Next = inbound.withLock { queue in
            defer { noteInbound(queue) }
            // Nothing slows the peer down while the connection closes, so what does not fit is dropped and counted, and
            // everything behind it: what was received is a beginning of what was sent, without a hole.
            if isClosing
                && (droppedMessages > 0
                    || queue.messageCount >= options.inboundBuffer.highMessages && queue.waiterCount == 0)
            {
                droppedMessages += 1
                return .nothing
            }
            switch queue.push(message) {
            case .deliver(let first):
                waiter = first
                return .nothing
            case .buffered: return queue.isAboveMark ? .check : .nothing
            case .bufferedPause: return isClosing ? .nothing : .pause
            }
        }
        waiter?.resume(.success(message))
        switch next {
        case .nothing: break
        case .pause: pauseReading()
        case .check:
            mustCheckInbound = true
            markDirty()
        }
    }

    func deliverBorrowed(
        _ bytes: UnsafeRawBufferPointer, _ kind: WebSocketMessage.Kind, to handler: MessageHandler
    ) throws(MessageAssembler.Violation) {
        guard bytes.count <= options.maximumMessageSize else {
            throw .messageTooBig(limit: options.maximumMessageSize)
        }
        if kind == .text {
            var validator = UTF8Validator()
            guard unsafe validator.consume(bytes), validator.isComplete else { throw .invalidUTF8 }
        }
        noteArrived()
        unsafe handler(bytes.bytes, kind)
    }

    func pauseReading() {
        wire?.pauseReading()
    }

    func resumeReading() {
        guard pieces?.isPaused != true else { return }
        // It reads on when what waits is done.
        if isHeldBack { return loop.turnWork.add(self) }
        wire?.resumeReading()
    }

    /// Whether reading is paused because no task takes what has come.
    var isPausedByReaders: Bool { inbound.withLock { $0.isPaused } || pieces?.isPaused == true }

    @inline(__always)
    func noteInbound(_ queue: borrowing InboundQueue<LoopWaiter<WebSocketMessage>, ConnectionEnd>) {
        inboundCount.store(queue.messageCount + queue.waiterCount, ordering: .releasing)
    }

    @inline(__always)
    func noteArrived() {
        messagesArrived &+= 1
        published.countArrived()
    }
}
