//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What one value may have. Whatever is larger ends the connection, because what follows cannot be found.
package struct RESPLimits: Sendable, Hashable {
    /// Bytes of one string. Default 64 MiB.
    package var bulkBytes = 64 << 20
    /// Bytes of one line, without its type and its end. Default 64 KiB.
    package var lineBytes = 64 << 10
    /// Bytes of all strings and lines of one value together. Default 128 MiB.
    package var valueBytes = 128 << 20
    /// Elements of one value, those of its parts included; a map has two for each pair. Default 1,000,000.
    package var elements = 1_000_000
    /// How deep arrays and their kin may lie in each other. Default 8.
    package var depth = 8

    package init() {}
}

/// Why a stream is not RESP3, or not within the limits.
package enum RESPViolation: Error, Sendable, Hashable {
    /// A value that begins with a byte which stands for no type.
    case unknownType(UInt8)
    /// A line that does not end with CR LF, or a string without one behind it.
    case lineEnd
    /// A number, a length, a boolean, a null or a verbatim string that is written wrongly.
    case malformed(Character)
    /// A string or an aggregate of unknown length. RESP3 has them; no server sends them, and a reader would have to keep
    /// what has no end.
    case streamed
    /// A push inside another value, where no server puts one.
    case nestedPush
    case bulkTooLong(Int)
    case lineTooLong
    case valueTooLarge
    case tooManyElements
    case tooDeep
}

extension RESPViolation: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unknownType(let byte): "a value begins with byte \(byte), which is no type of RESP3"
        case .lineEnd: "a line or a string does not end with CR LF"
        case .malformed(let type): "a value of type “\(type)” is written wrongly"
        case .streamed: "a value of unknown length, which this reader refuses"
        case .nestedPush: "a push inside another value"
        case .bulkTooLong(let count): "a string of \(count) bytes is longer than allowed"
        case .lineTooLong: "a line is longer than allowed"
        case .valueTooLarge: "a value has more bytes than allowed"
        case .tooManyElements: "a value has more elements than allowed"
        case .tooDeep: "arrays lie deeper in each other than allowed"
        }
    }
}
