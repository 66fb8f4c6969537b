//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import Glibc
import WebSocketCore

/// An attempt whose socket we connect ourselves, because libwebsockets cannot as we want it: to a Unix socket with the
/// reason why not, or through a proxy. Then a `ClientHandshake` goes on with the socket.
final class DialedAttempt: ConnectionAttempt {
    enum Destination {
        case ip(String, port: Int)
        case unix(path: String)

        var description: String {
            switch self {
            case .ip(let address, let port): SocketAddress.ip(address: address, port: port).description
            case .unix(let path): SocketAddress.unix(path: path).description
            }
        }
    }

    private(set) var stage = ClientHandshake.Stage.tcp
    private unowned let connector: ClientConnector
    private let loop: EventLoop
    private let destination: Destination
    /// How to get through the proxy, if it is one.
    private let tunnel: Tunnel?
    private var descriptor: CInt = -1
    private var poll: DescriptorPoll?
    private var retry: EventLoop.TimerToken?
    private var isOver = false

    /// How soon a Unix socket whose backlog is full is tried again.
    private static let retryDelay: UInt64 = 10_000_000

    /// A box, because a class cannot lend an optional value that is not copyable.
    final class Tunnel {
        fileprivate var machine: ProxyTunnel
        init(_ machine: consuming ProxyTunnel) { self.machine = machine }
    }

    init(connector: ClientConnector, destination: Destination, tunnel: Tunnel?) {
        self.connector = connector
        loop = connector.loop
        self.destination = destination
        self.tunnel = tunnel
    }

    func start() {
        let address: [UInt8]?
        let family: CInt
        switch destination {
        case .ip(let text, _):
            address = IPAddress.bytes(text)
            family = address?.count == 4 ? AF_INET : AF_INET6
            guard address != nil else { return end(failure(EAFNOSUPPORT)) }
        case .unix:
            address = nil
            family = AF_UNIX
        }
        descriptor = wsx_stream_socket(family)
        guard descriptor >= 0 else { return end(failure(errno)) }
        loop.counters.descriptors.add(1)
        connect(address)
    }

    private func connect(_ address: [UInt8]?) {
        let status =
            switch destination {
            case .ip(_, let port): unsafe wsx_connect_ip(descriptor, address ?? [], address?.count ?? 0, CInt(port))
            case .unix(let path): unsafe wsx_connect_unix(descriptor, path, path.utf8.count)
            }
        if status == 0 { return connected() }
        switch errno {
        case EINPROGRESS:
            watch(.writable) { [self] in
                let code = wsx_socket_error(descriptor)
                if code == 0 { connected() } else { end(failure(code)) }
            }
        case EAGAIN:
            // A Unix socket whose backlog is full; nothing tells when it no longer is.
            retry = loop.schedule(after: Self.retryDelay) { [self] in
                retry = nil
                connect(address)
            }
        case let code: end(failure(code))
        }
    }

    private func watch(_ events: DescriptorPoll.Events, _ action: @escaping () -> Void) {
        poll?.close()
        poll = DescriptorPoll(loop: loop, descriptor: descriptor, action: action)
        guard let poll else { return end(failure(errno)) }
        poll.start(events)
    }

    private func connected() {
        connector.progressed(self)
        guard !isOver else { return }
        guard let tunnel else { return handOver() }
        stage = .proxy
        send(tunnel.machine.greeting, tunnel)
        guard !isOver else { return }
        watch(.readable) { [self] in read(tunnel) }
    }

    /// Small enough for any socket that nothing was sent on yet.
    private func send(_ bytes: [UInt8], _ tunnel: Tunnel) {
        let count = unsafe bytes.withUnsafeBytes {
            unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        if count != bytes.count { end(tunnel.machine.ended()) }
    }

    private func read(_ tunnel: Tunnel) {
        while !isOver {
            // Looked at first: what follows the proxy's answer is the server's.
            let count = unsafe withScratch {
                unsafe recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_PEEK))
            }
            guard count > 0 else {
                if count == 0 || (errno != EAGAIN && errno != EINTR) { end(tunnel.machine.ended()) }
                return
            }
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: loop.scratch.memory[..<count])
            let (taken, action) = unsafe tunnel.machine.receive(bytes)
            if taken > 0 {
                _ = unsafe withScratch { unsafe recv(descriptor, $0.baseAddress, taken, 0) }
            }
            switch action {
            case .wait: break
            case .send(let bytes): send(bytes, tunnel)
            case .open: return handOver()
            case .fail(let error): return end(error)
            }
        }
    }

    private func withScratch<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<(16 << 10)]))
    }

    // MARK: Ending

    private func failure(_ code: CInt) -> WebSocketError {
        let why = unsafe String(cString: strerror(code))
        let isExhausted = code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
        let isProxied = tunnel != nil
        let what = isProxied ? "no connection to the proxy at" : "no connection to"
        return WebSocketError(
            isExhausted ? .resourceExhausted : isProxied ? .proxyFailed : .connectFailed,
            "\(what) \(destination.description.escapedForLog): \(why); check that it runs and is reachable",
            phase: isProxied ? .proxy : .connect, systemError: code)
    }

    private func handOver() {
        let socket = descriptor
        // Counted by its next owner from now on.
        descriptor = -1
        loop.counters.descriptors.subtract(1)
        stop()
        connector.replace(
            self, by: ClientHandshake(connector: connector, transport: .socket(socket, destination.description)))
    }

    private func end(_ error: WebSocketError) {
        guard !isOver else { return }
        stop()
        connector.failed(self, error)
    }

    func abandon() { stop() }

    private func stop() {
        isOver = true
        loop.cancel(retry)
        retry = nil
        poll?.close()
        poll = nil
        guard descriptor >= 0 else { return }
        close(descriptor)
        descriptor = -1
        loop.counters.descriptors.subtract(1)
    }
}
