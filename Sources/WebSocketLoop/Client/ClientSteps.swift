//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// Times the steps of an opening for those who asked for it, one after the other.
struct ClientSteps {
    private var began: UInt64

    init(on loop: WebSocketEventLoop) { began = loop.now }

    /// The present step has succeeded; the next one begins.
    mutating func passed(_ step: WebSocketError.Phase, _ request: ClientRequest, on loop: WebSocketEventLoop) {
        guard let timing = request.timing else { return }
        let now = loop.now
        timing(step, .nanoseconds(Int64(clamping: now &- began)))
        began = now
    }
}
