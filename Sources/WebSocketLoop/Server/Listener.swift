//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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
    /// A connection whose number libwebsockets cannot have, until a lower one is free.
    private var parked: CInt?
    private let numbersBelow: CInt
    private var lastWarning: UInt64?

    /// How long accepting pauses when descriptors have run out.
    private static let exhaustedPause: UInt64 = 100_000_000
    /// Between two warnings that they have.
    private static let warningInterval: UInt64 = 10_000_000_000

    /// Takes a connection from a listening socket's queue.
    @Sendable package static func take(from descriptor: CInt) -> CInt { SocketIO.accept(from: descriptor) }

    /// Binds and listens. `accepted` runs on the loop and takes over each descriptor.
    ///
    /// - Parameters:
    ///   - numbersBelow: What libwebsockets can have.
    ///   - accept: How a connection is taken from the socket's queue: a descriptor, or -1 and `errno`.
    package init(
        loop: WebSocketEventLoop, address: WebSocketListenAddress, backlog: Int, sharesPort: Bool = false,
        numbersBelow: CInt = CInt(LibWebSockets.maximumDescriptors),
        accept: @escaping @Sendable (CInt) -> CInt = Listener.take(from:), accepted: @escaping @Sendable (CInt) -> Void
    ) throws(WebSocketError) {
        self.loop = loop
        self.numbersBelow = numbersBelow
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
        if let parked = parked.take() { SocketIO.close(parked) }
        socket.close()
    }

    private func acceptAll() {
        // A bounded batch, so that a flood of connections does not stop those that stand.
        for _ in 0..<64 {
            guard let socket else { return }
            let connection = accept(socket.descriptor)
            if connection >= numbersBelow {
                parked = connection
                return pause()
            }
            if connection >= 0 {
                accepted(connection)
                continue
            }
            switch AcceptFailure.last {
            case .passing: continue
            case .shortage: return pause()
            case .empty: return
            }
        }
    }

    /// Whether the connection that waits for a lower number, if there is one, has got it.
    private func renumberParked() -> Bool {
        guard let before = parked else { return true }
        let number = SocketIO.renumber(before)
        guard number >= 0, number < numbersBelow else {
            if number >= 0 { parked = number }
            return false
        }
        parked = nil
        accepted(number)
        return true
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
            if renumberParked() { poll?.start(.readable) } else { pause() }
        }
    }

    deinit { socket?.close() }
}
