//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import CZlib

/// zlib's streams that are in no message, for connections that agreed to keep no context (RFC 7692 §7.1.1). A quarter of
/// a megabyte for each such connection would lie idle otherwise. Loop-confined.
@safe final class SpareStreams {
    enum Kind: Hashable {
        case deflate(level: Int, windowBits: Int, memoryLevel: Int)
        case inflate(windowBits: Int)

        /// A new stream; `nil` when zlib has no memory.
        func make() -> UnsafeMutablePointer<z_stream>? {
            let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
            unsafe stream.initialize(to: z_stream())
            let status =
                switch self {
                case .deflate(let level, let windowBits, let memoryLevel):
                    unsafe wsx_deflate_init(stream, CInt(level), CInt(windowBits), CInt(memoryLevel))
                case .inflate(let windowBits): unsafe wsx_inflate_init(stream, CInt(windowBits))
                }
            guard status == Z_OK else {
                unsafe stream.deallocate()
                return nil
            }
            return unsafe stream
        }

        func reset(_ stream: UnsafeMutablePointer<z_stream>) {
            switch self {
            case .deflate: unsafe deflateReset(stream)
            case .inflate: unsafe inflateReset(stream)
            }
        }

        func end(_ stream: UnsafeMutablePointer<z_stream>) {
            switch self {
            case .deflate: unsafe deflateEnd(stream)
            case .inflate: unsafe inflateEnd(stream)
            }
            unsafe stream.deallocate()
        }
    }

    /// More are in use at the same time only while messages arrive in pieces, or take several turns.
    static let maximum = 4

    private var spare: [Kind: [UnsafeMutablePointer<z_stream>]] = unsafe [:]

    /// How many wait for the next message.
    var count: Int { unsafe spare.values.reduce(0) { unsafe $0 + $1.count } }

    func take(_ kind: Kind) -> UnsafeMutablePointer<z_stream>? { unsafe spare[kind]?.popLast() }

    /// Nothing of the message stays in it.
    func give(_ stream: UnsafeMutablePointer<z_stream>, _ kind: Kind) {
        guard unsafe spare[kind, default: []].count < Self.maximum else { return unsafe kind.end(stream) }
        unsafe kind.reset(stream)
        unsafe spare[kind, default: []].append(stream)
    }

    deinit {
        unsafe spare.forEach { entry in unsafe entry.value.forEach { unsafe entry.key.end($0) } }
    }
}
