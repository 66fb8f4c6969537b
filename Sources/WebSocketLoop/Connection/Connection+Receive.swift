//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
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

extension Connection {
    /// libwebsockets has read a part of a frame of data for a server.
    @inline(__always)
    func take(_ bytes: UnsafeRawBufferPointer) -> CInt {
        guard unsafe machine.canReceive, let wsi = unsafe wsi else { return 0 }
        unsafe isInCallback = true
        defer { unsafe isInCallback = false }
        unsafe heard &+= 1
        let isFinal = unsafe lws_is_final_fragment(wsi) != 0
        let isFirst = unsafe lws_is_first_fragment(wsi) != 0
        let remaining = unsafe lws_remaining_packet_payload(wsi)
        let startsFrame = unsafe !isMidFrame
        unsafe isMidFrame = remaining != 0
        if inflater != nil, startsFrame {
            let bits = unsafe lws_get_reserved_bits(wsi)
            // libwebsockets lets every reserved bit pass once an extension is active.
            if bits & 0x30 != 0 || (!isFirst && bits != 0) {
                violation(.protocolError, "a frame has reserved bits that nothing was negotiated for")
                return 0
            }
            if isFirst { unsafe isCompressedMessage = bits & 0x40 != 0 }
        }
        unsafe take(
            FramePiece(
                kind: lws_frame_is_binary(wsi) != 0 ? .binary : .text, startsMessage: isFirst,
                startsFrame: startsFrame, remaining: UInt64(remaining), endsMessage: isFinal), bytes)
        return 0
    }

    /// A piece of a message.
    @inline(__always)
    func take(_ piece: FramePiece, _ bytes: UnsafeRawBufferPointer) {
        do throws(MessageAssembler.Violation) {
            if unsafe piece.startsMessage && piece.endsMessage && piece.startsFrame && !isCompressedMessage {
                if let messageHandler = unsafe messageHandler {
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
            if unsafe refusesMessages { return refuseMessage() }
            unsafe assembler.begin(piece.kind)
            isInboundPartial.store(true, ordering: .relaxed)
            if unsafe pieces != nil { claimPieces() }
        }
        if piece.startsFrame {
            try unsafe assembler.beginFrame(
                announced: UInt64(bytes.count) + piece.remaining, compressed: isCompressedMessage)
        }
        if unsafe isCompressedMessage, let inflater {
            do throws(Inflater.Failure) {
                try unsafe inflater.inflate(bytes, isLast: piece.endsMessage, scratch: loop.scratch, into: &assembler)
            } catch {
                switch error {
                case .corrupt: return violation(.invalidPayloadData, "a compressed message is corrupt")
                case .violation(let violation): throw violation
                }
            }
        } else {
            try unsafe assembler.append(bytes)
        }
        if piece.endsMessage {
            unsafe isCompressedMessage = false
            if let reader = unsafe pieces?.current {
                try finishPieces(reader)
            } else {
                unsafe deliver(try assembler.finish())
                isInboundPartial.store(false, ordering: .releasing)
            }
        } else if let reader = unsafe pieces?.current {
            passPieces(to: reader)
        }
    }

    func deliver(_ message: WebSocketMessage) {
        noteArrived()
        if let messageHandler = unsafe messageHandler {
            unsafe message.withBytes { unsafe messageHandler($0.bytes, message.kind) }
            return
        }
        enqueue(message)
    }

    /// A message for those who call `receive`.
    @inline(__always)
    func enqueue(_ message: WebSocketMessage) {
        let isClosing = unsafe !machine.canSend
        enum Next { case nothing, pause, check }
        var waiter: LoopWaiter<WebSocketMessage>?
        let next: Next = inbound.withLock { queue in
            defer { noteInbound(queue) }
            // Nobody slows the peer down while the connection closes, so what does not fit is dropped and counted, and
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
            unsafe mustCheckInbound = true
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
        if let wsi = unsafe wsi { unsafe lws_rx_flow_control(wsi, 0) }
    }

    func resumeReading() {
        if unsafe pieces?.isPaused != true, let wsi = unsafe wsi { unsafe lws_rx_flow_control(wsi, 1) }
    }

    /// Messages go to `handler`, on the loop, as they arrive; what was buffered goes first.
    package func setMessageHandler(_ handler: @escaping MessageHandler) {
        if let replies { replies.handler = handler } else { unsafe messageHandler = handler }
        isInboundHandled.store(true, ordering: .relaxed)
        while true {
            switch inbound.withLock({ $0.pop() }) {
            case .message(let message, let resume):
                unsafe message.withBytes { unsafe handler($0.bytes, message.kind) }
                if resume { resumeReading() }
            case .ended, .empty: return
            }
        }
    }

    /// Nobody reads any more: control frames are dealt with, and a message ends the connection.
    package func closeReading() {
        unsafe refusesMessages = true
        setMessageHandler { [unowned self] _, _ in refuseMessage() }
        if unsafe !assembler.isIdle && pieces?.current == nil { refuseMessage() }
        // Nothing piles up now, and the peer's close has to be seen.
        resumeReading()
    }

    /// Whether messages can still be sent, as far as the loop has seen. From any thread.
    package var isUsable: Bool { isOpen.load(ordering: .acquiring) }

    /// Messages sent, less those that have arrived whole. From any thread.
    package var exchangeBalance: Int { balance.load(ordering: .acquiring) }

    /// Whether messages of this side are still on their way to the loop. From any thread.
    package var hasPromisedMessages: Bool { promisedBytes.load(ordering: .acquiring) != 0 }

    /// Whether somebody who takes the connection over would find something of its former user: messages, a part of
    /// one, receivers that wait for one, or a message handler. From any thread, as cheap as it looks.
    package var hasInboundResidue: Bool {
        inboundCount.load(ordering: .acquiring) != 0 || isInboundPartial.load(ordering: .acquiring)
            || isInboundHandled.load(ordering: .relaxed)
    }

    /// Whether messages that come are somebody's already: a handler's, or a receiver's that waits.
    package var isInboundClaimed: Bool {
        isInboundHandled.load(ordering: .relaxed) || inbound.withLock { $0.waiterCount > 0 }
    }

    @inline(__always)
    func noteInbound(_ queue: borrowing InboundQueue<LoopWaiter<WebSocketMessage>, ConnectionEnd>) {
        inboundCount.store(queue.messageCount + queue.waiterCount, ordering: .releasing)
    }
}
