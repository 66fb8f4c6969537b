//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import CZlib
import WebSocketCore

/// Compresses messages (RFC 7692 §7.2.1). zlib's state is made with the first message that needs it.
@safe final class Deflater {
    private var stream: UnsafeMutablePointer<z_stream>?
    private let resets: Bool
    let windowBits: Int
    let level: Int
    let memoryLevel: Int
    private let spares: SpareStreams?
    let minimumSize: Int
    /// What went in and what came out, for the ratio.
    private(set) var plainBytes = 0
    private(set) var compressedBytes = 0
    /// What this direction has spent of the loop's turn, and what goes over several of them.
    var share = TurnBudget.Share()
    var underWay: CompressionUnderWay?

    /// `nil` for a window of 8 bits, which zlib cannot produce: such a side sends uncompressed messages.
    ///
    /// - Parameter spares: Where the stream comes from and goes to, when it is needed only as long as a message.
    init?(windowBits: Int, resets: Bool, options: WebSocketCompression.Deflate, spares: SpareStreams? = nil) {
        guard windowBits > 8 else { return nil }
        self.windowBits = windowBits
        self.resets = resets
        level = options.level
        memoryLevel = options.memoryLevel
        minimumSize = options.minimumSize
        self.spares = resets ? spares : nil
    }

    var hasStream: Bool { unsafe stream != nil }
    /// What zlib keeps, by its manual: nothing before the first message.
    var streamBytes: Int { hasStream ? (1 << (windowBits + 2)) + (1 << (memoryLevel + 9)) + Self.stateBytes : 0 }
    private static let stateBytes = 6 << 10

    private var kind: SpareStreams.Kind {
        .deflate(level: level, windowBits: windowBits, memoryLevel: memoryLevel)
    }

    /// Whether a message of this size is to be compressed.
    @inline(__always)
    func takes(_ count: Int, _ compression: WebSocketMessageCompression) -> Bool {
        switch compression {
        case .automatic: count >= minimumSize
        case .always: true
        case .never: false
        }
    }

    /// Compresses a whole message into the scratch buffer; returns the size, without the tail that RFC 7692 removes,
    /// or `nil` when zlib has no memory (then the message can go out as it is).
    func compress(_ message: UnsafeRawBufferPointer, into scratch: inout ScratchBuffer) -> Int? {
        guard unsafe !message.isEmpty else { return compressNothing(into: &scratch) }
        guard begin() else { return nil }
        let produced = unsafe run(message, Z_SYNC_FLUSH, into: &scratch) - 4
        compressedBytes += produced
        messageEnded()
        return produced
    }

    /// Before the first byte of a message. `false` when zlib has no memory.
    func begin() -> Bool {
        if let stream = unsafe stream {
            if resets { unsafe deflateReset(stream) }
            return true
        }
        unsafe stream = unsafe spares?.take(kind) ?? kind.make()
        return unsafe stream != nil
    }

    private func messageEnded() {
        if let spares, let stream = unsafe stream.take() { unsafe spares.give(stream, kind) }
    }

    /// Compresses the next part of a message that `begin` began. The tail that RFC 7692 removes ends the message only.
    func compress(part: UnsafeRawBufferPointer, isLast: Bool, into scratch: inout ScratchBuffer) -> Int {
        defer { if isLast { messageEnded() } }
        guard unsafe !part.isEmpty else { return isLast ? compressNothing(into: &scratch) : 0 }
        let produced = unsafe run(part, Z_SYNC_FLUSH, into: &scratch) - (isLast ? 4 : 0)
        compressedBytes += produced
        return produced
    }

    /// Compresses a slice, which is not empty, of a part that `begin` began.
    func compress(
        _ slice: ArraySlice<UInt8>, endsPart: Bool, endsMessage: Bool, onto output: inout [UInt8],
        scratch: inout ScratchBuffer
    ) {
        let tail = endsPart && endsMessage ? 4 : 0
        unsafe slice.withUnsafeBytes { bytes in
            let produced = unsafe run(bytes, endsPart ? Z_SYNC_FLUSH : Z_NO_FLUSH, into: &scratch)
            unsafe output.append(contentsOf: UnsafeRawBufferPointer(rebasing: scratch.memory[..<produced]))
        }
        // It may have come out with an earlier slice.
        output.removeLast(tail)
        if endsPart { compressedBytes += output.count }
        if tail > 0 { messageEnded() }
        scratch.trim()
    }

    /// One byte (RFC 7692 §7.2.3.6): zlib, asked twice to flush nothing, says nothing the second time.
    private func compressNothing(into scratch: inout ScratchBuffer) -> Int {
        unsafe scratch.memory[0] = 0
        compressedBytes += 1
        return 1
    }

    private func run(
        _ message: UnsafeRawBufferPointer, _ flush: CInt, into scratch: inout ScratchBuffer
    ) -> Int {
        guard let stream = unsafe stream else { preconditionFailure("no message has begun") }
        unsafe stream.pointee.next_in = unsafe UnsafeMutablePointer(
            mutating: message.baseAddress?.assumingMemoryBound(to: UInt8.self))
        unsafe stream.pointee.avail_in = UInt32(message.count)
        var produced = 0
        unsafe scratch.reserve(Int(deflateBound(stream, UInt(message.count))) + 64)
        while true {
            if unsafe scratch.memory.count - produced < 64 {
                unsafe scratch.reserve(scratch.memory.count * 2, keeping: produced)
            }
            let room = unsafe scratch.memory.count - produced
            unsafe stream.pointee.next_out =
                unsafe scratch.memory.baseAddress!.assumingMemoryBound(to: UInt8.self) + produced
            unsafe stream.pointee.avail_out = UInt32(room)
            let status = unsafe deflate(stream, flush)
            precondition(status == Z_OK || status == Z_BUF_ERROR, "deflate failed with \(status)")
            unsafe produced += room - Int(stream.pointee.avail_out)
            if unsafe stream.pointee.avail_out > 0 { break }
        }
        plainBytes += message.count
        return produced
    }

    /// A message that this side did not compress has gone out: the peer's window holds it and ours does not, so nothing
    /// may refer back across it.
    func forgetHistory() { if !resets, let stream = unsafe stream { unsafe deflateReset(stream) } }

    deinit { if let stream = unsafe stream { unsafe kind.end(stream) } }
}

/// Decompresses messages (RFC 7692 §7.2.2), a bounded piece at a time.
///
/// A peer may finish its DEFLATE stream with a message or inside one (BFINAL, §7.2.1). §7.2.3.4 demands an octet of 0
/// behind it, the beginning of an empty block whose other four octets are taken off like those of every message.
/// Senders forget it: those four octets then belong to nothing, and would be read as the head of a block that swallows
/// the next messages. So they are added only when the message has left a stream open.
///
/// What comes behind a finished stream, in the same message or the next, is a new stream, with an empty window even
/// when context is taken over: by RFC 1951 §3.2.3 no distance reaches back beyond the beginning of its stream, and
/// zlib, which nearly every sender is built on, forgets its window before it begins another. Other receivers (WebKit,
/// Node's ws) do the same. A sender that does reach back is refused, and not read wrongly.
@safe final class Inflater {
    enum Failure: Error {
        case corrupt
        case violation(MessageAssembler.Violation)
    }

    private var stream: UnsafeMutablePointer<z_stream>?
    private let resets: Bool
    private let windowBits: Int
    private let spares: SpareStreams?
    /// The message under way has begun a stream, or gone on with one, that has not been finished.
    private var isOpen = false
    /// More would have come out of the last piece than there was room for.
    private(set) var isStopped = false
    /// How much came out of the last piece.
    private(set) var produced = 0
    /// What this direction has spent of the loop's turn, and what waits for the next ones.
    var share = TurnBudget.Share()
    var backlog: DeferredInput?

    /// - Parameter spares: Where the stream comes from and goes to, when it is needed only as long as a message.
    init(windowBits: Int, resets: Bool, spares: SpareStreams? = nil) {
        self.windowBits = windowBits
        self.resets = resets
        self.spares = resets ? spares : nil
    }

    var hasStream: Bool { unsafe stream != nil }
    /// What zlib keeps, by its manual: nothing before the first message.
    var streamBytes: Int { hasStream ? (1 << windowBits) + Self.stateBytes : 0 }
    private static let stateBytes = 7 << 10

    private var kind: SpareStreams.Kind { .inflate(windowBits: windowBits) }

    /// Decompresses the next piece of a message into the assembler, which stops a bomb at the message limit.
    ///
    /// - Parameter room: How much may come out now. When there is more, `isStopped` is set, and the next piece is what is
    ///   left of this one, even when that is nothing.
    /// - Returns: How much of the piece was used.
    @discardableResult
    func inflate(
        _ piece: UnsafeRawBufferPointer, isLast: Bool, room: Int = .max, scratch: borrowing ScratchBuffer,
        into assembler: inout MessageAssembler
    ) throws(Failure) -> Int {
        produced = 0
        if unsafe stream == nil { unsafe stream = unsafe spares?.take(kind) ?? kind.make() }
        guard let stream = unsafe stream else { throw .corrupt }
        let used = try unsafe feed(piece, to: stream, room: room, scratch: scratch, into: &assembler)
        guard isLast, !isStopped else { return used }
        if isOpen { try unsafe feedTail(to: stream, scratch: scratch, into: &assembler) }
        isOpen = false
        if let spares {
            unsafe self.stream = nil
            unsafe spares.give(stream, kind)
        } else if resets {
            unsafe inflateReset(stream)
        }
        return used
    }

    /// The last four octets of an empty stored block, which the sender took off (§7.2.1).
    private func feedTail(
        to stream: UnsafeMutablePointer<z_stream>, scratch: borrowing ScratchBuffer,
        into assembler: inout MessageAssembler
    ) throws(Failure) {
        let tail: (UInt8, UInt8, UInt8, UInt8) = (0x00, 0x00, 0xFF, 0xFF)
        var failure: Failure?
        unsafe withUnsafeBytes(of: tail) { bytes in
            do throws(Failure) {
                _ = try unsafe feed(bytes, to: stream, room: .max, scratch: scratch, into: &assembler)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        // A message that did not end with such a block would go on in the next one. zlib says 128 between two blocks,
        // plus the bits of the last octet that it has not used. Without context nothing goes on.
        guard unsafe resets || !isOpen || stream.pointee.data_type == 128 else { throw .corrupt }
    }

    private func feed(
        _ piece: UnsafeRawBufferPointer, to stream: UnsafeMutablePointer<z_stream>, room: Int,
        scratch: borrowing ScratchBuffer, into assembler: inout MessageAssembler
    ) throws(Failure) -> Int {
        // What is left in zlib of a piece that was used up needs no more input.
        guard unsafe !piece.isEmpty || isStopped else { return 0 }
        unsafe stream.pointee.next_in = unsafe UnsafeMutablePointer(
            mutating: piece.baseAddress?.assumingMemoryBound(to: UInt8.self))
        unsafe stream.pointee.avail_in = UInt32(piece.count)
        let memory = unsafe scratch.memory
        if unsafe !piece.isEmpty { isOpen = true }
        isStopped = false
        var room = room
        repeat {
            guard room > 0 else {
                isStopped = true
                break
            }
            let size = min(memory.count, room)
            unsafe stream.pointee.next_out = unsafe memory.baseAddress!.assumingMemoryBound(to: UInt8.self)
            unsafe stream.pointee.avail_out = UInt32(size)
            let status = unsafe CZlib.inflate(stream, Z_SYNC_FLUSH)
            let produced = unsafe size - Int(stream.pointee.avail_out)
            if produced > 0 {
                room -= produced
                self.produced += produced
                do throws(MessageAssembler.Violation) {
                    try unsafe assembler.append(
                        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<produced]))
                } catch {
                    throw .violation(error)
                }
            }
            switch status {
            case Z_OK: break
            case Z_BUF_ERROR: return piece.count
            case Z_STREAM_END:
                unsafe inflateReset(stream)
                isOpen = unsafe stream.pointee.avail_in > 0
            default: throw .corrupt
            }
        } while unsafe stream.pointee.avail_in > 0 || stream.pointee.avail_out == 0
        return unsafe piece.count - Int(stream.pointee.avail_in)
    }

    deinit { if let stream = unsafe stream { unsafe kind.end(stream) } }
}
