//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Whichever C module first includes the socket headers is the one that Swift attributes them to.
import CLibUV
import CLibWebSocketsShims
import Glibc
import WebSocketCore

/// Where a server listens.
public enum WebSocketListenAddress: Sendable, Hashable {
    /// A port of an address of this machine; `0.0.0.0` or `::` for all. Port 0 lets the system choose.
    case tcp(host: String, port: Int)
    /// A unix socket. A path becomes a file with these permissions, which exist from the moment the file does, and which
    /// is removed when the server stops; a file that an ended server left is replaced, any other is refused. A name that
    /// begins with `@` is abstract: it has no file and no permissions, so any process of the network namespace may
    /// connect.
    case unix(path: String, permissions: UInt32 = 0o600)
    /// A stream socket that listens already, of this number: one that systemd hands over, for example. The server works on
    /// a duplicate, sets `O_NONBLOCK` on both, and leaves the descriptor, and the file of a unix socket, to the caller.
    /// Anything else is `badDescriptor`.
    case descriptor(Int32)
}

/// A bound socket that listens, and what has to be tidied up behind it.
@safe struct ListeningSocket {
    let descriptor: CInt
    let address: WebSocketAddress
    /// The file of a unix socket, if it has one, and which one it is.
    private let file: (path: String, device: dev_t, inode: ino_t)?

    init(_ address: WebSocketListenAddress, backlog: Int, sharesPort: Bool) throws(WebSocketError) {
        switch address {
        case .tcp(let host, let port):
            (descriptor, self.address) = try Self.bindTCP(
                host: host, port: port, backlog: backlog, sharesPort: sharesPort)
            file = nil
        case .unix(let path, let permissions):
            (descriptor, self.address, file) = try Self.bindUnix(path, permissions, backlog: backlog)
        case .descriptor(let given):
            descriptor = try Self.duplicate(given)
            self.address = WebSocketAddress.local(of: descriptor) ?? .unix(path: "")
            file = nil
        }
    }

    /// Closes the socket and removes its file, unless another stands in its place.
    func close() {
        if let file, let now = Self.status(of: file.path), now.st_ino == file.inode, now.st_dev == file.device {
            unsafe unlink(file.path)
        }
        _ = Glibc.close(descriptor)
    }

    private static let flags =
        Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)

    private static func text(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }

    // MARK: Given

    private static func duplicate(_ given: CInt) throws(WebSocketError) -> CInt {
        func option(_ name: CInt) -> CInt? {
            var value: CInt = 0
            var length = socklen_t(MemoryLayout<CInt>.size)
            return unsafe getsockopt(given, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
        }
        guard option(SO_TYPE) == CInt(SOCK_STREAM.rawValue), option(SO_ACCEPTCONN) == 1 else {
            throw WebSocketError(
                .badDescriptor, "descriptor \(given) is no stream socket that listens; call listen on it first")
        }
        let copy = fcntl(given, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else {
            throw WebSocketError(
                .resourceExhausted, "there is no descriptor left; raise ulimit -n, or close others", systemError: errno)
        }
        let flags = fcntl(copy, F_GETFL)
        if flags >= 0 { _ = fcntl(copy, F_SETFL, flags | O_NONBLOCK) }
        return copy
    }

    /// What to do about the system's refusal to listen.
    private static func advice(_ code: Int32, another place: String) -> String {
        switch code {
        case EADDRINUSE: "another program listens there, choose another \(place)"
        case EACCES, EPERM: "this user may not listen there, choose another \(place) or allow it"
        case EMFILE, ENFILE: "raise the limit of open files (ulimit -n)"
        default: "choose another \(place), or check the system"
        }
    }

    // MARK: TCP

    private static func bindTCP(
        host: String, port: Int, backlog: Int, sharesPort: Bool
    ) throws(WebSocketError) -> (CInt, WebSocketAddress) {
        guard (0...65_535).contains(port) else {
            throw WebSocketError(.invalidConfiguration, "port is \(port); it must be in 0...65535")
        }
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var results: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &results)
        guard status == 0, let first = unsafe results else {
            throw WebSocketError(
                .listenFailed,
                unsafe "the host “\(host.escapedForLog)” is no address of this machine: \(String(cString: gai_strerror(status))); use one that it has, or 0.0.0.0 or :: for all"
            )
        }
        defer { unsafe freeaddrinfo(results) }
        func failure(_ what: String) -> WebSocketError {
            let code = errno
            return WebSocketError(
                .listenFailed,
                "\(what) \(host) port \(port) failed: \(text(code)); \(advice(code, another: "port or 0"))",
                systemError: code)
        }
        let descriptor = unsafe socket(first.pointee.ai_family, flags, 0)
        guard descriptor >= 0 else { throw failure("opening a socket for") }
        var one: CInt = 1
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<CInt>.size))
        if sharesPort { _ = wsx_share_port(descriptor) }
        guard unsafe Glibc.bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0,
            listen(descriptor, CInt(backlog)) == 0
        else {
            let error = failure("listening on")
            _ = Glibc.close(descriptor)
            throw error
        }
        return (descriptor, WebSocketAddress.local(of: descriptor) ?? .ip(address: host, port: port))
    }

    // MARK: Unix

    private static func status(of path: String) -> stat? {
        var status = stat()
        return unsafe lstat(path, &status) == 0 ? status : nil
    }

    private static func bindUnix(
        _ path: String, _ permissions: UInt32, backlog: Int
    ) throws(WebSocketError) -> (CInt, WebSocketAddress, (path: String, device: dev_t, inode: ino_t)?) {
        var address = sockaddr_un()
        let length = path.utf8.contains(0) ? 0 : unsafe wsx_unix_address(&address, path)
        guard length > 0, permissions <= 0o777 else {
            throw WebSocketError(
                .invalidConfiguration,
                "a unix socket needs a path of 1 to 107 bytes and permissions of at most 0o777; this path has \(path.utf8.count) bytes"
            )
        }
        func failure(_ why: String, _ code: Int32?) -> WebSocketError {
            WebSocketError(
                .listenFailed, "listening on the unix socket “\(path.escapedForLog)” failed: \(why)", systemError: code)
        }
        let isAbstract = path.hasPrefix("@")
        if !isAbstract { try removeStale(path, address, length, failure) }
        let descriptor = socket(AF_UNIX, flags, 0)
        guard descriptor >= 0 else { throw failure("\(text(errno)); \(advice(errno, another: "path"))", errno) }
        // The file is born with the socket's own permissions: set afterwards, it would be open to others for a moment.
        if !isAbstract { fchmod(descriptor, mode_t(permissions)) }
        let isBound = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(descriptor, $0, length) == 0
            }
        }
        guard isBound else {
            let code = errno
            _ = Glibc.close(descriptor)
            throw failure("\(text(code)); \(advice(code, another: "path"))", code)
        }
        let file = isAbstract ? nil : status(of: path).map { (path, $0.st_dev, $0.st_ino) }
        // What the process's umask took away. Not of a link that stands there meanwhile: it may lead anywhere.
        if !isAbstract { unsafe fchmodat(AT_FDCWD, path, mode_t(permissions), AT_SYMLINK_NOFOLLOW) }
        guard listen(descriptor, CInt(backlog)) == 0 else {
            let code = errno
            if !isAbstract { unsafe unlink(path) }
            _ = Glibc.close(descriptor)
            throw failure(text(code), code)
        }
        return (descriptor, .unix(path: path), file)
    }

    /// Removes the file of a server that has ended, and refuses whatever else is there.
    private static func removeStale(
        _ path: String, _ address: sockaddr_un, _ length: socklen_t,
        _ failure: (String, Int32?) -> WebSocketError
    ) throws(WebSocketError) {
        guard let there = status(of: path) else { return }
        guard there.st_mode & S_IFMT == S_IFSOCK else {
            throw failure("there is something that is no socket; remove it or choose another path", EEXIST)
        }
        guard there.st_uid == geteuid() else {
            throw failure("the socket there belongs to another user; choose another path", EPERM)
        }
        let probe = socket(AF_UNIX, flags, 0)
        guard probe >= 0 else { throw failure(text(errno), errno) }
        defer { _ = Glibc.close(probe) }
        var address = address
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe connect(probe, $0, length) }
        }
        // Only this says that no process listens; a full backlog, for one, says the opposite.
        guard status != 0, errno == ECONNREFUSED else {
            throw failure("another program listens there; choose another path", EADDRINUSE)
        }
        guard unsafe unlink(path) == 0 else { throw failure(text(errno), errno) }
    }
}
