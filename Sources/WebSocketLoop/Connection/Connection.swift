//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import HTTPTypes
import Synchronization
package import WebSocketCore

/// What the opening handshake settled.
package struct ConnectionDetails: Sendable {
    package var url: WebSocketURL?
    package var request: HTTPRequestHead?
    package var response: WebSocketError.Response?
    package var subprotocol: String?
    package var deflate: NegotiatedDeflate?
    package var tls: TLSInfo?
    package var localAddress: SocketAddress?
    package var remoteAddress: SocketAddress?
    package var upgrade: UpgradeContext?

    package init() {}
}

private let connectionNumbers = Atomic<UInt64>(1)

private func nextConnectionNumber() -> UInt64 { connectionNumbers.wrappingAdd(1, ordering: .relaxed).oldValue }

/// An established WebSocket connection. Lives on its loop: every method that is not marked otherwise is called there.
@usableFromInline package final class Connection: WireOwner, @unchecked Sendable {
    // Sendable because everything mutable is loop-confined, `Mutex` or `Atomic`.

    package let details: ConnectionDetails
    let isClient: Bool
    let options: WebSocketOptions

    // Shared with other threads.
    let inbound: Mutex<InboundQueue<LoopWaiter<WebSocketMessage>, ConnectionEnd>>
    /// Bytes that wait to be sent, for senders on other threads.
    let outboundBytes = Atomic<Int>(0)
    /// Bytes of messages that are on their way to the loop.
    let promisedBytes = Atomic<Int>(0)
    let isOpen = Atomic<Bool>(true)
    /// Messages that nobody has received and receivers that still wait. Follows `inbound`, under its lock.
    let inboundCount = Atomic<Int>(0)
    /// A message has begun to arrive and is not complete. Written on the loop.
    let isInboundPartial = Atomic<Bool>(false)
    /// Messages go to a handler. Written on the loop.
    let isInboundHandled = Atomic<Bool>(false)

    // Loop-confined. What every message touches goes without the run-time check of exclusivity: one thread uses it, no
    // access calls out while it lasts, and the check took 7 % of a receive flood.
    @exclusivity(unchecked) var machine = ConnectionStateMachine()
    @exclusivity(unchecked) var assembler: MessageAssembler
    @exclusivity(unchecked) private var isMidFrame = false
    @exclusivity(unchecked) private var isCompressedMessage = false
    private let inflater: Inflater?
    let deflater: Deflater?
    @exclusivity(unchecked) var frames = FrameBuffer()
    @exclusivity(unchecked) var outbound: OutboundQueue<PendingSend>
    var pings: PingLedger<LoopWaiter<UInt64>>
    @exclusivity(unchecked) var messageHandler: MessageHandler?
    @exclusivity(unchecked) private var isDirty = false
    @exclusivity(unchecked) private var mustCheckInbound = false
    @exclusivity(unchecked) private var mustAnswerClose = false
    @exclusivity(unchecked) private var isInCallback = false
    /// lws holds bytes that the socket did not take; nothing more is handed to it until it says WRITEABLE.
    @exclusivity(unchecked) var isChoked = false
    @exclusivity(unchecked) var handedBytes = 0
    @exclusivity(unchecked) var messagesInFrames = 0
    @exclusivity(unchecked) var messagesHanded = 0
    var droppedMessages = 0
    /// Messages that the operating system has taken whole.
    @exclusivity(unchecked) private(set) var messagesWritten = 0
    /// Told the new count, on the loop.
    @exclusivity(unchecked) var whenWritten: (@Sendable (Int) -> Void)?
    /// At the end: messages of a burst of which the operating system had taken a part.
    package private(set) var messagesInDoubt = 0
    /// Messages from other threads that wait behind one in several frames.
    var messagesQueued = 0
    /// Receivers that read a message in pieces, once there was one.
    @exclusivity(unchecked) var pieces: PieceReceivers?
    /// Requests that wait for their replies.
    var replies: PendingReplies?
    /// Parts of a message that wait for room.
    var waitingParts = WaiterList<WaitingPart>()
    var pongHandlers: [PongHandler] = []
    /// The last round trip in nanoseconds; 0 before the first pong.
    let lastRoundTrip = Atomic<UInt64>(0)
    /// How the connection ended, for other threads.
    let finalInfo = Mutex<WebSocketCloseInfo?>(nil)
    /// A number that no other connection of the process has.
    package let number = nextConnectionNumber()
    private var closeTimer: EventLoop.TimerToken?
    private var keepAliveTimer: EventLoop.TimerToken?
    private var closeWaiters = WaiterList<LoopWaiter<WebSocketCloseInfo>>()
    package private(set) var closeInfo: WebSocketCloseInfo?
    var vhost: Vhost?
    /// Called once, on the loop, when the connection has ended.
    var whenEnded: (() -> Void)?
    /// What servers and topics keep about the connection.
    var serverSide: ServerSide?
    /// Changes with every frame, either way: how idle connections are found.
    @exclusivity(unchecked) var activity: UInt32 = 0
    /// Called before that.
    var endObservers: [@Sendable (WebSocketCloseInfo) -> Void] = []

    package typealias MessageHandler = @Sendable (borrowing RawSpan, WebSocketMessage.Kind) -> Void

    init(loop: EventLoop, isClient: Bool, options: WebSocketOptions, details: ConnectionDetails) {
        self.isClient = isClient
        self.options = options
        self.details = details
        unsafe assembler = MessageAssembler(
            maximumSize: options.maximumMessageSize, maximumFragments: options.maximumFragments)
        inbound = Mutex(InboundQueue(marks: options.inboundBuffer))
        unsafe outbound = OutboundQueue(marks: options.outboundBuffer)
        var nonce: UInt32 = 0
        unsafe wsx_random_bytes(&nonce, MemoryLayout<UInt32>.size)
        pings = PingLedger(
            interval: options.keepAlive?.interval.nanoseconds, timeout: options.keepAlive?.timeout?.nanoseconds,
            nonce: nonce)
        if let agreed = details.deflate, case .deflate(let knobs) = options.compression {
            // Ours is the side we send on: each side's window and takeover are named after the sender.
            deflater = Deflater(
                windowBits: isClient ? agreed.clientMaxWindowBits : agreed.serverMaxWindowBits,
                resets: isClient ? agreed.clientNoContextTakeover : agreed.serverNoContextTakeover, options: knobs)
            inflater = Inflater(
                windowBits: isClient ? agreed.serverMaxWindowBits : agreed.clientMaxWindowBits,
                resets: isClient ? agreed.serverNoContextTakeover : agreed.clientNoContextTakeover)
        } else {
            deflater = nil
            inflater = nil
        }
        super.init(loop: loop)
    }

    /// Payload bytes that went out compressed, before and after; on the loop.
    package var sentCompressed: (plain: Int, compressed: Int) {
        (deflater?.plainBytes ?? 0, deflater?.compressedBytes ?? 0)
    }

    /// The handshake is done; called inside libwebsockets' ESTABLISHED callback, after `handOver`.
    func start() {
        if let deadline = pings.firstDeadline(now: loop.now) { scheduleKeepAlive(at: deadline) }
    }

    // MARK: Receiving

    override func received(_ bytes: UnsafeRawBufferPointer) -> CInt {
        guard unsafe machine.canReceive, let wsi = unsafe wsi else { return 0 }
        unsafe isInCallback = true
        defer { unsafe isInCallback = false }
        unsafe activity &+= 1
        let isFinal = unsafe lws_is_final_fragment(wsi) != 0
        let isFirst = unsafe lws_is_first_fragment(wsi) != 0
        let remaining = unsafe lws_remaining_packet_payload(wsi)
        let startsFrame = unsafe !isMidFrame
        unsafe isMidFrame = remaining != 0
        if inflater != nil, startsFrame {
            let bits = unsafe lws_get_reserved_bits(wsi)
            // libwebsockets lets every reserved bit pass once an extension is active.
            if bits & 0x30 != 0 || (!isFirst && bits != 0) {
                violation(.protocolError, "a frame has reserved bits that nothing was negotiated for")
                return 0
            }
            if isFirst { unsafe isCompressedMessage = bits & 0x40 != 0 }
        }
        let kind: WebSocketMessage.Kind = unsafe lws_frame_is_binary(wsi) != 0 ? .binary : .text
        do throws(MessageAssembler.Violation) {
            if unsafe isFirst && isFinal && startsFrame && !isCompressedMessage {
                if let messageHandler = unsafe messageHandler {
                    try unsafe deliverBorrowed(bytes, kind, to: messageHandler)
                } else {
                    unsafe deliver(try MessageAssembler.whole(kind, bytes, maximumSize: options.maximumMessageSize))
                }
                return 0
            }
            if isFirst {
                unsafe assembler.begin(kind)
                isInboundPartial.store(true, ordering: .relaxed)
                if unsafe pieces != nil { claimPieces() }
            }
            if startsFrame {
                try unsafe assembler.beginFrame(
                    announced: UInt64(bytes.count) + UInt64(remaining), compressed: isCompressedMessage)
            }
            if unsafe isCompressedMessage, let inflater {
                do throws(Inflater.Failure) {
                    try unsafe inflater.inflate(bytes, isLast: isFinal, scratch: loop.scratch, into: &assembler)
                } catch {
                    switch error {
                    case .corrupt:
                        violation(.invalidPayloadData, "a compressed message is corrupt")
                        return 0
                    case .violation(let violation): throw violation
                    }
                }
            } else {
                try unsafe assembler.append(bytes)
            }
            if isFinal {
                unsafe isCompressedMessage = false
                if let reader = unsafe pieces?.current {
                    try finishPieces(reader)
                } else {
                    unsafe deliver(try assembler.finish())
                    isInboundPartial.store(false, ordering: .releasing)
                }
            } else if let reader = unsafe pieces?.current {
                passPieces(to: reader)
            }
        } catch {
            refuse(error)
        }
        return 0
    }

    func deliver(_ message: WebSocketMessage) {
        if let messageHandler = unsafe messageHandler {
            unsafe message.withBytes { unsafe messageHandler($0.bytes, message.kind) }
            return
        }
        enqueue(message)
    }

    /// A message for those who call `receive`.
    @inline(__always)
    func enqueue(_ message: WebSocketMessage) {
        let isClosing = unsafe !machine.canSend
        enum Next { case nothing, pause, check }
        var waiter: LoopWaiter<WebSocketMessage>?
        let next: Next = inbound.withLock { queue in
            defer { noteInbound(queue) }
            // Nobody slows the peer down while the connection closes, so what does not fit is dropped and counted.
            if isClosing && queue.messageCount >= options.inboundBuffer.highMessages && queue.waiterCount == 0 {
                droppedMessages += 1
                return .nothing
            }
            switch queue.push(message) {
            case .deliver(let first):
                waiter = first
                return .nothing
            case .buffered: return queue.isAboveMark ? .check : .nothing
            case .bufferedPause: return isClosing ? .nothing : .pause
            }
        }
        waiter?.resume(.success(message))
        switch next {
        case .nothing: break
        case .pause: pauseReading()
        case .check:
            unsafe mustCheckInbound = true
            markDirty()
        }
    }

    private func deliverBorrowed(
        _ bytes: UnsafeRawBufferPointer, _ kind: WebSocketMessage.Kind, to handler: MessageHandler
    ) throws(MessageAssembler.Violation) {
        guard bytes.count <= options.maximumMessageSize else {
            throw .messageTooBig(limit: options.maximumMessageSize)
        }
        if kind == .text {
            var validator = UTF8Validator()
            guard unsafe validator.consume(bytes), validator.isComplete else { throw .invalidUTF8 }
        }
        unsafe handler(bytes.bytes, kind)
    }

    func pauseReading() {
        if let wsi = unsafe wsi { unsafe lws_rx_flow_control(wsi, 0) }
    }

    func resumeReading() {
        if unsafe pieces?.isPaused != true, let wsi = unsafe wsi { unsafe lws_rx_flow_control(wsi, 1) }
    }

    /// Messages go to `handler`, on the loop, as they arrive; what was buffered goes first.
    package func setMessageHandler(_ handler: @escaping MessageHandler) {
        if let replies { replies.handler = handler } else { unsafe messageHandler = handler }
        isInboundHandled.store(true, ordering: .relaxed)
        while true {
            switch inbound.withLock({ $0.pop() }) {
            case .message(let message, let resume):
                unsafe message.withBytes { unsafe handler($0.bytes, message.kind) }
                if resume { resumeReading() }
            case .ended, .empty: return
            }
        }
    }

    /// Whether messages can still be sent, as far as the loop has seen. From any thread.
    package var isUsable: Bool { isOpen.load(ordering: .acquiring) }

    /// Whether somebody who takes the connection over would find something of its former user: messages, a part of
    /// one, receivers that wait for one, or a message handler. From any thread, as cheap as it looks.
    package var hasInboundResidue: Bool {
        inboundCount.load(ordering: .acquiring) != 0 || isInboundPartial.load(ordering: .acquiring)
            || isInboundHandled.load(ordering: .relaxed)
    }

    /// Whether messages that come are somebody's already: a handler's, or a receiver's that waits.
    package var isInboundClaimed: Bool {
        isInboundHandled.load(ordering: .relaxed) || inbound.withLock { $0.waiterCount > 0 }
    }

    @inline(__always)
    func noteInbound(_ queue: borrowing InboundQueue<LoopWaiter<WebSocketMessage>, ConnectionEnd>) {
        inboundCount.store(queue.messageCount + queue.waiterCount, ordering: .releasing)
    }

    /// Runs `handler` on the loop when the connection has ended; at once if it has. Replaces an earlier handler.
    package func onEnd(_ handler: @escaping @Sendable () -> Void) {
        let isAccepted = loop.execute { [self] in
            if closeInfo != nil { handler() } else { whenEnded = handler }
        }
        if !isAccepted { handler() }
    }

    override func becameWritable() -> CInt { resumeWriting() }

    // MARK: Turn

    func markDirty() {
        guard unsafe !isDirty else { return }
        unsafe isDirty = true
        unsafe loop.dirty.append(self)
    }

    /// The last step of a turn of the loop: one burst to the socket, and the inbound mark.
    func endTurn() {
        unsafe isDirty = false
        if unsafe !mustAnswerClose { sendPongFirst() }
        flush()
        if unsafe mustAnswerClose { return answerCloseLate() }
        guard unsafe mustCheckInbound else { return }
        unsafe mustCheckInbound = false
        if unsafe machine.canSend, inbound.withLock({ $0.shouldPause() }) { pauseReading() }
    }

    // MARK: Ping

    override func receivedPong(_ bytes: UnsafeRawBufferPointer) {
        if inflater != nil, let wsi = unsafe wsi, unsafe lws_get_reserved_bits(wsi) != 0 {
            violation(.protocolError, "a frame has reserved bits that nothing was negotiated for")
            return
        }
        let action = unsafe pings.pong(bytes, now: loop.now)
        if let roundTrip = action.roundTrip { lastRoundTrip.store(max(1, roundTrip), ordering: .relaxed) }
        if !pongHandlers.isEmpty { unsafe tellPongHandlers(bytes, roundTrip: action.roundTrip) }
        for (waiter, roundTrip) in action.resumed { waiter.resume(.success(roundTrip)) }
        if let probe = action.probe, unsafe machine.canSend { sendPing(probe.payload) }
        if let deadline = action.nextDeadline {
            loop.cancel(keepAliveTimer)
            scheduleKeepAlive(at: deadline)
        }
    }

    private func scheduleKeepAlive(at deadline: UInt64) {
        keepAliveTimer = loop.schedule(at: deadline) { [unowned self] in
            keepAliveTimer = nil
            guard unsafe machine.canSend else { return }
            switch pings.timerFired(now: loop.now) {
            case .ping(let ping, let next):
                sendPing(ping.payload)
                scheduleKeepAlive(at: next)
            case .again(let next): scheduleKeepAlive(at: next)
            case .failed:
                fail(
                    WebSocketCloseFrame(code: .internalError, reason: "keepalive ping timeout"), cause: .pingTimeout,
                    error: WebSocketError(
                        .timedOut, "no pong came within the keepalive's timeout; the peer or the network is gone",
                        phase: .ping))
            }
        }
    }

    func sendPing(_ payload: UInt64) {
        var bytes = payload.bigEndian
        unsafe withUnsafeBytes(of: &bytes) { unsafe appendControl(.ping, $0) }
    }

    // MARK: Ending

    /// The user closes; `waiter` is told the outcome.
    func close(_ frame: WebSocketCloseFrame, _ waiter: LoopWaiter<WebSocketCloseInfo>?) {
        if let closeInfo {
            waiter?.resume(.success(closeInfo))
            return
        }
        if let waiter { closeWaiters.append(id: waiter.id, waiter) }
        switch unsafe machine.close(frame) {
        case .send(let frame):
            noLongerSending()
            unsafe frame.payload.withUnsafeBytes { unsafe appendControl(.close, $0) }
            resumeReadingForClosing()
            startCloseTimer(after: options.closeTimeout)
        case .join: break
        }
    }

    /// A paused connection would never see the peer's answer.
    private func resumeReadingForClosing() {
        let isPausedForPieces = unsafe pieces?.isPaused == true
        unsafe pieces?.isPaused = false
        if inbound.withLock({ $0.resumeForClosing() }) || isPausedForPieces { resumeReading() }
    }

    func waitClosed(_ waiter: LoopWaiter<WebSocketCloseInfo>) {
        if let closeInfo {
            waiter.resume(.success(closeInfo))
        } else {
            closeWaiters.append(id: waiter.id, waiter)
        }
    }

    func cancelClose(_ id: UInt64) -> LoopWaiter<WebSocketCloseInfo>? { closeWaiters.remove(id: id) }

    override func receivedClose(_ payload: UnsafeRawBufferPointer) -> CInt {
        let frame: WebSocketCloseFrame
        do throws(WebSocketCloseFrame.PayloadViolation) {
            frame = try unsafe closeFrame(payload)
        } catch {
            switch error {
            case .invalidUTF8: violation(.invalidPayloadData, "the close reason is not UTF-8", .invalidUTF8)
            case .tooShort, .invalidCode: violation(.protocolError, "the close frame is malformed")
            }
            flush()
            return -1
        }
        switch unsafe machine.peerClosed(frame) {
        case .answerSoon where unsafe !isChoked && loop.hasReadyWork:
            // What came before may be in the hands of a task that answers it within this turn. libwebsockets would
            // answer the close by itself, but not before the loop polls again.
            unsafe mustAnswerClose = true
            markDirty()
            return 0
        case .answerSoon:
            answerClose()
            startCloseTimer(after: options.closeTimeout)
        case .end: startCloseTimer(after: options.closeTimeout)
        // The close frame that says why may not be out yet: this is the last chance.
        case .ignore: flush()
        }
        return -1
    }

    /// While the stream goes on, only its parser's refusal makes libwebsockets end an open connection. A server's
    /// then sends a close frame, a client's would not: the reason set here makes both do it.
    override func willClose() {
        guard unsafe machine.canReceive, !loop.isStopping, let wsi = unsafe wsi, unsafe wsx_stream_has_ended(wsi) == 0
        else {
            return
        }
        flush()
        let text = "a frame that RFC 6455 §5 does not allow"
        // libwebsockets sends no close frame behind bytes that the socket has not taken.
        let frame = unsafe isChoked || !machine.canSend ? nil : WebSocketCloseFrame(code: .protocolError)
        if frame != nil { unsafe lws_close_reason(wsi, LWS_CLOSE_STATUS_PROTOCOL_ERR, nil, 0) }
        fail(
            frame, isSentByLibrary: true, cause: .peerViolation,
            error: WebSocketError(.protocolViolation, "the peer broke the protocol: \(text)"))
    }

    private func closeFrame(
        _ payload: UnsafeRawBufferPointer
    ) throws(WebSocketCloseFrame.PayloadViolation) -> WebSocketCloseFrame {
        let frame = try unsafe WebSocketCloseFrame(payload: payload)
        guard frame.code == .protocolError else { return frame }
        var uncertain = frame
        uncertain.isCodeUncertain = true
        guard let start = unsafe loop.serviceBuffer else { return uncertain }
        let code = unsafe CloseFrameSearch.code(
            in: UnsafeRawBufferPointer(start: start, count: LibWebSockets.readSize + Int(wsx_lws_pre())),
            reason: UnsafeRawBufferPointer(rebasing: payload.dropFirst(2)), isMasked: !isClient)
        guard let code = code.map(WebSocketCloseCode.init(rawValue:)) else { return uncertain }
        guard code.isAllowedOnTheWire else { throw .invalidCode }
        return WebSocketCloseFrame(code: code, reason: frame.reason)
    }

    private func answerClose() {
        guard let reply = unsafe machine.answer() else { return }
        noLongerSending()
        unsafe reply.payload.withUnsafeBytes { unsafe appendControl(.close, $0) }
        flush()
    }

    /// The turn in which the peer's close frame came is over.
    private func answerCloseLate() {
        unsafe mustAnswerClose = false
        if unsafe isChoked {
            // The data goes first. libwebsockets has its own answer, with the same code, ready to go behind it.
            _ = unsafe machine.answer()
            noLongerSending()
        } else {
            answerClose()
        }
        // Once the socket has taken everything libwebsockets ends the connection by itself.
        startCloseTimer(after: options.closeTimeout)
        if unsafe !isChoked, let wsi = unsafe wsi { unsafe wsx_lws_end(wsi) }
    }

    private func violation(
        _ code: WebSocketCloseCode, _ text: String, _ error: WebSocketError.Code = .protocolViolation
    ) {
        fail(
            WebSocketCloseFrame(code: code, reason: text), cause: .peerViolation,
            error: WebSocketError(error, "the peer broke the protocol: \(text)"))
    }

    private func refuse(_ violation: MessageAssembler.Violation) {
        switch violation {
        case .messageTooBig(let limit):
            fail(
                WebSocketCloseFrame(code: .messageTooBig, reason: "a message has more than \(limit) bytes"),
                cause: .peerViolation,
                error: WebSocketError(
                    .messageTooBig,
                    "a message has more than \(limit) bytes; raise maximumMessageSize if such messages are wanted"))
        case .tooManyFragments(let limit):
            fail(
                WebSocketCloseFrame(code: .messageTooBig, reason: "a message has more than \(limit) frames"),
                cause: .peerViolation,
                error: WebSocketError(
                    .tooManyFragments,
                    "a message has more than \(limit) frames; raise maximumFragments if such messages are wanted"))
        case .invalidUTF8:
            fail(
                WebSocketCloseFrame(code: .invalidPayloadData, reason: "a text message is not UTF-8"),
                cause: .peerViolation,
                error: WebSocketError(.invalidUTF8, "the peer sent a text message that is not UTF-8"))
        }
    }

    /// How long a peer that is to blame has to read the close frame. RFC 6455 §7.1.7 wants TCP closed without waiting for
    /// an answer, which libwebsockets would not find behind bytes that make no sense; Autobahn waits for one second.
    private static let momentToRead = Duration.milliseconds(500)

    /// Fails the connection: receivers are told at once, the peer gets the close frame and a moment to read it.
    func fail(
        _ frame: WebSocketCloseFrame?, isSentByLibrary: Bool = false, cause: WebSocketCloseInfo.Cause,
        error: WebSocketError
    ) {
        switch unsafe machine.fail(frame, cause: cause) {
        case .end(let frame):
            var error = error
            error.closeInfo = WebSocketCloseInfo(received: nil, sent: frame, receivedFirst: nil, cause: cause)
            tellTheEnd(.failed(error))
            if isSentByLibrary {
                startCloseTimer(after: min(options.closeTimeout, Self.momentToRead))
            } else if let frame {
                unsafe frame.payload.withUnsafeBytes { unsafe appendControl(.close, $0) }
                resumeReadingForClosing()
                startCloseTimer(after: min(options.closeTimeout, Self.momentToRead))
            } else {
                cut()
            }
        case .ignore: break
        }
    }

    /// Tells those who wait now, and those who ask later. The first end counts.
    private func tellTheEnd(_ end: ConnectionEnd) {
        let waiters = inbound.withLock { $0.finish(end) }
        noLongerSending()
        for waiter in waiters { waiter.resume(.failure(end.error)) }
        unsafe pieces?.end(end)
        replies?.end(end)
        guard pings.pendingCount > 0 else { return }
        for waiter in pings.finish() { waiter.resume(.failure(end.error)) }
    }

    /// Ends without a closing handshake.
    package func abort() {
        guard closeInfo == nil else { return }
        fail(
            nil, cause: .aborted,
            error: WebSocketError(.connectionClosed, "the connection was aborted on this side; open a new one"))
        // Also when a close was under way.
        cut()
    }

    private func cut() {
        guard let wsi = unsafe wsi else { return }
        if unsafe isInCallback { loop.killSoon(self) } else { unsafe wsx_lws_kill(wsi) }
    }

    private func startCloseTimer(after delay: Duration) {
        loop.cancel(closeTimer)
        closeTimer = loop.schedule(after: delay.nanoseconds) { [unowned self] in
            closeTimer = nil
            if case .end = unsafe machine.closeTimedOut() { cut() }
        }
    }

    private func noLongerSending() {
        isOpen.store(false, ordering: .releasing)
        loop.cancel(keepAliveTimer)
        keepAliveTimer = nil
        let waiting = unsafe outbound.finish()
        let parts = waitingParts.removeAll()
        guard !waiting.isEmpty || !parts.isEmpty else { return }
        let error = closedSendError()
        for pending in waiting { pending.waiter?.resume(.failure(error)) }
        for part in parts { part.waiter.resume(.failure(error)) }
    }

    @inline(__always)
    func noteWritten(_ count: Int) {
        guard count > 0 else { return }
        unsafe messagesWritten += count
        if let whenWritten = unsafe whenWritten { whenWritten(unsafe messagesWritten) }
    }

    override func destroyed() {
        let unsent = unsafe messagesInFrames + messagesHanded + messagesQueued
        guard let info = unsafe machine.transportEnded(unsentMessages: unsent, droppedMessages: droppedMessages) else {
            return
        }
        closeInfo = info
        messagesInDoubt = unsafe messagesHanded
        finalInfo.withLock { $0 = info }
        loop.cancel(closeTimer)
        closeTimer = nil
        // Before anybody is told: who has waited for the end finds it in the registry too.
        loop.counters.connections.subtract(1)
        loop.counters.descriptors.subtract(1)
        tellTheEnd(.closed(info))
        for waiter in closeWaiters.removeAll() { waiter.resume(.success(info)) }
        vhost?.users -= 1
        vhost = nil
        unsafe messageHandler = nil
        unsafe whenWritten = nil
        serverSide.take()?.ended(on: loop)
        replies = nil
        pongHandlers = []
        tellEndObservers(info)
        endObservers = []
        whenEnded?()
        whenEnded = nil
    }
}
