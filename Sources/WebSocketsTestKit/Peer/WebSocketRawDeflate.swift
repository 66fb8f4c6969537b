//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CZlib

/// One direction of permessage-deflate (RFC 7692 §7.2), with exactly the window it is told.
///
/// Not safe to share between tasks that run at the same time.
public final class WebSocketRawDeflate: @unchecked Sendable {
    // Used by one task at a time, as the documentation demands.
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private let isCompressor: Bool
    private let keepsContext: Bool

    /// What the bytes that were to be decompressed are not.
    public struct Corrupt: Error, Hashable, Sendable {
        /// What zlib returned.
        public let status: Int32
    }

    private init(isCompressor: Bool, windowBits: Int, keepsContext: Bool, level: Int32) {
        self.isCompressor = isCompressor
        self.keepsContext = keepsContext
        stream.initialize(to: z_stream())
        let size = Int32(MemoryLayout<z_stream>.size)
        let status =
            isCompressor
            ? deflateInit2_(stream, level, Z_DEFLATED, -Int32(windowBits), 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, size)
            : inflateInit2_(stream, -Int32(windowBits), ZLIB_VERSION, size)
        precondition(status == Z_OK, "zlib does not start: \(status)")
    }

    /// What makes payloads.
    ///
    /// - Parameters:
    ///   - windowBits: 9 to 15; zlib cannot make a raw stream with 8.
    ///   - keepsContext: Whether a message may refer to those before it.
    ///   - level: zlib's, 0 to 9.
    public static func compressor(windowBits: Int = 15, keepsContext: Bool = true, level: Int32 = 6)
        -> WebSocketRawDeflate
    {
        WebSocketRawDeflate(isCompressor: true, windowBits: windowBits, keepsContext: keepsContext, level: level)
    }

    /// What reads payloads.
    ///
    /// - Parameters:
    ///   - windowBits: 8 to 15.
    ///   - keepsContext: Whether a message may refer to those before it.
    public static func decompressor(windowBits: Int = 15, keepsContext: Bool = true) -> WebSocketRawDeflate {
        WebSocketRawDeflate(isCompressor: false, windowBits: windowBits, keepsContext: keepsContext, level: 0)
    }

    /// Compresses one message, without the four bytes that RFC 7692 §7.2.1 takes off.
    public func compress(_ message: [UInt8]) -> [UInt8] {
        precondition(isCompressor)
        var output: [UInt8] = []
        try? run(message, into: &output) { deflate($0, Z_SYNC_FLUSH) }
        if !keepsContext { deflateReset(stream) }
        precondition(output.suffix(4) == [0, 0, 0xFF, 0xFF])
        return output.dropLast(4)
    }

    /// Compresses one message and finishes the stream with it: its last block has BFINAL set, and the next message
    /// begins a new stream. RFC 7692 §7.2.3.4 demands an octet of 0 behind it, which senders forget.
    public func finish(_ message: [UInt8]) -> [UInt8] {
        precondition(isCompressor)
        var output: [UInt8] = []
        try? run(message, into: &output) { deflate($0, Z_FINISH) }
        deflateReset(stream)
        return output
    }

    /// Decompresses one message.
    public func decompress(_ payload: [UInt8]) throws(Corrupt) -> [UInt8] {
        precondition(!isCompressor)
        var output: [UInt8] = []
        try run(payload + [0, 0, 0xFF, 0xFF], into: &output) { inflate($0, Z_SYNC_FLUSH) }
        if !keepsContext { inflateReset(stream) }
        return output
    }

    private func run(
        _ input: [UInt8], into output: inout [UInt8], _ step: (UnsafeMutablePointer<z_stream>) -> Int32
    ) throws(Corrupt) {
        var input = input
        let failure: Int32? = input.withUnsafeMutableBufferPointer { input in
            stream.pointee.next_in = input.baseAddress
            stream.pointee.avail_in = UInt32(input.count)
            // zlib lets a distance reach back through all of one call's output, however small the window: so small
            // calls, or a decompressor would take streams that break their window.
            return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: isCompressor ? 64 << 10 : 256) { chunk in
                repeat {
                    stream.pointee.next_out = chunk.baseAddress
                    stream.pointee.avail_out = UInt32(chunk.count)
                    let status = step(stream)
                    let isFinished = isCompressor && status == Z_STREAM_END
                    guard status == Z_OK || status == Z_BUF_ERROR || isFinished else { return status }
                    output += chunk[..<(chunk.count - Int(stream.pointee.avail_out))]
                } while stream.pointee.avail_out == 0
                return stream.pointee.avail_in == 0 ? nil : Z_DATA_ERROR
            }
        }
        if let failure { throw Corrupt(status: failure) }
    }

    deinit {
        if isCompressor { deflateEnd(stream) } else { inflateEnd(stream) }
        stream.deallocate()
    }
}
