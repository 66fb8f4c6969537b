//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// One complete message: text, which is valid UTF-8, or binary (RFC 6455 §5.6).
public enum WebSocketMessage: Sendable, Hashable {
    case text(String)
    case binary([UInt8])

    /// Whether a message is text or binary.
    public enum Kind: Sendable, Hashable {
        case text, binary
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
