//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc

/// Bytes as they arrive to lines. What was searched for a newline is not searched again.
struct LineSplitter {
    /// The beginning of a line whose newline has not come.
    private(set) var rest: [UInt8] = []
    /// The most bytes of a line, without its newline.
    let limit: Int

    init(limit: Int) { self.limit = limit }

    /// Hands over each line that the bytes complete, without its newline; `false` when a line is longer than the limit.
    mutating func take(_ bytes: [UInt8], _ body: (ArraySlice<UInt8>) throws -> Void) rethrows -> Bool {
        var bytes = bytes[...]
        while let newline = Self.newline(in: bytes) {
            guard newline - bytes.startIndex <= limit - rest.count else { return false }
            if rest.isEmpty {
                try body(bytes[..<newline])
            } else {
                rest += bytes[..<newline]
                try body(rest[...])
                rest.removeAll(keepingCapacity: rest.count <= 64 << 10)
            }
            bytes = bytes[(newline + 1)...]
        }
        guard bytes.count <= limit - rest.count else { return false }
        rest += bytes
        return true
    }

    private static func newline(in bytes: ArraySlice<UInt8>) -> Int? {
        bytes.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress, let found = memchr(start, 0x0A, buffer.count) else { return nil }
            return bytes.startIndex + (UnsafeRawPointer(found) - start)
        }
    }
}
