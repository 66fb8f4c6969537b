//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore

// From any thread, where nothing else is said.
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
            guard self.machine.canSend else {
                // Accepted, then overtaken by the end: counted among the unsent.
                self.messagesInFrames += 1
                return
            }
            guard !self.outbound.isQueueing else {
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

    /// Whether something can still be sent; otherwise the caller is told why not. On the loop.
    func requireOpen<Value>(_ waiter: LoopWaiter<Value>) -> Bool {
        if canSend { return true }
        waiter.resume(.failure(closedSendError()))
        return false
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
                    self.pressure.beginWait(at: self.loop.now)
                    self.outbound.wait(id: waiter.id, pending)
                }
            },
            cancel: { self.stopWaiting(id: $0) })
    }

    /// The sender under this number, which was cancelled; nil when it does not wait any more.
    func stopWaiting(id: UInt64) -> LoopWaiter<Void>? {
        guard let waiter = outbound.cancel(id: id)?.waiter else { return nil }
        pressure.endWait(at: loop.now)
        return waiter
    }

    /// Does nothing, out of the optimiser's sight. Where a branch has waited it must come back to the caller's executor
    /// before this call. Otherwise Swift 6.3 comes back where the branches meet, and a call that never waited pays for
    /// that too: 70 ns, a tenth of a small message's way.
    @usableFromInline @inline(never)
    package func cameBack() {}
}

extension WebSocketMessage {
    func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) {
        switch self {
        case .text(var text): text.withUTF8 { unsafe body(UnsafeRawBufferPointer($0)) }
        case .binary(let bytes): unsafe bytes.withUnsafeBytes { unsafe body($0) }
        }
    }
}
