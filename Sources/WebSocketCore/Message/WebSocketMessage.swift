//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// One complete message: text, which is valid UTF-8, or binary (RFC 6455 §5.6).
public enum WebSocketMessage: Sendable, Hashable {
    /// Text, which is valid UTF-8.
    case text(String)
    /// Bytes.
    case binary([UInt8])

    /// Whether a message is text or binary.
    public enum Kind: Sendable, Hashable {
        /// Text, which is UTF-8 (opcode 1).
        case text
        /// Bytes (opcode 2).
        case binary
    }

    /// Text or binary.
    public var kind: Kind {
        switch self {
        case .text: .text
        case .binary: .binary
        }
    }

    /// The payload's size in bytes: of the UTF-8 for text.
    public var byteCount: Int {
        switch self {
        case .text(let string): string.utf8.count
        case .binary(let bytes): bytes.count
        }
    }
}

extension WebSocketMessage: ExpressibleByStringLiteral {
    /// A text message.
    public init(stringLiteral value: String) { self = .text(value) }
}

extension WebSocketMessage: CustomStringConvertible {
    /// The kind and the size, never the content: messages may hold secrets.
    public var description: String {
        switch self {
        case .text: "text message of \(byteCount) bytes"
        case .binary: "binary message of \(byteCount) bytes"
        }
    }
}

extension WebSocketMessage {
    /// The payload as bytes, whatever the kind: the UTF-8 of a text.
    public var bytes: [UInt8] {
        switch self {
        case .text(let text): Array(text.utf8)
        case .binary(let bytes): bytes
        }
    }

    /// The payload as text, whatever the kind; nil for bytes that are not UTF-8.
    public var text: String? {
        switch self {
        case .text(let text): text
        case .binary(let bytes): String(validating: bytes, as: UTF8.self)
        }
    }
}

/// Whether one message is compressed, on a connection that agreed on permessage-deflate (RFC 7692 §6). On any other
/// connection no message is.
public enum WebSocketMessageCompression: Sendable, Hashable {
    /// As the configuration says: from `minimumSize` bytes on. The default.
    case automatic
    /// Compressed, however small.
    case always
    /// Not compressed. For secrets next to text that others choose (CRIME, BREACH), and for what is compressed already.
    case never
}
