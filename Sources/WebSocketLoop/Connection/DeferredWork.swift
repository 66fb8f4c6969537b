//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import WebSocketCore

/// What has been read of a connection and waits for a turn of the loop that has time to decompress it. Loop-confined.
/// Reading is paused meanwhile, so it is what one read has brought.
final class DeferredInput {
    struct Piece {
        let piece: FramePiece
        let isCompressed: Bool
        let bytes: [UInt8]
        /// The message knows of it already, and a part of it is decompressed.
        let isBegun: Bool
    }

    var pieces: Deque<Piece> = []
    /// A client's, behind the pieces and not yet taken apart.
    var rest: [UInt8] = []
    /// Whether the message is compressed whose pieces are being read.
    var isCompressedMessage: Bool

    init(isCompressedMessage: Bool) { self.isCompressedMessage = isCompressedMessage }

    var byteCount: Int { pieces.reduce(rest.count) { $0 + $1.bytes.count } }

    /// How many messages end in it.
    func countMessages(_ parser: FrameParser?) -> Int {
        let count = pieces.count { $0.piece.endsMessage }
        guard var parser else { return count }
        return unsafe rest.withUnsafeBytes { bytes in
            var (count, offset) = (count, 0)
            while true {
                switch unsafe parser.next(bytes, &offset) {
                case .data(let data): count += data.endsMessage ? 1 : 0
                case .control: break
                case .needsMore, .violation: return count
                }
            }
        }
    }
}

/// A message, or a part of one, that is compressed over several turns of the loop. Loop-confined.
final class CompressionUnderWay {
    enum Content {
        case message(FrameEncoder.Opcode)
        case part(WaitingPart, isFirst: Bool)

        var endsMessage: Bool {
            switch self {
            case .message: true
            case .part(let part, _): part.isLast
            }
        }

        var beginsMessage: Bool {
            switch self {
            case .message: true
            case .part(_, let isFirst): isFirst
            }
        }

        var opcode: FrameEncoder.Opcode {
            switch self {
            case .message(let opcode): opcode
            case .part(let part, let isFirst): part.opcode(isFirst: isFirst)
            }
        }
    }

    let content: Content
    let bytes: [UInt8]
    var offset = 0
    var output: [UInt8] = []
    /// The close frame that goes behind it, and the peer's patience from then on, in nanoseconds.
    var close: (frame: WebSocketCloseFrame, patience: UInt64)?

    init(_ content: Content, _ bytes: [UInt8]) {
        self.content = content
        self.bytes = bytes
    }
}

/// Which connections of a loop wait for a turn, and what turns may spend. Loop-confined.
final class TurnWork {
    var budget = TurnBudget()
    private var waiting: Deque<Connection> = []

    var isWaiting: Bool { !waiting.isEmpty }

    /// The connection goes on in a later turn, behind those that wait already.
    func add(_ connection: Connection) {
        guard !connection.turnState.isAwaitingTurn else { return }
        connection.turnState.isAwaitingTurn = true
        waiting.append(connection)
    }

    /// A turn begins: those that wait go on, each once, as long as there is something to spend.
    func startTurn() {
        budget.startTurn()
        var count = waiting.count
        while count > 0, budget.isLeft, let connection = waiting.popFirst() {
            count -= 1
            connection.turnState.isAwaitingTurn = false
            connection.goOnCompressing()
            connection.goOnInflating()
        }
    }

    func removeAll() { waiting = [] }
}
