//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Synchronization
import WebSocketCore

extension Connection {
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
            queueClose(frame, flush: options.flushTimeout, patience: options.closeTimeout)
            resumeReadingForClosing()
        case .join: break
        }
    }

    /// Puts the close frame behind what was sent before, which gets `flush` to go out. The peer has `patience` from then on.
    func queueClose(_ frame: WebSocketCloseFrame, flush: Duration, patience: Duration) {
        unsafe liveness.closeIsQueued(patience: patience.nanoseconds)
        unsafe frame.payload.withUnsafeBytes { unsafe appendControl(.close, $0) }
        startCloseTimer(at: loop.now &+ flush.nanoseconds)
    }

    /// A paused connection would never see the peer's answer.
    func resumeReadingForClosing() {
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
        switch unsafe machine.peerClosed(frame) {
        case .answerSoon where unsafe !isChoked && loop.hasReadyWork:
            // What came before may be in the hands of a task that answers it within this turn. libwebsockets would
            // answer the close by itself, but not before the loop polls again.
            unsafe mustAnswerClose = true
            markDirty()
            return 0
        case .answerSoon:
            if client == nil, unsafe isChoked {
                letLibraryAnswer()
                return 0
            }
            answerClose()
        case .end:
            if unsafe !liveness.isCloseWaiting { startCloseTimer(at: loop.now &+ options.closeTimeout.nanoseconds) }
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

    func closeFrame(
        _ payload: UnsafeRawBufferPointer
    ) throws(WebSocketCloseFrame.PayloadViolation) -> WebSocketCloseFrame {
        let frame = try unsafe WebSocketCloseFrame(payload: payload)
        guard frame.code == .protocolError else { return frame }
        var uncertain = frame
        uncertain.isCodeUncertain = true
        guard let start = unsafe loop.serviceBuffer else { return uncertain }
        let code = unsafe CloseFrameSearch.code(
            in: UnsafeRawBufferPointer(
                start: start, count: min(LibWebSockets.readSize + Int(wsx_lws_pre()), loop.serviceBufferSize)),
            reason: UnsafeRawBufferPointer(rebasing: payload.dropFirst(2)), isMasked: !isClient)
        guard let code = code.map(WebSocketCloseCode.init(rawValue:)) else { return uncertain }
        guard code.isAllowedOnTheWire else { throw .invalidCode }
        return WebSocketCloseFrame(code: code, reason: frame.reason)
    }

    func answerClose() {
        guard let reply = unsafe machine.answer() else { return }
        noLongerSending()
        queueClose(reply, flush: options.flushTimeout, patience: options.closeTimeout)
        flush()
    }

    /// The turn in which the peer's close frame came is over.
    func answerCloseLate() {
        unsafe mustAnswerClose = false
        if let client {
            answerClose()
            return finishSending(client)
        }
        if unsafe isChoked { return letLibraryAnswer() }
        answerClose()
        // Once the socket has taken everything libwebsockets ends the connection by itself.
        if unsafe !isChoked, let wsi = unsafe wsi { unsafe wsx_lws_end(wsi) }
    }

    /// The data goes first. libwebsockets has its own answer, with the same code, ready to go behind it, and ends the
    /// connection then.
    private func letLibraryAnswer() {
        guard unsafe machine.answer() != nil else { return }
        closesByLibrary = true
        noLongerSending()
        startCloseTimer(at: loop.now &+ options.flushTimeout.nanoseconds)
    }
}
