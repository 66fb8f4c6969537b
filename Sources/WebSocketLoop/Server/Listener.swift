//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Whichever C module first includes the socket headers is the one that Swift attributes them to.
import CLibUV
import CLibWebSocketsShims
import Glibc
import Logging
package import WebSocketCore

/// A listening TCP socket on one loop. It accepts by itself: libwebsockets' listener cannot be stopped in 4.1.6 and
/// spins when descriptors run out.
package final class Listener: @unchecked Sendable {
    // Loop-confined but for the immutable properties.

    package let loop: EventLoop
    package let address: SocketAddress
    private var descriptor: CInt
    private let accepted: @Sendable (CInt) -> Void
    private var poll: DescriptorPoll?
    private var isStarted = false
    private var retry: EventLoop.TimerToken?

    /// How long accepting pauses when descriptors have run out.
    private static let exhaustedPause: UInt64 = 100_000_000

    /// Binds and listens. `accepted` runs on the loop and takes over each descriptor.
    package init(
        loop: EventLoop, host: String, port: Int, backlog: Int, accepted: @escaping @Sendable (CInt) -> Void
    ) throws(WebSocketError) {
        guard (0...65_535).contains(port) else {
            throw WebSocketError(.invalidConfiguration, "port is \(port); it must be in 0...65535")
        }
        self.loop = loop
        self.accepted = accepted
        (descriptor, address) = try Self.bind(host: host, port: port, backlog: backlog)
    }

    private static func bind(
        host: String, port: Int, backlog: Int
    ) throws(WebSocketError) -> (CInt, SocketAddress) {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var results: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &results)
        guard status == 0, let first = unsafe results else {
            throw WebSocketError(
                .listenFailed,
                unsafe "the host “\(host.escapedForLog)” is no address of this machine: \(String(cString: gai_strerror(status)))"
            )
        }
        defer { unsafe freeaddrinfo(results) }
        func failure(_ what: String) -> WebSocketError {
            let code = errno
            return WebSocketError(
                .listenFailed,
                unsafe "\(what) \(host) port \(port) failed: \(String(cString: strerror(code)))"
                    + (code == EADDRINUSE ? "; another program listens there, choose another port or 0" : ""),
                systemError: code)
        }
        let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = unsafe socket(first.pointee.ai_family, flags, 0)
        guard descriptor >= 0 else { throw failure("opening a socket for") }
        var one: CInt = 1
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<CInt>.size))
        guard unsafe Glibc.bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0,
            listen(descriptor, CInt(backlog)) == 0
        else {
            let error = failure("listening on")
            close(descriptor)
            throw error
        }
        return (descriptor, SocketAddress.local(of: descriptor) ?? .ip(address: host, port: port))
    }

    /// Begins to accept. On the loop.
    package func start() {
        guard !isStarted, descriptor >= 0 else { return }
        isStarted = true
        loop.counters.descriptors.add(1)
        poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [unowned self] in acceptAll() }
        poll?.start(.readable)
        // A loop ends only when nothing is polled on it any more.
        loop.onStop[ObjectIdentifier(self)] = { [unowned self] in stop() }
    }

    /// Stops accepting and closes the socket. On the loop.
    package func stop() {
        guard descriptor >= 0 else { return }
        loop.onStop[ObjectIdentifier(self)] = nil
        loop.cancel(retry)
        retry = nil
        // Counted from `start` on.
        if isStarted { loop.counters.descriptors.subtract(1) }
        poll?.close()
        poll = nil
        close(descriptor)
        descriptor = -1
    }

    private func acceptAll() {
        // A bounded batch, so that a flood of connections does not stop those that stand.
        for _ in 0..<64 {
            let connection = wsx_accept(descriptor)
            if connection >= 0 {
                accepted(connection)
                continue
            }
            switch errno {
            case EINTR, ECONNABORTED: continue
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: pause()
            default: break
            }
            return
        }
    }

    /// The listener stays readable while descriptors are out: polling it would spin.
    private func pause() {
        poll?.stop()
        loop.logger.warning(
            "out of descriptors; accepting pauses", metadata: ["loop": "\(loop.name)", "address": "\(address)"])
        retry = loop.schedule(after: Self.exhaustedPause) { [unowned self] in
            retry = nil
            poll?.start(.readable)
        }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }
}
