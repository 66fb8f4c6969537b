//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import Synchronization
import WebSocketCore

extension Connection {
    func takePong(_ bytes: UnsafeRawBufferPointer) {
        if !isClient, inflater != nil, let wsi = unsafe wsi, unsafe lws_get_reserved_bits(wsi) != 0 {
            violation(.protocolError, "a frame has reserved bits that nothing was negotiated for")
            return
        }
        let action = unsafe pings.pong(bytes, now: loop.now)
        if let roundTrip = action.roundTrip { lastRoundTrip.store(max(1, roundTrip), ordering: .relaxed) }
        if !pongHandlers.isEmpty { unsafe tellPongHandlers(bytes, roundTrip: action.roundTrip) }
        for (waiter, roundTrip) in action.resumed { waiter.resume(.success(roundTrip)) }
        if let deadline = action.probeDeadline {
            probeTimer = schedule(at: deadline) { connection in
                connection.probeTimer = nil
                guard unsafe connection.machine.canSend else { return }
                if let probe = connection.pings.probe(now: connection.loop.now) { connection.sendPing(probe.payload) }
            }
        }
        if let deadline = action.nextDeadline {
            loop.cancel(keepAliveTimer)
            scheduleKeepAlive(at: deadline)
        }
    }

    func scheduleKeepAlive(at deadline: UInt64) {
        keepAliveTimer = schedule(at: deadline) { $0.keepAlive() }
    }

    private func keepAlive() {
        keepAliveTimer = nil
        guard unsafe machine.canSend else { return }
        switch pings.timerFired(now: loop.now) {
        case .ping(let ping, let next):
            sendPing(ping.payload)
            scheduleKeepAlive(at: next)
        case .again(let next): scheduleKeepAlive(at: next)
        case .failed:
            fail(
                WebSocketCloseFrame(code: .internalError, reason: "keepalive ping timeout"), cause: .pingTimeout,
                error: WebSocketError(
                    .timedOut, "no pong came within the keepalive's timeout; the peer or the network is gone",
                    phase: .ping))
        }
    }

    func sendPing(_ payload: UInt64) {
        var bytes = payload.bigEndian
        unsafe withUnsafeBytes(of: &bytes) { unsafe appendControl(.ping, $0) }
    }
}
