//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// `Sec-WebSocket-Key` (RFC 6455 §4.1 item 7).
enum HandshakeKey {
    /// Sixteen random bytes in base64.
    static func make() -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        unsafe bytes.withUnsafeMutableBytes { unsafe Host.fillRandomly($0) }
        return HandshakeText.base64(bytes)
    }
}
