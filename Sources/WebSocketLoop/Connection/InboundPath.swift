//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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

/// The way of messages into one connection: pieces of frames, the message under way, and those on the loop who take what
/// arrives. Loop-confined. Holds no socket and no clock. What no one on the loop takes goes to the `ArrivalQueue`.
struct InboundPath: ~Copyable {
    /// The message under way.
    var assembler: MessageAssembler
    let inflater: Inflater?
    private var isMidFrame = false
    /// Whether the message under way is compressed.
    private(set) var isCompressed = false
    /// The turn has brought enough messages that reading may have to pause.
    private var mustCheckMark = false
    /// Messages are refused. Only the first part of a message in several looks here: the handler refuses whole ones.
    var refusesMessages = false
    /// Grows with every read of a client, and every piece of a message that a server has read. Wraps, as the next one does.
    private(set) var heard: UInt32 = 0
    private(set) var pongsHeard: UInt32 = 0
    /// For those who count at the end: messages that came whole, and all bytes.
    private(set) var messagesArrived = 0
    private(set) var bytesArrived = 0
    /// Messages for which there was no room while the connection closed, and that were not decompressed before its end.
    private(set) var messagesDropped = 0

    // Who takes what arrives.
    var messageHandler: Connection.MessageHandler?
    /// Receivers that read a message in pieces, once there was one.
    var pieces: PieceReceivers?
    /// Requests that wait for their replies.
    var replies: PendingReplies?
    var pongHandlers: [PongHandler] = []

    init(inflater: Inflater?, options: WebSocketOptions) {
        self.inflater = inflater
        assembler = MessageAssembler(
            maximumSize: options.maximumMessageSize, maximumFragments: options.maximumFragments)
    }

    // MARK: Reading

    /// This much was read.
    @inline(__always)
    mutating func noteRead(_ bytes: Int) { bytesArrived &+= bytes }

    @inline(__always)
    mutating func noteHeard() { heard &+= 1 }

    mutating func notePong() { pongsHeard &+= 1 }

    /// What libwebsockets tells a server of the piece of a frame that it hands over; `nil` when the frame has reserved bits
    /// that nothing was negotiated for.
    @inline(__always)
    mutating func piece(from wire: Wire) -> FramePiece? {
        let isFirst = wire.isFirstFragment
        let remaining = wire.remainingBytes
        let startsFrame = !isMidFrame
        isMidFrame = remaining != 0
        if let inflater, startsFrame {
            let bits = wire.reservedBits
            // libwebsockets lets every reserved bit pass once an extension is active.
            if bits & 0x30 != 0 || (!isFirst && bits != 0) { return nil }
            if isFirst {
                let isCompressed = bits & 0x40 != 0
                // What waits belongs to earlier messages.
                if let backlog = inflater.backlog {
                    backlog.isCompressedMessage = isCompressed
                } else {
                    self.isCompressed = isCompressed
                }
            }
        }
        return FramePiece(
            kind: wire.isBinary ? .binary : .text, startsMessage: isFirst, startsFrame: startsFrame,
            remaining: remaining, endsMessage: wire.isFinalFragment)
    }

    /// Whether the message is compressed to which the next pieces belong.
    @inline(__always)
    mutating func takesOn(isCompressed: Bool) { self.isCompressed = isCompressed }

    /// What was read and waits for a turn that has time for it.
    @inline(__always)
    var backlog: DeferredInput? { inflater?.backlog }

    // MARK: Messages

    /// Whether the piece is a message that can be taken as it is.
    @inline(__always)
    func isWhole(_ piece: FramePiece) -> Bool {
        piece.startsMessage && piece.endsMessage && piece.startsFrame && !isCompressed
    }

    mutating func begin(_ piece: FramePiece) { assembler.begin(piece.kind) }

    mutating func beginFrame(_ piece: FramePiece, byteCount: Int) throws(MessageAssembler.Violation) {
        try assembler.beginFrame(announced: UInt64(byteCount) + piece.remaining, compressed: isCompressed)
    }

    /// The message under way is complete.
    mutating func finish() throws(MessageAssembler.Violation) -> WebSocketMessage {
        isCompressed = false
        return try assembler.finish()
    }

    /// The message that is read in pieces is complete. Returns what was not taken out yet.
    mutating func finishPieces() throws(MessageAssembler.Violation) -> [UInt8] {
        isCompressed = false
        return try assembler.finishPieces()
    }

    /// A message has come whole.
    @inline(__always)
    mutating func noteArrived() { messagesArrived &+= 1 }

    /// Messages are lost: there was no room for them while the connection closes, or it has ended.
    mutating func noteDropped(_ count: Int) { messagesDropped += count }

    /// Whether a message is arriving that no receiver reads in pieces.
    var hasUnclaimedMessage: Bool { !assembler.isIdle && pieces?.current == nil }
    /// Whether nothing is read because no task reads the pieces of a message.
    var isPausedForPieces: Bool { pieces?.isPaused == true }
    /// Whether a part of a message is here, or a reader of one that holds up others.
    var isPartial: Bool { !assembler.isIdle || pieces?.isUnfinished == true || backlog != nil }

    // MARK: The turn

    /// The mark has to be looked at when the turn ends.
    mutating func mustCheck() { mustCheckMark = true }

    /// Whether it has; once.
    @inline(__always)
    mutating func takeCheck() -> Bool {
        defer { mustCheckMark = false }
        return mustCheckMark
    }

    // MARK: The end

    /// Nothing will come any more.
    mutating func finish(_ end: ConnectionEnd) {
        pieces?.end(end)
        replies?.end(end)
    }

    /// The connection is gone, and with it those who take what arrives.
    mutating func releaseTakers() {
        messageHandler = nil
        replies = nil
        pongHandlers = []
    }
}
