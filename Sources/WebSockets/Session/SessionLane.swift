//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore

/// The work of a session that takes time.
typealias SessionLane = WorkLane<@Sendable () async -> Void>
typealias SessionTimer = DeadlineTimer

/// What a piece of work left behind.
final class SendFailure: Sendable {
    private let state = Mutex<WebSocketError?>(nil)

    var value: WebSocketError? { state.withLock { $0 } }
    func set(_ error: WebSocketError?) { state.withLock { $0 = error } }
}
