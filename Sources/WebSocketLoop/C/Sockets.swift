//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// As in SocketIO.
import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc
import WebSocketCore

/// Opens and connects sockets that do not block; `SocketIO` reads and writes them.
package enum Sockets {
    /// To what a socket is connected.
    enum Peer {
        /// Four or sixteen bytes, and the zone of an IPv6 address (RFC 4007 §11).
        case ip([UInt8], zone: String?, port: Int)
        /// A path; `@` in front means an abstract name.
        case unix(path: String)

        fileprivate var family: CInt {
            switch self {
            case .ip(let bytes, _, _): bytes.count == 4 ? AF_INET : AF_INET6
            case .unix: AF_UNIX
            }
        }
    }

    /// What came of a call of `connect`.
    enum Connecting {
        case connected
        /// It is when the socket becomes writable; `takeError` says how it went.
        case underway
        /// The backlog of a Unix socket is full, and nothing tells when it no longer is.
        case full
        case failed(SystemError)
    }

    /// A stream socket for a peer, without Nagle's delay.
    static func open(for peer: Peer) throws(SystemError) -> CInt {
        let descriptor = wsx_stream_socket(peer.family)
        guard descriptor >= 0 else { throw .last }
        return descriptor
    }

    static func connect(_ descriptor: CInt, to peer: Peer) -> Connecting {
        let status =
            switch peer {
            case .ip(let bytes, let zone, let port):
                unsafe wsx_connect_ip(
                    descriptor, bytes, bytes.count, zone.map { unsafe wsx_zone_number($0) } ?? 0, CInt(port))
            case .unix(let path): unsafe wsx_connect_unix(descriptor, path, path.utf8.count)
            }
        if status == 0 { return .connected }
        switch errno {
        case EINPROGRESS: return .underway
        case EAGAIN: return .full
        case let code: return .failed(SystemError(code))
        }
    }

    /// The error that a socket has waiting; `nil` when it is connected.
    static func takeError(_ descriptor: CInt) -> SystemError? {
        let code = wsx_socket_error(descriptor)
        return code == 0 ? nil : SystemError(code)
    }

    /// A second descriptor of the same socket.
    static func duplicate(_ descriptor: CInt) throws(SystemError) -> CInt {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw .last }
        return copy
    }

    package static func close(_ descriptor: CInt) { _ = Glibc.close(descriptor) }

    /// Why no socket can be opened now; `nil` when one can.
    static var shortage: SystemError? {
        let code = wsx_socket_shortage()
        return code == 0 ? nil : SystemError(code)
    }

    /// Whether a packet to an IP address would find a way out of the machine.
    static func hasRoute(to address: [UInt8]) -> Bool { unsafe wsx_route_problem(address, address.count, 1) == 0 }

    /// Whether all of it went, of a few bytes that any socket takes which nothing was sent on yet.
    static func sendWhole(_ descriptor: CInt, _ bytes: [UInt8]) -> Bool {
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
        }
    }

    /// Whether something is there to be read.
    static func hasInput(_ descriptor: CInt) -> Bool {
        var byte: UInt8 = 0
        return unsafe recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) > 0
    }
}
