//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketConcurrency

/// A session's instants are durations since its beginning.
typealias SessionClock = AnyClock

extension AnyClock {
    func now() -> Duration { elapsed }
}
