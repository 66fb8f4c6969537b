//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// One try at one address, from the socket to the 101: dialled, through a proxy's tunnel if need be, secured, asked, and
/// then given to libwebsockets, which reads and decrypts from then on.
///
/// libwebsockets' own client is not used: it reads answers wrongly (Documentation/Limits.md). It gets a plain
/// socket when the answer has been read; one with TLS when it is connected, because the session has to be on an SSL of
/// its own, and is held back by flow control until then. The same way as a server's sockets.
final class ClientAttempt: WireOwner {
    enum Stage: Int, Comparable {
        case tcp, proxy, tls, upgrade
        static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
        var phase: WebSocketError.Phase {
            switch self {
            case .tcp: .connect
            case .proxy: .proxy
            case .tls: .tls
            case .upgrade: .upgrade
            }
        }
    }

    enum Destination {
        case ip(String, port: Int)
        case unix(path: String)

        var description: String {
            switch self {
            case .ip(let address, let port): WebSocketAddress.ip(address: address, port: port).description
            case .unix(let path): WebSocketAddress.unix(path: path).description
            }
        }
    }

    /// A box, because a class cannot lend an optional value that is not copyable.
    final class Tunnel {
        fileprivate var machine: ProxyTunnel
        init(_ machine: consuming ProxyTunnel) { self.machine = machine }
    }

    private unowned let connector: ClientConnector
    let request: ClientRequest
    let destination: Destination
    /// How to get through the proxy, if it is one.
    private let tunnel: Tunnel?
    var isProxied: Bool { tunnel != nil }
    var stage = Stage.tcp
    private(set) var isOver = false
    /// The socket, until libwebsockets has it.
    var descriptor: CInt = -1
    /// libuv cannot poll one descriptor twice, and libwebsockets polls the original.
    var duplicate: CInt = -1
    /// Whether one of the loop's places for TLS handshakes is taken.
    var hasPlace = false
    private var poll: DescriptorPoll?
    /// The next try of a full Unix socket, or the end of the time for a refusal's body.
    private var timer: WebSocketEventLoop.TimerToken?
    var vhost: Vhost?
    /// The TLS session on libwebsockets' SSL.
    var stream: TLSStream?
    /// Decides about the server's certificates, while they are asked about.
    var verifier: PeerVerifier?
    /// TLS to the proxy, if it is spoken.
    private(set) var relay: ProxyRelay?
    /// What is still to be written of the request.
    var unsent: ArraySlice<UInt8> = []
    /// The server takes nothing more of the request.
    var isDeaf = false
    var machine: ClientHandshakeMachine?
    /// A refusal's body is waited for, from its first byte on and no longer.
    var isReadingBody = false
    var details = ConnectionDetails()
    var steps: ClientSteps

    /// How soon a Unix socket whose backlog is full is tried again.
    private static let retryDelay: UInt64 = 10_000_000

    init(connector: ClientConnector, destination: Destination, tunnel: Tunnel?) {
        self.connector = connector
        self.request = connector.request
        self.destination = destination
        self.tunnel = tunnel
        steps = ClientSteps(on: connector.loop)
        super.init(loop: connector.loop)
    }

    // MARK: Dialling

    func start() {
        let peer: Sockets.Peer
        switch destination {
        case .ip(let text, let port):
            guard let bytes = IPAddress.bytes(text) else { return end(dialError(.unknownFamily)) }
            peer = .ip(bytes, zone: IPAddress.zone(text).map { String($0) }, port: port)
        case .unix(let path): peer = .unix(path: path)
        }
        do throws(SystemError) {
            descriptor = try Sockets.open(for: peer)
        } catch {
            return end(dialError(error))
        }
        loop.counters.descriptors.add(1)
        connect(to: peer)
    }

    private func connect(to peer: Sockets.Peer) {
        switch Sockets.connect(descriptor, to: peer) {
        case .connected: connected()
        case .underway:
            watch(descriptor, .writable) { [self] in
                if let error = Sockets.takeError(descriptor) { end(dialError(error)) } else { connected() }
            }
        case .full:
            timer = loop.schedule(after: Self.retryDelay) { [self] in
                timer = nil
                connect(to: peer)
            }
        case .failed(let error): end(dialError(error))
        }
    }

    /// Replaces what was watched before.
    func watch(_ descriptor: CInt, _ events: DescriptorPoll.Events, _ action: @escaping () -> Void) {
        poll?.close()
        poll = DescriptorPoll(loop: loop, descriptor: descriptor, action: action)
        guard let poll else { return end(dialError(.last)) }
        poll.start(events)
    }

    func wait(for events: DescriptorPoll.Events) { poll?.start(events) }

    /// Nothing is watched any more, so that libwebsockets may watch the descriptor.
    func stopWatching() {
        poll?.close()
        poll = nil
    }

    private func connected() {
        connector.progressed(self)
        guard !isOver else { return }
        steps.passed(.connect, request, on: loop)
        guard let tunnel else { return secure() }
        stage = .proxy
        guard let tls = request.proxyTLS else { return greet(tunnel) }
        stopWatching()
        relay = ProxyRelay(loop: loop, socket: descriptor, verifier: PeerVerifier(tls, .proxy))
        descriptor = -1
        guard let relay else {
            return end(
                WebSocketError(
                    .resourceExhausted,
                    "OpenSSL has no memory for the proxy's TLS; close connections, or give the process more",
                    phase: .proxy))
        }
        relay.start { [self] result in
            switch result {
            case .success(let socket):
                descriptor = socket
                greet(tunnel)
            case .failure(let error): end(error)
            }
        }
    }

    private func greet(_ tunnel: Tunnel) {
        sendToProxy(tunnel.machine.greeting, tunnel)
        guard !isOver else { return }
        watch(descriptor, .readable) { [self] in readFromProxy(tunnel) }
    }

    // MARK: The proxy

    /// Small enough for any socket that nothing was sent on yet.
    private func sendToProxy(_ bytes: [UInt8], _ tunnel: Tunnel) {
        if !Sockets.sendWhole(descriptor, bytes) { end(tunnel.machine.ended()) }
    }

    /// One look at the socket in a turn, so that a proxy that never stops talking does not hold the loop.
    private func readFromProxy(_ tunnel: Tunnel) {
        // Looked at first: what follows the proxy's answer is the server's.
        let count: Int
        switch unsafe withScratch({ unsafe SocketIO.peek(descriptor, into: $0) }) {
        case .done(let there): count = there
        case .wants: return
        case .ended, .failed: return end(tunnel.machine.ended())
        }
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: loop.scratch.memory[..<count])
        let (taken, action) = unsafe tunnel.machine.receive(bytes)
        if taken > 0 {
            unsafe withScratch { memory in
                _ = unsafe SocketIO.receive(descriptor, into: UnsafeMutableRawBufferPointer(rebasing: memory[..<taken]))
            }
        }
        switch action {
        case .wait: break
        case .send(let bytes): sendToProxy(bytes, tunnel)
        case .open:
            steps.passed(.proxy, request, on: loop)
            secure()
        case .fail(let error): end(error)
        }
    }

    func withScratch<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<(16 << 10)]))
    }

    // MARK: libwebsockets

    /// Gives the socket to libwebsockets. `false` when it did not take it; the socket is closed then.
    func adopt(into vhost: Vhost?, secure: Bool) -> Bool {
        let socket = descriptor
        descriptor = -1
        return adopt(socket, into: vhost, secure: secure)
    }

    override func instantiated(_ wsi: OpaquePointer) {
        unsafe self.wsi = unsafe wsi
        loop.counters.connections.add(1)
    }

    override func destroyed() {
        loop.counters.connections.subtract(1)
        loop.counters.descriptors.subtract(1)
        releaseVhost()
        end(brokenOff())
    }

    private func releaseVhost() {
        vhost?.users -= 1
        vhost = nil
    }

    // MARK: Ending

    /// Runs `action` after this many nanoseconds unless something else happens first.
    func after(_ nanoseconds: UInt64, _ action: @escaping () -> Void) {
        loop.cancel(timer)
        timer = loop.schedule(after: nanoseconds) { [self] in
            timer = nil
            action()
        }
    }

    func succeed(_ opened: ClientConnector.Opened) {
        isOver = true
        release()
        connector.succeeded(self, opened)
    }

    func end(_ error: WebSocketError) {
        guard !isOver else { return }
        abandon()
        connector.failed(self, error)
    }

    /// The connector no longer wants it.
    func abandon() {
        guard !isOver else { return }
        isOver = true
        release()
        relay?.cancel()
        if descriptor >= 0 {
            Sockets.close(descriptor)
            descriptor = -1
            loop.counters.descriptors.subtract(1)
        }
        // Later, because this may run inside a callback of this or another wsi. The vhost stays in use until then.
        if wire != nil { loop.killAtTurnEnd(self) } else { releaseVhost() }
    }

    private func release() {
        loop.cancel(timer)
        timer = nil
        stopWatching()
        if duplicate >= 0 {
            Sockets.close(duplicate)
            duplicate = -1
            loop.counters.descriptors.subtract(1)
        }
        guard hasPlace else { return }
        hasPlace = false
        // Not at once: it may end at once, and the next one too, each deeper in the stack than the one before.
        guard let next = loop.resources.handshakePlaces.next() else { return }
        next.hasPlace = true
        next.after(0) { next.begin() }
    }
}
