//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import WebSocketCore

/// `Sec-WebSocket-Key` (RFC 6455 §4.1 item 7).
enum HandshakeKey {
    /// Sixteen random bytes in base64.
    static func make() -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        unsafe bytes.withUnsafeMutableBytes { unsafe wsx_random_bytes($0.baseAddress!, $0.count) }
        return HandshakeText.base64(bytes)
    }
}
