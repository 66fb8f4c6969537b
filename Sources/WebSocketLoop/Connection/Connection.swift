//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

private let connectionNumbers = Atomic<UInt64>(1)

private func nextConnectionNumber() -> UInt64 { connectionNumbers.wrappingAdd(1, ordering: .relaxed).oldValue }

/// How a connection takes part in the turns of its loop. Loop-confined.
struct TurnState {
    /// It has something to do at the end of this turn.
    var isDirty = false
    /// libwebsockets is calling, so that its wsi cannot be ended now.
    var isInCallback = false
    /// The peer's close frame has come, and is answered at the end of the turn.
    var mustAnswerClose = false
    /// It is among those that go on in a later turn.
    var isAwaitingTurn = false
}

/// What runs for a connection. Loop-confined.
struct ConnectionTimers {
    var close: WebSocketEventLoop.TimerToken?
    var keepAlive: WebSocketEventLoop.TimerToken?
    var probe: WebSocketEventLoop.TimerToken?
}

/// An established WebSocket connection. Lives on its loop: every method that is not marked otherwise is called there.
@usableFromInline package final class Connection: WireOwner, @unchecked Sendable {
    // Sendable because everything mutable is loop-confined, `Mutex` or `Atomic`.

    // What every message touches comes first and together: with many connections that take turns, the time goes into
    // fetching it. It also goes without the run-time check of exclusivity: one thread uses it, no access calls out while
    // it lasts, and the check took 7 % of a receive flood.
    private let sharedOptions: Shared<WebSocketOptions>
    /// A client's; `nil` for a server's.
    let client: ClientWire?
    @safe @exclusivity(unchecked) var machine = ConnectionStateMachine()
    @safe @exclusivity(unchecked) var turnState = TurnState()
    @safe @exclusivity(unchecked) var inbound: InboundPath
    /// Shared with other threads, as `published` is.
    let arrivals: ArrivalQueue
    @safe @exclusivity(unchecked) var outbound: OutboundPath
    let published = PublishedState()
    @safe @exclusivity(unchecked) var liveness: Liveness<LoopWaiter<UInt64>>

    @safe @exclusivity(unchecked) var memory = ConnectionMemory()
    var timers = ConnectionTimers()
    /// What servers and topics keep about the connection.
    var serverSide: ServerSide?
    var ends = EndList()
    /// Unique within the process.
    package let number = nextConnectionNumber()
    package let details: ConnectionDetails

    var options: WebSocketOptions { sharedOptions.value }
    @inline(__always)
    var isClient: Bool { client != nil }
    /// How the connection ended; `nil` while it has not. On the loop.
    package var closeInfo: WebSocketCloseInfo? { ends.info }

    package typealias MessageHandler = @Sendable (borrowing RawSpan, WebSocketMessage.Kind) -> Void

    /// On the loop; elsewhere with a `nonce`.
    init(
        loop: WebSocketEventLoop, isClient: Bool, options shared: Shared<WebSocketOptions>, details: ConnectionDetails,
        nonce: UInt32? = nil
    ) {
        let options = shared.value
        client = isClient ? ClientWire(allowsCompression: details.deflate != nil) : nil
        sharedOptions = shared
        self.details = details
        arrivals = ArrivalQueue(marks: options.inboundBuffer)
        liveness = Liveness(
            interval: options.keepAlive?.interval.nanoseconds, timeout: options.keepAlive?.timeout?.nanoseconds,
            nonce: nonce ?? loop.maskKeys.next())
        if let agreed = details.deflate, case .deflate(let knobs) = options.compression {
            // Ours is the side we send on: each side's window and takeover are named after the sender.
            let deflater = Deflater(
                windowBits: isClient ? agreed.clientMaxWindowBits : agreed.serverMaxWindowBits,
                resets: isClient ? agreed.clientNoContextTakeover : agreed.serverNoContextTakeover, options: knobs,
                spares: loop.resources.spareStreams)
            outbound = OutboundPath(deflater: deflater, marks: options.outboundBuffer)
            let inflater = Inflater(
                windowBits: isClient ? agreed.serverMaxWindowBits : agreed.clientMaxWindowBits,
                resets: isClient ? agreed.serverNoContextTakeover : agreed.clientNoContextTakeover,
                spares: loop.resources.spareStreams)
            inbound = InboundPath(inflater: inflater, options: options)
        } else {
            outbound = OutboundPath(deflater: nil, marks: options.outboundBuffer)
            inbound = InboundPath(inflater: nil, options: options)
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
        twin.ends.info = twin.machine.transportEnded(
            isCloseWritten: false, unsentMessages: 0, droppedMessages: 0)
        twin.published.finalInfo.withLock { $0.wrappedValue = twin.closeInfo }
        _ = twin.arrivals.finish(.failed(error))
        _ = twin.outbound.finish(at: { 0 })
        twin.published.isOpen.store(false, ordering: .releasing)
        return twin
    }

    deinit {
        // Messages that no task will receive.
        if memory.charge.total > 0 { _ = loop.memory.budget.change(from: memory.charge, to: .init()) }
    }

    // MARK: Callbacks

    override func received(_ bytes: UnsafeRawBufferPointer) -> CInt { unsafe take(bytes) }
    override func receivedPong(_ bytes: UnsafeRawBufferPointer) { unsafe takePong(bytes) }
    override func receivedClose(_ payload: UnsafeRawBufferPointer) -> CInt { unsafe takeClose(payload) }
    override func becameWritable() -> CInt { resumeWriting() }
    override func willClose() { closesByItself() }
    override func destroyed() { end() }

    /// Changes with every message, either way, and while one goes out slowly: how idle connections are found.
    var activity: UInt32 { inbound.heard &+ outbound.activity }

    // MARK: Turn

    func markDirty() {
        guard !turnState.isDirty else { return }
        turnState.isDirty = true
        loop.dirty.append(self)
    }

    @inline(__always)
    var canSend: Bool { machine.canSend }
    @inline(__always)
    var canReceive: Bool { machine.canReceive }

    /// The last step of a turn of the loop: one burst to the socket, and the inbound mark.
    func endTurn() {
        turnState.isDirty = false
        if !turnState.mustAnswerClose { sendPongFirst() }
        flush()
        checkOutboundMemory()
        if turnState.mustAnswerClose {
            // What is being compressed comes before the close frame, and another turn behind it.
            if !outbound.isCompressing { answerCloseLate() }
            return
        }
        if let client { failLate(client) }
        checkMark()
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
        if !loop.execute({ self.addEndHandler(handler) }) { handler() }
    }

    /// Runs `action` when the connection has ended; at once if it has. On the loop.
    package func addEndHandler(_ action: @escaping () -> Void) {
        if closeInfo != nil { action() } else { ends.append(action: action) }
    }
}
