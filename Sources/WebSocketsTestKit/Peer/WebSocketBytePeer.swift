//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization

/// What a peer could not do.
public enum WebSocketBytePeerError: Error, Hashable, Sendable {
    /// Nothing came within the peer's patience.
    case timedOut
    /// The other side ended before what was asked for had come.
    case ended(buffered: [UInt8])
    /// `ECONNRESET` and its like.
    case system(errno: Int32)
    /// The task was cancelled, or the peer was closed while it waited.
    case cancelled
    /// The handshake is not what RFC 6455 §4 wants.
    case handshake(String)
}

/// One end of a TCP connection whose every byte the test decides, for the other end to be tested against.
///
/// It knows HTTP heads and frames, but sends whatever it is told, however wrong. What it reads it parses strictly. It
/// reads only when asked to, so that not reading is how to press back. One task at a time reads, one at a time writes.
public final class WebSocketBytePeer: Sendable {
    /// Which side of a WebSocket connection the peer plays.
    public enum Role: Sendable {
        /// It masks, and demands frames without masks.
        case client
        /// It does not mask, and demands masked frames.
        case server
    }

    /// The side it plays: what it masks, and what it demands to be masked.
    public let role: Role
    /// How long any call waits before it throws `timedOut`.
    public let patience: Duration
    private let descriptor: CInt
    private struct Shared {
        var unread: [UInt8] = []
        var isOpen = true
    }
    private let shared = Mutex(Shared())

    /// Takes over a connected socket.
    init(descriptor: CInt, role: Role, patience: Duration) {
        self.descriptor = descriptor
        self.role = role
        self.patience = patience
        var one: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        let flags = fcntl(descriptor, F_GETFL)
        _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
    }

    /// Connects to a server on the loopback interface.
    ///
    /// - Parameters:
    ///   - port: The server's port.
    ///   - receiveBuffer: The socket's buffer in bytes, for peers that are to feel slow.
    ///   - patience: How long each wait may take. Default one minute.
    public static func connect(
        port: Int, receiveBuffer: Int? = nil, patience: Duration = .seconds(60)
    ) async throws -> WebSocketBytePeer {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw WebSocketBytePeerError.system(errno: errno) }
        if let receiveBuffer { setReceiveBuffer(of: descriptor, receiveBuffer) }
        let peer = WebSocketBytePeer(descriptor: descriptor, role: .client, patience: patience)
        var address = loopback(port: port)
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if status != 0 {
            guard errno == EINPROGRESS else { throw WebSocketBytePeerError.system(errno: errno) }
            try await peer.wait(for: POLLOUT)
            var error: CInt = 0
            var size = socklen_t(MemoryLayout<CInt>.size)
            getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size)
            guard error == 0 else { throw WebSocketBytePeerError.system(errno: error) }
        }
        return peer
    }

    deinit { close() }

    /// Calls with the socket while it is open: behind ``close()`` its number may be another socket's.
    private func withSocket<Result>(
        _ body: (CInt, inout Shared) -> Result
    ) throws(WebSocketBytePeerError) -> Result {
        let result: Result? = shared.withLock { $0.isOpen ? body(descriptor, &$0) : nil }
        guard let result else { throw WebSocketBytePeerError.system(errno: EBADF) }
        return result
    }

    private func send(_ bytes: ArraySlice<UInt8>) throws(WebSocketBytePeerError) -> (count: Int, code: Int32) {
        try withSocket { descriptor, _ in
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            return (count, errno)
        }
    }

    // MARK: Writing

    /// Writes the bytes as they are. Bytes of one call are one segment, if they are few.
    public func write(_ bytes: [UInt8]) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let (count, code) = try send(rest)
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if code == EAGAIN {
                try await wait(for: POLLOUT)
            } else if code != EINTR {
                throw WebSocketBytePeerError.system(errno: code)
            }
        }
    }

    /// Writes as much as the socket takes now, and says how much that was.
    public func writeWithoutWaiting(_ bytes: [UInt8]) -> Int {
        max(0, (try? send(bytes[...]).count) ?? 0)
    }

    // MARK: Reading

    /// Reads what is there, waiting for the first byte; empty at the end of the stream.
    public func readSome() async throws -> [UInt8] {
        if shared.withLock({ $0.unread.isEmpty }) { _ = try await fill() }
        return shared.withLock { shared in
            defer { shared.unread = [] }
            return shared.unread
        }
    }

    /// Reads this many bytes.
    public func read(_ count: Int) async throws -> [UInt8] {
        while true {
            let result: [UInt8]? = shared.withLock { shared in
                guard shared.unread.count >= count else { return nil }
                defer { shared.unread.removeFirst(count) }
                return Array(shared.unread.prefix(count))
            }
            if let result { return result }
            try await fillOrThrow()
        }
    }

    /// Reads up to and including an end mark.
    public func read(through mark: [UInt8]) async throws -> [UInt8] {
        var searched = 0
        while true {
            let (result, seen): ([UInt8]?, Int) = shared.withLock { shared in
                let unread = shared.unread
                for start in max(0, searched - mark.count)..<max(searched, unread.count) {
                    if unread[start...].starts(with: mark) {
                        let end = start + mark.count
                        shared.unread.removeFirst(end)
                        return (Array(unread[..<end]), end)
                    }
                }
                return (nil, unread.count)
            }
            if let result { return result }
            searched = seen
            try await fillOrThrow()
        }
    }

    /// Everything up to the end of the stream. A reset throws.
    public func readToEnd() async throws -> [UInt8] {
        while try await fill() {}
        return try await readSome()
    }

    /// What has been read from the socket and not been asked for.
    public var unread: [UInt8] { shared.withLock(\.unread) }

    private func fillOrThrow() async throws {
        guard try await fill() else { throw WebSocketBytePeerError.ended(buffered: unread) }
    }

    /// `false` at the end of the stream.
    private func fill() async throws -> Bool {
        while true {
            let (count, code) = try withSocket { descriptor, shared in
                withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 16) { memory in
                    let count = recv(descriptor, memory.baseAddress, memory.count, 0)
                    let code = errno
                    if count > 0 { shared.unread += memory[..<count] }
                    return (count, code)
                }
            }
            if count > 0 { return true }
            if count == 0 { return false }
            switch code {
            case EAGAIN: try await wait(for: POLLIN)
            case EINTR: break
            default: throw WebSocketBytePeerError.system(errno: code)
            }
        }
    }

    private func wait(for events: Int32) async throws {
        switch await SocketWaiter.shared.wait(for: events, on: descriptor, timeout: patience) {
        case .ready: break
        case .timedOut: throw WebSocketBytePeerError.timedOut
        case .cancelled: throw WebSocketBytePeerError.cancelled
        }
    }

    // MARK: Ending

    /// Ends our direction: the other side reads the end of the stream and may still write.
    public func halfClose() { _ = try? withSocket { descriptor, _ in shutdown(descriptor, Int32(SHUT_WR)) } }

    /// Falls off the network, as a host whose cable was cut: whatever comes is dropped before TCP sees it, so that it is
    /// not even acknowledged, and nothing is sent any more. There is no way back.
    public func vanish() throws {
        // One instruction of classic BPF: accept 0 bytes.
        struct Instruction {
            var code: UInt16 = 0x06
            var jumpTrue: UInt8 = 0
            var jumpFalse: UInt8 = 0
            var constant: UInt32 = 0
        }
        struct Program {
            var count: UInt16 = 1
            var instructions: UnsafeMutablePointer<Instruction>
        }
        var instruction = Instruction()
        let status = withUnsafeMutablePointer(to: &instruction) { instruction in
            var program = Program(instructions: instruction)
            // SO_ATTACH_FILTER
            return setsockopt(descriptor, SOL_SOCKET, 26, &program, socklen_t(MemoryLayout<Program>.size))
        }
        guard status == 0 else { throw WebSocketBytePeerError.system(errno: errno) }
    }

    /// Ends with a RST instead of a FIN.
    public func reset() {
        _ = try? withSocket { descriptor, _ in
            var option = linger(l_onoff: 1, l_linger: 0)
            return setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        }
        close()
    }

    /// Closes the socket.
    public func close() {
        shared.withLock { shared in
            guard shared.isOpen else { return }
            shared.isOpen = false
            SocketWaiter.shared.forget(descriptor)
            Glibc.close(descriptor)
        }
    }
}

/// Accepts connections from the client under test, on a port of the loopback interface that the system chose.
public final class WebSocketBytePeerListener: Sendable {
    /// The port that the system chose.
    public let port: Int
    /// How long the listener and the peers it accepts wait before they throw `timedOut`.
    public let patience: Duration
    private let descriptor: CInt

    /// - Parameters:
    ///   - isIPv6: Whether to listen on `::1` instead of `127.0.0.1`.
    ///   - receiveBuffer: The buffer of the accepted sockets in bytes, for peers that are to feel slow.
    ///   - segment: The most bytes that a client sends at once (`TCP_MAXSEG`). On loopback a system takes megabytes from a
    ///     program before any are read; with segments of a network, and a small `receiveBuffer`, some tens of kilobytes.
    ///   - patience: How long each wait may take. Default one minute.
    public init(
        isIPv6: Bool = false, receiveBuffer: Int? = nil, segment: Int? = nil, patience: Duration = .seconds(60)
    ) throws {
        descriptor = socket(
            isIPv6 ? AF_INET6 : AF_INET,
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        if let receiveBuffer { setReceiveBuffer(of: descriptor, receiveBuffer) }
        if let segment {
            var size = CInt(segment)
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_MAXSEG, &size, socklen_t(MemoryLayout<CInt>.size))
        }
        var address = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let isListening = withUnsafeMutablePointer(to: &address) { [descriptor] pointer in
            if isIPv6 {
                pointer.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    $0.pointee = sockaddr_in6()
                    $0.pointee.sin6_family = sa_family_t(AF_INET6)
                    $0.pointee.sin6_addr = in6addr_loopback
                }
            } else {
                pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { $0.pointee = loopback(port: 0) }
            }
            let bound = isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size
            return pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(bound)) == 0 && listen(descriptor, 256) == 0
                    && getsockname(descriptor, $0, &size) == 0
            }
        }
        guard isListening else {
            let code = errno
            Glibc.close(descriptor)
            throw WebSocketBytePeerError.system(errno: code)
        }
        // Both families have the port in the same place.
        port = withUnsafeBytes(of: &address) { Int($0[2]) << 8 | Int($0[3]) }
        self.patience = patience
    }

    /// Takes over a socket that listens and does not block.
    package init(descriptor: CInt, port: Int = 0, patience: Duration = .seconds(60)) {
        self.descriptor = descriptor
        self.port = port
        self.patience = patience
    }

    /// The next connection.
    public func accept() async throws -> WebSocketBytePeer {
        while true {
            let accepted = Glibc.accept(descriptor, nil, nil)
            if accepted >= 0 { return WebSocketBytePeer(descriptor: accepted, role: .server, patience: patience) }
            guard errno == EAGAIN || errno == EINTR else { throw WebSocketBytePeerError.system(errno: errno) }
            switch await SocketWaiter.shared.wait(for: POLLIN, on: descriptor, timeout: patience) {
            case .ready: break
            case .timedOut: throw WebSocketBytePeerError.timedOut
            case .cancelled: throw WebSocketBytePeerError.cancelled
            }
        }
    }

    deinit {
        SocketWaiter.shared.forget(descriptor)
        Glibc.close(descriptor)
    }
}

private func loopback(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
    address.sin_port = in_port_t(UInt16(port)).bigEndian
    return address
}

private func setReceiveBuffer(of descriptor: CInt, _ bytes: Int) {
    var size = CInt(bytes)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
}
