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

// The socket is connected to the server: TLS, the request, its answer.
extension ClientAttempt {
    /// How long the body of a refusal is waited for.
    private static let bodyTime: UInt64 = 500_000_000

    // MARK: TLS

    func secure() {
        guard request.tls != nil else { return ask() }
        stage = .tls
        stopWatching()
        guard loop.handshakePlaces.take(for: self) else { return }
        hasPlace = true
        begin()
    }

    /// Begins the TLS handshake, for which there is a place.
    func begin() {
        guard let tls = request.tls else { return }
        // A server that speaks TLS waits for the client to speak. libwebsockets looks at the socket when it gets it.
        var byte: UInt8 = 0
        guard unsafe recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) <= 0 else {
            return end(TLSErrors.notTLS)
        }
        vhost = loop.vhosts.acquire(tls, of: loop)
        guard let vhost else {
            return end(WebSocketError(.resourceExhausted, "libwebsockets could not create a vhost", phase: .tls))
        }
        duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard duplicate >= 0 else {
            return end(
                WebSocketError(.resourceExhausted, "there is no descriptor left", phase: .tls, systemError: errno))
        }
        loop.counters.descriptors.add(1)
        guard unsafe adopt(into: vhost.handle, secure: true), let wsi = unsafe wsi,
            let stream = unsafe TLSStream(wsi: wsi)
        else { return end(untaken()) }
        unsafe lws_rx_flow_control(wsi, 0)
        // The time that a context gives a server's handshakes; ours have a deadline of their own.
        unsafe lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0)
        self.stream = stream
        stream.begin(tls, verifier: self)
        watch(duplicate, .readable) { [self] in proceed() }
        proceed()
    }

    /// The socket has become ready.
    private func proceed() {
        guard !isOver else { return }
        if stage == .tls { return handshake() }
        guard unsent.isEmpty || write() else { return }
        read()
    }

    private func handshake() {
        guard let stream, let tls = request.tls else { return }
        switch stream.handshake() {
        case .done:
            guard verification.mayProceed(tls, isResumed: stream.isResumed) else { return end(TLSErrors.pinMissed) }
            ask()
        case .wants(let events): wait(for: events)
        case .ended, .failed: end(tlsError(stream.reason))
        }
    }

    // MARK: Request

    private func ask() {
        stage = .upgrade
        let key = HandshakeKey.make()
        let text = request.requestText(key: key)
        details.requestBytes = Array(text.utf8) + "\r\n".utf8
        request.trace?.sent(text)
        machine = ClientHandshakeMachine(
            .init(
                key: key, acceptKey: AcceptKey.of(key), subprotocols: request.subprotocols,
                compression: request.options.compression))
        unsent = details.requestBytes![...]
        if stream == nil { watch(descriptor, .readable) { [self] in proceed() } }
        guard !isOver, write() else { return }
        // The answer takes a moment, on a connection without TLS in any case.
        if stream != nil { read() }
    }

    /// Whether all of the request is out.
    private func write() -> Bool {
        while !unsent.isEmpty {
            let result = unsafe unsent.withUnsafeBytes { bytes in
                if let stream { return unsafe stream.write(bytes) }
                return unsafe SocketIO.send(descriptor, bytes)
            }
            switch result {
            case .done(let count): unsent = unsent.dropFirst(count)
            case .wants(let events):
                wait(for: events)
                return false
            case .ended, .failed:
                end(brokenOff())
                return false
            }
        }
        wait(for: .readable)
        return true
    }

    // MARK: Answer

    /// One read in a turn.
    private func read() {
        let result = unsafe withScratch { memory in
            if let stream { return unsafe stream.read(into: memory) }
            return unsafe SocketIO.receive(descriptor, into: memory)
        }
        switch result {
        case .done(let count): unsafe answered(UnsafeRawBufferPointer(rebasing: loop.scratch.memory[..<count]))
        case .wants(let events): wait(for: events)
        case .ended, .failed: end(brokenOff())
        }
    }

    private func answered(_ bytes: UnsafeRawBufferPointer) {
        guard let (taken, action) = unsafe machine?.receive(bytes) else { return }
        switch action {
        case .wait: break
        case .readBody:
            guard !isReadingBody else { break }
            isReadingBody = true
            after(Self.bodyTime) { [self] in
                if let error = machine?.bodyTimedOut() { end(error) }
            }
        case .open(let opened): letGo(opened, behind: unsafe Array(bytes[taken...]))
        case .fail(let error): end(error)
        }
    }

    // MARK: Open

    /// `behind`: what the server has sent behind its answer.
    private func letGo(_ opened: ClientHandshakeMachine.Opened, behind: [UInt8]) {
        let socket = stream == nil ? descriptor : duplicate
        details.url = request.url
        details.response = opened.response
        details.subprotocol = opened.subprotocol
        details.deflate = opened.deflate
        details.localAddress = WebSocketAddress.local(of: socket)
        details.remoteAddress =
            if case .unix(let path) = request.route { .unix(path: path) } else { WebSocketAddress.remote(of: socket) }
        if stream == nil {
            // libuv cannot poll one descriptor twice.
            stopWatching()
            guard unsafe adopt(into: loop.vhosts.plain(of: loop), secure: false) else { return end(untaken()) }
        }
        guard let wsi = unsafe wsi else { return end(brokenOff()) }
        details.tls = unsafe WebSocketTLSInfo(wsi: wsi)
        stream?.finish()
        let connection = Connection(loop: loop, isClient: true, options: Shared(request.options), details: details)
        connection.vhost = vhost
        vhost = nil
        handOver(to: connection)
        connection.start()
        succeed(connection)
        if stream != nil { unsafe wsx_lws_let_go(loop.context, wsi) }
        if !behind.isEmpty { unsafe behind.withUnsafeBytes { unsafe connection.receiveEarly($0) } }
    }
}
