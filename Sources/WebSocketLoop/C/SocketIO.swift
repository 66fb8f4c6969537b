//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Whichever C module first includes the socket headers is the one that Swift attributes them to.
import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc

/// Reads and writes a socket that does not block.
enum SocketIO {
    static func send(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> StreamResult {
        result(.writable) { unsafe Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) }
    }

    static func receive(_ descriptor: CInt, into memory: UnsafeMutableRawBufferPointer) -> StreamResult {
        result(.readable) { unsafe recv(descriptor, memory.baseAddress, memory.count, 0) }
    }

    /// What lies in the socket, which stays there.
    static func peek(_ descriptor: CInt, into memory: UnsafeMutableRawBufferPointer) -> StreamResult {
        result(.readable) { unsafe recv(descriptor, memory.baseAddress, memory.count, Int32(MSG_PEEK)) }
    }

    private static func result(_ readiness: DescriptorPoll.Events, _ call: () -> Int) -> StreamResult {
        while true {
            let count = call()
            if count > 0 { return .done(count) }
            if count == 0 { return .ended }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .wants(readiness)
            default: return .failed
            }
        }
    }
}
