//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Synchronization
public import WebSocketCore

/// Something to send that waits for room.
struct PendingSend: Sendable {
    enum Content {
        case message(WebSocketMessage, WebSocketMessageCompression)
        /// The first part of a message in several frames.
        case part(WaitingPart)
    }
    let content: Content
    /// `nil` when the message was accepted already and only has to keep its place.
    let waiter: LoopWaiter<Void>?
}

extension Connection {
    package enum SendResult {
        case sent
        /// No room: wait.
        case full
        case closed
    }

    /// Takes a message if there is room. On the loop only.
    @inline(__always)
    package func send(_ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer) -> SendResult {
        guard unsafe machine.canSend else { return .closed }
        guard unsafe outbound.hasRoom else { return .full }
        unsafe append(kind, payload)
        return .sent
    }

    func append(_ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer) {
        unsafe queued &+= 1
        let opcode: FrameEncoder.Opcode = kind == .text ? .text : .binary
        if let deflater, payload.count >= deflater.minimumSize,
            let count = unsafe deflater.compress(payload, into: &loop.scratch)
        {
            unsafe appendFrame(
                opcode, compressed: true,
                UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(loop.scratch.memory)[..<count]))
            unsafe loop.scratch.trim()
        } else {
            unsafe appendFrame(opcode, compressed: false, payload)
        }
        unsafe messagesInFrames += 1
        noteSent()
    }

    /// With the caller's choice about compression.
    func append(
        _ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer, _ compression: WebSocketMessageCompression
    ) {
        let opcode: FrameEncoder.Opcode = kind == .text ? .text : .binary
        switch compression {
        case .automatic: unsafe append(kind, payload)
        case .always:
            if let deflater, let count = unsafe deflater.compress(payload, into: &loop.scratch) {
                unsafe appendFrame(
                    opcode, compressed: true,
                    UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(loop.scratch.memory)[..<count]))
                unsafe loop.scratch.trim()
            } else {
                unsafe appendFrame(opcode, compressed: false, payload)
            }
            unsafe messagesInFrames += 1
            noteSent()
        case .never:
            unsafe appendFrame(opcode, compressed: false, payload)
            unsafe messagesInFrames += 1
            noteSent()
        }
    }

    // One thread writes the balance, so these need no atomic addition.

    @inline(__always)
    func noteSent() {
        balance.store(balance.load(ordering: .relaxed) &+ 1, ordering: .releasing)
    }

    @inline(__always)
    func noteArrived() {
        balance.store(balance.load(ordering: .relaxed) &- 1, ordering: .releasing)
    }

    /// Control frames ignore the marks: they are small, and needed most when the peer is slow.
    func appendControl(_ opcode: FrameEncoder.Opcode, _ payload: UnsafeRawBufferPointer) {
        unsafe appendFrame(opcode, compressed: false, payload)
    }

    @inline(__always)
    func appendFrame(
        _ opcode: FrameEncoder.Opcode, final: Bool = true, compressed: Bool, _ payload: UnsafeRawBufferPointer
    ) {
        // A client masks every frame (RFC 6455 §5.3), a server none.
        let maskKey: UInt32? = unsafe isClient ? loop.maskKeys.next() : nil
        let destination = unsafe frames.reserve(
            FrameEncoder.maximumHeaderBytes + payload.count, from: &loop.frameMemory)
        let header = unsafe FrameEncoder.writeHeader(
            opcode, final: final, compressed: compressed, payloadBytes: payload.count, maskKey: maskKey, to: destination
        )
        if let base = payload.baseAddress {
            unsafe FrameEncoder.copy(base, count: payload.count, maskKey: maskKey, to: destination + header)
        }
        let size = header + payload.count
        unsafe frames.commit(size)
        unsafe outbound.took(size)
        unsafe outboundBytes.store(outbound.bytes, ordering: .relaxed)
        markDirty()
    }

    /// Hands everything queued to libwebsockets as one burst of whole frames. Whole, because it may put a pong of its
    /// own between two bursts.
    func flush() {
        guard unsafe !isChoked, unsafe frames.count > 0, let wsi = unsafe wsi else { return }
        if unsafe liveness.awaitsBurst { unsafe liveness.burstBegins() }
        if let client { return unsafe flush(client, wsi) }
        let count = unsafe frames.count
        let written = unsafe wsx_lws_write_raw(wsi, frames.bytes, count)
        unsafe frames.removeAll(to: &loop.frameMemory)
        guard written >= 0 else {
            // The socket is dead. libwebsockets learns that by itself, but not necessarily soon.
            loop.killSoon(self)
            return
        }
        if unsafe lws_partial_buffered(wsi) != 0 {
            unsafe isChoked = true
            unsafe handedBytes = count
            unsafe messagesHanded = unsafe messagesInFrames
            unsafe messagesInFrames = 0
            unsafe lws_callback_on_writable(wsi)
            return
        }
        noteWritten(unsafe messagesInFrames)
        unsafe messagesInFrames = 0
        drained(count)
    }

    /// A pong goes out before what answers the messages behind its ping. libwebsockets would send it in the next turn,
    /// when the socket is polled for writing, which is what tells that there is one.
    func sendPongFirst() {
        guard !isClient, unsafe !isChoked, unsafe frames.count > 0, unsafe machine.canSend, let wsi = unsafe wsi,
            unsafe wsx_lws_wants_write(loop.uv, wsi)
        else {
            return
        }
        // The connection may end by it.
        unsafe wsx_lws_pretend_writable(lws_get_context(wsi), wsi)
    }

    func resumeWriting() -> CInt {
        guard unsafe isChoked, let wsi = unsafe wsi else { return 0 }
        unsafe taken &+= 1
        let isOut: Bool
        if let client {
            guard let sent = unsafe sendHeld(client, wsi) else { return -1 }
            isOut = sent
        } else {
            isOut = unsafe lws_partial_buffered(wsi) == 0
        }
        guard isOut else {
            unsafe lws_callback_on_writable(wsi)
            return 0
        }
        unsafe isChoked = false
        let count = unsafe handedBytes
        unsafe handedBytes = 0
        noteWritten(unsafe messagesHanded)
        unsafe messagesHanded = 0
        drained(count)
        if let client {
            answerLatePing(client)
            finishSendingIfDone(client)
        }
        if unsafe frames.count > 0 { markDirty() }
        return 0
    }

    func drained(_ count: Int) {
        if unsafe liveness.awaitsBurst { burstIsOut() }
        unsafe outbound.drained(count)
        admit()
    }

    /// Lets those go on who wait for room.
    func admit() {
        guard unsafe machine.canSend else { return }
        if unsafe outbound.admitsReserved { admitParts() }
        // Before others, one of whom might begin another message in parts.
        serverSide?.drained(self)
        while let next = unsafe outbound.nextAdmitted() {
            switch next.content {
            case .message(let message, let compression):
                if next.waiter == nil { messagesQueued -= 1 }
                unsafe message.withBytes { unsafe append(message.kind, $0, compression) }
                next.waiter?.resume(.success(()))
            case .part(let part): begin(part)
            }
        }
        unsafe outboundBytes.store(outbound.bytes, ordering: .relaxed)
    }
}

// MARK: From any thread

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
        guard isOpen.load(ordering: .acquiring) else { return false }
        // Counted before the loop sees it, so that a burst from another thread meets the mark too.
        let waiting = outboundBytes.load(ordering: .relaxed) + promisedBytes.load(ordering: .relaxed)
        guard waiting < options.outboundBuffer.highBytes else { return false }
        let size = message.byteCount + FrameEncoder.maximumHeaderBytes
        promisedBytes.wrappingAdd(size, ordering: .relaxed)
        let accepted = loop.execute {
            // Afterwards, so that the bytes are counted twice for a moment and never not at all.
            defer { self.promisedBytes.wrappingSubtract(size, ordering: .relaxed) }
            guard unsafe self.machine.canSend else {
                // Accepted, then overtaken by the end: counted among the unsent.
                unsafe self.messagesInFrames += 1
                return
            }
            guard unsafe !self.outbound.isQueueing else {
                // Between the frames of another message, or behind others that came in between.
                self.messagesQueued += 1
                unsafe self.outbound.wait(
                    id: nextWaiterID(), PendingSend(content: .message(message, .automatic), waiter: nil))
                return
            }
            unsafe message.withBytes { unsafe self.append(message.kind, $0) }
        }
        if !accepted { promisedBytes.wrappingSubtract(size, ordering: .relaxed) }
        return accepted
    }

    /// Why nothing can be sent any more. From any thread: the receivers' queue knows how the connection ended.
    package func closedSendError() -> WebSocketError {
        guard let end = inbound.withLock({ $0.outcome })?.error else {
            return WebSocketError(
                .connectionClosed, "the connection is closing, so the message was not sent; open a new connection")
        }
        if end.code == .timedOut || end.code == .leaseEnded { return end }
        return WebSocketError(
            .connectionClosed, "the connection is closed, so the message was not sent; open a new connection",
            closeInfo: end.closeInfo)
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
        guard isOpen.load(ordering: .acquiring) else { throw closedSendError() }
        try await loop.wait(
            for: "send",
            register: { waiter in
                guard unsafe self.machine.canSend else {
                    waiter.resume(.failure(self.closedSendError()))
                    return
                }
                if unsafe self.outbound.hasRoom {
                    unsafe message.withBytes { unsafe self.append(message.kind, $0, compression) }
                    waiter.resume(.success(()))
                } else {
                    unsafe self.outbound.wait(
                        id: waiter.id, PendingSend(content: .message(message, compression), waiter: waiter))
                }
            },
            cancel: { unsafe self.outbound.cancel(id: $0)?.waiter })
    }

    /// Does nothing, out of the optimiser's sight. Where a branch has waited it must come back to the caller's executor
    /// before this call. Otherwise Swift 6.3 comes back where the branches meet, and a call that never waited pays for
    /// that too: 70 ns, a tenth of a small message's way.
    @usableFromInline @inline(never)
    package func cameBack() {}

    /// The next message, waiting for it if need be. A cancelled call takes no message.
    @usableFromInline
    package func receive() async throws(WebSocketError) -> WebSocketMessage {
        await giveWayIfDue()
        switch popMessage() {
        case .message(let message): return message
        case .ended(let error): throw error
        case .empty: return try await nextMessage().get()
        }
    }

    /// The next message, waiting for it if need be; nil once the connection has ended well. A cancelled call takes none.
    package func receiveUntilEnd() async throws(WebSocketError) -> WebSocketMessage? {
        await giveWayIfDue()
        switch await nextMessage() {
        case .success(let message): return message
        case .failure(let error):
            if error.isNormalEnd { return nil }
            throw error
        }
    }

    /// Lets the other connections of the loop have their turn, after many messages that were there without waiting.
    private func giveWayIfDue() async {
        guard mustGiveWay.load(ordering: .relaxed) else { return }
        mustGiveWay.store(false, ordering: .relaxed)
        inbound.withLock { $0.startSlice() }
        // A task elsewhere holds nothing that they need.
        if loop.isOnLoop { await Task.yield() }
    }

    /// An idle connection waits here: what its frames hold is a part of what it costs.
    @inline(__always)
    private func nextMessage() async -> Result<WebSocketMessage, WebSocketError> {
        let id = nextWaiterID()
        return await withTaskCancellationHandler {
            await suspend { waitForMessage(id: id, $0) }
        } onCancel: {
            stopWaitingForMessage(id: id)
        }
    }

    @inline(never)
    private func waitForMessage(
        id: UInt64, _ continuation: LoopContinuation<Result<WebSocketMessage, WebSocketError>>
    ) {
        // Checked under the lock: whoever cancels later finds the waiter in the queue.
        let immediate: Result<WebSocketMessage, WebSocketError>? = inbound.withLock { queue in
            if Task.isCancelled { return .failure(.cancelled("receive")) }
            defer { noteInbound(queue) }
            switch queue.pop() {
            case .message(let message, let resume):
                if resume { loop.execute { self.resumeReading() } }
                return .success(message)
            case .ended(let end): return .failure(end.error)
            case .empty:
                queue.startSlice()
                queue.wait(id: id, loop.makeWaiter(id: id, continuation))
                return nil
            }
        }
        if let immediate { continuation.resume(returning: immediate) }
    }

    private func stopWaitingForMessage(id: UInt64) {
        let waiter = inbound.withLock { queue in
            defer { noteInbound(queue) }
            return queue.cancel(id: id)
        }
        waiter?.resume(.failure(.cancelled("receive")))
    }

    @usableFromInline @frozen package enum Popped {
        case message(WebSocketMessage)
        case ended(WebSocketError)
        case empty
    }

    /// A message that has already arrived. None also when the caller has taken so many that it must give way.
    @usableFromInline
    package func popMessage() -> Popped {
        popped(
            inbound.withLock { queue in
                guard queue.takesOneMore(now: WebSocketEventLoop.coarseNanoseconds) else {
                    mustGiveWay.store(true, ordering: .relaxed)
                    return .empty
                }
                defer { noteInbound(queue) }
                return queue.pop()
            })
    }

    /// A message that has already arrived, for a caller that does not go on when there is none.
    package func popMessageNow() -> Popped {
        popped(
            inbound.withLock { queue in
                defer { noteInbound(queue) }
                return queue.pop()
            })
    }

    @inline(__always)
    private func popped(_ action: InboundQueue<LoopWaiter<WebSocketMessage>, ConnectionEnd>.PopAction) -> Popped {
        switch action {
        case .message(let message, let resume):
            if resume { loop.execute { self.resumeReading() } }
            return .message(message)
        case .ended(let end): return .ended(end.error)
        case .empty: return .empty
        }
    }

    /// Sends a ping and returns the round trip in nanoseconds.
    package func ping() async throws(WebSocketError) -> UInt64 {
        try await loop.wait(
            for: "ping",
            register: { waiter in
                guard unsafe self.machine.canSend else {
                    waiter.resume(.failure(self.closedSendError()))
                    return
                }
                let ping = unsafe self.liveness.ping(now: self.loop.now, waiterID: waiter.id, waiter)
                self.sendPing(ping.payload)
            },
            cancel: { unsafe self.liveness.cancel(id: $0) })
    }

    /// Closes and waits for the end.
    package func close(_ frame: WebSocketCloseFrame) async throws(WebSocketError) -> WebSocketCloseInfo {
        try frame.validate()
        // Begun apart from the wait: a task that was cancelled before it comes here closes as well.
        loop.execute { self.close(frame, nil) }
        return try await loop.wait(for: "close", register: { self.waitClosed($0) }, cancel: { self.cancelClose($0) })
    }

    /// Closes and waits for the end, also in a cancelled task. Bounded by `flushTimeout` and `closeTimeout`.
    package func closeRegardless(_ frame: WebSocketCloseFrame) async {
        await suspend { (continuation: LoopContinuation<Result<WebSocketCloseInfo, WebSocketError>>) in
            let accepted = loop.execute {
                self.close(frame, self.loop.makeWaiter(id: nextWaiterID(), continuation))
            }
            if !accepted {
                continuation.resume(
                    returning: .failure(WebSocketError(.shutDown, "the event loop has been shut down")))
            }
        }.ignoreOutcome()
    }

    /// Waits for the end, whoever brings it about.
    package func closed() async throws(WebSocketError) -> WebSocketCloseInfo {
        try await loop.wait(for: "closed", register: { self.waitClosed($0) }, cancel: { self.cancelClose($0) })
    }
}

extension Result {
    /// The caller wanted the end of the wait, not its outcome.
    fileprivate func ignoreOutcome() {}
}

extension WebSocketMessage {
    func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) {
        switch self {
        case .text(var text): text.withUTF8 { unsafe body(UnsafeRawBufferPointer($0)) }
        case .binary(let bytes): unsafe bytes.withUnsafeBytes { unsafe body($0) }
        }
    }
}
