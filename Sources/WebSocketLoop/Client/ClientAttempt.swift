//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Whichever C module first includes the socket headers is the one that Swift attributes them to.
import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import Glibc
import WebSocketCore

/// One try at one address, from the socket to the 101: dialled, through a proxy's tunnel if need be, secured, asked, and
/// then given to libwebsockets, which reads and decrypts from then on.
///
/// libwebsockets' own client is not used: it reads answers wrongly (README, “What libwebsockets does”). It gets a plain
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
    var verification = PeerVerification()
    /// What is still to be written of the request.
    var unsent: ArraySlice<UInt8> = []
    var machine: ClientHandshakeMachine?
    /// A refusal's body is waited for, from its first byte on and no longer.
    var isReadingBody = false
    var details = ConnectionDetails()

    /// How soon a Unix socket whose backlog is full is tried again.
    private static let retryDelay: UInt64 = 10_000_000

    init(connector: ClientConnector, destination: Destination, tunnel: Tunnel?) {
        self.connector = connector
        self.request = connector.request
        self.destination = destination
        self.tunnel = tunnel
        super.init(loop: connector.loop)
    }

    // MARK: Dialling

    func start() {
        let address: [UInt8]?
        let family: CInt
        switch destination {
        case .ip(let text, _):
            address = IPAddress.bytes(text)
            family = address?.count == 4 ? AF_INET : AF_INET6
            guard address != nil else { return end(dialError(EAFNOSUPPORT)) }
        case .unix:
            address = nil
            family = AF_UNIX
        }
        descriptor = wsx_stream_socket(family)
        guard descriptor >= 0 else { return end(dialError(errno)) }
        loop.counters.descriptors.add(1)
        connect(address)
    }

    private func connect(_ address: [UInt8]?) {
        let status =
            switch destination {
            case .ip(let text, let port):
                unsafe wsx_connect_ip(
                    descriptor, address ?? [], address?.count ?? 0,
                    IPAddress.zone(text).map { unsafe wsx_zone_number($0) } ?? 0,
                    CInt(port))
            case .unix(let path): unsafe wsx_connect_unix(descriptor, path, path.utf8.count)
            }
        if status == 0 { return connected() }
        switch errno {
        case EINPROGRESS:
            watch(descriptor, .writable) { [self] in
                let code = wsx_socket_error(descriptor)
                if code == 0 { connected() } else { end(dialError(code)) }
            }
        case EAGAIN:
            // A Unix socket whose backlog is full; nothing tells when it no longer is.
            timer = loop.schedule(after: Self.retryDelay) { [self] in
                timer = nil
                connect(address)
            }
        case let code: end(dialError(code))
        }
    }

    /// Replaces what was watched before.
    func watch(_ descriptor: CInt, _ events: DescriptorPoll.Events, _ action: @escaping () -> Void) {
        poll?.close()
        poll = DescriptorPoll(loop: loop, descriptor: descriptor, action: action)
        guard let poll else { return end(dialError(errno)) }
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
        guard let tunnel else { return secure() }
        stage = .proxy
        sendToProxy(tunnel.machine.greeting, tunnel)
        guard !isOver else { return }
        watch(descriptor, .readable) { [self] in readFromProxy(tunnel) }
    }

    // MARK: The proxy

    /// Small enough for any socket that nothing was sent on yet.
    private func sendToProxy(_ bytes: [UInt8], _ tunnel: Tunnel) {
        let count = unsafe bytes.withUnsafeBytes {
            unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        if count != bytes.count { end(tunnel.machine.ended()) }
    }

    /// One look at the socket in a turn, so that a proxy that never stops talking does not hold the loop.
    private func readFromProxy(_ tunnel: Tunnel) {
        // Looked at first: what follows the proxy's answer is the server's.
        let count = unsafe withScratch { unsafe recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_PEEK)) }
        guard count > 0 else {
            if count == 0 || (errno != EAGAIN && errno != EINTR) { end(tunnel.machine.ended()) }
            return
        }
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: loop.scratch.memory[..<count])
        let (taken, action) = unsafe tunnel.machine.receive(bytes)
        if taken > 0 { _ = unsafe withScratch { unsafe recv(descriptor, $0.baseAddress, taken, 0) } }
        switch action {
        case .wait: break
        case .send(let bytes): sendToProxy(bytes, tunnel)
        case .open: secure()
        case .fail(let error): end(error)
        }
    }

    func withScratch<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<(16 << 10)]))
    }

    // MARK: libwebsockets

    /// Gives the socket to libwebsockets. `false` when it did not take it; the socket is closed then.
    func adopt(into vhost: OpaquePointer?, secure: Bool) -> Bool {
        loop.adopting = self
        let socket = descriptor
        // From here on the descriptor is libwebsockets': it closes it also when it fails.
        descriptor = -1
        let adopted = unsafe wsx_lws_adopt(vhost, socket, secure)
        guard loop.adopting == nil else {
            loop.adopting = nil
            loop.counters.descriptors.subtract(1)
            return false
        }
        return unsafe adopted != nil
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

    /// Runs `action` after so many nanoseconds unless something else happens first.
    func after(_ nanoseconds: UInt64, _ action: @escaping () -> Void) {
        loop.cancel(timer)
        timer = loop.schedule(after: nanoseconds) { [self] in
            timer = nil
            action()
        }
    }

    func succeed(_ connection: Connection) {
        isOver = true
        release()
        connector.succeeded(self, connection)
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
        if descriptor >= 0 {
            close(descriptor)
            descriptor = -1
            loop.counters.descriptors.subtract(1)
        }
        // Later, because this may run inside a callback of this or another wsi. The vhost stays in use until then.
        if unsafe wsi != nil { loop.killSoon(self) } else { releaseVhost() }
    }

    private func release() {
        loop.cancel(timer)
        timer = nil
        stopWatching()
        if duplicate >= 0 {
            close(duplicate)
            duplicate = -1
            loop.counters.descriptors.subtract(1)
        }
        guard hasPlace else { return }
        hasPlace = false
        // Not at once: it may end at once, and the next one too, each deeper in the stack than the one before.
        guard let next = loop.handshakePlaces.next() else { return }
        next.hasPlace = true
        next.after(0) { next.begin() }
    }
}
