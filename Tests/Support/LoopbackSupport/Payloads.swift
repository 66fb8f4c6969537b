//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import TestSupport
package import Testing
package import WebSockets

/// Messages that a test can make again to compare.
package enum Payload {
    /// Both sides of the limits of the frame header and of common buffers.
    package static let sizes = [
        0, 1, 125, 126, 127, 1_000, 4_095, 4_096, 16_384, 65_535, 65_536, 65_537, 200_000, 1 << 20,
    ]

    /// Bytes that do not compress.
    package static func noise(_ size: Int, seed: UInt64 = 1) -> [UInt8] {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        return [UInt8](count: size) { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return UInt8(truncatingIfNeeded: state >> 24)
        }
    }

    /// Characters of one to four bytes and a NUL, cut at a character so that at most `size` bytes are left.
    package static func text(_ size: Int) -> String {
        let unit = "price 17.25 é漢🙂\0e\u{301} "
        var text = String(repeating: unit, count: size / unit.utf8.count)
        for scalar in unit.unicodeScalars {
            guard text.utf8.count + scalar.utf8.count <= size else { break }
            text.unicodeScalars.append(scalar)
        }
        return text
    }

    package static func zeros(_ size: Int) -> [UInt8] { [UInt8](repeating: 0, count: size) }

    /// One of each kind per size.
    package static let mixed: [WebSocketMessage] = sizes.flatMap {
        [.binary(noise($0, seed: UInt64($0))), .text(text($0)), .binary(zeros($0))]
    }
}

extension WebSocketMessage {
    /// Byte for byte: `==` on strings lets canonically equivalent ones pass.
    package func isIdentical(to other: WebSocketMessage) -> Bool {
        switch (self, other) {
        case (.text(let mine), .text(let other)): mine.utf8.elementsEqual(other.utf8)
        case (.binary(let mine), .binary(let other)): mine == other
        default: false
        }
    }
}

extension WebSocketError {
    /// Whether the message is a sentence a stranger can use, not a code or a dump.
    package var isSentence: Bool {
        let words = message.split(separator: " ")
        return words.count >= 5 && !message.contains("Optional(") && !message.contains("Swift.")
            && message.unicodeScalars.allSatisfy { $0.value >= 0x20 }
    }
}

/// The error that `body` throws; the test fails when it throws none.
package func failure<Value>(
    _ what: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation,
    of body: () async throws -> Value
) async throws -> WebSocketError {
    do {
        _ = try await body()
    } catch let error as WebSocketError {
        return error
    }
    return try #require(nil, "\(what()) did not fail", sourceLocation: sourceLocation)
}
