//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

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
        guard loop.resources.handshakePlaces.take(for: self) else { return }
        hasPlace = true
        begin()
    }

    /// Begins the TLS handshake, for which there is a place.
    func begin() {
        guard let tls = request.tls else { return }
        // A server that speaks TLS waits for the client to speak. libwebsockets looks at the socket when it gets it.
        guard !Sockets.hasInput(descriptor) else { return end(TLSErrors.notTLS(.server)) }
        vhost = loop.resources.vhosts.acquire(tls, of: loop)
        guard let vhost else {
            return end(
                WebSocketError(
                    .resourceExhausted,
                    "libwebsockets could not create a vhost; close connections, or give the process more memory",
                    phase: .tls))
        }
        do throws(SystemError) {
            duplicate = try Sockets.duplicate(descriptor)
        } catch {
            return end(
                WebSocketError(
                    .resourceExhausted, "there is no descriptor left; raise ulimit -n, or open fewer connections",
                    phase: .tls, systemError: error.code))
        }
        loop.counters.descriptors.add(1)
        guard adopt(into: vhost, secure: true), let wire, let stream = wire.tlsStream else { return end(untaken()) }
        wire.pauseReading()
        // The time that a context gives a server's handshakes; ours have a deadline of their own.
        wire.clearTimeout()
        self.stream = stream
        let verifier = PeerVerifier(tls, .server)
        self.verifier = verifier
        stream.begin(verifier)
        watch(duplicate, .readable) { [self] in proceed() }
        proceed()
    }

    /// The socket has become ready.
    private func proceed() {
        guard !isOver else { return }
        if stage == .tls { return handshake() }
        if !unsent.isEmpty { wait(for: write()) }
        read()
    }

    private func handshake() {
        guard let stream, let tls = request.tls else { return }
        switch stream.handshake() {
        case .done:
            guard verifier?.verification.mayProceed(tls, isResumed: stream.isResumed) == true else {
                return end(TLSErrors.pinMissed(.server))
            }
            steps.passed(.tls, request, on: loop)
            ask()
        case .wants(let events): wait(for: events)
        case .ended, .failed: end(tlsError(stream.reason))
        }
    }

    // MARK: Request

    private func ask() {
        stage = .upgrade
        if let start = request.streamStart { return openStream(start) }
        let key = HandshakeKey.make()
        let text = request.requestText(key: key)
        details.requestBytes = Array(text.utf8) + "\r\n".utf8
        request.trace?.sent(text)
        machine = ClientHandshakeMachine(
            .init(
                key: key, acceptKey: AcceptKey.of(key), subprotocols: request.subprotocols,
                compression: request.options.compression),
            limits: request.way.responseLimits)
        unsent = details.requestBytes![...]
        if stream == nil { watch(descriptor, .readable) { [self] in proceed() } }
        guard !isOver else { return }
        wait(for: write())
        // The answer takes a moment, on a connection without TLS in any case.
        if stream != nil { read() }
    }

    /// Sends what is left of the request, and says what to wait for. The server may answer before it has it all, and need not
    /// read on then (RFC 9112 §9.5), so that its answer is heard while this side writes, and read though writing fails.
    private func write() -> DescriptorPoll.Events {
        while !unsent.isEmpty, !isDeaf {
            let result = unsafe unsent.withUnsafeBytes { bytes in
                if let stream { return unsafe stream.write(bytes) }
                return unsafe SocketIO.send(descriptor, bytes)
            }
            switch result {
            case .done(let count): unsent = unsent.dropFirst(count)
            case .wants(let events): return events.union(.readable)
            case .ended, .failed: isDeaf = true
            }
        }
        return .readable
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
        case .wants(let events): if unsent.isEmpty || isDeaf { wait(for: events) }
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
        case .open where !unsent.isEmpty:
            if let error = machine?.openedTooEarly() { end(error) }
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
        details.localAddress = relay.map { $0.localAddress } ?? WebSocketAddress.local(of: socket)
        details.remoteAddress =
            if case .unix(let path) = request.route {
                .unix(path: path)
            } else {
                relay.map { $0.remoteAddress } ?? WebSocketAddress.remote(of: socket)
            }
        if stream == nil {
            // libuv cannot poll one descriptor twice.
            stopWatching()
            guard adopt(into: loop.resources.vhosts.plainVhost(of: loop), secure: false) else { return end(untaken()) }
        }
        guard let wire else { return end(brokenOff()) }
        details.tls = wire.tlsInfo
        stream?.finish()
        let connection = Connection(loop: loop, isClient: true, options: Shared(request.options), details: details)
        connection.client?.vhost = vhost
        vhost = nil
        steps.passed(.upgrade, request, on: loop)
        handOver(to: connection)
        connection.start()
        succeed(.connection(connection))
        if stream != nil { wire.letGo() }
        if !behind.isEmpty { unsafe behind.withUnsafeBytes { unsafe connection.receiveEarly($0) } }
    }
}
