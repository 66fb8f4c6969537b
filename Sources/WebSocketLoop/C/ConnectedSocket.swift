//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Whichever C module first includes the socket headers is the one that Swift attributes them to.
import CLibUV
import CLibWebSocketsShims
import Glibc
import Synchronization
public import WebSocketCore

/// The owner of a connected stream socket: TCP or unix. It closes the socket exactly once, when it goes without having
/// been given away.
@safe public struct WebSocketConnectedSocket: ~Copyable, Sendable {
    /// The socket, for questions. It stays this object's.
    public let descriptor: CInt

    /// Takes over a descriptor. When it throws, the descriptor is still the caller's, unchanged.
    ///
    /// - Throws: `badDescriptor` for anything but a connected stream socket of the families IPv4, IPv6 and unix, for one
    ///   that was taken over before, and for a number that libwebsockets 4.1.6 cannot have (16,384 or more).
    public init(adopting descriptor: CInt) throws(WebSocketError) {
        try Self.check(descriptor)
        self.descriptor = descriptor
    }

    /// Makes a duplicate of a descriptor, which stays its owner's: for taking a socket out of a framework that will close
    /// its own. The framework must not read or write any more.
    ///
    /// - Throws: `badDescriptor`, or `resourceExhausted` when there is no descriptor left.
    public init(duplicating descriptor: CInt) throws(WebSocketError) {
        guard fcntl(descriptor, F_GETFD) >= 0 else { throw Self.bad(descriptor, "it is not open", errno) }
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else {
            throw WebSocketError(
                .resourceExhausted, "there is no descriptor left; raise ulimit -n, or close others", systemError: errno)
        }
        do throws(WebSocketError) {
            try Self.check(copy)
        } catch {
            close(copy)
            throw error
        }
        self.descriptor = copy
    }

    /// Gives the descriptor to the caller, who closes it.
    public consuming func release() -> CInt {
        let number = descriptor
        Self.taken.withLock { $0[number] = nil }
        discard self
        return number
    }

    /// Gives the descriptor to a loop. It stays known as taken over.
    package consuming func handOver() -> CInt {
        let number = descriptor
        discard self
        // A read that waits would hold the whole loop. libwebsockets sets this too, but only when it gets the socket.
        let flags = fcntl(number, F_GETFL)
        if flags >= 0 { _ = fcntl(number, F_SETFL, flags | O_NONBLOCK) }
        return number
    }

    deinit {
        let number = descriptor
        Self.taken.withLock { $0[number] = nil }
        close(number)
    }

    /// Sockets that were taken over, by number and inode. The inode tells a number that was used again from one that is
    /// offered twice; so entries of sockets that libwebsockets has closed do no harm.
    private static let taken = Mutex<[CInt: ino_t]>([:])

    private static func bad(_ descriptor: CInt, _ why: String, _ code: Int32? = nil) -> WebSocketError {
        WebSocketError(
            .badDescriptor,
            "descriptor \(descriptor) cannot become a WebSocket connection: \(why); give a connected stream socket, once",
            systemError: code)
    }

    private static func check(_ descriptor: CInt) throws(WebSocketError) {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw bad(descriptor, "it is not open", errno) }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw bad(descriptor, "it is no socket", ENOTSOCK) }
        var type: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) == 0,
            type == CInt(SOCK_STREAM.rawValue)
        else { throw bad(descriptor, "it is no stream socket", EPROTOTYPE) }
        guard wsx_is_listening(descriptor) == 0 else {
            throw bad(descriptor, "it listens, and `accept` returns others", EINVAL)
        }
        guard WebSocketAddress.remote(of: descriptor) != nil else {
            throw bad(descriptor, "it is not connected, or of a family other than IPv4, IPv6 and unix", ENOTCONN)
        }
        guard descriptor < LibWebSockets.maximumDescriptors else {
            throw bad(descriptor, "libwebsockets 4.1.6 takes numbers below \(LibWebSockets.maximumDescriptors) only")
        }
        let inode = status.st_ino
        let isNew = taken.withLock { taken in
            guard taken[descriptor] != inode else { return false }
            taken[descriptor] = inode
            return true
        }
        guard isNew else { throw bad(descriptor, "it was taken over before") }
    }
}
