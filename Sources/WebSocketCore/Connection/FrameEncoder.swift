//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Writes frames (RFC 6455 §5.2). Sizes and bytes only: it owns no memory.
@usableFromInline package enum FrameEncoder {
    @usableFromInline package enum Opcode: UInt8, Sendable {
        case continuation = 0x0, text = 0x1, binary = 0x2, close = 0x8, ping = 0x9, pong = 0xA
    }

    /// No header is longer: 2 bytes, 8 of length, 4 of mask.
    package static let maximumHeaderBytes = 14

    /// Writes a frame's header and returns its size. The length is the shortest form that fits.
    @inlinable @inline(__always)
    package static func writeHeader(
        _ opcode: Opcode, final: Bool = true, compressed: Bool = false, payloadBytes: Int, maskKey: UInt32?,
        to destination: UnsafeMutableRawPointer
    ) -> Int {
        let maskBit: UInt8 = maskKey == nil ? 0 : 0x80
        destination.storeBytes(of: (final ? 0x80 : 0) | (compressed ? 0x40 : 0) | opcode.rawValue, as: UInt8.self)
        var size = 2
        if payloadBytes < 126 {
            destination.storeBytes(of: maskBit | UInt8(payloadBytes), toByteOffset: 1, as: UInt8.self)
        } else if payloadBytes <= 0xFFFF {
            destination.storeBytes(of: maskBit | 126, toByteOffset: 1, as: UInt8.self)
            destination.storeBytes(of: UInt16(payloadBytes).bigEndian, toByteOffset: 2, as: UInt16.self)
            size = 4
        } else {
            destination.storeBytes(of: maskBit | 127, toByteOffset: 1, as: UInt8.self)
            destination.storeBytes(of: UInt64(payloadBytes).bigEndian, toByteOffset: 2, as: UInt64.self)
            size = 10
        }
        if let maskKey {
            destination.storeBytes(of: maskKey, toByteOffset: size, as: UInt32.self)
            size += 4
        }
        return size
    }

    /// Copies a payload, masked with a key in the byte order it was stored in (RFC 6455 §5.3).
    /// `source` and `destination` may be the same memory.
    @inlinable @inline(__always)
    package static func copy(
        _ source: UnsafeRawPointer, count: Int, maskKey: UInt32?, to destination: UnsafeMutableRawPointer
    ) {
        guard let maskKey else {
            destination.copyMemory(from: source, byteCount: count)
            return
        }
        let wide = UInt64(maskKey) | UInt64(maskKey) << 32
        var offset = 0
        if count >= 64 {
            let vector = SIMD8<UInt64>(repeating: wide)
            while offset + 64 <= count {
                let block = source.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
                destination.storeBytes(of: block ^ vector, toByteOffset: offset, as: SIMD8<UInt64>.self)
                offset += 64
            }
        }
        while offset + 8 <= count {
            let word = source.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            destination.storeBytes(of: word ^ wide, toByteOffset: offset, as: UInt64.self)
            offset += 8
        }
        var key = maskKey.littleEndian
        while offset < count {
            let byte = source.load(fromByteOffset: offset, as: UInt8.self)
            destination.storeBytes(of: byte ^ UInt8(truncatingIfNeeded: key), toByteOffset: offset, as: UInt8.self)
            key = key >> 8 | key << 24
            offset += 1
        }
    }
}
