//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

extension Connection {
    func takePong(_ bytes: UnsafeRawBufferPointer) {
        if !isClient, inbound.inflater != nil, let wire, wire.reservedBits != 0 {
            violation(.protocolError, "a frame has reserved bits that nothing was negotiated for")
            return
        }
        inbound.notePong()
        let pong = unsafe liveness.pong(bytes, now: loop.now)
        let action = pong.answer
        if let roundTrip = action.roundTrip { published.lastRoundTrip.store(max(1, roundTrip), ordering: .relaxed) }
        if !inbound.pongHandlers.isEmpty { unsafe tellPongHandlers(bytes, roundTrip: action.roundTrip) }
        for (waiter, roundTrip) in action.resumed { waiter.resume(.success(roundTrip)) }
        if let deadline = action.probeDeadline {
            timers.probe = schedule(at: deadline) { connection in
                connection.timers.probe = nil
                guard connection.canSend else { return }
                if let probe = connection.liveness.probe(now: connection.loop.now) {
                    connection.sendPing(probe.payload)
                }
            }
        }
        if let deadline = pong.nextDeadline {
            loop.cancel(timers.keepAlive)
            scheduleKeepAlive(at: deadline)
        }
    }

    func scheduleKeepAlive(at deadline: UInt64) {
        timers.keepAlive = schedule(at: deadline) { $0.keepAlive() }
    }

    private func keepAlive() {
        timers.keepAlive = nil
        guard canSend else { return }
        let now = loop.now
        let isPaused = isPausedByReaders || isHeldBack
        switch liveness.timerFired(now: now, signs: socketSigns(now: now), isReadingPaused: isPaused) {
        case .ping(let ping, let next):
            sendPing(ping.payload)
            scheduleKeepAlive(at: next)
        case .again(let next): scheduleKeepAlive(at: next)
        case .rest: break
        case .failed:
            let patience = options.keepAlive?.timeout.map { "\($0)" } ?? "the keepalive's timeout"
            fail(
                WebSocketCloseFrame(code: .internalError, reason: "keepalive ping timeout"), cause: .pingTimeout,
                error: WebSocketError(
                    .timedOut,
                    "no pong and no other sign of life came within \(patience); the peer or the network is gone",
                    phase: .ping))
        }
    }

    /// The operating system has taken a burst with something in it whose time begins now.
    func burstIsOut() {
        let now = loop.now
        let action = liveness.burstIsOut(now: now)
        if action.asksForSigns { liveness.keepAliveIsOut(now: now, signs: socketSigns(now: now)) }
        if let deadline = action.closeDeadline { startCloseTimer(at: deadline) }
    }

    func sendPing(_ payload: UInt64) {
        var bytes = payload.bigEndian
        unsafe withUnsafeBytes(of: &bytes) { unsafe appendControl(.ping, $0) }
    }
}
