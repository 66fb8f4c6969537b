//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import Glibc
import Logging
package import WebSocketCore

/// A listening socket on one loop. It accepts by itself: libwebsockets' listener cannot be stopped in 4.1.6 and spins
/// when descriptors run out.
package final class Listener: @unchecked Sendable {
    // Loop-confined but for the immutable properties.

    package let loop: WebSocketEventLoop
    package let address: WebSocketAddress
    private var socket: ListeningSocket?
    private let accepted: @Sendable (CInt) -> Void
    private let accept: @Sendable (CInt) -> CInt
    private var poll: DescriptorPoll?
    private var isStarted = false
    private var retry: WebSocketEventLoop.TimerToken?
    private var lastWarning: UInt64?

    /// How long accepting pauses when descriptors have run out.
    private static let exhaustedPause: UInt64 = 100_000_000
    /// Between two warnings that they have.
    private static let warningInterval: UInt64 = 10_000_000_000

    /// Takes a connection from a listening socket's queue.
    @Sendable package static func take(from descriptor: CInt) -> CInt { wsx_accept(descriptor) }

    /// Binds and listens. `accepted` runs on the loop and takes over each descriptor.
    ///
    /// - Parameter accept: How a connection is taken from the socket's queue: a descriptor, or -1 and `errno`.
    package init(
        loop: WebSocketEventLoop, address: WebSocketListenAddress, backlog: Int, sharesPort: Bool = false,
        accept: @escaping @Sendable (CInt) -> CInt = Listener.take(from:), accepted: @escaping @Sendable (CInt) -> Void
    ) throws(WebSocketError) {
        self.loop = loop
        self.accept = accept
        self.accepted = accepted
        let socket = try ListeningSocket(address, backlog: backlog, sharesPort: sharesPort)
        self.address = socket.address
        self.socket = socket
    }

    /// On a port of an address.
    package convenience init(
        loop: WebSocketEventLoop, host: String, port: Int, backlog: Int, accepted: @escaping @Sendable (CInt) -> Void
    ) throws(WebSocketError) {
        try self.init(loop: loop, address: .tcp(host: host, port: port), backlog: backlog, accepted: accepted)
    }

    /// Begins to accept. On the loop.
    package func start() {
        guard !isStarted, let socket else { return }
        isStarted = true
        loop.counters.descriptors.add(1)
        poll = DescriptorPoll(loop: loop, descriptor: socket.descriptor) { [self] in acceptAll() }
        poll?.start(.readable)
        // A loop ends only when nothing is polled on it any more.
        loop.onStop[ObjectIdentifier(self)] = { [self] in stop() }
    }

    /// Stops accepting and closes the socket. On the loop.
    package func stop() {
        guard let socket = socket.take() else { return }
        loop.onStop[ObjectIdentifier(self)] = nil
        loop.cancel(retry)
        retry = nil
        // Counted from `start` on.
        if isStarted { loop.counters.descriptors.subtract(1) }
        poll?.close()
        poll = nil
        socket.close()
    }

    private func acceptAll() {
        // A bounded batch, so that a flood of connections does not stop those that stand.
        for _ in 0..<64 {
            guard let socket else { return }
            let connection = accept(socket.descriptor)
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
        if lastWarning.map({ loop.now - $0 > Self.warningInterval }) ?? true {
            lastWarning = loop.now
            loop.logger.warning(
                "out of descriptors; accepting pauses until some are free",
                metadata: ["loop": "\(loop.name)", "address": "\(address)"])
        }
        retry = loop.schedule(after: Self.exhaustedPause) { [self] in
            retry = nil
            poll?.start(.readable)
        }
    }

    deinit { socket?.close() }
}
