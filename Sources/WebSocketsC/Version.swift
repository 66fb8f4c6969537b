//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import Glibc
import WebSocketCore
import WebSocketLoop

enum Version {
    static let text: StaticString = "0.1.0"
    /// Kept for ever, because C is given the pointer.
    nonisolated(unsafe) static let libwebsockets: UnsafePointer<CChar> = UnsafePointer(
        strdup(LibWebSockets.runtimeVersion))
}

extension StaticString {
    /// What C reads; literals end with a zero byte.
    var cString: UnsafePointer<CChar> { UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self) }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_version() -> UnsafePointer<CChar>? { Version.text.cString }

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_libwebsockets_version() -> UnsafePointer<CChar>? { Version.libwebsockets }

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_capabilities() -> UInt64 {
    var sum =
        WSX_CAPABILITY_TLS | WSX_CAPABILITY_DEFLATE | WSX_CAPABILITY_UNIX_SOCKETS | WSX_CAPABILITY_QUEUE
    guard wsxc_may_be_used() else { return UInt64(sum) }
    if Loops.shared.loops.allSatisfy({ $0.backend == .libuv }) { sum |= WSX_CAPABILITY_LIBUV }
    return UInt64(sum)
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_status_name(_ status: wsx_status) -> UnsafePointer<CChar>? {
    let name: StaticString =
        switch Int(status) {
        case WSX_OK: "ok"
        case WSX_INVALID_ARGUMENT: "invalidArgument"
        case WSX_INVALID_HANDLE: "invalidHandle"
        case WSX_WRONG_THREAD: "wrongThread"
        case WSX_FULL: "full"
        case WSX_FAILED: "failed"
        case WSX_FORKED: "forked"
        case WSX_INVALID_URL: "invalidURL"
        case WSX_INVALID_CONFIGURATION: "invalidConfiguration"
        case WSX_NAME_NOT_FOUND: "nameNotFound"
        case WSX_CONNECT_FAILED: "connectFailed"
        case WSX_TIMED_OUT: "timedOut"
        case WSX_TLS_FAILED: "tlsFailed"
        case WSX_PROXY_FAILED: "proxyFailed"
        case WSX_HANDSHAKE_REJECTED: "handshakeRejected"
        case WSX_HANDSHAKE_INVALID: "handshakeInvalid"
        case WSX_REDIRECT_REFUSED: "redirectRefused"
        case WSX_RESOURCE_EXHAUSTED: "resourceExhausted"
        case WSX_LISTEN_FAILED: "listenFailed"
        case WSX_BAD_DESCRIPTOR: "badDescriptor"
        case WSX_MESSAGE_TOO_BIG: "messageTooBig"
        case WSX_INVALID_UTF8: "invalidUTF8"
        case WSX_PROTOCOL_VIOLATION: "protocolViolation"
        case WSX_CLOSED: "connectionClosed"
        case WSX_INVALID_CLOSE_CODE: "invalidCloseCode"
        case WSX_CLOSE_REASON_TOO_LONG: "closeReasonTooLong"
        case WSX_CANCELLED: "cancelled"
        case WSX_SHUT_DOWN: "shutDown"
        case WSX_TOO_MANY_FRAGMENTS: "tooManyFragments"
        case WSX_INVALID_PING: "invalidPing"
        case WSX_ACQUIRE_TIMED_OUT: "acquireTimedOut"
        case WSX_POOL_UNAVAILABLE: "poolUnavailable"
        case WSX_POOL_EXHAUSTED: "poolExhausted"
        case WSX_POOL_CLOSED: "poolClosed"
        case WSX_LEASE_ENDED: "leaseEnded"
        case WSX_NOT_CONNECTED: "notConnected"
        case WSX_RECONNECT_FAILED: "reconnectFailed"
        case WSX_SEND_QUEUE_FULL: "sendQueueFull"
        case WSX_NOT_SENT: "notSent"
        default: "unknown"
        }
    return name.cString
}
