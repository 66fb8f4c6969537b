//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Synchronization
package import WebSocketCore

/// A message whose sender waits for room.
struct PendingSend: Sendable {
    let message: WebSocketMessage
    let waiter: LoopWaiter<Void>
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
    func send(_ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer) -> SendResult {
        guard machine.canSend else { return .closed }
        guard outbound.hasRoom else { return .full }
        unsafe append(kind, payload)
        return .sent
    }

    func append(_ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer) {
        let opcode: FrameEncoder.Opcode = kind == .text ? .text : .binary
        if let deflater, payload.count >= deflater.minimumSize,
            let count = unsafe deflater.compress(payload, into: &loop.scratch)
        {
            unsafe appendFrame(
                opcode, compressed: true,
                UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(loop.scratch.memory)[..<count]))
            loop.scratch.trim()
        } else {
            unsafe appendFrame(opcode, compressed: false, payload)
        }
        messagesInFrames += 1
    }

    /// Control frames ignore the marks: they are small, and needed most when the peer is slow.
    func appendControl(_ opcode: FrameEncoder.Opcode, _ payload: UnsafeRawBufferPointer) {
        unsafe appendFrame(opcode, compressed: false, payload)
    }

    @inline(__always)
    private func appendFrame(_ opcode: FrameEncoder.Opcode, compressed: Bool, _ payload: UnsafeRawBufferPointer) {
        // A client masks every frame (RFC 6455 §5.3), a server none.
        let maskKey: UInt32? = isClient ? loop.maskKeys.next() : nil
        let destination = unsafe frames.reserve(FrameEncoder.maximumHeaderBytes + payload.count)
        let header = unsafe FrameEncoder.writeHeader(
            opcode, compressed: compressed, payloadBytes: payload.count, maskKey: maskKey, to: destination)
        if let base = payload.baseAddress {
            unsafe FrameEncoder.copy(base, count: payload.count, maskKey: maskKey, to: destination + header)
        }
        let size = header + payload.count
        frames.commit(size)
        outbound.took(size)
        outboundBytes.store(outbound.bytes, ordering: .relaxed)
        markDirty()
    }

    /// Hands everything queued to libwebsockets as one burst of whole frames. Whole, because it may put a pong of its
    /// own between two bursts.
    func flush() {
        guard !isChoked, frames.count > 0, let wsi = unsafe wsi else { return }
        let count = frames.count
        let written = unsafe wsx_lws_write_raw(wsi, frames.bytes, count)
        frames.removeAll()
        frames.release()
        guard written >= 0 else {
            // The socket is dead. libwebsockets learns that by itself, but not necessarily soon.
            unsafe wsx_lws_kill_later(wsi)
            return
        }
        if unsafe lws_partial_buffered(wsi) != 0 {
            isChoked = true
            handedBytes = count
            messagesHanded = messagesInFrames
            messagesInFrames = 0
            unsafe lws_callback_on_writable(wsi)
            return
        }
        messagesInFrames = 0
        drained(count)
    }

    func resumeWriting() -> CInt {
        guard isChoked, let wsi = unsafe wsi else { return 0 }
        guard unsafe lws_partial_buffered(wsi) == 0 else {
            unsafe lws_callback_on_writable(wsi)
            return 0
        }
        isChoked = false
        let count = handedBytes
        handedBytes = 0
        messagesHanded = 0
        drained(count)
        if frames.count > 0 { markDirty() }
        return 0
    }

    private func drained(_ count: Int) {
        outbound.drained(count)
        while let next = outbound.nextAdmitted() {
            unsafe next.message.withBytes { unsafe append(next.message.kind, $0) }
            next.waiter.resume(.success(()))
        }
        outboundBytes.store(outbound.bytes, ordering: .relaxed)
    }
}

// MARK: From any thread

extension Connection {
    private static let closedError = WebSocketError(
        .connectionClosed, "the connection is closed, so the message was not sent; open a new connection")

    /// Sends bytes that are valid for the duration of the call; suspends while the outbound buffer is full.
    @inline(__always)
    package func send(
        _ kind: WebSocketMessage.Kind, borrowing payload: UnsafeRawBufferPointer
    ) -> SendResult {
        guard loop.isOnLoop else { return .full }
        return unsafe send(kind, payload)
    }

    package func closedSendError() -> WebSocketError {
        var error = Self.closedError
        error.closeInfo = loop.isOnLoop ? closeInfo : nil
        return error
    }

    /// The way in for callers on other threads, and for callers on the loop that have to wait.
    package func sendSlowly(_ message: WebSocketMessage) async throws(WebSocketError) {
        if !loop.isOnLoop {
            guard isOpen.load(ordering: .acquiring) else { throw closedSendError() }
            let size = message.byteCount + FrameEncoder.maximumHeaderBytes
            // Counted before the loop sees it, so that a burst from another thread meets the mark too.
            if outboundBytes.load(ordering: .relaxed) + promisedBytes.load(ordering: .relaxed)
                < options.outboundBuffer.highBytes
            {
                promisedBytes.wrappingAdd(size, ordering: .relaxed)
                let accepted = loop.execute {
                    self.promisedBytes.wrappingSubtract(size, ordering: .relaxed)
                    guard self.machine.canSend else {
                        // Accepted, then overtaken by the end: counted among the unsent.
                        self.messagesInFrames += 1
                        return
                    }
                    unsafe message.withBytes { unsafe self.append(message.kind, $0) }
                }
                if !accepted {
                    promisedBytes.wrappingSubtract(size, ordering: .relaxed)
                    throw WebSocketError(.shutDown, "the event loop \(loop.name) has been shut down")
                }
                return
            }
        }
        try await loop.wait(
            for: "send",
            register: { waiter in
                guard self.machine.canSend else {
                    waiter.resume(.failure(self.closedSendError()))
                    return
                }
                if self.outbound.hasRoom {
                    unsafe message.withBytes { unsafe self.append(message.kind, $0) }
                    waiter.resume(.success(()))
                } else {
                    self.outbound.wait(id: waiter.id, PendingSend(message: message, waiter: waiter))
                }
            },
            cancel: { self.outbound.cancel(id: $0)?.waiter })
    }

    /// The next message, waiting for it if need be. A cancelled call takes no message.
    package func receive() async throws(WebSocketError) -> WebSocketMessage {
        switch popMessage() {
        case .message(let message): return message
        case .ended(let error): throw error
        case .empty: break
        }
        let id = nextWaiterID()
        let result: Result<WebSocketMessage, WebSocketError> = await withTaskCancellationHandler {
            await suspend { continuation in
                let waiter = loop.makeWaiter(id: id, continuation)
                // Checked under the lock: whoever cancels later finds the waiter in the queue.
                let immediate: Result<WebSocketMessage, WebSocketError>? = inbound.withLock { queue in
                    if Task.isCancelled { return .failure(.cancelled("receive")) }
                    defer { noteInbound(queue) }
                    switch queue.pop() {
                    case .message(let message, let resume):
                        if resume { loop.execute { self.resumeReading() } }
                        return .success(message)
                    case .ended(let error): return .failure(error)
                    case .empty:
                        queue.wait(id: id, waiter)
                        return nil
                    }
                }
                if let immediate { waiter.resume(immediate) }
            }
        } onCancel: {
            let waiter = inbound.withLock { queue in
                defer { noteInbound(queue) }
                return queue.cancel(id: id)
            }
            waiter?.resume(.failure(.cancelled("receive")))
        }
        return try result.get()
    }

    package enum Popped {
        case message(WebSocketMessage)
        case ended(WebSocketError)
        case empty
    }

    /// A message that has already arrived.
    @inline(__always)
    package func popMessage() -> Popped {
        let popped = inbound.withLock { queue in
            defer { noteInbound(queue) }
            return queue.pop()
        }
        switch popped {
        case .message(let message, let resume):
            if resume { loop.execute { self.resumeReading() } }
            return .message(message)
        case .ended(let error): return .ended(error)
        case .empty: return .empty
        }
    }

    /// Sends a ping and returns the round trip in nanoseconds.
    package func ping() async throws(WebSocketError) -> UInt64 {
        try await loop.wait(
            for: "ping",
            register: { waiter in
                guard self.machine.canSend else {
                    waiter.resume(.failure(self.closedSendError()))
                    return
                }
                let ping = self.pings.ping(now: self.loop.now, waiterID: waiter.id, waiter)
                self.sendPing(ping.payload)
            },
            cancel: { self.pings.cancel(id: $0) })
    }

    /// Closes and waits for the end.
    package func close(_ frame: WebSocketCloseFrame) async throws(WebSocketError) -> WebSocketCloseInfo {
        try frame.validate()
        return try await loop.wait(
            for: "close", register: { self.close(frame, $0) }, cancel: { self.cancelClose($0) })
    }

    /// Closes and waits for the end, also in a cancelled task. Bounded by `closeTimeout`.
    package func closeRegardless(_ frame: WebSocketCloseFrame) async {
        await suspend { (continuation: LoopContinuation<Result<WebSocketCloseInfo, WebSocketError>>) in
            let waiter = loop.makeWaiter(id: nextWaiterID(), continuation)
            if !loop.execute({ self.close(frame, waiter) }) {
                waiter.resume(.failure(WebSocketError(.shutDown, "the event loop has been shut down")))
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
