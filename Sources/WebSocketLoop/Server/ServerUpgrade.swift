//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
package import WebSocketCore

/// Carries out what a `ServerUpgradeMachine` says, for one accepted socket.
///
/// libwebsockets gets a rebuilt request, from which it makes its 101. A plain socket it gets with that, when the decision
/// is to accept. A TLS socket it gets when the client's first message is there, because the TLS session has to be its own:
/// it is held back by flow control, with the rebuilt request in its buffer, until the decision.
package final class ServerUpgrade: WireOwner, ReadinessOwner, @unchecked Sendable {
    // Sendable because everything mutable is loop-confined.

    /// A request that another server has read, and what that server has read behind it.
    package struct Preread: Sendable {
        package let head: HTTPRequestHead
        package let behind: [UInt8]
        /// Whether the client came over TLS that the other server has ended.
        package let isSecure: Bool

        package init(head: HTTPRequestHead, behind: [UInt8], isSecure: Bool) {
            self.head = head
            self.behind = behind
            self.isSecure = isSecure
        }
    }

    package typealias Outcome = @Sendable (Result<Connection, WebSocketError>) -> Void

    let policy: UpgradePolicy
    private let register: OpenConnections?
    private let handshakes: ServerHandshakes
    private let isPreread: Bool
    private var outcome: Outcome?
    var machine: ServerUpgradeMachine
    /// When it came, among those of its register.
    var arrival: UInt64 = 0
    let descriptor: CInt
    private var isOurs = true
    private var deadline: (kind: ServerUpgradeMachine.Deadline, token: WebSocketEventLoop.TimerToken)?
    /// What the descriptor is watched for, and what the last look at it left to be waited for.
    private var watched: (awaits: ServerUpgradeMachine.Awaited, events: DescriptorPoll.Events)?
    var wanted = DescriptorPoll.Events.readable
    private(set) var stream: TLSStream?
    private var clientCertificate: WebSocketTLSClientCertificate?
    private var ticket: ConnectionTicket?
    private var stopDeciding: (@Sendable () -> Void)?
    var behind: [UInt8]
    private var response = UpgradeResponse()
    private var deflate: DeflateNegotiation.Answer?
    private var key = ""
    /// What is still to be written of a response.
    var unsent: ArraySlice<UInt8> = []
    var details = ConnectionDetails()
    /// What the upgrade became, for the rest of `letGo`. Not weak: that would slow down every retain of a connection.
    private var connection: Connection?

    /// Takes over the descriptor. On the loop.
    ///
    /// - Parameters:
    ///   - register: Knows about the handshake while it is under way, and can stop it.
    ///   - cancellation: Lets the socket's giver lose interest.
    ///   - preread: The request, when another server has read it. There is no TLS then.
    ///   - outcome: Told once what became of the socket.
    package static func begin(
        _ descriptor: CInt, on loop: WebSocketEventLoop, policy: UpgradePolicy, register: OpenConnections? = nil,
        preread: Preread? = nil, cancellation: UpgradeCancellation? = nil, outcome: Outcome? = nil
    ) {
        guard let handshakes = loop.serverHandshakes() else {
            SocketIO.close(descriptor)
            outcome?(.failure(loop.isStopping ? ServerUpgradeMachine.stopping : .shortage))
            return
        }
        let upgrade = ServerUpgrade(descriptor, loop, policy, register, handshakes, preread, outcome)
        handshakes.insert(upgrade)
        upgrade.start(preread?.head)
        if !upgrade.isOver { register?.insert(upgrade) }
        cancellation?.begun(upgrade)
    }

    private init(
        _ descriptor: CInt, _ loop: WebSocketEventLoop, _ policy: UpgradePolicy, _ register: OpenConnections?,
        _ handshakes: ServerHandshakes, _ preread: Preread?, _ outcome: Outcome?
    ) {
        (self.descriptor, self.policy, self.register, self.outcome) = (descriptor, policy, register, outcome)
        (self.handshakes, isPreread, behind) = (handshakes, preread != nil, preread?.behind ?? [])
        details.localAddress = WebSocketAddress.local(of: descriptor)
        details.remoteAddress = WebSocketAddress.remote(of: descriptor)
        machine = ServerUpgradeMachine(policy.rules(for: details.remoteAddress, preread))
        super.init(loop: loop)
    }

    var isOver: Bool { machine.isOver }
    /// Whether the client is to say something, and not the server.
    var isHandshaking: Bool { if case .part = machine.awaits { true } else { false } }

    private func start(_ request: HTTPRequestHead?) {
        loop.counters.descriptors.add(1)
        SocketIO.disableDelay(descriptor)
        // Connections of a trusted proxy are counted for whom it speaks, once it has said so.
        let client = policy.expectsProxyHeader || policy.trusts(details.remoteAddress) ? nil : details.remoteAddress
        var refusal: UpgradeRefusal?
        let hasMemory = loop.memoryBudget.admits()
        switch policy.limiter?.enter(client, hasMemory: hasMemory, makeRoom: { register?.dropOldest() == true }) {
        case nil: if !hasMemory { refusal = .outOfMemory }
        case .admitted(let ticket): self.ticket = ticket
        case .refused(let reason, let ticket): (refusal, self.ticket) = (reason, ticket)
        case .dropped: return drop(.full)
        }
        carryOut(request.map { machine.begin(with: $0, refusal: refusal) } ?? machine.begin(refusal: refusal))
        // The first bytes are often there already.
        if isHandshaking { becameReady(hasLeft: false) }
    }

    func carryOut(_ action: ServerUpgradeMachine.Action) {
        if machine.state != .deciding { stopDeciding.take()?() }
        switch action {
        case .wait: break
        case .secure: handshakes.await(self)
        case .count(let address, let port):
            if let address { details.remoteAddress = .ip(address: WebSocketAddress.normalized(address), port: port) }
            return carryOut(machine.counted(isAdmitted: ticket?.move(to: details.remoteAddress) != false))
        case .decide(let request): haveDecided(request)
        case .respond(let response, let bytes):
            report(response)
            tell(rejection(response))
            (unsent, wanted) = (bytes[...], .writable)
            return write()
        case .upgrade(let upgrade): return self.upgrade(upgrade)
        case .end(let reason): return end(reason)
        }
        settle()
    }

    /// The deadline and the watch over the descriptor are those of the machine's state.
    func settle() {
        if deadline?.kind != machine.deadline {
            loop.cancel(deadline?.token)
            deadline = machine.deadline.map { kind in
                (kind, loop.schedule(after: policy.nanoseconds(of: kind)) { [unowned self] in ranOutOfTime() })
            }
        }
        let events: DescriptorPoll.Events? =
            switch machine.awaits {
            case .nothing: nil
            // Until then libwebsockets has not got it.
            case .part(.handshake) where stream == nil: nil
            case .part(.proxyHeader), .part(.clientHello): [.readable, .disconnected]
            case .part, .room: wanted
            case .departure: .disconnected
            case .end: .readable
            }
        guard let events else { return unwatch() }
        guard watched?.awaits != machine.awaits || watched?.events != events else { return }
        watched = (machine.awaits, events)
        // What is only looked at stays in the socket.
        let onlyNews = machine.awaits == .part(.proxyHeader) || machine.awaits == .part(.clientHello)
        if !handshakes.readiness.watch(descriptor, for: events, onlyNews: onlyNews, by: self) { drop(.shortage) }
    }

    private func unwatch() {
        if watched.take() != nil { handshakes.readiness.forget(descriptor) }
    }

    private func ranOutOfTime() {
        deadline = nil
        carryOut(machine.timedOut())
    }

    // MARK: TLS

    /// Its turn has come.
    func secure() {
        guard let tls = policy.tls, let vhost = loop.vhosts.acquire(tls, of: loop) else { return drop(.unsecured) }
        unwatch()
        // Offered in any case: whether it is agreed on is decided later.
        let head = HandshakeText.rebuiltHead(host: vhost.name, key: HandshakeText.placeholderKey, deflate: true)
        guard unsafe adopt(into: vhost.handle, Array(head.utf8)), let wsi = unsafe wsi else { return }
        clearTimeout()
        stream = unsafe TLSStream(wsi: wsi)
        handshake()
    }

    func handshake() {
        guard let stream, go(on: stream.accept()) != nil else { return }
        details.tls = unsafe wsi.flatMap { unsafe WebSocketTLSInfo(wsi: $0) }
        clientCertificate = stream.clientCertificate
        carryOut(machine.secured())
        read()
    }

    // MARK: Decision

    private func haveDecided(_ request: ServerUpgradeMachine.Request) {
        let stop = policy.decide(
            UpgradeRequest(request, details, clientCertificate: clientCertificate), PendingUpgrade(upgrade: self))
        if machine.state == .deciding { stopDeciding = stop }
    }

    /// On the loop. The first decision counts.
    func decided(_ decision: UpgradeDecision) {
        guard machine.state == .deciding else { return }
        // It is not to be stopped any more.
        stopDeciding = nil
        switch decision {
        case .respond(let response): carryOut(machine.decided(response))
        case .accept(let response):
            self.response = response
            carryOut(machine.decided(nil))
        }
    }

    // MARK: libwebsockets

    private func upgrade(_ upgrade: ValidatedUpgrade) {
        key = upgrade.key
        let options = response.options ?? policy.options
        deflate = DeflateNegotiation.answer(offers: upgrade.extensions, configured: options.compression)
        // The bytes are kept where they say what the request says, and are taken apart within the usual limit.
        let bytes = machine.takeHead()
        if !isPreread, !machine.isTargetRewritten, bytes.count <= HTTPRequestHeadParser.Limits().totalBytes {
            details.requestBytes = bytes
        } else {
            details.prereadRequest = machine.parsed
        }
        details.subprotocol = response.subprotocol
        details.deflate = deflate?.agreed
        details.upgrade = response.context
        unwatch()
        if stream != nil {
            letGo { connection }
            connection = nil
            return
        }
        guard let vhost = unsafe loop.vhosts.plain(of: loop), let name = loop.vhosts.plainName else {
            return drop(.noVhost)
        }
        let head = HandshakeText.rebuiltHead(host: name, key: key, deflate: deflate != nil)
        _ = unsafe adopt(into: vhost, Array(head.utf8) + behind)
    }

    private func adopt(into vhost: OpaquePointer, _ bytes: [UInt8]) -> Bool {
        isOurs = false
        if unsafe adoptServerSocket(descriptor, into: vhost, bytes) { return !isOver }
        loop.counters.descriptors.subtract(1)
        drop(untaken())
        return false
    }

    override func instantiated(_ wsi: OpaquePointer) {
        unsafe self.wsi = unsafe wsi
        loop.counters.connections.add(1)
        if machine.state != .upgrading { holdBack() }
    }

    override func willAnswerUpgrade() -> CInt { machine.state == .upgrading ? 0 : -1 }

    override func confirmsExtension() -> Bool { deflate != nil }

    override func responseToUpgrade() -> ServerResponseText? {
        ServerResponseText(
            accept: stream == nil ? nil : AcceptKey.of(key), deflateParameters: deflate?.parameterText ?? "",
            fields: response.lines)
    }

    override func established() -> CInt {
        guard machine.established() else { return -1 }
        let connection = Connection(
            loop: loop, isClient: false, options: response.options.map(Shared.init) ?? policy.sharedOptions,
            details: details)
        if stream != nil { self.connection = connection }
        ticket?.isEstablished()
        if let ticket = ticket.take() { connection.serverSide = ServerSide(ticket: ticket) }
        handOver(to: connection)
        let outcome = outcome.take()
        finish()
        connection.start()
        policy.established(connection)
        outcome?(.success(connection))
        return 0
    }

    override func destroyed() {
        loop.counters.connections.subtract(1)
        loop.counters.descriptors.subtract(1)
        if isOver { finish() } else { carryOut(lost()) }
    }

    // MARK: Ending

    /// The server stops.
    func stop() { carryOut(machine.stopped()) }

    /// The socket's giver does not want the connection any more. Nothing happens to one that stands.
    func cancel() {
        guard outcome != nil else { return }
        tell(.cancelled("accept"))
        carryOut(machine.cancelled())
    }

    func drop(_ reason: WebSocketError) { carryOut(machine.abandoned(reason)) }

    private func end(_ reason: WebSocketError) {
        reportEnd(reason)
        tell(reason)
        settle()
        guard unsafe wsi == nil else {
            // The rest follows in `destroyed`. Later, because this may run inside one of its callbacks.
            return loop.killAtTurnEnd(self)
        }
        if isOurs {
            SocketIO.close(descriptor)
            loop.counters.descriptors.subtract(1)
        }
        finish()
    }

    private func finish() {
        settle()
        ticket = nil
        stream = nil
        register?.remove(self)
        handshakes.remove(self)
    }

    /// The socket's giver learns why it became no connection. Once.
    private func tell(_ reason: WebSocketError) { outcome.take()?(.failure(reason)) }
}
