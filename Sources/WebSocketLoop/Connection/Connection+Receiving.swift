//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
public import WebSocketCore

// The way of a message in, from top to bottom: bytes that libwebsockets has read, pieces of frames, the message, and those
// who take it: a handler, or a receiver on any thread. `InboundPath` and `ArrivalQueue` hold what lies on the way.

// MARK: - On the loop: pieces of frames

extension Connection {
    /// libwebsockets has read something: for a server a part of a frame of data, for a client of the stream.
    @inline(__always)
    func take(_ bytes: UnsafeRawBufferPointer) -> CInt {
        inbound.noteRead(bytes.count)
        if let client { return unsafe takeFrames(bytes, client) }
        guard canReceive, let wire else { return 0 }
        turnState.isInCallback = true
        defer { turnState.isInCallback = false }
        inbound.noteHeard()
        guard let piece = inbound.piece(from: wire) else {
            violation(.protocolError, "a frame has reserved bits that nothing was negotiated for")
            return 0
        }
        unsafe take(piece, bytes)
        return 0
    }

    func takeFrames(_ bytes: UnsafeRawBufferPointer, _ client: ClientWire) -> CInt {
        guard !client.ignoresInput else { return 0 }
        turnState.isInCallback = true
        defer { turnState.isInCallback = false }
        inbound.noteHeard()
        if let backlog = inbound.backlog {
            unsafe backlog.rest += bytes
            return 0
        }
        var offset = 0
        while true {
            switch unsafe client.parser.next(bytes, &offset) {
            case .needsMore: return 0
            case .data(let data):
                guard canReceive else { continue }
                inbound.takesOn(isCompressed: data.isCompressed)
                unsafe take(
                    FramePiece(
                        kind: data.kind, startsMessage: data.startsMessage, startsFrame: data.startsFrame,
                        remaining: data.remaining, endsMessage: data.endsMessage),
                    UnsafeRawBufferPointer(rebasing: bytes[data.payload]))
                if let backlog = inbound.backlog {
                    unsafe backlog.rest = Array(bytes.dropFirst(offset))
                    return 0
                }
            case .control(let control):
                unsafe client.parser.withControlPayload { unsafe takeControl(control, $0, client) }
                guard control == .close else { continue }
                client.ignoresInput = true
                return 0
            case .violation(let violation):
                client.ignoresInput = true
                client.violation = violation
                markDirty()
                return 0
            }
        }
    }

    /// A piece of a message.
    @inline(__always)
    private func take(_ piece: FramePiece, _ bytes: UnsafeRawBufferPointer) {
        if let backlog = inbound.backlog { return unsafe hold(piece, bytes, in: backlog) }
        unsafe takeNow(piece, bytes)
    }

    /// A piece of a message that waits for nothing.
    @inline(__always)
    func takeNow(_ piece: FramePiece, _ bytes: UnsafeRawBufferPointer) {
        do throws(MessageAssembler.Violation) {
            guard inbound.isWhole(piece) else { return try unsafe assemble(piece, bytes) }
            if let handler = inbound.messageHandler {
                try unsafe deliverBorrowed(bytes, piece.kind, to: handler)
            } else {
                unsafe deliver(try MessageAssembler.whole(piece.kind, bytes, maximumSize: options.maximumMessageSize))
            }
        } catch {
            refuse(error)
        }
    }

    /// A piece of a message that does not come whole in one.
    private func assemble(
        _ piece: FramePiece, _ bytes: UnsafeRawBufferPointer
    ) throws(MessageAssembler.Violation) {
        if piece.startsMessage {
            if inbound.refusesMessages { return refuseMessage() }
            inbound.begin(piece)
            published.isInboundPartial.store(true, ordering: .relaxed)
            if inbound.pieces != nil { claimPieces() }
        }
        if piece.startsFrame { try inbound.beginFrame(piece, byteCount: bytes.count) }
        if inbound.isCompressed, let inflater = inbound.inflater {
            guard try unsafe inflateNow(piece, bytes, inflater) else { return passPiecesOn() }
        } else {
            try unsafe inbound.assembler.append(bytes)
        }
        try finish(piece)
    }

    /// All of a piece has gone into its message.
    func finish(_ piece: FramePiece) throws(MessageAssembler.Violation) {
        defer { checkPartialMemory() }
        guard piece.endsMessage else { return passPiecesOn() }
        if let reader = inbound.pieces?.current {
            try finishPieces(reader)
        } else {
            deliver(try inbound.finish())
            published.isInboundPartial.store(inbound.backlog != nil, ordering: .releasing)
        }
    }
}

// MARK: - On the loop: messages

extension Connection {
    /// A message in the memory in which it was read, for a handler.
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
        noteArrived()
        unsafe handler(bytes.bytes, kind)
    }

    func deliver(_ message: WebSocketMessage) {
        noteArrived()
        guard let handler = inbound.messageHandler else { return enqueue(message) }
        unsafe message.withBytes { unsafe handler($0.bytes, message.kind) }
    }

    @inline(__always)
    func noteArrived() {
        inbound.noteArrived()
        published.countArrived()
    }

    /// A message for those who call `receive`.
    @inline(__always)
    func enqueue(_ message: WebSocketMessage) {
        let isClosing = !canSend
        // Nothing slows the peer down while the connection closes, so what does not fit is dropped and counted, and
        // everything behind it: what was received is a beginning of what was sent, without a hole.
        let push = arrivals.push(message) { waiting in
            isClosing && (inbound.messagesDropped > 0 || waiting >= options.inboundBuffer.highMessages)
        }
        switch push {
        case .deliver(let waiter): waiter.resume(.success(message))
        case .buffered: break
        case .bufferedPause:
            if !isClosing { pauseReading() }
            settleSoon()
        case .bufferedSettle: settleSoon()
        case .bufferedCheck:
            inbound.mustCheck()
            markDirty()
        case .dropped: inbound.noteDropped(1)
        }
    }

    /// The turn is over, and the mark may be reached.
    @inline(__always)
    func checkMark() {
        guard inbound.takeCheck() else { return }
        if memory.mustSettle { settleMemory() }
        if canSend, arrivals.shouldPause() { pauseReading() }
    }

    func pauseReading() { wire?.pauseReading() }

    func resumeReading() {
        guard !isPausedByReaders else { return }
        // It reads on when what waits is done.
        if isHeldBack { return loop.turnWork.add(self) }
        wire?.resumeReading()
    }

    /// Whether reading is paused because no task takes what has come, or the peer does not.
    var isPausedByReaders: Bool { memory.isSlowedDown || arrivals.isPaused || inbound.isPausedForPieces }
}

// MARK: - From any thread

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

    /// The next message, waiting for it if need be; `nil` once the connection has ended well. A cancelled call takes none.
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
        // A task elsewhere holds nothing that they need.
        if arrivals.givesWay(), loop.isOnLoop { await Task.yield() }
    }

    /// An idle connection waits here: what its frames hold is a part of what it costs.
    @inline(__always)
    private func nextMessage() async -> Result<WebSocketMessage, WebSocketError> {
        let id = nextWaiterID()
        return await withTaskCancellationHandler {
            await suspend { waitForMessage(id: id, $0) }
        } onCancel: {
            arrivals.cancel(id: id)?.resume(.failure(.cancelled("receive")))
        }
    }

    @inline(never)
    private func waitForMessage(
        id: UInt64, _ continuation: LoopContinuation<Result<WebSocketMessage, WebSocketError>>
    ) {
        switch popOrWait(id: id, isCancelled: { Task.isCancelled }, { loop.makeWaiter(id: id, continuation) }) {
        case .message(let message, _): continuation.resume(returning: .success(message))
        case .ended(let end): continuation.resume(returning: .failure(end.error))
        case .cancelled: continuation.resume(returning: .failure(.cancelled("receive")))
        case .waits, .underWay: break
        }
    }

    /// The next message, or a place among those that wait for one.
    @inline(__always)
    func popOrWait(
        id: UInt64, takesPieces: Bool = false, isCancelled: () -> Bool = { false },
        _ waiter: () -> LoopWaiter<WebSocketMessage>
    ) -> ArrivalQueue.PopOrWait {
        let outcome = arrivals.popOrWait(id: id, takesPieces: takesPieces, isCancelled: isCancelled, waiter)
        if case .message(_, resume: true) = outcome { loop.execute { self.messagesWereTaken() } }
        return outcome
    }

    @usableFromInline @frozen package enum Popped {
        case message(WebSocketMessage)
        case ended(WebSocketError)
        case empty
    }

    /// A message that has already arrived. None also when the caller has taken this many that it must give way.
    @usableFromInline
    package func popMessage() -> Popped { popped(arrivals.pop(inSlice: true)) }

    /// A message that has already arrived, for a caller that does not go on when there is none.
    package func popMessageNow() -> Popped { popped(arrivals.pop()) }

    @inline(__always)
    private func popped(_ pop: ArrivalQueue.Pop) -> Popped {
        switch pop {
        case .message(let message, let resume):
            if resume { loop.execute { self.messagesWereTaken() } }
            return .message(message)
        case .ended(let end): return .ended(end.error)
        case .empty: return .empty
        }
    }

    /// The next message; fails with `timedOut` when there is none in time, and has taken none then.
    package func receive(timeout: Duration) async throws(WebSocketError) -> WebSocketMessage {
        await giveWayIfDue()
        var popped = popMessage()
        // Nothing, or as many as may be taken at a time: a call that does not wait cannot tell.
        if case .empty = popped, timeout <= .zero { popped = popMessageNow() }
        switch popped {
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
                case .message(let message, _): waiter.resume(.success(message))
                case .ended(let end): waiter.resume(.failure(end.error))
                case .waits, .underWay, .cancelled:
                    timer.start(timeout) {
                        self.arrivals.cancel(id: waiter.id)?.resume(.failure(self.receiveTimedOut(timeout)))
                    }
                }
            }, cancel: { self.arrivals.cancel(id: $0) })
    }

    private func receiveTimedOut(_ timeout: Duration) -> WebSocketError {
        WebSocketError(
            .timedOut, "no message came within \(timeout); none was lost, and the connection is still open",
            phase: .receive)
    }
}
