//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Synchronization
package import WebSocketCore

/// What the opening handshake settled.
package struct ConnectionDetails: Sendable {
    @Boxed package var url: WebSocketURL?
    /// The request, where another server has taken it apart.
    @Boxed package var prereadRequest: HTTPRequestHead?
    /// The request as it went over the wire, whole. Taken apart only when a caller wants to see it: its parts are a
    /// kilobyte in 20 pieces of memory, for as long as the connection lasts.
    package var requestBytes: [UInt8]?
    @Boxed package var response: WebSocketError.Response?
    package var subprotocol: String?
    package var deflate: WebSocketNegotiatedDeflate?
    @Boxed package var tls: WebSocketTLSInfo?
    package var localAddress: WebSocketAddress?
    package var remoteAddress: WebSocketAddress?
    package var upgrade: UpgradeContext?

    package init() {}

    /// The target of the request line, byte for byte, without a look at the rest.
    package var requestTarget: String? {
        if let prereadRequest { return prereadRequest.target }
        let space = UInt8(ascii: " ")
        guard let requestBytes, let method = requestBytes.firstIndex(of: space) else { return nil }
        return String(decoding: requestBytes[(method + 1)...].prefix { $0 != space }, as: UTF8.self)
    }

    /// The handshake's request, of either side.
    package var requestHead: HTTPRequestHead? {
        if let prereadRequest { return prereadRequest }
        guard let requestBytes else { return nil }
        var limits = HTTPRequestHeadParser.Limits()
        limits.requestLineBytes = requestBytes.count
        limits.fieldBytes = requestBytes.count
        limits.fields = requestBytes.count
        let verdict = unsafe requestBytes.withUnsafeBytes { unsafe HTTPRequestHeadParser.parse($0, limits: limits) }
        guard case .head(let head, _) = verdict else { return nil }
        return head
    }
}

private let connectionNumbers = Atomic<UInt64>(1)

private func nextConnectionNumber() -> UInt64 { connectionNumbers.wrappingAdd(1, ordering: .relaxed).oldValue }

/// An established WebSocket connection. Lives on its loop: every method that is not marked otherwise is called there.
@usableFromInline package final class Connection: WireOwner, @unchecked Sendable {
    // Sendable because everything mutable is loop-confined, `Mutex` or `Atomic`.

    // What every message touches comes first and together: with many connections that take turns, the time goes into
    // fetching it. It also goes without the run-time check of exclusivity: one thread uses it, no access calls out while
    // it lasts, and the check took 7 % of a receive flood.
    private let sharedOptions: Shared<WebSocketOptions>
    var options: WebSocketOptions { sharedOptions.value }
    /// Shared with other threads.
    let inbound: Mutex<InboundQueue<LoopWaiter<WebSocketMessage>, ConnectionEnd>>
    @safe @exclusivity(unchecked) var machine = ConnectionStateMachine()
    @safe @exclusivity(unchecked) var assembler: MessageAssembler
    @safe @exclusivity(unchecked) var isMidFrame = false
    @safe @exclusivity(unchecked) var isCompressedMessage = false
    @safe @exclusivity(unchecked) private var isDirty = false
    @safe @exclusivity(unchecked) var mustCheckInbound = false
    @safe @exclusivity(unchecked) var mustAnswerClose = false
    @safe @exclusivity(unchecked) var isInCallback = false
    /// Messages are refused. Only the first part of a message in several looks here: the handler refuses whole ones.
    @safe @exclusivity(unchecked) var refusesMessages = false
    /// Grows with every read of a client, and every piece of a message that a server has read. Wraps, as the next ones do.
    @safe @exclusivity(unchecked) var heard: UInt32 = 0
    @safe @exclusivity(unchecked) var pongsHeard: UInt32 = 0
    @safe @exclusivity(unchecked) var messageHandler: MessageHandler?
    let inflater: Inflater?
    @safe @exclusivity(unchecked) var outbound: OutboundPath
    /// For those who count at the end: messages that came whole, and bytes each way.
    @safe @exclusivity(unchecked) var messagesArrived = 0
    @safe @exclusivity(unchecked) var bytesArrived = 0

    // Shared with other threads.
    let published = PublishedState()
    /// Messages that are not received yet, and receivers that still wait. Follows `inbound`, under its lock.
    let inboundCount = Atomic<Int>(0)
    /// A receiver has taken as many messages as it may without giving way.
    let mustGiveWay = Atomic<Bool>(false)
    let isClient: Bool
    let client: ClientWire?

    /// Receivers that read a message in pieces, once there was one.
    @safe @exclusivity(unchecked) var pieces: PieceReceivers?
    @safe @exclusivity(unchecked) var liveness: Liveness<LoopWaiter<UInt64>>
    var droppedMessages = 0
    /// It is among those that go on in a later turn of the loop.
    var isAwaitingTurn = false
    /// Requests that wait for their replies.
    var replies: PendingReplies?
    var pongHandlers: [PongHandler] = []
    var closeTimer: WebSocketEventLoop.TimerToken?
    var keepAliveTimer: WebSocketEventLoop.TimerToken?
    var probeTimer: WebSocketEventLoop.TimerToken?
    @Boxed package internal(set) var closeInfo: WebSocketCloseInfo?
    var vhost: Vhost?
    /// What servers and topics keep about the connection.
    var serverSide: ServerSide?
    /// Who is told of the end.
    var ends = EndList()
    /// A number that no other connection of the process has.
    package let number = nextConnectionNumber()
    package let details: ConnectionDetails

    package typealias MessageHandler = @Sendable (borrowing RawSpan, WebSocketMessage.Kind) -> Void

    /// On the loop; elsewhere with a `nonce`.
    init(
        loop: WebSocketEventLoop, isClient: Bool, options shared: Shared<WebSocketOptions>, details: ConnectionDetails,
        nonce: UInt32? = nil
    ) {
        let options = shared.value
        self.isClient = isClient
        client = isClient ? ClientWire(allowsCompression: details.deflate != nil) : nil
        sharedOptions = shared
        self.details = details
        assembler = MessageAssembler(
            maximumSize: options.maximumMessageSize, maximumFragments: options.maximumFragments)
        inbound = Mutex(InboundQueue(marks: options.inboundBuffer))
        liveness = Liveness(
            interval: options.keepAlive?.interval.nanoseconds, timeout: options.keepAlive?.timeout?.nanoseconds,
            nonce: unsafe nonce ?? loop.maskKeys.next())
        if let agreed = details.deflate, case .deflate(let knobs) = options.compression {
            // Ours is the side we send on: each side's window and takeover are named after the sender.
            let deflater = Deflater(
                windowBits: isClient ? agreed.clientMaxWindowBits : agreed.serverMaxWindowBits,
                resets: isClient ? agreed.clientNoContextTakeover : agreed.serverNoContextTakeover, options: knobs,
                spares: loop.resources.spareStreams)
            outbound = OutboundPath(deflater: deflater, marks: options.outboundBuffer)
            inflater = Inflater(
                windowBits: isClient ? agreed.serverMaxWindowBits : agreed.clientMaxWindowBits,
                resets: isClient ? agreed.serverNoContextTakeover : agreed.clientNoContextTakeover,
                spares: loop.resources.spareStreams)
        } else {
            outbound = OutboundPath(deflater: nil, marks: options.outboundBuffer)
            inflater = nil
        }
        super.init(loop: loop)
    }

    /// Payload bytes that went out compressed, before and after; on the loop.
    package var sentCompressed: (plain: Int, compressed: Int) {
        (outbound.deflater?.plainBytes ?? 0, outbound.deflater?.compressedBytes ?? 0)
    }

    /// The handshake is done and the wsi handed over. A server calls it inside libwebsockets' ESTABLISHED callback.
    func start() {
        if let deadline = liveness.begin(now: loop.now) { scheduleKeepAlive(at: deadline) }
    }

    /// A connection that has ended before it began: what a handle stands for that may not be used any more. Every call
    /// fails with `error`, and none reaches the peer. From any thread.
    package func endedTwin(_ error: WebSocketError) -> Connection {
        var details = details
        details.deflate = nil
        let twin = Connection(loop: loop, isClient: isClient, options: sharedOptions, details: details, nonce: 0)
        _ = twin.machine.fail(nil, cause: .aborted)
        twin.closeInfo = twin.machine.transportEnded(
            isCloseWritten: false, unsentMessages: 0, droppedMessages: 0)
        twin.published.finalInfo.withLock { $0.wrappedValue = twin.closeInfo }
        _ = twin.inbound.withLock { $0.finish(.failed(error)) }
        _ = twin.outbound.finish(at: { 0 })
        twin.published.isOpen.store(false, ordering: .releasing)
        return twin
    }

    // MARK: Callbacks

    override func received(_ bytes: UnsafeRawBufferPointer) -> CInt {
        bytesArrived &+= bytes.count
        return if let client { unsafe takeFrames(bytes, client) } else { unsafe take(bytes) }
    }
    override func receivedPong(_ bytes: UnsafeRawBufferPointer) { unsafe takePong(bytes) }
    override func receivedClose(_ payload: UnsafeRawBufferPointer) -> CInt { unsafe takeClose(payload) }
    override func becameWritable() -> CInt { resumeWriting() }
    override func willClose() { closesByItself() }
    override func destroyed() { end() }

    /// Changes with every message, either way, and while one goes out slowly: how idle connections are found.
    var activity: UInt32 { heard &+ outbound.activity }

    // MARK: Turn

    func markDirty() {
        guard !isDirty else { return }
        isDirty = true
        loop.dirty.append(self)
    }

    @inline(__always)
    var canSend: Bool { machine.canSend }
    @inline(__always)
    var canReceive: Bool { machine.canReceive }

    /// The last step of a turn of the loop: one burst to the socket, and the inbound mark.
    func endTurn() {
        isDirty = false
        if !mustAnswerClose { sendPongFirst() }
        flush()
        if mustAnswerClose {
            // What is being compressed comes before the close frame, and another turn behind it.
            if !outbound.isCompressing { answerCloseLate() }
            return
        }
        if let client { failLate(client) }
        guard mustCheckInbound else { return }
        mustCheckInbound = false
        if canSend, inbound.withLock({ $0.shouldPause() }) { pauseReading() }
    }

    // MARK: Timers

    /// A timer of this connection, whose owner cancels it at the end. None for a connection that has ended, which what is
    /// left of its last turn may still ask for: nothing would cancel that one.
    func schedule(at deadline: UInt64, _ action: @escaping (Connection) -> Void) -> WebSocketEventLoop.TimerToken? {
        guard closeInfo == nil else { return nil }
        return loop.schedule(at: deadline) { [self] in action(self) }
    }

    // MARK: Watching

    /// Runs `handler` on the loop when the connection has ended; at once if it has. From any thread.
    package func onEnd(_ handler: @escaping @Sendable () -> Void) {
        if !loop.execute({ self.alsoOnEnd(handler) }) { handler() }
    }

    /// Runs `action` when the connection has ended; at once if it has. On the loop.
    package func alsoOnEnd(_ action: @escaping () -> Void) {
        if closeInfo != nil { action() } else { ends.append(action: action) }
    }
}
