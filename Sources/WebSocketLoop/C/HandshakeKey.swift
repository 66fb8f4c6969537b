//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL
import WebSocketCore

/// `Sec-WebSocket-Key` and what answers it, which proves nothing but that the server speaks WebSocket (RFC 6455 §1.3).
enum HandshakeKey {
    /// Sixteen random bytes in base64.
    static func make() -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        unsafe bytes.withUnsafeMutableBytes { unsafe wsx_random_bytes($0.baseAddress!, $0.count) }
        return HandshakeText.base64(bytes)
    }

    /// What a server answers (RFC 6455 §4.2.2 item 5.4).
    static func accept(for key: String) -> String {
        var digest = [UInt8](repeating: 0, count: 20)
        let bytes = Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)
        _ = unsafe COpenSSL.SHA1(bytes, bytes.count, &digest)
        return HandshakeText.base64(digest)
    }
}
