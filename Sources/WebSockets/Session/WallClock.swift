//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketLoop

/// What time it is, for dates that servers send. Nothing is timed by it.
enum WallClock {
    /// Seconds since 1970.
    static var seconds: Int64 { Host.wallClockSeconds }
}
