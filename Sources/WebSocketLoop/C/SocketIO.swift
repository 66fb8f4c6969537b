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

    /// Ends the sending half.
    static func shutDownSending(_ descriptor: CInt) { shutdown(descriptor, Int32(SHUT_WR)) }

    /// What is small goes out at once.
    static func disableDelay(_ descriptor: CInt) {
        var one: CInt = 1
        unsafe setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
    }

    static func close(_ descriptor: CInt) { _ = Glibc.close(descriptor) }

    /// Takes a connection from a listening socket's queue; -1 when `AcceptFailure.last` says why not.
    static func accept(from listener: CInt) -> CInt { wsx_accept(listener) }

    /// The same file under the lowest number that is free, and the old number closed; -1 when there is none.
    static func renumber(_ descriptor: CInt) -> CInt {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        if copy >= 0 { close(descriptor) }
        return copy
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

/// Why no connection could be taken from a listening socket's queue.
enum AcceptFailure {
    /// There is none.
    case empty
    /// That one has gone, or a signal came; there may be more.
    case passing
    /// Descriptors or memory are short. The connection stays in the queue.
    case shortage

    /// After a call that has just failed.
    static var last: Self {
        switch errno {
        case EINTR, ECONNABORTED: .passing
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: .shortage
        default: .empty
        }
    }
}
