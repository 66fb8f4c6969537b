//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import WebSocketCore

extension Connection {
    /// What the socket shows of the peer now: two system calls, for the keepalive's timer and not for every message.
    func socketSigns(now: UInt64) -> SocketSigns {
        var signs = SocketSigns(heard: inbound.heard &+ inbound.pongsHeard, taken: outbound.taken)
        guard let health = wire?.health else { return signs }
        signs.waiting = Int(health.waiting)
        guard health.has_counters != 0 else { return signs }
        signs.received = health.received
        signs.acknowledged = health.acknowledged
        signs.acknowledgedAt = now &- UInt64(health.milliseconds_since_acknowledgement) * 1_000_000
        signs.isInDoubt = health.unanswered != 0
        return signs
    }
}
