//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Puts the pieces of a message together, within limits. Pieces are whatever the frames' source hands
/// over: parts of a frame, frames, or a decompressor's output.
@usableFromInline package struct MessageAssembler: Sendable {
    @usableFromInline package enum Violation: Error, Equatable, Sendable {
        case messageTooBig(limit: Int)
        case tooManyFragments(limit: Int)
        case invalidUTF8
    }

    private enum State {
        case idle
        case assembling(WebSocketMessage.Kind)
    }

    private let maximumSize: Int
    /// What of `maximumSize` is left for `bytes`, when a part of the message was taken out already.
    private var limit: Int
    private let maximumFragments: Int
    private var state = State.idle
    private var bytes: [UInt8] = []
    private var fragments = 0
    /// How many bytes the frame under way announced.
    private var announced = 0
    private var validator = UTF8Validator()

    package init(maximumSize: Int, maximumFragments: Int) {
        self.maximumSize = maximumSize
        limit = maximumSize
        self.maximumFragments = maximumFragments
    }

    package var isIdle: Bool { if case .idle = state { true } else { false } }
    /// Bytes that the message under way may still take.
    package var remainingBytes: Int { limit - bytes.count }
    /// What is here of the message under way.
    package var byteCount: Int { bytes.count }
    /// The kind of the message under way.
    package var kind: WebSocketMessage.Kind? { if case .assembling(let kind) = state { kind } else { nil } }

    /// A whole message in one uncompressed piece, which is the common case and copies once. Static, so that nothing of
    /// an assembler is copied on the way.
    @inlinable @inline(__always)
    package static func whole(
        _ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer, maximumSize: Int
    ) throws(Violation) -> WebSocketMessage {
        guard payload.count <= maximumSize else { throw .messageTooBig(limit: maximumSize) }
        switch kind {
        case .binary: return .binary([UInt8](payload))
        case .text:
            guard let text = String(validating: payload, as: UTF8.self) else { throw .invalidUTF8 }
            return .text(text)
        }
    }

    /// The first piece of a message is coming. Sources guarantee that messages do not overlap.
    package mutating func begin(_ kind: WebSocketMessage.Kind) {
        state = .assembling(kind)
        fragments = 0
        limit = maximumSize
        // Nothing of a message that was refused may reach this one.
        bytes = []
        validator = UTF8Validator()
    }

    /// A frame of the message begins; `announced` bytes of it will come, before decompression.
    package mutating func beginFrame(announced: UInt64, compressed: Bool) throws(Violation) {
        fragments += 1
        guard fragments <= maximumFragments else { throw .tooManyFragments(limit: maximumFragments) }
        // Refused before a byte is kept; nothing is ever reserved on the word of a header alone.
        guard compressed || announced <= UInt64(remainingBytes) else { throw .messageTooBig(limit: maximumSize) }
        self.announced = compressed ? 0 : Int(announced)
    }

    package mutating func append(_ piece: UnsafeRawBufferPointer) throws(Violation) {
        guard piece.count <= remainingBytes else { throw .messageTooBig(limit: maximumSize) }
        if case .assembling(.text) = state, !validator.consume(piece) { throw .invalidUTF8 }
        if bytes.isEmpty && piece.count >= Self.reservingPiece {
            bytes.reserveCapacity(min(announced, Self.maximumReserve))
        }
        bytes.append(contentsOf: piece)
    }

    /// Memory is set aside for a frame only when as much of it has come, and never more than this at once.
    private static let reservingPiece = 4 << 10
    private static let maximumReserve = 256 << 10

    /// Takes out what has come of the message under way, for a receiver that reads it in pieces. The limits still
    /// count it.
    package mutating func takePieces() -> [UInt8] {
        limit -= bytes.count
        defer { bytes = [] }
        return bytes
    }

    /// Nothing more will come of the message under way.
    package mutating func discard() {
        state = .idle
        bytes = []
    }

    /// The last piece has come of a message that is read in pieces: what was not taken out yet.
    package mutating func finishPieces() throws(Violation) -> [UInt8] {
        guard case .assembling(let kind) = state else { preconditionFailure("no message is being assembled") }
        state = .idle
        guard kind == .binary || validator.isComplete else { throw .invalidUTF8 }
        defer { bytes = [] }
        return bytes
    }

    /// The last piece has come.
    package mutating func finish() throws(Violation) -> WebSocketMessage {
        guard case .assembling(let kind) = state else { preconditionFailure("no message is being assembled") }
        state = .idle
        let whole = bytes
        bytes = []
        guard kind == .text else { return .binary(whole) }
        guard validator.isComplete else { throw .invalidUTF8 }
        return .text(String(decoding: whole, as: UTF8.self))
    }
}
