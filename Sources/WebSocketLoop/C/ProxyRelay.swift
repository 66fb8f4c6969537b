//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSocketsShims
import COpenSSL
import Glibc
import WebSocketCore

/// TLS to a proxy: spoken here, on the socket to the proxy, while the connection's bytes go through a pair of sockets whose
/// other end is the attempt's. So everything behind the proxy is as without TLS to it: the tunnel, TLS to the server,
/// and libwebsockets, which cannot do TLS within TLS.
///
/// At most a record waits in each direction: what is not taken is not read, so that backpressure reaches both sockets. Lives
/// until both sides have ended, by the readiness of its sockets. Loop-confined.
@safe final class ProxyRelay {
    private let loop: WebSocketEventLoop
    /// To the proxy.
    private let outside: CInt
    /// To the attempt, and then to libwebsockets.
    private var inside: CInt = -1
    private let ssl: OpaquePointer
    private let stream: TLSStream
    private let verifier: PeerVerifier
    private var ready: ((Result<CInt, WebSocketError>) -> Void)?
    private var outsidePoll: DescriptorPoll?
    private var insidePoll: DescriptorPoll?
    private var linger: WebSocketEventLoop.TimerToken?
    private var outward: ArraySlice<UInt8> = []
    private var inward: ArraySlice<UInt8> = []
    private var hasInsideEnded = false
    private var hasOutsideEnded = false
    /// The end has been passed on: by close_notify and FIN, by FIN.
    private var isOutwardShut = false
    private var isInwardShut = false
    private var isClosed = false

    /// The proxy's end and this one.
    let remoteAddress: WebSocketAddress?
    let localAddress: WebSocketAddress?

    /// A record's payload.
    private static let chunk = 16 << 10
    /// Records each way in a turn.
    private static let burst = 4
    /// How long the proxy may go on when nothing more comes from here.
    private static let lingerTime: UInt64 = 5_000_000_000

    /// - Parameter socket: Connected to the proxy; from here on the relay's, also when it fails.
    init?(loop: WebSocketEventLoop, socket: CInt, verifier: PeerVerifier) {
        guard let ssl = unsafe verifier.tls.makeSession(on: socket) else {
            Glibc.close(socket)
            loop.counters.descriptors.subtract(1)
            return nil
        }
        self.loop = loop
        outside = socket
        unsafe self.ssl = unsafe ssl
        stream = unsafe TLSStream(ssl: ssl)
        self.verifier = verifier
        remoteAddress = WebSocketAddress.remote(of: socket)
        localAddress = WebSocketAddress.local(of: socket)
    }

    deinit { unsafe SSL_free(ssl) }

    /// Shakes hands with the proxy.
    ///
    /// - Parameter ready: Gets the socket on which everything else goes, or why there is none. Not called after `cancel`.
    func start(_ ready: @escaping (Result<CInt, WebSocketError>) -> Void) {
        self.ready = ready
        loop.onStop[ObjectIdentifier(self)] = { [self] in close() }
        stream.begin(verifier)
        outsidePoll = DescriptorPoll(loop: loop, descriptor: outside) { [self] in turn() }
        guard outsidePoll != nil else {
            return fail(.resourceExhausted("the socket to the proxy cannot be polled", errno))
        }
        turn()
    }

    /// The attempt is over before there was a tunnel.
    func cancel() {
        guard ready != nil else { return }
        close()
    }

    // MARK: Handshake

    private func turn() {
        guard !isClosed else { return }
        guard ready == nil else { return shakeHands() }
        relay()
    }

    private func shakeHands() {
        switch stream.handshake() {
        case .done: handshakeDone()
        case .wants(let events): outsidePoll?.start(events)
        case .ended, .failed: fail(verifier.error(reason: stream.reason, wasAsked: stream.wasAskedForCertificate))
        }
    }

    private func handshakeDone() {
        guard verifier.verification.mayProceed(verifier.tls, isResumed: stream.isResumed) else {
            return fail(TLSErrors.pinMissed(verifier.party))
        }
        stream.finish()
        var ends: [CInt] = [-1, -1]
        let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        guard unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            return fail(.resourceExhausted("there are no descriptors left for the proxy's TLS", errno))
        }
        loop.counters.descriptors.add(2)
        inside = ends[0]
        insidePoll = DescriptorPoll(loop: loop, descriptor: inside) { [self] in turn() }
        guard insidePoll != nil, let ready else {
            Glibc.close(ends[1])
            loop.counters.descriptors.subtract(1)
            return fail(.resourceExhausted("the proxy's sockets cannot be polled", errno))
        }
        self.ready = nil
        watch()
        ready(.success(ends[1]))
    }

    private func fail(_ error: WebSocketError) {
        let ready = ready
        close()
        ready?(.failure(error))
    }

    // MARK: Relaying

    private func relay() {
        for _ in 0..<Self.burst {
            var hasMoved = moveOutward()
            hasMoved = !isClosed && moveInward() || hasMoved
            guard !isClosed else { return }
            guard hasMoved else { break }
        }
        passEndsOn()
        if !isClosed { watch() }
    }

    /// From here to the proxy.
    private func moveOutward() -> Bool {
        if outward.isEmpty, !hasInsideEnded {
            switch unsafe take({ unsafe SocketIO.receive(inside, into: $0) }) {
            case .done(let count): outward = bytes(count)
            case .wants: return false
            case .ended, .failed: hasInsideEnded = true
            }
        }
        guard !outward.isEmpty else { return false }
        switch unsafe outward.withUnsafeBytes({ unsafe stream.write($0) }) {
        case .done(let count): outward = outward.dropFirst(count)
        case .wants: return false
        // A proxy that does not take anything more has left.
        case .ended, .failed: close()
        }
        return true
    }

    /// From the proxy to here.
    private func moveInward() -> Bool {
        if inward.isEmpty, !hasOutsideEnded {
            switch unsafe take({ unsafe stream.read(into: $0) }) {
            case .done(let count): inward = bytes(count)
            case .wants: return false
            case .ended, .failed: hasOutsideEnded = true
            }
        }
        guard !inward.isEmpty else { return false }
        switch unsafe inward.withUnsafeBytes({ unsafe SocketIO.send(inside, $0) }) {
        case .done(let count): inward = inward.dropFirst(count)
        case .wants: return false
        case .ended, .failed:
            // The connection is gone; what the proxy still says is dropped.
            inward = []
            hasInsideEnded = true
            if outward.isEmpty { close() }
        }
        return true
    }

    /// Each side's end is told to the other behind its last byte.
    private func passEndsOn() {
        if hasOutsideEnded, inward.isEmpty, !isInwardShut {
            isInwardShut = true
            shutdown(inside, CInt(SHUT_WR))
        }
        if hasInsideEnded, outward.isEmpty, !isOutwardShut {
            isOutwardShut = true
            stream.shutDown()
            shutdown(outside, CInt(SHUT_WR))
            linger = loop.schedule(after: Self.lingerTime) { [self] in
                linger = nil
                close()
            }
        }
        if isInwardShut, isOutwardShut { close() }
    }

    private func watch() {
        var events: DescriptorPoll.Events = []
        if inward.isEmpty, !hasOutsideEnded { events.insert(.readable) }
        if !outward.isEmpty { events.insert(.writable) }
        if events.isEmpty { outsidePoll?.stop() } else { outsidePoll?.start(events) }
        events = []
        if outward.isEmpty, !hasInsideEnded { events.insert(.readable) }
        if !inward.isEmpty { events.insert(.writable) }
        if events.isEmpty { insidePoll?.stop() } else { insidePoll?.start(events) }
    }

    private func take(_ body: (UnsafeMutableRawBufferPointer) -> StreamResult) -> StreamResult {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<Self.chunk]))
    }

    private func bytes(_ count: Int) -> ArraySlice<UInt8> {
        unsafe Array(UnsafeRawBufferPointer(rebasing: loop.scratch.memory[..<count]))[...]
    }

    private func close() {
        guard !isClosed else { return }
        isClosed = true
        ready = nil
        loop.cancel(linger)
        linger = nil
        loop.onStop[ObjectIdentifier(self)] = nil
        let polls = [outsidePoll, insidePoll]
        outsidePoll = nil
        insidePoll = nil
        for poll in polls { poll?.close() }
        Glibc.close(outside)
        loop.counters.descriptors.subtract(1)
        guard inside >= 0 else { return }
        Glibc.close(inside)
        loop.counters.descriptors.subtract(1)
    }
}

extension WebSocketError {
    fileprivate static func resourceExhausted(_ what: String, _ code: CInt) -> Self {
        WebSocketError(
            .resourceExhausted, "\(what); raise the limit of open files (ulimit -n) or open fewer connections",
            phase: .proxy, systemError: code)
    }
}
