//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
public import WebSocketCore

extension Connection {
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
        switch popOrWait(id: id, isCancelled: { Task.isCancelled }, { loop.makeWaiter(id: id, continuation) }) {
        case .message(let message): continuation.resume(returning: .success(message))
        case .ended(let end): continuation.resume(returning: .failure(end.error))
        case .cancelled: continuation.resume(returning: .failure(.cancelled("receive")))
        case .waits, .underWay: break
        }
    }

    enum PopOrWait {
        case message(WebSocketMessage)
        case ended(ConnectionEnd)
        /// The waiter is in the queue.
        case waits
        /// Nothing waits: what comes next is arriving already, and the caller takes it in pieces.
        case underWay
        case cancelled
    }

    /// The next message, or a place among those that wait for one. From any thread.
    ///
    /// - Parameters:
    ///   - isCancelled: Asked under the lock: a cancellation that comes later finds the waiter in the queue.
    ///   - takesPieces: A message is arriving that no receiver has claimed.
    @inline(__always)
    func popOrWait(
        id: UInt64, takesPieces: Bool = false, isCancelled: () -> Bool = { false },
        _ waiter: () -> LoopWaiter<WebSocketMessage>
    ) -> PopOrWait {
        let (outcome, mustResume): (PopOrWait, Bool) = inbound.withLock { queue in
            if isCancelled() { return (.cancelled, false) }
            defer { noteInbound(queue) }
            switch queue.pop() {
            case .message(let message, let resume): return (.message(message), resume)
            case .ended(let end): return (.ended(end), false)
            case .empty:
                if takesPieces && queue.waiterCount == 0 { return (.underWay, false) }
                queue.startSlice()
                queue.wait(id: id, waiter())
                return (.waits, false)
            }
        }
        if mustResume { loop.execute { self.resumeReading() } }
        return outcome
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

    /// A message that has already arrived. None also when the caller has taken this many that it must give way.
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

    // MARK: In time

    /// The next message; fails with `timedOut` when there is none in time, and has taken none then.
    package func receive(timeout: Duration) async throws(WebSocketError) -> WebSocketMessage {
        switch popMessageNow() {
        case .message(let message): return message
        case .ended(let error): throw error
        case .empty: break
        }
        guard timeout > .zero else { throw receiveTimedOut(timeout) }
        let timer = LoopTimer(loop)
        defer { timer.cancel() }
        return try await loop.wait(
            for: "receive",
            register: { waiter in
                switch self.popOrWait(id: waiter.id, { waiter }) {
                case .message(let message): waiter.resume(.success(message))
                case .ended(let end): waiter.resume(.failure(end.error))
                case .waits, .underWay, .cancelled:
                    timer.start(timeout) {
                        self.cancelReceive(waiter.id)?.resume(.failure(self.receiveTimedOut(timeout)))
                    }
                }
            }, cancel: { self.cancelReceive($0) })
    }

    /// The receiver under this number, if no message has reached it.
    func cancelReceive(_ id: UInt64) -> LoopWaiter<WebSocketMessage>? {
        inbound.withLock { queue in
            defer { noteInbound(queue) }
            return queue.cancel(id: id)
        }
    }

    private func receiveTimedOut(_ timeout: Duration) -> WebSocketError {
        WebSocketError(
            .timedOut, "no message came within \(timeout); none was lost, and the connection is still open",
            phase: .receive)
    }
}

extension Connection {
    /// A handler is about to be set. From any thread.
    package func claimInbound() { published.isInboundHandled.store(true, ordering: .relaxed) }

    /// Messages go to `handler`, on the loop, as they arrive; what was buffered goes first.
    package func setMessageHandler(_ handler: @escaping MessageHandler) {
        if let replies { replies.handler = handler } else { messageHandler = handler }
        published.isInboundHandled.store(true, ordering: .relaxed)
        // The handler may want no more in the middle of this.
        while hasMessageHandler {
            switch inbound.withLock({ $0.pop() }) {
            case .message(let message, let resume):
                unsafe message.withBytes { unsafe handler($0.bytes, message.kind) }
                if resume { resumeReading() }
            case .ended, .empty: return
            }
        }
    }

    private var hasMessageHandler: Bool {
        if let replies { replies.handler != nil } else { messageHandler != nil }
    }

    /// Messages wait for `receive`, or for another handler, and reading pauses at the buffer's mark. On the loop.
    package func removeMessageHandler() {
        if let replies { replies.handler = nil } else { messageHandler = nil }
        published.isInboundHandled.store(false, ordering: .relaxed)
    }

    /// No task reads any more: control frames are dealt with, and a message ends the connection.
    package func closeReading() {
        refusesMessages = true
        setMessageHandler { [unowned self] _, _ in refuseMessage() }
        if !assembler.isIdle && pieces?.current == nil { refuseMessage() }
        // Nothing piles up now, and the peer's close has to be seen.
        resumeReading()
    }

    /// Whether messages can still be sent, as far as the loop has seen. From any thread.
    package var isUsable: Bool { published.isOpen.load(ordering: .acquiring) }

    /// Messages sent, less those that have arrived whole. From any thread.
    package var exchangeBalance: Int { published.balance.load(ordering: .acquiring) }

    /// Whether messages of this side are still on their way to the loop. From any thread.
    package var hasPromisedMessages: Bool { published.promisedBytes.load(ordering: .acquiring) != 0 }

    /// Whether a caller that takes the connection over would find something of its former user: messages, a part of
    /// one, receivers that wait for one, or a message handler. From any thread, as cheap as it looks.
    package var hasInboundResidue: Bool {
        inboundCount.load(ordering: .acquiring) != 0 || published.isInboundPartial.load(ordering: .acquiring)
            || published.isInboundHandled.load(ordering: .relaxed)
    }

    /// Whether messages that come have a taker already: a handler, or a receiver that waits.
    package var isInboundClaimed: Bool {
        published.isInboundHandled.load(ordering: .relaxed) || inbound.withLock { $0.waiterCount > 0 }
    }
}
