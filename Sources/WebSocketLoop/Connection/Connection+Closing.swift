//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
package import WebSocketCore

extension Connection {
    // MARK: From any thread

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
                    returning: .failure(
                        WebSocketError(.shutDown, "the event loop has been shut down; its connections are gone with it")
                    ))
            }
        }.ignoreOutcome()
    }

    /// Waits for the end, from either side.
    package func closed() async throws(WebSocketError) -> WebSocketCloseInfo {
        try await loop.wait(for: "closed", register: { self.waitClosed($0) }, cancel: { self.cancelClose($0) })
    }

    // MARK: On the loop

    /// The user closes; `waiter` is told the outcome.
    func close(_ frame: WebSocketCloseFrame, _ waiter: LoopWaiter<WebSocketCloseInfo>?) {
        if let closeInfo {
            waiter?.resume(.success(closeInfo))
            return
        }
        if let waiter { ends.append(waiter: waiter) }
        switch machine.close(frame) {
        case .send(let frame):
            noLongerSending()
            queueClose(frame, flush: options.flushTimeout, patience: options.closeTimeout)
            resumeReadingForClosing()
        case .join: break
        }
    }

    /// Puts the close frame behind what was sent before, which gets `flush` to go out. The peer has `patience` from then on.
    func queueClose(_ frame: WebSocketCloseFrame, flush: Duration, patience: Duration) {
        startCloseTimer(at: loop.now &+ flush.nanoseconds)
        if let work = outbound.deflater?.underWay {
            work.close = (frame, patience.nanoseconds)
        } else {
            appendClose(frame, patience: patience.nanoseconds)
        }
    }

    func appendClose(_ frame: WebSocketCloseFrame, patience: UInt64) {
        liveness.closeIsQueued(patience: patience)
        appendFrame(.close, compressed: false, frame.payload)
    }

    /// A paused connection would never see the peer's answer.
    func resumeReadingForClosing() {
        let isPausedForPieces = inbound.isPausedForPieces
        inbound.pieces?.isPaused = false
        speedUp()
        if arrivals.resumeForClosing() || isPausedForPieces { resumeReading() }
    }

    func waitClosed(_ waiter: LoopWaiter<WebSocketCloseInfo>) {
        if let closeInfo {
            waiter.resume(.success(closeInfo))
        } else {
            ends.append(waiter: waiter)
        }
    }

    func cancelClose(_ id: UInt64) -> LoopWaiter<WebSocketCloseInfo>? { ends.remove(id: id) }

    /// The peer's close frame. Other than 0 ends a server's wsi; a client's ends when the server has.
    func takeClose(_ payload: UnsafeRawBufferPointer) -> CInt {
        let frame: WebSocketCloseFrame
        do throws(WebSocketCloseFrame.PayloadViolation) {
            frame = try unsafe isClient ? WebSocketCloseFrame(payload: payload) : closeFrame(payload)
        } catch {
            switch error {
            case .invalidUTF8: violation(.invalidPayloadData, "the close reason is not UTF-8", .invalidUTF8)
            case .tooShort, .invalidCode: violation(.protocolError, "the close frame is malformed")
            }
            flush()
            return endWire()
        }
        // It would not wait for the turns in between.
        if client == nil { compressTheRest() }
        switch machine.peerClosed(frame) {
        case .answerSoon where outbound.isCompressing:
            turnState.mustAnswerClose = true
            return 0
        case .answerSoon where !outbound.isChoked && loop.hasReadyWork:
            // What came before may be in the hands of a task that answers it within this turn. libwebsockets would
            // answer the close by itself, but not before the loop polls again.
            turnState.mustAnswerClose = true
            markDirty()
            return 0
        case .answerSoon:
            if client == nil, outbound.isChoked {
                letLibraryAnswer()
                return 0
            }
            answerClose()
        case .end:
            if !liveness.isCloseWaiting { startCloseTimer(at: loop.now &+ options.closeTimeout.nanoseconds) }
        // The close frame that says why may not be out yet: this is the last chance.
        case .ignore: flush()
        }
        return endWire()
    }

    private func endWire() -> CInt {
        guard let client else { return -1 }
        finishSending(client)
        return 0
    }

    /// While the stream goes on, only its parser's refusal makes libwebsockets end an open connection. A server's
    /// then sends a close frame, a client's would not: the reason set here makes both do it.
    func closesByItself() {
        guard canReceive, !loop.isStopping, let wire, !wire.hasEnded else { return }
        flush()
        let text = "a frame that RFC 6455 §5 does not allow"
        // libwebsockets sends no close frame behind bytes that the socket has not taken.
        let frame = outbound.isChoked || !machine.canSend ? nil : WebSocketCloseFrame(code: .protocolError)
        if frame != nil { wire.closesWithProtocolError() }
        fail(
            frame, isSentByLibrary: true, cause: .peerViolation,
            error: Self.violated(text))
    }

    func closeFrame(
        _ payload: UnsafeRawBufferPointer
    ) throws(WebSocketCloseFrame.PayloadViolation) -> WebSocketCloseFrame {
        let frame = try unsafe WebSocketCloseFrame(payload: payload)
        guard frame.code == .protocolError else { return frame }
        var uncertain = frame
        uncertain.isCodeUncertain = true
        let code = unsafe loop.closeCodeAsRead(
            reason: UnsafeRawBufferPointer(rebasing: payload.dropFirst(2)), isMasked: !isClient)
        guard let code = code.map(WebSocketCloseCode.init(rawValue:)) else { return uncertain }
        guard code.isAllowedOnTheWire else { throw .invalidCode }
        return WebSocketCloseFrame(code: code, reason: frame.reason)
    }

    func answerClose() {
        guard let reply = machine.answer() else { return }
        noLongerSending()
        queueClose(reply, flush: options.flushTimeout, patience: options.closeTimeout)
        flush()
    }

    /// The turn in which the peer's close frame came is over.
    func answerCloseLate() {
        turnState.mustAnswerClose = false
        if let client {
            answerClose()
            return finishSending(client)
        }
        if outbound.isChoked { return letLibraryAnswer() }
        answerClose()
        // Once the socket has taken everything libwebsockets ends the connection by itself.
        if !outbound.isChoked { wire?.end() }
    }

    /// The data goes first. libwebsockets has its own answer, with the same code, ready to go behind it, and ends the
    /// connection then.
    private func letLibraryAnswer() {
        guard machine.answer() != nil else { return }
        outbound.closesByLibrary = true
        noLongerSending()
        startCloseTimer(at: loop.now &+ options.flushTimeout.nanoseconds)
    }
}

extension Result {
    /// The caller wanted the end of the wait, not its outcome.
    fileprivate func ignoreOutcome() {}
}
