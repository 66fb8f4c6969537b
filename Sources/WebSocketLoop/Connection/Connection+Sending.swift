//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore

// The way of a message out, from top to bottom: taken from any thread or on the loop, or after a wait for room; framed;
// handed to the socket at the end of the turn; room for those who wait. `OutboundPath` holds what lies on the way.

// MARK: - From any thread

extension Connection {
    // `true` when the message was taken without waiting.

    @usableFromInline
    package func sendNow(_ text: String) -> Bool {
        guard loop.isOnLoop else { return sendFromOutside(.text(text)) }
        var utf8 = text
        return utf8.withUTF8 { unsafe send(.text, UnsafeRawBufferPointer($0)) } == .sent
    }

    @usableFromInline
    package func sendNow(_ bytes: [UInt8]) -> Bool {
        guard loop.isOnLoop else { return sendFromOutside(.binary(bytes)) }
        return unsafe bytes.withUnsafeBytes { unsafe send(.binary, $0) } == .sent
    }

    @usableFromInline
    package func sendNow(_ message: WebSocketMessage) -> Bool {
        switch message {
        case .text(let text): sendNow(text)
        case .binary(let bytes): sendNow(bytes)
        }
    }

    /// Puts the message into the loop's inbox while there is room.
    private func sendFromOutside(_ message: WebSocketMessage) -> Bool {
        guard published.isOpen.load(ordering: .acquiring) else { return false }
        // Counted before the loop sees it, so that a burst from another thread meets the mark too.
        let waiting =
            published.outboundBytes.load(ordering: .relaxed) + published.promisedBytes.load(ordering: .relaxed)
        guard waiting < options.outboundBuffer.highBytes else { return false }
        let size = message.byteCount + FrameEncoder.maximumHeaderBytes
        published.promisedBytes.wrappingAdd(size, ordering: .relaxed)
        let accepted = loop.execute {
            // Afterwards, so that the bytes are counted twice for a moment and never not at all.
            defer { self.published.promisedBytes.wrappingSubtract(size, ordering: .relaxed) }
            guard self.canSend else { return self.outbound.noteOvertaken() }
            guard !self.outbound.isQueueing else {
                // Between the frames of another message, or behind others that came in between.
                return self.outbound.wait(accepted: message, id: nextWaiterID())
            }
            unsafe message.withBytes { unsafe self.append(message.kind, $0) }
        }
        if !accepted { published.promisedBytes.wrappingSubtract(size, ordering: .relaxed) }
        return accepted
    }

    /// Waits for room, or says why there will be none.
    @usableFromInline @concurrent
    package func sendSlowly(_ message: WebSocketMessage) async throws(WebSocketError) {
        try await send(message, compression: .automatic)
    }

    /// Sends with the caller's choice about compression.
    @concurrent
    package func send(
        _ message: WebSocketMessage, compression: WebSocketMessageCompression
    ) async throws(WebSocketError) {
        guard published.isOpen.load(ordering: .acquiring) else { throw closedSendError() }
        try await wait("send", for: .message(message, compression))
    }

    /// Returns when a message would be taken without waiting, or says why none will be.
    package func waitForRoom() async throws(WebSocketError) { try await wait("room", for: .room) }

    private func wait(_ what: String, for content: PendingSend.Content) async throws(WebSocketError) {
        try await loop.wait(
            for: what,
            register: { waiter in
                guard self.requireOpen(waiter) else { return }
                let pending = PendingSend(content: content, waiter: waiter)
                if self.outbound.hasRoom {
                    self.take(pending)
                } else {
                    self.outbound.wait(pending, id: waiter.id, at: self.loop.now)
                }
            },
            cancel: { self.outbound.cancel(id: $0, at: self.loop.now) })
    }

    /// Whether something can still be sent; otherwise the caller is told why not. On the loop.
    func requireOpen<Value>(_ waiter: LoopWaiter<Value>) -> Bool {
        if canSend { return true }
        waiter.resume(.failure(closedSendError()))
        return false
    }

    /// Why nothing can be sent any more. From any thread: the receivers' queue knows how the connection ended.
    package func closedSendError() -> WebSocketError {
        guard let end = arrivals.end?.error else {
            return WebSocketError(
                .connectionClosed, "the connection is closing, so the message was not sent; open a new connection")
        }
        if end.code == .timedOut || end.code == .leaseEnded { return end }
        return WebSocketError(
            .connectionClosed, "the connection is closed, so the message was not sent; open a new connection",
            closeInfo: end.closeInfo)
    }

    /// Does nothing, out of the optimiser's sight. Where a branch has waited it must come back to the caller's executor
    /// before this call. Otherwise Swift 6.3 comes back where the branches meet, and a call that never waited pays for
    /// that too: 70 ns, a tenth of a small message's way.
    @usableFromInline @inline(never)
    package func returnToCallerExecutor() {}
}

// MARK: - On the loop: frames

extension Connection {
    package enum SendResult {
        case sent
        /// No room: wait.
        case full
        case closed
    }

    /// Takes a message if there is room.
    @inline(__always)
    package func send(_ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer) -> SendResult {
        guard canSend else { return .closed }
        guard outbound.hasRoom else { return .full }
        unsafe append(kind, payload)
        return .sent
    }

    /// A whole message, in one frame.
    func append(
        _ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer,
        _ compression: WebSocketMessageCompression = .automatic
    ) {
        outbound.noteMessage()
        published.countSent()
        let opcode: FrameEncoder.Opcode = kind == .text ? .text : .binary
        if let deflater = outbound.deflater, deflater.takes(payload.count, compression) {
            defer { checkStreamMemory() }
            switch unsafe compressAndAppend(.message(opcode), payload, deflater) {
            case .framed: return outbound.noteFramed()
            case .later:
                outbound.compressesMessage()
                published.outboundBytes.store(outbound.bytes, ordering: .relaxed)
                return
            case .impossible: break
            }
        }
        unsafe appendFrame(opcode, compressed: false, payload)
        outbound.noteFramed()
    }

    enum Compressed {
        case framed
        /// Its frame follows in a later turn.
        case later
        /// Nothing was compressed: send it as it is.
        case impossible
    }

    /// Compresses a message, or a part of one that has begun compressed, and appends its frame.
    func compressAndAppend(
        _ content: CompressionUnderWay.Content, _ payload: UnsafeRawBufferPointer, _ deflater: Deflater
    ) -> Compressed {
        let cost = payload.count * TurnBudget.compressing
        let mayGoNow = loop.turnWork.budget.spendWhole(cost, of: &deflater.share)
        if case .message = content {
            guard mayGoNow || hasLaterTurns, deflater.begin() else { return .impossible }
        }
        guard mayGoNow || !hasLaterTurns else {
            compressLater(content, unsafe Array(payload), deflater)
            return .later
        }
        let count = unsafe deflater.compress(part: payload, isLast: content.endsMessage, into: &loop.scratch)
        // Only the first frame says that the message is compressed (RFC 7692 §6.1).
        unsafe appendFrame(
            content.opcode, final: content.endsMessage, compressed: content.beginsMessage,
            UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(loop.scratch.memory)[..<count]))
        loop.scratch.trim()
        return .framed
    }

    /// Whether what is sent now may wait. libwebsockets answers a client's close frame before the next turn.
    private var hasLaterTurns: Bool { client != nil || !turnState.mustAnswerClose }

    /// Control frames ignore the marks: they are small, and needed most when the peer is slow.
    func appendControl(_ opcode: FrameEncoder.Opcode, _ payload: UnsafeRawBufferPointer) {
        unsafe appendFrame(opcode, compressed: false, payload)
    }

    func appendFrame(_ opcode: FrameEncoder.Opcode, final: Bool = true, compressed: Bool, _ payload: [UInt8]) {
        unsafe payload.withUnsafeBytes { unsafe appendFrame(opcode, final: final, compressed: compressed, $0) }
    }

    @inline(__always)
    func appendFrame(
        _ opcode: FrameEncoder.Opcode, final: Bool = true, compressed: Bool, _ payload: UnsafeRawBufferPointer
    ) {
        // A client masks every frame (RFC 6455 §5.3), a server none.
        let maskKey: UInt32? = isClient ? loop.maskKeys.next() : nil
        unsafe outbound.append(
            opcode, final: final, compressed: compressed, payload, maskKey: maskKey, from: &loop.frameMemory)
        noteAppended()
    }

    /// A frame is there: it goes out with the turn.
    @inline(__always)
    func noteAppended() {
        published.outboundBytes.store(outbound.bytes, ordering: .relaxed)
        markDirty()
    }
}

// MARK: - The end of the turn: bursts

extension Connection {
    /// Hands everything queued to the socket as one burst of whole frames. Whole, because libwebsockets may put a pong of
    /// its own between two bursts of a server.
    func flush() {
        guard outbound.hasBurst, let wire else { return }
        if liveness.awaitsBurst { liveness.burstBegins() }
        if let client {
            let count = outbound.frames.count
            guard let sent = unsafe wire.send(outbound.frames.bytes, count) else { return burstFailed() }
            guard sent == count else {
                client.taken = sent
                outbound.burstIsHeld(in: &client.held)
                return wire.askForRoom()
            }
        } else {
            guard unsafe wire.write(outbound.frames.bytes, outbound.frames.count) else { return burstFailed() }
            guard !wire.holdsBytes else {
                outbound.burstIsHeld(to: &loop.frameMemory)
                return wire.askForRoom()
            }
        }
        noteWritten(outbound.burstIsOut(to: &loop.frameMemory))
        if let client { finishSendingIfDone(client) }
    }

    /// The socket is dead. libwebsockets learns that by itself, but not necessarily soon.
    private func burstFailed() {
        outbound.dropBurst(to: &loop.frameMemory)
        loop.killAtTurnEnd(self)
    }

    /// The socket takes bytes again. Other than 0 ends the wsi.
    func resumeWriting() -> CInt {
        guard outbound.isChoked, let wire else { return 0 }
        outbound.noteTaken()
        let isOut: Bool
        if let client {
            guard let sent = sendHeld(client, wire) else { return -1 }
            isOut = sent
        } else {
            isOut = !wire.holdsBytes
        }
        guard isOut else {
            wire.askForRoom()
            return 0
        }
        noteWritten(outbound.heldIsOut())
        if let client {
            answerLatePing(client)
            finishSendingIfDone(client)
        }
        if outbound.frames.count > 0 { markDirty() }
        checkOutboundMemory()
        return 0
    }

    /// Sends on with the burst of which the socket has taken a part. Returns whether it is out; `nil` when the socket is
    /// dead.
    private func sendHeld(_ client: ClientWire, _ wire: Wire) -> Bool? {
        let rest = client.held.count - client.taken
        guard let written = unsafe wire.send(client.held.bytes + client.taken, rest) else { return nil }
        client.taken += written
        guard written == rest else { return false }
        client.held.removeAll(to: &loop.frameMemory)
        client.taken = 0
        return true
    }

    /// The operating system has taken a burst whole, with this many messages in it.
    private func noteWritten(_ messages: Int) {
        if messages > 0 { tellWritten() }
        if liveness.awaitsBurst { burstIsOut() }
        admit()
    }

    func tellWritten() {
        if let whenWritten = outbound.whenWritten { whenWritten(outbound.messagesWritten) }
    }

    /// A pong goes out before what answers the messages behind its ping. libwebsockets would send it in the next turn,
    /// when the socket is polled for writing, which is what tells that there is one.
    func sendPongFirst() {
        guard !isClient, outbound.hasBurst, canSend, let wire, wire.wantsToWrite(on: loop) else { return }
        wire.letWrite()
    }

    /// Lets those go on who wait for room.
    func admit() {
        guard canSend else { return }
        if outbound.admitsParts {
            while let part = outbound.nextPart(at: { loop.now }) { append(part) }
        }
        // Before others, one of whom might begin another message in parts.
        serverSide?.drained(self)
        while let next = outbound.nextAdmitted(at: { loop.now }) { take(next) }
        published.outboundBytes.store(outbound.bytes, ordering: .relaxed)
    }

    /// There is room for it.
    private func take(_ pending: PendingSend) {
        switch pending.content {
        case .message(let message, let compression):
            unsafe message.withBytes { unsafe append(message.kind, $0, compression) }
            pending.waiter?.resume(.success(()))
        case .part(let part): begin(part)
        case .room: pending.waiter?.resume(.success(()))
        }
    }
}

extension WebSocketMessage {
    func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) {
        switch self {
        case .text(var text): text.withUTF8 { unsafe body(UnsafeRawBufferPointer($0)) }
        case .binary(let bytes): unsafe bytes.withUnsafeBytes { unsafe body($0) }
        }
    }
}
